"""Send windows: spelling, opening hours, the days the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.rules.times.local_time import MIN_DEFERRAL_MS
from engine.rules.times.units import QuietHours
from engine.rules.times.windows import DAY_MIN, WEEKDAYS, SendWindow, open_minutes, opens_at, read_send_window
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, Driver, rule_set
from tests.rules.journeys import TRIGGER

ALL_DAYS = tuple(range(7))
BERLIN = ZoneInfo("Europe/Berlin")

windows = st.builds(
    SendWindow,
    st.sets(st.sampled_from(ALL_DAYS), min_size=1).map(lambda days: tuple(sorted(days))),
    st.integers(0, DAY_MIN - 1),
    st.integers(1, DAY_MIN),
).filter(lambda window: window.start_min != window.end_min)


def ms(text: str, zone: ZoneInfo = BERLIN) -> int:
    """Return an instant given as local time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


@given(windows)
def test_a_window_is_read_back_as_written(window: SendWindow) -> None:
    """What a window prints is what an author could have written for it."""
    assert read_send_window(str(window)) == window


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("09:00-18:00", ALL_DAYS),
        ("MON-FRI 09:00-18:00", (0, 1, 2, 3, 4)),
        ("SAT 10:00-24:00", (5,)),
        ("FRI-MON 22:00-02:00", (0, 4, 5, 6)),
        ("MON,WED-THU 00:00-06:00", (0, 2, 3)),
    ],
)
def test_days_and_times_are_read(text: str, days: tuple[int, ...]) -> None:
    """A window names single days, spans of days, or none for every day."""
    window = read_send_window(text)
    assert window is not None
    assert window.days == days


@pytest.mark.parametrize(
    "text",
    ["9-18", "09:00", "MON", "mon 09:00-18:00", "09:60-10:00", "25:00-26:00", "24:00-06:00", "09:00-09:00"],
)
def test_anything_else_is_none(text: str) -> None:
    """A window of another form, of no length or beyond the day is refused."""
    assert read_send_window(text) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(windows, min_size=1, max_size=3), st.integers(0, 8 * DAY))
def test_openings_agree_with_a_clock_that_ticks(given_windows: list[SendWindow], after_ms: int) -> None:
    """In a zone without clock changes, the opening is the first minute that lies in a window."""
    now_ms = NOON + after_ms

    def is_open(at_ms: int) -> bool:
        local = datetime.fromtimestamp(at_ms / 1000, UTC)
        return any(
            begun.weekday() in window.days
            and begun + timedelta(minutes=window.start_min)
            <= local
            < begun + timedelta(minutes=window.start_min + window.length_min)
            for window in given_windows
            for back in (0, 1)
            for begun in (datetime(local.year, local.month, local.day, tzinfo=UTC) - timedelta(days=back),)
        )

    if is_open(now_ms):
        assert opens_at(given_windows, now_ms, UTC) == 0
        return
    minute_ms = now_ms // MINUTE * MINUTE + MINUTE
    while not is_open(minute_ms):
        minute_ms += MINUTE
    assert opens_at(given_windows, now_ms, UTC) == max(minute_ms, now_ms + MIN_DEFERRAL_MS)


def test_clock_changes_move_openings() -> None:
    """An opening in the hour that is left out comes after it; of a doubled hour the first is taken."""
    early = [SendWindow(ALL_DAYS, 150, 600)]
    assert opens_at(early, ms("2026-03-29T00:30"), BERLIN) == ms("2026-03-29T03:30")
    assert opens_at(early, ms("2026-10-25T00:30"), BERLIN) == ms("2026-10-25T02:30")


def test_open_minutes_counts_what_quiet_hours_leave() -> None:
    """Overlapping windows count once, quiet hours are taken off, also over midnight and the week's end."""
    night = SendWindow((6,), 23 * 60, 60)
    assert open_minutes([night], None) == 120
    assert open_minutes([night, SendWindow((6,), 23 * 60, 24 * 60)], None) == 120
    assert open_minutes([night], QuietHours(22 * 60, 30)) == 30
    assert WEEKDAYS[night.days[0]] == "SUN"


def test_a_message_waits_for_its_window() -> None:
    """Outside of its window a message is put off to the opening; past its expiry it is dropped."""
    guarded = TRIGGER.replace("steps:", 'guards: {send_window: "SAT 10:00-11:00"}\nsteps:')
    driver = Driver(rule_set(guarded))
    days_ahead = (5 - datetime.fromtimestamp(NOON / 1000, UTC).weekday()) % 7 or 7
    driver.send("order.placed", NOON)
    driver.until(NOON + 10 * DAY)
    saturday_ms = NOON - 2 * HOUR + days_ahead * DAY
    assert [each.time for each in driver.actions] == [saturday_ms]
    assert driver.outcomes(Outcome.DEFERRED) == [(Outcome.DEFERRED, "send_window")]
    short = Driver(rule_set(guarded.replace("template: thanks", "template: thanks, expires: 1h")))
    short.send("order.placed", NOON)
    assert short.outcomes(Outcome.SUPPRESSED) == [(Outcome.SUPPRESSED, "expired")]
