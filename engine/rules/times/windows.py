"""Send windows: when messages may go out, in the customer's own time zone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta, tzinfo

from engine.rules.times.local_time import MIN_DEFERRAL_MS, instant_ahead, local_time
from engine.rules.times.units import QuietHours

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DAY_MIN = 24 * 60
WEEK_MIN = 7 * DAY_MIN
_WINDOW = re.compile(
    r"(?:([A-Z]{3}(?:-[A-Z]{3})?(?:,[A-Z]{3}(?:-[A-Z]{3})?)*)\s+)?([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class SendWindow:
    """A span `[start, end)` of some days of the week, in minutes of the customer's own day.

    Args:
        days: the days it begins on, 0 = Monday, ascending.
        start_min: minute of the day, 0-1439.
        end_min: 1-1440; one that is not after the start lies on the next day.
    """

    days: tuple[int, ...]
    start_min: int
    end_min: int

    @property
    def length_min(self) -> int:
        """How long it is open, minutes."""
        return (self.end_min - self.start_min) % DAY_MIN or DAY_MIN

    def __str__(self) -> str:
        times = "-".join(f"{each // 60:02d}:{each % 60:02d}" for each in (self.start_min, self.end_min))
        if len(self.days) == len(WEEKDAYS):
            return times
        return f"{','.join(_write_days(self.days))} {times}"


def _write_days(days: Sequence[int]) -> Iterable[str]:
    """Yield the days as names, three and more in a row as `MON-FRI`."""
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    for run in runs:
        if len(run) > 2:
            yield f"{WEEKDAYS[run[0]]}-{WEEKDAYS[run[-1]]}"
        else:
            yield from (WEEKDAYS[day] for day in run)


def read_send_window(text: str) -> SendWindow | None:
    """Return the window of `09:00-18:00` or `MON-FRI 09:00-18:00`, or None when it isn't one."""
    found = _WINDOW.fullmatch(text.strip())
    if not found:
        return None
    days = _read_days(found[1]) if found[1] else tuple(range(len(WEEKDAYS)))
    start_min = int(found[2]) * 60 + int(found[3])
    end_min = int(found[4]) * 60 + int(found[5])
    right = int(found[3]) < 60 and int(found[5]) < 60 and start_min < DAY_MIN and 0 < end_min <= DAY_MIN
    return SendWindow(days, start_min, end_min) if days and right and start_min != end_min else None


def _read_days(text: str) -> tuple[int, ...]:
    """Return the days of `MON-FRI,SUN`; none when a name is wrong."""
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in WEEKDAYS or (last and last not in WEEKDAYS):
            return ()
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        days.update((begin + each) % 7 for each in range((end - begin) % 7 + 1))
    return tuple(sorted(days))


def opens_at(windows: Sequence[SendWindow], now_ms: int, zone: tzinfo) -> int:
    """Return when the next window opens, at least a minute ahead, or 0 when one is open.

    An opening that does not exist (clocks go forward) is taken after the gap; of one that exists twice
    (clocks go back) the first that lies ahead is taken.

    Args:
        windows: at least one.
        now_ms: the instant.
        zone: the customer's zone.
    """
    local = local_time(now_ms, zone)
    minute = local.hour * 60 + local.minute
    if any(_is_open(window, local.weekday(), minute) for window in windows):
        return 0
    openings = (
        instant_ahead(day, window.start_min, zone, now_ms)
        for ahead in range(8)
        for day in (local.date() + timedelta(days=ahead),)
        for window in windows
        if day.weekday() in window.days
    )
    return max(min(each for each in openings if each > now_ms), now_ms + MIN_DEFERRAL_MS)


def _is_open(window: SendWindow, weekday: int, minute: int) -> bool:
    begins_today = weekday in window.days
    if window.start_min < window.end_min:
        return begins_today and window.start_min <= minute < window.end_min
    begun_yesterday = (weekday - 1) % 7 in window.days
    return (begins_today and minute >= window.start_min) or (begun_yesterday and minute < window.end_min)


def open_minutes(windows: Sequence[SendWindow], quiet: QuietHours | None) -> int:
    """Return for how many minutes of a week messages may go out, quiet hours taken off."""
    is_open = bytearray(WEEK_MIN)
    for window in windows:
        for day in window.days:
            for minute in range(window.length_min):
                is_open[(day * DAY_MIN + window.start_min + minute) % WEEK_MIN] = 1
    if quiet is not None:
        length_min = (quiet.end_min - quiet.start_min) % DAY_MIN
        for day in range(7):
            for minute in range(length_min):
                is_open[(day * DAY_MIN + quiet.start_min + minute) % WEEK_MIN] = 0
    return sum(is_open)
