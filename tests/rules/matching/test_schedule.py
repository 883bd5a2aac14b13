"""Laws of schedules: the instants are those the clocks on the wall show, and each comes once per customer."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.features.zones import zone_index
from engine.rules.context import MachineSettings
from engine.rules.matching.absence import NEVER_MS
from engine.rules.matching.schedule import Instants, ScheduleIndex, ScheduleRows
from engine.rules.times.cron import Cron, read_cron, say_cron
from tests.rules.driver import DAY, HOUR, MINUTE, SECOND, VOCABULARY, Driver, rule_set
from tests.rules.journeys import WEEKLY

UTC = dt.UTC
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Asia/Beirut")
CHANGES = [dt.date(2024, 3, 30), dt.date(2024, 10, 26), dt.date(2024, 3, 9), dt.date(2024, 4, 6)]
MONDAY = int(dt.datetime(2024, 3, 25, tzinfo=UTC).timestamp()) * 1000  # the week the clocks of Europe change


def cron(text: str) -> Cron:
    """Read a schedule that is right."""
    found = read_cron(text)
    assert isinstance(found, Cron), found
    return found


def days(first: dt.date, count: int) -> list[dt.date]:
    """Return days one after the other."""
    return [first + dt.timedelta(days=number) for number in range(count)]


def walk(times: list[dt.time], zone: str, first_ms: int, last_ms: int) -> list[int]:
    """Find daily instants by looking at the clocks on the wall minute by minute, from the day before on.

    Args:
        times: times of day.
        zone: whose clocks.
        first_ms: only instants after this.
        last_ms: where to end.
    """
    place = zoneinfo.ZoneInfo(zone)

    def shown(at_ms: int) -> dt.datetime:
        return dt.datetime.fromtimestamp(at_ms // 1000, place).replace(tzinfo=None)

    begin = shown(first_ms - DAY)
    wanted = sorted(dt.datetime.combine(day, time) for day in days(begin.date(), 7) for time in times)
    wanted = [each for each in wanted if each > begin]
    found: list[int] = []
    for at_ms in range(first_ms - DAY + MINUTE, last_ms + 1, MINUTE):
        if wanted[0] <= shown(at_ms):
            found.append(at_ms)
            wanted = [each for each in wanted if each > shown(at_ms)]
    return [each for each in found if each > first_ms]


@given(
    zone=st.sampled_from(ZONES),
    first=st.sampled_from(CHANGES),
    hours=st.lists(st.integers(0, 23), min_size=1, max_size=4, unique=True),
    minute=st.sampled_from([0, 15, 30, 59]),
    begin=st.integers(0, 23),
)
@settings(deadline=None)
def test_instants_are_those_the_clocks_on_the_wall_show(
    zone: str, first: dt.date, hours: list[int], minute: int, begin: int
) -> None:
    """Each time of day comes once, at the first moment the clocks show it or have jumped past it."""
    spec = cron(f"{minute} {','.join(map(str, hours))} * * *")
    start = dt.datetime(first.year, first.month, first.day, begin, tzinfo=UTC)
    first_ms = int(start.timestamp()) * 1000
    last_ms = first_ms + 3 * DAY
    expected = walk([dt.time(hour, minute) for hour in hours], zone, first_ms, last_ms)
    moments = np.arange(first_ms, last_ms, 7 * MINUTE + 13 * SECOND)
    latest, following = Instants(spec.plain, zoneinfo.ZoneInfo(zone)).around(moments)
    for moment, before, after in zip(moments.tolist(), latest.tolist(), following.tolist(), strict=True):
        assert after == next((each for each in expected if each > moment), after)
        past = [each for each in expected if each <= moment]
        assert before == past[-1] if past else before <= first_ms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 9 * * MON", ["2024-04-01", "2024-04-08", "2024-04-15"]),
        ("0 9 * * mon-tue", ["2024-03-26", "2024-04-01", "2024-04-02"]),
        ("0 9 1 * *", ["2024-04-01", "2024-05-01", "2024-06-01"]),
        ("0 9 L * *", ["2024-03-31", "2024-04-30", "2024-05-31"]),
        ("0 9 * * MON#1", ["2024-04-01", "2024-05-06", "2024-06-03"]),
        ("0 9 29 FEB *", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("0 9 13 * FRI", ["2024-03-29", "2024-04-05", "2024-04-12"]),
        ("0 9 */10 1,4 *", ["2024-04-01", "2024-04-11", "2024-04-21"]),
    ],
)
def test_days_are_those_of_the_calendar(text: str, expected: list[str]) -> None:
    """Weekdays, days of the month, names, spans and lists mean what cron says."""
    table = Instants(cron(text).plain, UTC)
    at_ms = MONDAY + 12 * HOUR
    found = []
    for _ in expected:
        at_ms = int(table.around(np.array([at_ms]))[1][0])
        found.append(dt.datetime.fromtimestamp(at_ms / 1000, UTC))
    assert [f"{each:%Y-%m-%d}" for each in found] == expected
    assert {each.hour for each in found} == {9}


@pytest.mark.parametrize(
    "text",
    [
        *("", "* * * *", "0 9 * * * *", "60 9 * * *", "0 9 * * FUN", "0 9 31 2 *", "@daily", "0 9 * * 8"),
        *("٣ 9 * * *", "0 9 * * " + "1," * 100 + "1", "0/0 9 * * *", "5-1 9 * * *", "0 9 * * MON#6"),
    ],
)
def test_what_is_no_schedule_is_said_so(text: str) -> None:
    """Wrong fields, days that do not exist and endless texts give a reason, never an exception."""
    assert isinstance(read_cron(text), str)


@given(st.text("0123456789*/-,L#WMONDAYJUNE ", max_size=40))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever stands there is a schedule or a reason; what is read says itself in words and has instants."""
    found = read_cron(text)
    if isinstance(found, Cron):
        assert say_cron(found.text)
        assert Instants(found.plain, UTC).around(np.array([MONDAY]))[1][0] > MONDAY
        assert read_cron(found.plain) == Cron(found.plain, found.plain, found.per_day)


def test_the_order_of_questions_changes_nothing() -> None:
    """The instants around a moment are the same whatever was asked before, forwards, backwards, far away."""
    spec = cron("30 2 * * *")
    zone = zoneinfo.ZoneInfo("Europe/Berlin")
    moments = [MONDAY + day * DAY for day in (0, 5, 4, 900, 3, -400, 7, 2000, 6)]
    shared = Instants(spec.plain, zone)
    for moment in moments:
        fresh = Instants(spec.plain, zone).around(np.array([moment]))
        assert [each[0] for each in shared.around(np.array([moment]))] == [each[0] for each in fresh]


def weekly(more: str = "") -> str:
    """Return the weekly journey with further keys of its schedule."""
    return WEEKLY.replace('"0 9 * * MON"', f'"0 9 * * MON"{more}')


def test_each_customer_gets_it_in_their_own_morning() -> None:
    """At 09:00 of the customer's zone, before and after the clocks change; unknown zones take the default."""
    for zone, offsets in (("Europe/Berlin", [2, 2]), ("America/New_York", [-4, -4]), ("", [9, 9])):
        settings = MachineSettings(default_time_zone="Asia/Tokyo", not_matched_sample=0)
        driver = Driver(rule_set(weekly()), settings)
        driver.send("profile.updated", MONDAY + 2 * DAY, time_zone=zone)
        driver.until(MONDAY + 20 * DAY)
        expected = [
            MONDAY + 7 * number * DAY + (9 - offset) * HOUR for number, offset in enumerate(offsets, 1)
        ]
        assert [each.time for each in driver.actions] == expected
        assert [each.event_id for each in driver.actions] == [f"schedule:{each}" for each in expected]
        assert driver.actions[0].reason.text == "at 09:00 on Monday"


def test_a_named_zone_is_the_same_moment_for_all() -> None:
    """With `zone: Europe/Berlin` every customer gets it when the clocks there show the time."""
    driver = Driver(rule_set(weekly(", zone: Europe/Berlin")))
    driver.send("profile.updated", MONDAY + DAY, time_zone="America/New_York")
    driver.until(MONDAY + 8 * DAY)
    assert [each.time for each in driver.actions] == [MONDAY + 7 * DAY + 7 * HOUR]


def test_only_who_is_in_the_segment_then() -> None:
    """Of those in the segment at the moment; who comes into it later waits for the next one."""
    driver = Driver(rule_set(weekly(", segment: churn_risk")))
    driver.send("page.viewed", MONDAY + DAY)
    assert driver.due_ms == 0
    driver.segment = "churn_risk"
    driver.send("page.viewed", MONDAY + 7 * DAY + 10 * HOUR)
    assert driver.actions == []
    driver.until(MONDAY + 14 * DAY + 9 * HOUR)
    assert [each.time for each in driver.actions] == [MONDAY + 14 * DAY + 9 * HOUR]
    driver.segment = "regular"
    driver.until(MONDAY + 40 * DAY)
    assert len(driver.actions) == 1
    assert driver.actions[0].reason.text == "at 09:00 on Monday, in segment churn_risk"


def test_when_is_asked_at_the_moment() -> None:
    """`when` keeps out who does not fulfil it at the instant; the next instant asks anew."""
    text = weekly().replace("  reentry", "  when: customer.page_views_7d > 0\n  reentry")
    driver = Driver(rule_set(text))
    driver.send("page.viewed", MONDAY + 6 * DAY)
    driver.until(MONDAY + 30 * DAY)
    assert [each.time for each in driver.actions] == [MONDAY + 7 * DAY + 9 * HOUR]


def test_after_a_stop_only_the_latest_fires() -> None:
    """Three Mondays missed give one message, at once; the next comes at its own time."""
    driver = Driver(rule_set(weekly()))
    driver.send("page.viewed", MONDAY + DAY)
    driver.late(MONDAY + 23 * DAY)
    assert [each.event_id for each in driver.actions] == [f"schedule:{MONDAY + 21 * DAY + 9 * HOUR}"]
    driver.until(MONDAY + 29 * DAY)
    assert len(driver.actions) == 2


def test_never_means_one_schedule_only() -> None:
    """Re-entry holds for schedules too: without it the first instant is the last."""
    driver = Driver(rule_set(weekly().replace("always", "never")))
    driver.send("page.viewed", MONDAY + DAY)
    driver.until(MONDAY + 40 * DAY)
    assert len(driver.outcomes(Outcome.FIRED)) == 1


SPECS = [
    ("0 9 * * MON", "", ""),
    ("0 9 * * MON", "", "new"),
    ("30 2 * * *", "Europe/Berlin", "new"),
    ("0 9 * * MON", "Asia/Tokyo", ""),
    ("15 23 1,15 * *", "", "regular"),
]
JOURNEYS = rule_set(
    *(
        WEEKLY.replace("journey: weekly", f"journey: s{number}").replace(
            '{schedule: "0 9 * * MON"}',
            f'{{schedule: "{text}", zone: {zone or "customer"}' + (f", segment: {name}}}" if name else "}"),
        )
        for number, (text, zone, name) in enumerate(SPECS)
    )
).journeys
row = st.tuples(
    st.sampled_from(["", *ZONES]),
    st.sampled_from(["new", "regular"]),
    st.integers(0, 60 * 24),
    st.integers(0, 60 * 24),
    st.integers(-60 * 24, 60 * 24),
)


@given(st.lists(row, min_size=1, max_size=6))
@settings(deadline=None)
def test_vectors_say_what_the_definition_says(rows: list[tuple[str, str, int, int, int]]) -> None:
    """Next instants and fired ones equal those found row by row, schedule by schedule."""
    base = MONDAY + 6 * DAY
    clock = [base + min(a, b) * MINUTE for _, _, a, b, _ in rows]
    now = [base + max(a, b) * MINUTE for _, _, a, b, _ in rows]
    due = [0 if each == 0 else at + each * MINUTE for at, (*_, each) in zip(clock, rows, strict=True)]
    seen = ScheduleRows(
        segment=np.array([VOCABULARY.segments[name] for _, name, *_ in rows], np.uint8),
        zone=np.array([zone_index(zone) for zone, *_ in rows]),
        clock_ms=np.array(clock),
        due_ms=np.array(due),
        after_ms=np.array(now),
    )
    judged = ScheduleIndex(JOURNEYS, VOCABULARY.segments).judge(seen, "America/New_York")
    fired = []
    for place, (zone, name, *_) in enumerate(rows):
        ahead = [NEVER_MS]
        mine = []
        for index, (text, own, segment) in enumerate(SPECS):
            if segment not in ("", name):
                continue
            table = Instants(cron(text).plain, zoneinfo.ZoneInfo(own or zone or "America/New_York"))
            latest, following = (int(each[0]) for each in table.around(np.array([now[place]])))
            ahead.append(following)
            if latest > clock[place] and 0 < due[place] <= latest:
                mine.append((place, latest, index))
        assert judged.next_due_ms[place] == min(ahead)
        fired += sorted(mine)
    assert [(each.row, each.due_ms, each.journey) for each in judged.fired] == fired
