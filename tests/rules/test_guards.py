"""Guards are never violated, whatever happens to a customer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.rules.context import MachineSettings
from engine.rules.guards import held_out
from engine.rules.times.units import Cap, read_cap
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, Driver, rule_set
from tests.rules.journeys import TRIGGER

GUARDED = """
journey: NAME
entry: {on: order.placed, reentry: always}
exit:
  - on: order.cancelled
guards:
  consent: marketing
  cap: [1 per 1d, 3 per 7d]
  quiet_hours: 22:00-09:00
steps:
  - {send: email, template: a, expires: 12h}
  - wait: 5h
  - {send: push, template: b}
  - wait_until: {on: message.opened, timeout: 1d}
    then:
      - {send: email, template: c}
    otherwise:
      - {send: sms, template: d}
"""
TASK = """
journey: task
entry: {on: cart.added, reentry: always}
guards: {consent: marketing}
steps:
  - {send: agent, template: call}
"""
RULES = rule_set(GUARDED.replace("NAME", "one"), GUARDED.replace("NAME", "two"), TASK)
CAPS = {"one": (Cap(1, DAY), Cap(3, 7 * DAY)), "two": (Cap(1, DAY), Cap(3, 7 * DAY))}
GLOBAL = (Cap(2, DAY), Cap(4, 7 * DAY))

happenings = st.one_of(
    st.tuples(st.just("order.placed"), st.just({})),
    st.tuples(st.just("order.placed"), st.just({})),
    st.tuples(st.just("cart.added"), st.just({})),
    st.tuples(st.just("order.cancelled"), st.just({})),
    st.tuples(st.just("message.opened"), st.just({})),
    st.tuples(st.just("consent.granted"), st.just({"purpose": "marketing"})),
    st.tuples(st.just("consent.withdrawn"), st.just({"purpose": "marketing"})),
    st.tuples(st.just("message.bounced"), st.sampled_from([{"channel": "email"}, {"channel": "push"}])),
    st.tuples(
        st.just("profile.updated"), st.sampled_from([{"time_zone": "Asia/Tokyo"}, {"time_zone": "UTC"}])
    ),
)
gaps = st.one_of(st.integers(0, 10 * MINUTE), st.integers(0, 12 * HOUR), st.integers(0, 3 * DAY))


class Watch(Driver):
    """A driver that judges every action the moment it is fired, by the customer's state at that moment."""

    def _row(self, happened: Any, now_ms: int) -> None:
        before = len(self.actions)
        super()._row(happened, now_ms)
        profile = self.state.profile
        for action in self.actions[before:]:
            assert profile.consents_to("marketing", action.channel), "consent"
            if action.channel == "agent":
                continue
            assert action.channel not in profile.suppressed, "suppression"
            zone = profile.time_zone or "UTC"
            offset_h = {"UTC": 0, "Asia/Tokyo": 9}[zone]
            hour = (datetime.fromtimestamp(now_ms / 1000, UTC).hour + offset_h) % 24
            assert 9 <= hour < 22, "quiet hours"


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(gaps, happenings), max_size=25))
def test_guards_hold_in_random_histories(history: list[tuple[int, tuple[str, dict[str, Any]]]]) -> None:
    """No action breaks consent, suppression, quiet hours, a journey's caps or the global caps."""
    driver = Watch(RULES, MachineSettings(global_caps=GLOBAL, not_matched_sample=0))
    now_ms = NOON
    for number, (gap, (kind, fields)) in enumerate(
        [(0, ("consent.granted", {"purpose": "marketing"})), *history]
    ):
        now_ms += gap
        driver.send(kind, now_ms, id=f"e{number}", **fields)
    driver.until(now_ms + 20 * DAY)
    contacts = [each for each in driver.actions if each.channel != "agent"]
    for name, caps in CAPS.items():
        check_caps([each.time for each in contacts if each.journey == name], caps)
    check_caps([each.time for each in contacts], GLOBAL)
    assert len({each.id for each in driver.actions}) == len(driver.actions)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(HOUR, 30 * HOUR), min_size=20, max_size=40), st.integers(0, 2))
def test_caps_hold_for_busy_customers(hours: list[int], kind: int) -> None:
    """Orders every few hours for weeks never lead to more contacts than the caps allow."""
    text = (
        "journey: NAME\nentry: {on: order.placed, reentry: always}\nGUARDSsteps: [{send: email, template: a}]"
    )
    guards = ("guards: {cap: [1 per 1d, 3 per 7d]}\n", "", "guards: {cap: [2 per 2d]}\n")
    names = ("one", "two")
    rules = rule_set(*(text.replace("NAME", name).replace("GUARDS", guards[kind]) for name in names))
    driver = Driver(rules, MachineSettings(global_caps=GLOBAL, not_matched_sample=0))
    now_ms = NOON
    for gap in hours:
        now_ms += gap
        driver.send("order.placed", now_ms)
    own = {0: CAPS["one"], 1: (), 2: (Cap(2, 2 * DAY),)}[kind]
    for name in names:
        check_caps([each.time for each in driver.actions if each.journey == name], own)
    check_caps([each.time for each in driver.actions], GLOBAL)
    assert driver.actions[0].time == NOON + hours[0]


def check_caps(times: list[int], caps: tuple[Cap, ...]) -> None:
    """Assert that no window of any cap holds more contacts than it allows; seconds, as contacts are kept."""
    for cap in caps:
        for end in times:
            within = [
                each for each in times if end // 1000 - cap.window_ms // 1000 < each // 1000 <= end // 1000
            ]
            assert len(within) <= cap.count, str(cap)


def test_consent_fails_closed() -> None:
    """Without a word about consent nothing is sent; a channel's own no outweighs the general yes."""
    text = TRIGGER.replace("steps:", "guards: {consent: marketing}\nsteps:")
    driver = Driver(rule_set(text))
    driver.send("order.placed", NOON)
    driver.send("consent.granted", NOON + 1000, purpose="marketing")
    driver.send("order.placed", NOON + 2000)
    driver.send("message.unsubscribed", NOON + 3000, channel="email")
    driver.send("order.placed", NOON + 4000)
    assert [each.time for each in driver.actions] == [NOON + 2000]
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "consent")] * 2


def test_suppression_stops_even_transactional_messages() -> None:
    """A bounced channel gets nothing more, transactional or not; other channels do."""
    text = TRIGGER.replace("journey: trigger", "journey: trigger\ntransactional: true")
    driver = Driver(rule_set(text + "  - {send: sms, template: also}\n"))
    driver.send("message.bounced", NOON, channel="email")
    driver.send("order.placed", NOON + 1000)
    assert driver.templates() == ["also"]
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "suppression")]


def test_transactional_messages_pass_caps_and_count_for_none() -> None:
    """A receipt is neither capped nor does it use up the cap of marketing messages."""
    receipt = TRIGGER.replace("journey: trigger", "journey: receipt\ntransactional: true")
    news = TRIGGER.replace("order.placed", "cart.added")
    limits = MachineSettings(global_caps=(Cap(1, DAY),), not_matched_sample=0)
    driver = Driver(rule_set(receipt, news), limits)
    for second in range(3):
        driver.send("order.placed", NOON + second * 1000)
    for second in range(3, 6):
        driver.send("cart.added", NOON + second * 1000)
    assert [each.journey for each in driver.actions] == ["receipt"] * 3 + ["trigger"]
    assert driver.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "global_cap")] * 2


def test_a_cap_says_what_it_counted() -> None:
    """A capped message names the cap and the contacts seen, and the window slides."""
    text = TRIGGER.replace("steps:", "guards: {cap: [1 per 7d]}\nsteps:")
    driver = Driver(rule_set(text))
    for day in (0, 6, 7):
        driver.send("order.placed", NOON + day * DAY)
    assert [each.time for each in driver.actions] == [NOON, NOON + 7 * DAY]
    reason = next(each.reason for each in driver.decisions if each.outcome is Outcome.SUPPRESSED)
    assert reason.text == "1 contact by this journey in 7 days, the cap is 1"
    assert reason.values == {"contacts": 1, "cap": 1}


def test_a_full_contact_history_fails_closed() -> None:
    """When every remembered contact still counts for a cap, nothing more is sent: no cap is forgotten."""
    limits = MachineSettings(global_caps=(Cap(1000, 30 * DAY),), not_matched_sample=0)
    driver = Driver(rule_set(TRIGGER), limits)
    for second in range(40):
        driver.send("order.placed", NOON + second * 1000)
    assert len(driver.actions) == 32
    assert set(driver.outcomes(Outcome.SUPPRESSED)) == {(Outcome.SUPPRESSED, "contact_history")}


def test_a_holdout_gets_nothing_and_has_its_share() -> None:
    """About the named share of customers is held out, always the same, independently between journeys."""
    guarded = TRIGGER.replace("steps:", "guards: {holdout: 10%}\nsteps:")
    one = rule_set(guarded).journeys[0]
    two = rule_set(guarded.replace("journey: trigger", "journey: other")).journeys[0]
    people = [f"customer-{number}" for number in range(20_000)]
    held = {each for each in people if held_out(one, each)}
    both = {each for each in held if held_out(two, each)}
    assert 0.09 < len(held) / len(people) < 0.11
    assert 0.07 < len(both) / len(held) < 0.13
    driver = Driver(rule_set(guarded), customer_id=min(held))
    driver.send("order.placed", NOON)
    assert driver.actions == []
    assert driver.outcomes(Outcome.HELD_OUT) == [(Outcome.HELD_OUT, "holdout")]


def test_caps_are_read_as_settings_write_them() -> None:
    """The same spelling serves rule files and the `global_cap` setting."""
    assert read_cap("2 per 1d") == Cap(2, DAY)
