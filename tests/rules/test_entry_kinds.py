"""Entries by a level crossed, by a date, by any of several events; exits by segment: through the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.authoring.fixtures.run import run_fixtures
from engine.settings import Settings
from engine.streams.bench import bench_of

_CUSTOMER = "{time_zone: Asia/Shanghai, signed_up: -100d}"


def play(folder: Path, entry: str, case: str, more: str = "") -> list[str]:
    """Run one case of a journey that sends one mail; return what went wrong.

    Args:
        folder: where the two files go.
        entry: the journey's `entry`.
        case: the keys of the case, two spaces in.
        more: further keys of the journey.
    """
    steps = "steps:\n  - {send: email, template: welcome-coupon, data: {coupon: a}}\n  - wait: 1s\n"
    (folder / "one.yaml").write_text(f"journey: one\nentry: {entry}\n{more}{steps}")
    return _run(folder, case)


def _run(folder: Path, case: str) -> list[str]:
    head = f"fixtures: one\nstart: 2026-03-02T10:00:00+08:00\ncustomer: {_CUSTOMER}\ncases:\n  - name: it\n"
    (folder / "one.test.yaml").write_text(head + case)
    report = run_fixtures([folder], bench_of(Settings()))
    assert not report.errors
    assert report.results
    return [str(line) for result in report.results if not result.passed for line in result.lines]


RISES = "{on: {rises: customer.churn_risk, above: 0.7}, reentry: always}"


def test_a_level_counts_when_it_is_crossed_not_while_one_is_beyond(tmp_path: Path) -> None:
    """Risen once the customer enters once; fallen and risen again, once more."""
    case = """
    given: [{churn_risk: 0.2}, {at: 1d, churn_risk: 0.7}, {at: 2d, churn_risk: 0.71},
            {at: 3d, churn_risk: 0.9}, {at: 4d, churn_risk: 0.7}, {at: 5d, churn_risk: 0.8}]
    events: [{at: 2d 1h, page.viewed: }, {at: 3d 1h, page.viewed: }]
    expect: [{at: 2d, send: email}, {at: 5d, send: email}]
"""
    assert play(tmp_path, RISES, case) == []


def test_falling_below_a_level_counts_likewise(tmp_path: Path) -> None:
    """`falls` is the mirror of `rises`; the level itself is not below it."""
    entry = "{on: {falls: customer.churn_risk, below: 0.4}, reentry: always}"
    case = """
    given: [{churn_risk: 0.9}, {at: 1d, churn_risk: 0.4}, {at: 2d, churn_risk: 0.39},
            {at: 3d, churn_risk: 0.1}]
    expect: [{at: 2d, send: email}]
"""
    assert play(tmp_path, entry, case) == []


def test_the_condition_is_judged_at_the_crossing(tmp_path: Path) -> None:
    """Who does not meet `when` as the level is crossed does not enter later while still beyond it."""
    entry = (
        "{on: {rises: customer.churn_risk, above: 0.7}, when: customer.page_views_30d >= 1, reentry: always}"
    )
    case = """
    given: [{churn_risk: 0.2}, {at: 1d, churn_risk: 0.8}]
    events: [{at: 2d, page.viewed: }]
    expect: []
"""
    assert play(tmp_path, entry, case) == []


def test_crossing_within_one_wave_is_seen_row_by_row(tmp_path: Path) -> None:
    """Orders and refunds of one second raise and lower a feature; each way over the level counts."""
    entry = "{on: {rises: customer.page_views_1h, above: 2}, reentry: always}"
    case = """
    events: [{at: 0s, page.viewed: , every: 1s, times: 5}, {at: 3h, page.viewed: , every: 1s, times: 3}]
    expect: [{at: 2s, send: email}, {at: 3h, send: email, within: 2s}]
"""
    assert play(tmp_path, entry, case) == []


BIRTHDAY = '{on: {date: birthday, yearly: true, at: "09:00"}, reentry: always}'


def test_a_birthday_comes_each_year_in_the_customers_zone(tmp_path: Path) -> None:
    """At nine on the day, every year, by the customer's own clocks."""
    case = """
    customer: {time_zone: America/New_York, traits: {birthday: "1990-03-05"}}
    expect: [{at: "2026-03-05T09:00:00", send: email}, {at: "2027-03-05T09:00:00", send: email}]
    until: 500d
"""
    assert play(tmp_path, BIRTHDAY, case) == []


def test_a_birthday_on_29_february_comes_on_the_28th_in_common_years(tmp_path: Path) -> None:
    """2027 has no 29 February, 2028 has."""
    case = """
    start: 2027-02-01T10:00:00+08:00
    customer: {traits: {birthday: "2000-02-29"}}
    expect: [{at: "2027-02-28T09:00:00", send: email}, {at: "2028-02-29T09:00:00", send: email}]
    until: 400d
"""
    assert play(tmp_path, BIRTHDAY, case) == []


def test_a_birthday_told_after_its_hour_is_over_for_this_year(tmp_path: Path) -> None:
    """What is learned too late is not wished late."""
    case = """
    events: [{at: 3d, profile.updated: {traits: {birthday: "1990-03-05"}}}]
    expect: []
    until: 30d
"""
    assert play(tmp_path, BIRTHDAY, case) == []


def test_days_before_a_date_and_a_date_that_moves(tmp_path: Path) -> None:
    """Three days before the trial ends; postponed, three days before the new end; a past date is over."""
    entry = '{on: {date: trial_ends, before: 3d, at: "10:00"}, reentry: always}'
    case = """
    events:
      - {at: 1h, profile.updated: {traits: {trial_ends: "2026-03-20"}}}
      - {at: 5d, profile.updated: {traits: {trial_ends: "2026-03-30"}}}
      - {at: 40d, profile.updated: {traits: {trial_ends: "2026-01-01"}}}
      - {at: 41d, profile.updated: {traits: {trial_ends: "soon"}}}
    expect: [{at: "2026-03-27T10:00:00", send: email}]
    until: 60d
"""
    assert play(tmp_path, entry, case) == []


def test_a_date_more_than_400_days_ahead_is_not_forgotten(tmp_path: Path) -> None:
    """Too far for a timer, it is looked at again in time."""
    entry = '{on: {date: lease_ends, at: "10:00"}, reentry: always}'
    case = """
    customer: {traits: {lease_ends: "2028-06-01"}}
    expect: [{at: "2028-06-01T10:00:00", send: email}]
    until: 900d
"""
    assert play(tmp_path, entry, case) == []


@pytest.mark.parametrize("kind", ["feedback.nps", "feedback.csat"])
def test_any_of_several_events_lets_in(tmp_path: Path, kind: str) -> None:
    """The fields all of them have can be asked for, the type too."""
    entry = f'{{on: [feedback.nps, feedback.csat], where: event.type == "{kind}" && event.score <= 2}}'
    case = """
    events: [{at: 1h, feedback.nps: {score: 2}}, {at: 2h, feedback.csat: {score: 2}}, {at: 3h, page.viewed: }]
    expect: [{at: HOUR, send: email}]
""".replace("HOUR", "1h" if kind == "feedback.nps" else "2h")
    assert play(tmp_path, entry, case) == []


def test_leaving_a_segment_ends_a_run(tmp_path: Path) -> None:
    """An exit by segment works in the middle of a wait."""
    case = """
    given: [{segment: regular}, {at: 1h, segment: high_value}, {at: 5h, segment: potential}]
    events: [{at: 2h, page.viewed: }]
    expect: [{at: 1h, send: email}, {at: 5h, exited: exit}]
    until: 20d
"""
    more = "exit: [{on: {segment_exited: high_value}}]\n"
    play(tmp_path, "{on: {segment_entered: high_value}}", case, more)
    longer = (tmp_path / "one.yaml").read_text().replace("wait: 1s", "wait: 10d")
    (tmp_path / "one.yaml").write_text(longer)
    assert _run(tmp_path, case) == []


def test_a_date_that_a_journey_sets_is_armed_at_once(tmp_path: Path) -> None:
    """A trait written by a step is a date like any other: no further event is needed for it to come."""
    (tmp_path / "two.yaml").write_text(
        "journey: two\nentry: {on: page.viewed, reentry: always}\n"
        'steps: [{set: {trait: trial_ends, to: "2026-03-05"}}]\n'
    )
    entry = '{on: {date: trial_ends, at: "10:00"}, reentry: always}'
    case = """
    with: [two]
    events: [{at: 1h, page.viewed: }]
    expect: [{at: "2026-03-05T10:00:00", send: email}]
    until: 30d
"""
    assert play(tmp_path, entry, case) == []
