"""Laws of waits until a time of day: strictly later, on the right day, also when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.limits import MAX_DURATION_MS
from engine.rules.times.local_time import MIN_DEFERRAL_MS
from engine.rules.times.until import NoDate, Until, read_date, until_ms

ZONES = (
    "UTC",
    "America/New_York",
    "Asia/Shanghai",
    "Australia/Lord_Howe",  # the clocks change by half an hour
    "Asia/Kathmandu",
    "America/Sao_Paulo",  # until 2019 the clocks changed at midnight
    "Pacific/Apia",
    "Pacific/Chatham",
)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NEW_YORK = ZoneInfo("America/New_York")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
SHANGHAI = ZoneInfo("Asia/Shanghai")

instants = st.integers(1_400_000_000, 1_900_000_000).map(lambda second: second * 1000)
zones = st.sampled_from(ZONES).map(ZoneInfo)
quarters = st.integers(0, 95).map(lambda quarter: quarter * 15)


def ms(*parts: int, zone: ZoneInfo, fold: int = 0) -> int:
    """Return an instant given in local time."""
    return int(datetime(*parts, tzinfo=zone, fold=fold).timestamp() * 1000)  # type: ignore[arg-type, misc]


def shown(instant_ms: int, zone: ZoneInfo) -> datetime:
    """Return what the clocks show."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC).astimezone(zone)


def minute_of(instant_ms: int, zone: ZoneInfo) -> int:
    """Return the local minute of the day."""
    local = shown(instant_ms, zone)
    return local.hour * 60 + local.minute


def plain_reference(until: Until, now_ms: int, zone: ZoneInfo) -> int:
    """Look at every quarter of an hour from now on what the clocks show; 0 = not within nine days.

    Zones lie whole quarters apart, so no such time is missed.
    """
    first = now_ms // (15 * MINUTE) + 1
    for quarter in range(first, first + 9 * 96):
        local = shown(quarter * 15 * MINUTE, zone)
        if local.hour * 60 + local.minute == until.minute and (
            not until.weekdays or local.weekday() in until.weekdays
        ):
            return quarter * 15 * MINUTE
    return 0


@settings(deadline=None)
@given(instants, zones, quarters, st.sets(st.integers(0, 6)))
def test_a_wait_ends_when_the_clocks_first_show_its_time(
    now_ms: int, zone: ZoneInfo, minute: int, weekdays: set[int]
) -> None:
    """A wait ends strictly later, at the first moment the clocks show its time on one of its days.

    Only where they skip it on the way there it ends earlier: after the gap of that day.
    """
    until = Until(minute, tuple(sorted(weekdays)))
    end_ms = until_ms(until, now_ms, zone, {})
    expected = plain_reference(until, now_ms, zone)
    assert now_ms + MIN_DEFERRAL_MS <= end_ms <= now_ms + 8 * DAY + HOUR
    if minute_of(end_ms, zone) == minute:
        assert end_ms == max(expected, now_ms + MIN_DEFERRAL_MS)
    elif end_ms != now_ms + MIN_DEFERRAL_MS:
        gap = shown(end_ms, zone).utcoffset() != shown(end_ms - DAY, zone).utcoffset()
        assert gap
        assert end_ms <= expected


@given(instants, zones, st.integers(0, 1439), st.integers(1, 3 * DAY))
def test_who_comes_later_goes_on_no_earlier(now_ms: int, zone: ZoneInfo, minute: int, later_ms: int) -> None:
    """Of two who wait for the same time the one who came later does not go on first."""
    until = Until(minute)
    assert until_ms(until, now_ms, zone, {}) <= until_ms(until, now_ms + later_ms, zone, {})


def test_at_that_very_time_the_wait_is_for_tomorrow() -> None:
    """At 09:00 sharp the next 09:00 is tomorrow's, a second before it is a minute away."""
    nine = ms(2026, 5, 4, 9, 0, zone=SHANGHAI)
    assert until_ms(Until(540), nine, SHANGHAI, {}) == nine + DAY
    assert until_ms(Until(540), nine - 1, SHANGHAI, {}) == nine - 1 + MINUTE
    assert until_ms(Until(540), nine - 2 * MINUTE, SHANGHAI, {}) == nine


def test_a_skipped_time_is_after_the_gap() -> None:
    """02:30 is 03:30 on the night New York skips an hour; on Lord Howe 02:15 is 02:45."""
    before = ms(2024, 3, 10, 0, 0, zone=NEW_YORK)
    assert minute_of(until_ms(Until(150), before, NEW_YORK, {}), NEW_YORK) == 210
    before = ms(2024, 10, 6, 0, 0, zone=LORD_HOWE)
    end_ms = until_ms(Until(135), before, LORD_HOWE, {})
    assert shown(end_ms, LORD_HOWE).date() == date(2024, 10, 6)
    assert minute_of(end_ms, LORD_HOWE) == 165


def test_of_a_time_that_comes_twice_the_first_ahead_is_taken() -> None:
    """Before the clocks go back it is the first 01:30, between the two the second, after both tomorrow's."""
    first, second = (ms(2024, 11, 3, 1, 30, zone=NEW_YORK, fold=fold) for fold in (0, 1))
    assert second - first == HOUR
    assert until_ms(Until(90), first - HOUR, NEW_YORK, {}) == first
    assert until_ms(Until(90), first, NEW_YORK, {}) == second
    assert until_ms(Until(90), second, NEW_YORK, {}) == second + DAY


def test_a_day_of_23_or_25_hours_is_one_day() -> None:
    """Over the change noon follows noon after 23 or 25 hours, on Lord Howe after 23.5 or 24.5."""
    for zone, day, hours in (
        (NEW_YORK, (2024, 3, 9), 23.0),
        (NEW_YORK, (2024, 11, 2), 25.0),
        (LORD_HOWE, (2024, 10, 5), 23.5),
        (LORD_HOWE, (2024, 4, 6), 24.5),
        (SHANGHAI, (2024, 3, 30), 24.0),
    ):
        noon = ms(*day, 12, 0, zone=zone)
        assert until_ms(Until(720), noon, zone, {}) - noon == hours * HOUR


@given(instants, zones, st.integers(0, 1439), st.integers(-30, 390), st.integers(0, 365))
def test_a_date_is_waited_for_or_past(
    now_ms: int, zone: ZoneInfo, minute: int, days: int, before: int
) -> None:
    """A wait by a trait ends that many days before its date at that time; one that is past ends at once."""
    day = shown(now_ms, zone).date() + timedelta(days=days)
    until = Until(minute, trait="trial_ends", before_days=before)
    end_ms = until_ms(until, now_ms, zone, {"trial_ends": day.isoformat()})
    due = day - timedelta(days=before)
    local = datetime(due.year, due.month, due.day, minute // 60, minute % 60, tzinfo=zone)
    expected = max(round(each.timestamp() * 1000) for each in (local, local.replace(fold=1)))
    if end_ms <= now_ms:
        assert expected <= now_ms
    else:
        assert end_ms >= now_ms + MIN_DEFERRAL_MS
        if end_ms > now_ms + MIN_DEFERRAL_MS and minute_of(end_ms, zone) == minute:
            assert shown(end_ms, zone).date() == due


@given(instants, zones, st.dates(date(1900, 1, 1), date(2100, 12, 31)))
def test_an_anniversary_comes_within_a_year(now_ms: int, zone: ZoneInfo, born: date) -> None:
    """The next anniversary is on the same day of the year, strictly later, at most a leap year away."""
    until = Until(8 * 60, trait="birthday", yearly=True)
    end_ms = until_ms(until, now_ms, zone, {"birthday": born.isoformat()})
    assert now_ms < end_ms <= now_ms + 366 * DAY + 2 * HOUR
    day = shown(end_ms, zone).date()
    assert (day.month, day.day) in {(born.month, born.day), (2, 28)}
    assert (day.month, day.day) == (born.month, born.day) or (born.month, born.day) == (2, 29)


def test_who_was_born_on_29_february_celebrates_each_year() -> None:
    """In common years it is the 28th, in leap years the 29th."""
    until = Until(8 * 60, trait="birthday", yearly=True)
    days = []
    now_ms = ms(2026, 1, 1, zone=SHANGHAI)
    for _ in range(3):
        now_ms = until_ms(until, now_ms, SHANGHAI, {"birthday": "2000-02-29"})
        days.append(shown(now_ms, SHANGHAI).date())
    assert days == [date(2026, 2, 28), date(2027, 2, 28), date(2028, 2, 29)]


def test_a_week_before_the_new_year_is_in_the_old_one() -> None:
    """Days before an anniversary may lie in the year before it; after them it is next year's turn."""
    until = Until(8 * 60, trait="birthday", before_days=7, yearly=True)
    traits = {"birthday": "1990-01-03"}
    end_ms = until_ms(until, ms(2026, 12, 1, zone=SHANGHAI), SHANGHAI, traits)
    assert shown(end_ms, SHANGHAI).date() == date(2026, 12, 27)
    again = until_ms(until, end_ms, SHANGHAI, traits)
    assert shown(again, SHANGHAI).date() == date(2027, 12, 27)


@pytest.mark.parametrize(
    "value",
    ["", "soon", "2026-13-01", "2026-02-30", "20260301", "2026-3-1", "2026-03-01 ", 20260301, 3.5, True],
)
def test_what_is_no_date_ends_the_wait_with_a_reason(value: object) -> None:
    """Dates are read strictly; what is none is told without being repeated."""
    until = Until(540, trait="trial_ends")
    with pytest.raises(NoDate, match=r"^the trait trial_ends is no date \(YYYY-MM-DD\)$"):
        until_ms(until, 1_700_000_000_000, SHANGHAI, {"trial_ends": value})
    with pytest.raises(NoDate, match=r"^there is no trait trial_ends$"):
        until_ms(until, 1_700_000_000_000, SHANGHAI, {})


def test_a_date_too_far_ahead_ends_the_wait() -> None:
    """What lies more than 400 days ahead is not waited for; both ends of the calendar are dates, too."""
    now_ms = ms(2026, 1, 1, 9, 0, zone=SHANGHAI)
    until = Until(540, trait="due", before_days=1)
    day = date(2026, 1, 2) + timedelta(days=400)
    assert until_ms(until, now_ms, SHANGHAI, {"due": day.isoformat()}) == now_ms + MAX_DURATION_MS
    for far in ((day + timedelta(days=1)).isoformat(), "9999-12-31"):
        with pytest.raises(NoDate, match="more than 400d ahead"):
            until_ms(until, now_ms, SHANGHAI, {"due": far})
    assert until_ms(until, now_ms, SHANGHAI, {"due": "0001-01-01"}) == now_ms


@given(st.datetimes(), zones)
def test_dates_are_read_as_written(moment: datetime, zone: ZoneInfo) -> None:
    """A date and a date-time without an offset mean their own day, whatever the zone."""
    assert read_date(moment.date().isoformat(), zone) == moment.date()
    assert read_date(moment.isoformat(), zone) == moment.date()
    assert read_date(moment.isoformat(sep=" ", timespec="minutes"), zone) == moment.date()


def test_a_date_time_with_an_offset_is_a_day_in_the_zone() -> None:
    """Late in the evening in New York it is tomorrow in Shanghai; what has no day there is none."""
    assert read_date("2026-03-05T20:00:00-05:00", SHANGHAI) == date(2026, 3, 6)
    assert read_date("2026-03-05T20:00Z", NEW_YORK) == date(2026, 3, 5)
    assert read_date("0001-01-01T00:00:00+14:00", SHANGHAI) is None


@pytest.mark.parametrize(
    ("until", "said"),
    [
        (Until(540), "09:00"),
        (Until(540, (5, 6)), "09:00 on SAT or SUN"),
        (Until(540, trait="trial_ends", before_days=3), "09:00 3 days before trial ends"),
        (
            Until(540, trait="trial_ends", before_days=1, zone="Europe/Berlin"),
            "09:00 1 day before trial ends in Europe/Berlin",
        ),
        (Until(480, trait="birthday", yearly=True), "08:00 on the next birthday"),
    ],
)
def test_a_time_is_said_in_words(until: Until, said: str) -> None:
    """What is waited for reads well behind "until" and "at"."""
    assert str(until) == said
