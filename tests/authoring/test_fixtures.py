"""Fixtures: what a case says is what the pipeline does, and nothing passes that does not hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.authoring import simulation
from engine.authoring.coverage import Coverage
from engine.authoring.fixtures_run import Report, run_fixtures
from engine.settings import RuleSettings, Settings
from engine.streams.bench import bench_of
from tests.authoring.bench import run, wrong

DRIP = """
entry: {on: order.placed, reentry: always}
exit:
  - {on: order.cancelled, where: event.order_id == entry.event.order_id}
  - {on: order.cancelled, where: event.reason == "fraud"}
steps:
  - {send: push, template: welcome-coupon}
  - wait: 3d
  - {send: push, template: welcome-guide}
"""
EVERY_STEP = """
entry: {on: order.placed, reentry: always}
sequences:
  thanks:
    - send: push
      template: welcome-guide
      table:
        on: [customer.orders_lifetime]
        give: [coupon]
        rows:
          - ["1..3", FEW]
          - [any, MANY]
steps:
  - branch:
      - {when: customer.churn_risk > 0.8, steps: [{wait: {until: "09:00", weekday: SAT}}]}
      - {when: customer.churn_risk > 0.5, steps: [{wait: 1h}]}
    else:
      - {set: {trait: calm, to: true}}
  - split:
      - {name: a, weight: 50%, steps: [{run: thanks}]}
      - {name: b, weight: 50%, steps: [exit]}
  - wait_until:
      any_of:
        - {on: message.opened}
        - {on: message.clicked, where: event.template == "welcome-guide"}
      timeout: 2d
"""


def covered(report_coverage: Coverage) -> dict[str, bool]:
    """Return path or name to whether it was gone through."""
    return {f"{part.kind} {part.name}": part.covered for part in report_coverage.parts}


def test_a_case_is_exact(tmp_path: Path) -> None:
    """A send nobody expects fails a case, and so does one that is late, unless the case allows it."""
    fixtures = """
cases:
  - name: exact
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}]
    until: 4d
  - name: relaxed
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}]
    until: 4d
    only: false
  - name: a second early
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}, {at: 2d 23h 59m 59s, send: push}]
  - name: within a second
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}, {at: 2d 23h 59m 59s, within: 1s, send: push}]
  - name: whenever
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{send: push}, {send: push}]
    until: 4d
  - name: one thing meets one expectation
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}, {at: 0s, send: push}]
    until: 1d
"""
    report = run(tmp_path, DRIP, fixtures)
    assert not report.errors
    assert {each.case.name: each.passed for each in report.results} == {
        "exact": False,
        "relaxed": True,
        "a second early": False,
        "within a second": True,
        "whenever": True,
        "one thing meets one expectation": False,
    }


def test_an_exit_is_covered_by_its_own_condition_only(tmp_path: Path) -> None:
    """Of two exits on one event the one whose condition held is covered; a miss names its line."""
    fixtures = """
cases:
  - name: cancelled
    events: [{at: 0s, order.placed: {amount: 1}}, {at: 1d, order.cancelled: {amount: 1}}]
    expect: [{at: 0s, send: push}, {at: 1d, exited: order.cancelled}]
    until: 9d
"""
    report = run(tmp_path, DRIP, fixtures)
    assert wrong(report) == []
    exits = report.coverage[0].of("exit")
    assert [(part.line, part.covered) for part in exits] == [(5, True), (6, False)]


def test_every_way_through_every_step_is_told_apart(tmp_path: Path) -> None:
    """Arms, variants, table rows, sequences and waits are covered one by one, at the lines they stand on."""
    start = "start: 2026-03-02T10:00:00\n"  # a Monday
    few = (
        start
        + """
cases:
  - name: high risk, variant a, few orders, opened
    given: {churn_risk: 0.9}
    split: {"steps[1]": a}
    events:
      - {at: 0s, order.placed: {amount: 1}}
      - {at: 6d, message.opened: }
    expect:
      - {at: 5d 08:59, position: "steps[0].branch[0][0]"}
      - {at: 5d 09:00, variant: a}
      - {at: 5d 09:00, send: push, template: welcome-guide, data: {coupon: FEW}}
      - {at: 6d, completed: it}
"""
    )
    rest = """
  - name: middling risk, variant b
    given: {churn_risk: 0.6}
    split: {"steps[1]": b}
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 1h, variant: b}, {at: 1h, position: none}]
  - name: low risk, variant a, many orders, nothing opened
    given: {churn_risk: 0.1}
    split: {"steps[1]": a}
    events:
      - {at: -9d, every: 1d, times: 4, order.placed: {amount: 1}}
      - {at: 0s, order.placed: {amount: 1}}
      - {at: 1d, message.clicked: {template: another}}
    expect:
      - {at: 0s, set: {calm: true}}
      - {at: 0s, send: push, data: {coupon: MANY}}
      - {at: 2d, completed: it}
"""
    report = run(tmp_path, EVERY_STEP, few)
    assert wrong(report) == []
    first = covered(report.coverage[0])
    assert [name for name, hit in first.items() if not hit] == [
        "step steps[0].branch[1][0]",
        "step steps[0].else[0]",
        "step steps[1].split.b[0]",
        "branch steps[0].branch[1]",
        "branch steps[0].else",
        "branch steps[1].split.b",
        "branch steps[1].split.a[0].run.thanks[0].table[1]",
        "branch steps[2].otherwise",
    ]
    assert 0 not in {part.line for part in report.coverage[0].parts}
    whole = run(tmp_path, EVERY_STEP, few + rest)
    assert wrong(whole) == []
    assert whole.coverage[0].percent == 100


def test_the_past_lets_nobody_in(tmp_path: Path) -> None:
    """Events before the start, and what is said of the customer, fill the state while no journey runs."""
    fixtures = """
customer: {time_zone: Asia/Tokyo, signed_up: -100d, traits: {tier: gold}}
cases:
  - name: past orders count and bring nothing
    events:
      - {at: -40d, every: 10d, times: 4, order.placed: {amount: 5}}
      - {at: 1d, order.placed: {amount: 5}}
    expect:
      - {at: 0s, segment: regular}
      - {at: 1d, send: push}
      - {at: 1d, set: {tier: gold}}
      - {at: 4d, send: push}
"""
    assert wrong(run(tmp_path, DRIP, fixtures)) == []


def test_values_are_pinned_by_time(tmp_path: Path) -> None:
    """A pinned segment changes at its instant, and who enters by it enters then."""
    journey = """
entry: {on: {segment_entered: high_value}}
steps: [{send: push, template: welcome-coupon}]
"""
    fixtures = """
customer: {signed_up: -100d}
given: [{segment: regular}, {at: 3d, segment: high_value}]
cases:
  - {name: enters at the change, expect: [{at: 3d, send: push}, {at: 2d, segment: regular}]}
"""
    assert wrong(run(tmp_path, journey, fixtures)) == []


def test_other_journeys_run_only_when_named(tmp_path: Path) -> None:
    """With `with` two journeys run side by side and their contacts add up; else the other is not there."""
    other = "journey: other\nentry: {on: order.placed}\nsteps: [{send: email, template: welcome-guide}]\n"
    fixtures = """
cases:
  - name: alone
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}, {at: 3d, send: push}]
  - name: together
    with: [other]
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect:
      - {at: 0s, send: push, journey: it}
      - {at: 0s, send: email, journey: other}
      - {at: 3d, suppressed: policy, journey: it}
"""
    assert wrong(run(tmp_path, DRIP, fixtures, other=other)) == []


def timeline(report: Report, number: int) -> list[tuple[int, str, str, str]]:
    """Return the lines of a case without their places in the file."""
    return [(line.time_ms, line.happened, line.got, line.verdict) for line in report.results[number].lines]


@pytest.mark.parametrize("customer", ["{id: same}", "{}"])
def test_cases_do_not_touch_each_other(tmp_path: Path, customer: str) -> None:
    """Side by side, alone, or in another order, a case comes out the same; one id may be in all."""
    journey = DRIP.replace("exit:", "guards: {cap: [2 per 7d]}\nexit:")
    cases = [
        f"  - name: case {number}\n    customer: {customer}\n    start: 2026-03-0{number}T10:00:00\n"
        f"    events: [{{at: 0s, every: {number}d, times: 3, order.placed: {{amount: 1}}}}]\n"
        "    expect: [{at: 0s, send: push}]\n    until: 12d\n"
        for number in range(1, 5)
    ]
    together = run(tmp_path, journey, "cases:\n" + "".join(cases))
    turned = run(tmp_path, journey, "cases:\n" + "".join(reversed(cases)))
    assert len({str(timeline(together, number)) for number in range(4)}) == 4
    for number, case in enumerate(cases):
        alone = timeline(run(tmp_path, journey, "cases:\n" + case), 0)
        assert alone == timeline(together, number) == timeline(turned, 3 - number)


@pytest.mark.parametrize("percent", [5, 50])
def test_a_customer_falls_where_the_case_wants(tmp_path: Path, percent: int) -> None:
    """Without an id a customer is found for the holdout and for the treated, at any share."""
    journey = f"guards: {{holdout: {percent}%}}\n{DRIP}"
    fixtures = """
cases:
  - name: held out
    arm: holdout
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, held_out: holdout}]
  - name: treated
    arm: treated
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}, {at: 3d, send: push}]
"""
    assert wrong(run(tmp_path, journey, fixtures)) == []


def test_counts_schedules_keys_and_goals_can_be_tested(tmp_path: Path) -> None:
    """Every kind of entry runs in a case as it does live; a goal is told with its value and arm."""
    count = """
entry:
  on: {count: product.viewed, at_least: 3, within: 1h}
  reentry: always
goal: {on: order.placed, within: 7d, value: event.amount}
steps: [{send: push, template: looking}]
"""
    fixtures = """
cases:
  - name: the third view in an hour, then an order
    events:
      - {at: 0s, every: 29m, times: 3, product.viewed: }
      - {at: 2d, order.placed: {amount: 30}}
    expect:
      - {at: 58m, send: push}
      - {at: 2d, converted: it, data: {value: 30, arm: treated}}
  - name: views too far apart
    events: [{at: 0s, every: 31m, times: 3, product.viewed: }]
    expect: []
"""
    report = run(tmp_path, count, fixtures)
    assert wrong(report) == []
    assert report.coverage[0].percent == 100
    weekly = """
entry: {on: {schedule: "0 9 * * MON", zone: customer}, reentry: always}
steps: [{send: push, template: monday}]
"""
    fixtures = """
start: 2026-03-25T10:00:00
customer: {time_zone: Europe/Berlin, signed_up: -9d}
cases:
  - name: at nine also after the clocks have gone forward
    expect: [{at: 2026-03-30T09:00:00+02:00, send: push}, {at: 12d 09:00, send: push}]
    until: 13d
"""
    assert wrong(run(tmp_path, weekly, fixtures)) == []
    parcels = """
entry: {on: order.placed, per: event.order_id}
exit: [{on: order.cancelled, where: event.order_id == entry.event.order_id}]
steps: [{wait: 7d}, {send: push, template: review}]
"""
    fixtures = """
cases:
  - name: each order is followed by itself
    events:
      - {at: 0d, order.placed: {amount: 1}}
      - {at: 1d, order.placed: {amount: 1}}
      - {at: 2d, order.cancelled: {order_id: order-1, amount: 1}}
    expect: [{at: 2d, exited: order.cancelled}, {at: 8d, send: push}]
"""
    assert wrong(run(tmp_path, parcels, fixtures)) == []


def test_a_case_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journey that wants a timer each hour for years ends at the bound of rows, with a clear word."""
    journey = """
entry: {on: {schedule: "0 * * * *"}, reentry: always}
steps: [{send: push, template: again}]
"""
    fixtures = """
customer: {signed_up: -1d}
cases:
  - {name: for ever, expect: [], only: false, until: 1100d}
"""
    monkeypatch.setattr(simulation, "MAX_ROWS", 100)
    found = wrong(run(tmp_path, journey, fixtures))
    assert found == ["more than 100 events and timers in one case"]


def test_guards_over_all_customers_can_be_tested(tmp_path: Path) -> None:
    """An entry cap counts the customers of one case; of a group the higher priority enters."""
    journey = """
entry: {on: order.placed}
guards: {entry_cap: 2 per 1d, exclusion_group: orders, priority: 10}
steps: [{wait: 1d}, {send: push, template: thanks}]
"""
    other = """
journey: other
entry: {on: order.placed, when: customer.churn_risk > 0.5}
guards: {exclusion_group: orders, priority: 90}
steps: [{wait: 1d}, {send: email, template: care}]
"""
    fixtures = """
cases:
  - name: two of three
    customers: {anna: {}, ben: {}, cleo: {}}
    events:
      - {at: 1s, who: anna, order.placed: {amount: 1}}
      - {at: 2s, who: ben, order.placed: {amount: 1}}
      - {at: 3s, who: cleo, order.placed: {amount: 1}}
    expect:
      - {at: 3s, who: cleo, suppressed: entry_cap}
      - {at: 1d 10:00:01, who: anna, send: push}
      - {at: 1d 10:00:02, who: ben, send: push}
  - name: the higher priority wins
    with: [other]
    given: {churn_risk: 0.9}
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, suppressed: exclusion_group, journey: it}, {at: 1d, send: email, journey: other}]
"""
    report = run(tmp_path, journey, fixtures, other=other)
    assert wrong(report) == []
    assert {part.name for part in report.coverage[0].of("guard") if part.covered} == {
        "entry_cap",
        "exclusion_group",
    }


def test_the_control_group_can_be_tested(tmp_path: Path) -> None:
    """With a control group a customer is found inside of it, and by default outside."""
    settings = Settings(rules=RuleSettings(paths=["it.yaml"]), control_group="5%")
    fixtures = """
cases:
  - name: in the control group
    arm: control
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, held_out: control_group}]
    only: false
  - name: treated
    events: [{at: 0s, order.placed: {amount: 1}}]
    expect: [{at: 0s, send: push}, {at: 3d, send: push}]
"""
    run(tmp_path, DRIP, fixtures)
    report = run_fixtures([tmp_path / "it.test.yaml"], bench_of(settings))
    assert wrong(report) == []
