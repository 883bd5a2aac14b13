"""Laws of waits, branches, splits and sequences, on customers with a simulated clock."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from engine.actions import Outcome
from engine.rules.context import MachineSettings
from engine.rules.journey import Branch, Send, Split
from engine.rules.times.local_time import MIN_DEFERRAL_MS
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, SECOND, Driver, rule_set

HEAD = "journey: j\nentry: {on: order.placed, reentry: always}\n"
FORK = (
    HEAD
    + """
exit: [{on: order.cancelled}]
steps:
  - wait: 1d
  - branch:
      - when: customer.segment == "high_value" && customer.churn_risk > 0.5
        steps: [{send: email, template: dear}]
      - when: entry.event.amount >= 100
        steps:
          - {send: email, template: big}
          - wait: 2d
    else:
      - {send: email, template: small}
  - {send: email, template: after}
"""
)


def run(text: str, customer_id: str = "c1", days: int = 30, **fields: object) -> Driver:
    """Let one customer place an order and go through a journey."""
    driver = Driver(rule_set(text), customer_id=customer_id)
    driver.send("order.placed", NOON, **fields)
    driver.until(NOON + days * DAY)
    return driver


def steps(text: str) -> str:
    """Return a journey of these steps."""
    return HEAD + "steps:\n" + text


def ms(zone: str, *parts: int) -> int:
    """Return an instant given in local time."""
    return int(datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp() * 1000)  # type: ignore[arg-type, misc]


def test_a_branch_is_judged_when_the_run_comes_to_it() -> None:
    """The first arm that holds at that moment is taken, else `else`; then the journey goes on behind all."""
    rules = rule_set(FORK)
    for risk, segment, amount, expected in (
        (0.9, "high_value", 500.0, ["dear", "after"]),
        (0.1, "high_value", 500.0, ["big", "after"]),
        (0.1, "new", 5.0, ["small", "after"]),
    ):
        driver = Driver(rules, churn_risk=0.0)
        driver.send("order.placed", NOON, amount=amount)
        driver.columns = {"churn_risk": risk}
        driver.segment = segment
        driver.until(NOON + 10 * DAY)
        assert driver.templates() == expected


def test_an_exit_ends_a_wait_inside_a_branch() -> None:
    """The exit event takes the customer out wherever the run stands, also deep inside."""
    driver = Driver(rule_set(FORK))
    driver.send("order.placed", NOON, amount=500.0)
    driver.send("order.cancelled", NOON + 2 * DAY)
    driver.until(NOON + 10 * DAY)
    assert driver.templates() == ["big"]
    exited = next(each for each in driver.decisions if each.outcome == Outcome.EXITED)
    assert exited.step == "steps[1].branch[1][1]"


def test_reasons_tell_the_way() -> None:
    """A reason tells the entry, the wait and the branch; behind branches only what holds there."""
    driver = run(FORK, amount=500.0)
    assert [each.reason.text for each in driver.actions] == [
        "order placed; 1 day later; as amount >= 100",
        "order placed",
    ]
    assert run(FORK, amount=5.0).actions[0].reason.text == "order placed; 1 day later"


def test_a_branch_that_cannot_be_judged_goes_elsewhere() -> None:
    """A condition without a result counts as not true; the run goes on with the next arm."""
    text = steps("""
  - branch:
      - {when: int(customer.locale) > 1, steps: [{send: email, template: one}]}
    else: [{send: email, template: other}]
""")
    assert run(text).templates() == ["other"]


def test_what_branches_ask_is_kept_and_computed() -> None:
    """What only branches, tables or nested steps name of the customer and the entry is known to be needed."""
    text = steps("""
  - wait: 1d
  - split:
      - name: all
        weight: 100%
        steps:
          - branch:
              - when: customer.spend_30d > 1 && entry.event.coupon == "X"
                steps:
                  - send: email
                    template: a
                    table:
                      on: [customer.orders_90d, entry.event.amount]
                      give: [x]
                      rows: [[any, any, 1]]
              - when: customer.visits_1h > 1
                steps: []
  - wait_until:
      any_of:
        - {on: order.placed, where: event.order_id == entry.event.order_id}
        - {on: cart.added, where: event.channel == entry.event.channel}
      timeout: 1d
""")
    rules = rule_set(text)
    assert rules.journeys[0].correlation == ("amount", "channel", "coupon", "order_id")
    assert rules.features == {"spend_30d", "orders_90d", "visits_1h"}


def test_any_of_several_events_ends_a_wait() -> None:
    """Each event counts by its own condition; the first one that holds leads into `then`."""
    text = steps("""
  - wait_until:
      any_of:
        - {on: order.placed, where: event.amount > 100}
        - {on: order.placed, where: event.coupon == "X"}
        - on: cart.removed
      timeout: 7d
    then: [{send: email, template: then}]
    otherwise: [{send: email, template: otherwise}]
""")
    for kind, fields, expected in (
        ("cart.removed", {}, "then"),
        ("order.placed", {"amount": 500.0}, "then"),
        ("order.placed", {"coupon": "X"}, "then"),
        ("order.placed", {"amount": 5.0}, "otherwise"),
        ("cart.added", {}, "otherwise"),
    ):
        driver = Driver(rule_set(text))
        driver.send("order.placed", NOON)
        driver.send(kind, NOON + DAY, **fields)
        driver.until(NOON + 8 * DAY)
        assert driver.templates()[0] == expected
        text_of = driver.actions[0].reason.text
        assert text_of.startswith("order placed; then ")
    assert text_of == "order placed; then no order placed or cart removed within 7 days"


def test_one_condition_for_several_events() -> None:
    """`on` with a list waits for any of its events, all under the one `where`."""
    text = steps("""
  - wait_until: {on: [cart.added, cart.removed], where: event.channel == "app", timeout: 1d}
    then: [{send: email, template: then}]
""")
    driver = Driver(rule_set(text))
    driver.send("order.placed", NOON)
    driver.send("cart.added", NOON + SECOND, channel="web")
    assert driver.templates() == []
    driver.send("cart.removed", NOON + 2 * SECOND, channel="app")
    assert driver.templates() == ["then"]


def test_a_wait_until_a_time_of_day_is_by_the_customers_clock() -> None:
    """The zone is the customer's when the wait begins, else the default one, or the one the step names."""
    text = steps('  - wait: {until: "09:00"}\n  - {send: email, template: morning}\n')
    for zone, default, asked in (
        ("America/New_York", "UTC", "America/New_York"),
        ("", "Asia/Shanghai", "Asia/Shanghai"),
    ):
        driver = Driver(rule_set(text), MachineSettings(default, (), 0))
        driver.state.note().time_zone = zone
        now_ms = ms(asked, 2024, 3, 9, 12, 0)  # the clocks of New York change that night
        driver.send("order.placed", now_ms)
        driver.until(now_ms + 2 * DAY)
        assert [each.time for each in driver.actions] == [ms(asked, 2024, 3, 10, 9, 0)]
    berlin = text.replace('"09:00"', '"09:00", zone: Europe/Berlin')
    driver = Driver(rule_set(berlin))
    driver.state.note().time_zone = "America/New_York"
    driver.send("order.placed", ms("Europe/Berlin", 2024, 5, 5, 8, 0))
    assert driver.due_ms == ms("Europe/Berlin", 2024, 5, 5, 9, 0)
    assert driver.rules.min_delay_ms == MIN_DEFERRAL_MS


def test_a_wait_for_a_date_ends_the_run_without_one() -> None:
    """Who has no such trait leaves there and then, by the guard `trait`; that is no completion."""
    text = steps("""
  - {send: email, template: first}
  - wait: {until: "09:00", trait: trial_ends, before: 3d}
  - {send: email, template: ends-soon}
""")
    driver = run(text)
    assert driver.templates() == ["first"]
    assert driver.outcomes(Outcome.EXITED, Outcome.COMPLETED) == [(Outcome.EXITED, "trait")]
    assert driver.decisions[-1].step == "steps[1]"
    assert driver.state.profile.positions == []
    for date, sent_ms in (("2023-11-20", ms("UTC", 2023, 11, 17, 9, 0)), ("2023-11-14", NOON)):
        driver = Driver(rule_set(text))
        driver.state.note().traits["trial_ends"] = date
        driver.send("order.placed", NOON)
        driver.until(NOON + 30 * DAY)
        assert [each.time for each in driver.actions] == [NOON, sent_ms]
        assert driver.outcomes(Outcome.EXITED, Outcome.COMPLETED) == [(Outcome.COMPLETED, "")]


def test_a_run_that_waited_can_end_for_want_of_a_date() -> None:
    """Also a run that stood at a wait before is over then, and keeps nothing."""
    text = steps('  - wait: 1d\n  - wait: {until: "09:00", trait: gone, yearly: true}\n')
    driver = run(text)
    assert driver.outcomes(Outcome.EXITED, Outcome.COMPLETED) == [(Outcome.EXITED, "trait")]
    assert driver.state.profile.positions == []
    assert driver.due_ms == 0


def test_a_wait_for_an_event_can_last_until_a_time_of_day() -> None:
    """The event leads into `then` before that time, the time into `otherwise`; a date past at once."""
    text = steps("""
  - wait_until: {on: cart.added, until: "18:00"}
    then: [{send: email, template: then}]
    otherwise: [{send: email, template: otherwise}]
  - wait_until: {on: cart.added, until: {until: "18:00", trait: due}}
    then: [{send: email, template: never}]
    otherwise: [{send: email, template: past}]
""")
    for at_ms, expected in ((NOON + HOUR, "then"), (NOON + 7 * HOUR, "otherwise")):
        driver = Driver(rule_set(text))
        driver.state.note().traits["due"] = "2020-01-01T10:00:00Z"
        driver.send("order.placed", NOON)
        driver.send("cart.added", at_ms)
        assert driver.templates() == [expected, "past"]
        assert driver.actions[0].time == min(at_ms, NOON + 6 * HOUR)
    assert driver.actions[0].reason.text == "order placed; then no cart added until 18:00"


SEQUENCES = """
journey: j
entry: {on: order.placed, reentry: always}
sequences:
  remind:
    - {send: email, template: reminder, data: {order: entry.event.order_id}}
    - run: pause
  pause:
    - wait: 1d
    - branch:
        - {when: customer.churn_risk > 0.5, steps: [exit]}
steps:
  - run: remind
  - wait_until: {on: cart.added, timeout: 1d}
    then: [exit]
    otherwise: [{run: remind}]
  - {send: push, template: last}
"""


def test_sequences_stand_where_they_are_run() -> None:
    """Their steps run at each place, under paths of their own; an `exit` inside ends the journey."""
    driver = run(SEQUENCES)
    assert [(each.step, each.time) for each in driver.actions] == [
        ("steps[0].run.remind[0]", NOON),
        ("steps[1].otherwise[0].run.remind[0]", NOON + 2 * DAY),
        ("steps[2]", NOON + 3 * DAY),
    ]
    assert len({each.id for each in driver.actions}) == 3
    journey = driver.rules.journeys[0]
    assert journey.correlation == ("order_id",)
    paths = [step.path for step in journey.program if isinstance(step, Branch)]
    assert paths == [
        "steps[0].run.remind[1].run.pause[1]",
        "steps[1].otherwise[0].run.remind[1].run.pause[1]",
    ]
    assert {journey.lines[path] for path in paths} == {10}
    risky = Driver(rule_set(SEQUENCES), churn_risk=0.9)
    risky.send("order.placed", NOON)
    risky.until(NOON + 30 * DAY)
    assert risky.templates() == ["reminder"]


def test_every_step_arm_and_variant_has_a_path_and_line_of_its_own() -> None:
    """Paths are unique, for ids are made of them; each of them leads to a line of the file."""
    text = SEQUENCES.replace(
        "  - {send: push, template: last}",
        """
  - split:
      - {name: a, weight: 50%, steps: [{send: push, template: a}]}
      - {name: b, weight: 50%, steps: [{run: remind}]}
  - branch:
      - {when: customer.churn_risk > 0.1, steps: [{send: push, template: c}]}
      - {when: customer.churn_risk > 0.2, steps: [{send: push, template: d}]}
    else: [{send: push, template: e}]""",
    )
    journey = rule_set(text).journeys[0]
    paths: list[str] = []
    for step in journey.program:
        if isinstance(step, Branch):
            paths += [arm.path for arm in step.arms]
        if isinstance(step, Split):
            paths += [variant.path for variant in step.variants]
        if isinstance(step, Send):
            paths.append(step.path)
    assert len(paths) == len(set(paths))
    assert {
        "steps[2].split.a[0]",
        "steps[2].split.b[0].run.remind[0]",
        "steps[3].branch[1][0]",
        "steps[3].else[0]",
    } <= set(paths)
    assert set(paths) <= set(journey.lines)
    assert len(set(journey.lines)) == len(journey.lines)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_sequences_may_run_each_other_four_deep(depth: int) -> None:
    """Four levels pass and run."""
    lines = [f"  s{level}: [{{run: s{level + 1}}}]\n" for level in range(1, depth)]
    text = HEAD + "sequences:\n" + "".join(lines) + f"  s{depth}: [{{send: email, template: deep}}]\n"
    assert run(text + "steps: [{run: s1}]\n").templates() == ["deep"]


def test_a_run_at_an_instruction_that_changed_goes_on_there() -> None:
    """Should a file change without a new version, a due run does what now stands where it stood."""
    waiting = rule_set(steps("  - wait: 1d\n  - {send: email, template: after}\n"))
    driver = Driver(waiting)
    driver.send("order.placed", NOON)
    changed = Driver(
        rule_set(steps("  - split: [{name: a, weight: 100%, steps: [{send: email, template: a}]}]\n"))
    )
    changed.state, changed.due_ms, changed.now_ms = driver.state, driver.due_ms, driver.now_ms
    changed.until(NOON + 2 * DAY)
    assert changed.templates() == ["a"]


def test_short_waits_are_still_worked_on_in_time() -> None:
    """The shortest delay of a rule set counts waits inside branches, splits and sequences."""
    text = SEQUENCES.replace("- wait: 1d", "- wait: 5m")
    assert rule_set(text).min_delay_ms == 5 * MINUTE
    nested = steps('  - branch: [{when: customer.churn_risk > 0.5, steps: [{wait: {until: "09:00"}}]}]\n')
    assert rule_set(nested).min_delay_ms == MIN_DEFERRAL_MS
