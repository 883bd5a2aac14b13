"""Customers while versions change: stages, pauses, migrations; positions stay valid whatever is published."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.rules.limits import MAX_KEPT_VERSIONS
from engine.rules.machine import JourneyMachine
from engine.rules.publishing.publication import Pause, Resume, Stage
from engine.rules.publishing.refused import Refused
from engine.rules.ruleset import RuleSet
from tests.rules.driver import DAY, HOUR, NOON, Driver
from tests.rules.publishing.desk import Desk
from tests.rules.publishing.test_publication import BYE, CHANGED, HELLO

WAITS = """journey: path
entry: {on: order.placed, reentry: always}
guards: {quiet_hours: 22:00-09:00}
steps:
  - {send: email, template: one}
  - wait: 2d
  - {send: email, template: two}
  - wait_until: {on: order.delivered, timeout: 3d}
    otherwise:
      - {send: email, template: three}
"""
LONGER = WAITS.replace("wait: 2d", "wait: 5d").replace("template: two", "template: second")
SHORT = WAITS[: WAITS.index("  - wait: 2d")] + "  - wait: 1d\n  - {send: email, template: only}\n"


def switch(driver: Driver, rules: RuleSet) -> None:
    """Let the driver's customer live under other rules from now on, as a worker's switch does."""
    driver.rules = rules
    driver.machine = JourneyMachine(rules, driver.machine.settings)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_stage_is_for_the_share_it_says_and_stable(share: float) -> None:
    """That share of the customers enters the new version, the others the old; a larger share keeps them."""
    desk = Desk()
    desk.publish(HELLO)
    desk.publish(CHANGED, BYE.replace("template: hello", "template: bye"), share=share)
    seen: dict[str, list[str]] = {}

    def enter() -> None:
        rules = desk.rules()
        for number in range(1_000):
            driver = Driver(rules, customer_id=f"customer-{number}")
            driver.send("order.placed", NOON)
            seen.setdefault(driver.state.customer_id, []).append("+".join(driver.templates()))

    enter()
    new = sum("hi" in each[0] for each in seen.values())
    added = sum("bye" in each[0] for each in seen.values())
    assert abs(new / 1_000 - share) < 0.05
    assert abs(added / 1_000 - share) < 0.05, "the added journey is staged, too"
    assert all(("hi" in each[0]) != ("hello" in each[0]) for each in seen.values())
    desk.append(Stage(version=2, share=0.8, author="a", time_ms=0))
    enter()
    assert all("hi" in now for then, now in seen.values() if "hi" in then)
    assert abs(sum("hi" in each[1] for each in seen.values()) / 1_000 - 0.8) < 0.05


def test_who_is_inside_keeps_the_version_entered() -> None:
    """A publication moves nobody: those inside finish what they entered, also when the journey is removed."""
    desk = Desk()
    desk.publish(WAITS)
    driver = Driver(desk.rules())
    driver.send("order.placed", NOON)
    desk.publish(LONGER)
    switch(driver, desk.rules())
    driver.until(NOON + 2 * DAY)
    desk.publish(HELLO)
    switch(driver, desk.rules())
    driver.until(NOON + 6 * DAY)
    assert driver.templates() == ["one", "two", "three"]


def test_a_migration_moves_those_inside_and_keeps_their_instants() -> None:
    """They go on at the step of the new version their step leads to, when their own instant comes."""
    desk = Desk()
    desk.publish(WAITS)
    driver = Driver(desk.rules())
    driver.send("order.placed", NOON)
    desk.publish(LONGER, migrate={"path": {}})
    switch(driver, desk.rules())
    driver.until(NOON + 2 * DAY)
    assert driver.templates() == ["one", "second"], "due after two days still, then the new message"
    assert driver.state.profile.positions[0].version == 2


def test_a_migration_can_lead_elsewhere_and_out() -> None:
    """A step that is gone leads where the map says: to another one, or out of the journey with a decision."""
    desk = Desk()
    desk.publish(WAITS)
    first, second = Driver(desk.rules()), Driver(desk.rules(), customer_id="c2")
    first.send("order.placed", NOON)
    second.send("order.placed", NOON)
    second.until(NOON + 2 * DAY)
    steps = {"steps[2]": "exit", "steps[3]": "exit", "steps[3].otherwise[0]": "exit"}
    with pytest.raises(Refused, match=r"say where 'steps\[3\]' leads"):
        desk.compose([SHORT], migrate={"path": {}})
    desk.publish(SHORT, migrate={"path": steps})
    for driver in (first, second):
        switch(driver, desk.rules())
        driver.until(NOON + 9 * DAY)
    assert first.templates() == ["one", "only"]
    assert second.templates() == ["one", "two"]
    assert (Outcome.EXITED, "version") in second.outcomes(Outcome.EXITED)


def test_migrations_lead_on_but_never_in_a_circle() -> None:
    """Who was away during two migrations follows both; going back ends where the last one leads."""
    desk = Desk()
    desk.publish(WAITS)
    driver, other = Driver(desk.rules()), Driver(desk.rules(), customer_id="c2")
    driver.send("order.placed", NOON)
    other.send("order.placed", NOON)
    desk.publish(LONGER, migrate={"path": {}})
    desk.publish(LONGER.replace("second", "third"), migrate={"path": {}})
    switch(driver, desk.rules())
    driver.until(NOON + 2 * DAY)
    assert driver.templates() == ["one", "third"]
    desk.publish(WAITS, migrate={"path": {}})
    switch(other, desk.rules())
    other.until(NOON + 2 * DAY)
    assert other.templates() == ["one", "two"]
    assert other.state.profile.positions[0].version == 1


def test_a_paused_journey_neither_lets_in_nor_sends() -> None:
    """Messages wait, hour by hour, and go out after the pause; nobody enters meanwhile."""
    desk = Desk()
    desk.publish(WAITS)
    driver = Driver(desk.rules())
    driver.send("order.placed", NOON)
    desk.append(Pause(journey="path", author="a", time_ms=0))
    switch(driver, desk.rules())
    driver.until(NOON + 2 * DAY + 2 * HOUR + 1)
    assert driver.templates() == ["one"]
    assert driver.outcomes(Outcome.DEFERRED) == [(Outcome.DEFERRED, "paused")] * 3
    newcomer = Driver(desk.rules(), customer_id="c2")
    newcomer.send("order.placed", NOON + 2 * DAY)
    assert newcomer.decisions == []
    desk.append(Resume(journey="path", author="a", time_ms=0))
    switch(driver, desk.rules())
    driver.until(NOON + 2 * DAY + 3 * HOUR)
    assert driver.templates() == ["one", "two"]
    assert driver.state.profile.positions[0].put_off_ms == 0


def test_what_is_paused_for_too_long_is_dropped() -> None:
    """A message held back for longer than it is of use is suppressed as expired; the journey goes on."""
    desk = Desk()
    desk.publish(WAITS.replace("template: two", "template: two, expires: 3h"))
    driver = Driver(desk.rules())
    driver.send("order.placed", NOON)
    desk.append(Pause(journey="path", author="a", time_ms=0))
    switch(driver, desk.rules())
    driver.until(NOON + 3 * DAY)
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "expired")]
    assert len(driver.outcomes(Outcome.DEFERRED)) == 3
    assert driver.state.profile.positions[0].pc == 3


def test_older_versions_are_kept_up_to_their_bound() -> None:
    """A journey's last versions are kept for those inside; who is in an older one leaves with a decision."""
    desk = Desk()
    desk.publish(WAITS)
    driver = Driver(desk.rules())
    driver.send("order.placed", NOON)
    for number in range(MAX_KEPT_VERSIONS + 1):
        desk.publish(WAITS.replace("template: one", f"template: one-{number}"))
    assert len(desk.versions()) == 1 + MAX_KEPT_VERSIONS
    switch(driver, desk.rules())
    driver.until(NOON + 2 * DAY)
    assert driver.outcomes(Outcome.EXITED) == [(Outcome.EXITED, "version")]


VARIANTS = (WAITS, LONGER, WAITS.replace("one", "uno"), SHORT)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 3)),
        st.tuples(st.just("migrate"), st.integers(0, 3)),
        st.tuples(st.just("stage"), st.integers(1, 20)),
        st.tuples(st.just("rollback"), st.integers(1, 9)),
        st.tuples(st.sampled_from(["pause", "resume"]), st.just(0)),
        st.tuples(st.sampled_from(["order.placed", "order.delivered", "wait"]), st.integers(1, 60)),
    ),
    max_size=25,
)


@given(steps=STEPS)
@settings(max_examples=60, deadline=None)
def test_whatever_is_published_positions_stay_valid(steps: list[tuple[str, int]]) -> None:
    """After any history a position stands at a step of a version that is there, with its timer ahead."""
    desk = Desk()
    desk.publish(WAITS)
    drivers = [Driver(desk.rules(), customer_id=f"c{number}") for number in range(3)]
    now_ms = NOON
    for kind, number in steps:
        try:
            _operate(desk, kind, number)
        except Refused:
            continue
        rules = desk.rules()
        if kind in ("order.placed", "order.delivered", "wait"):
            now_ms += number * HOUR
        for driver in drivers:
            switch(driver, rules)
            if kind in ("order.placed", "order.delivered"):
                driver.send(kind, now_ms)
            else:
                driver.until(now_ms)
            _assert_valid(driver, rules)


def _operate(desk: Desk, kind: str, number: int) -> None:
    operations: dict[str, Any] = {"pause": Pause, "resume": Resume}
    if kind == "publish":
        desk.publish(VARIANTS[number], share=0.4 if number == 2 else 1.0)
    elif kind == "migrate":
        desk.publish(VARIANTS[number], migrate={"path": {}})
    elif kind == "rollback":
        if number in desk.found.versions:
            desk.rollback(number)
    elif kind == "stage":
        live = desk.found.live
        assert live is not None
        desk.append(Stage(version=live.publish.version, share=number / 20, author="a", time_ms=0))
    elif kind in operations:
        desk.append(operations[kind](journey="path", author="a", time_ms=0))


def _assert_valid(driver: Driver, rules: RuleSet) -> None:
    for position in driver.state.profile.positions:
        journey = rules.by_name[position.journey, position.version]
        assert 0 <= position.pc < len(journey.program)
        assert position.due_ms > driver.now_ms
    assert len({each.journey for each in driver.state.profile.positions}) <= 1
