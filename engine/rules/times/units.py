"""Durations, windows and shares as marketers write them, and how they are said in a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNIT_WORDS = (("d", "day"), ("h", "hour"), ("m", "minute"), ("s", "second"))
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_CAP = re.compile(r"([0-9]{1,6})\s+per\s+([0-9]{1,9}[smhd])")
_QUIET = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):([0-9]{2})")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,2})?)%")


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` contacts within the last `window_ms`."""

    count: int
    window_ms: int

    def __str__(self) -> str:
        return f"{self.count} per {write_duration(self.window_ms)}"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """A daily span `[start, end)` of the customer's own time, in minutes of the day; may pass midnight."""

    start_min: int
    end_min: int

    def __str__(self) -> str:
        start, end = (f"{value // 60:02d}:{value % 60:02d}" for value in (self.start_min, self.end_min))
        return f"{start}-{end}"


def read_duration(text: str) -> int | None:
    """Return the milliseconds of a duration such as `30s 5m 2h 7d`, or None when it isn't one."""
    found = _DURATION.fullmatch(text)
    return int(found[1]) * UNIT_MS[found[2]] if found else None


def write_duration(duration_ms: int) -> str:
    """Return the shortest spelling that `read_duration` takes back; whole seconds only."""
    for unit in "dhm":
        if duration_ms % UNIT_MS[unit] == 0 and duration_ms:
            return f"{duration_ms // UNIT_MS[unit]}{unit}"
    return f"{duration_ms // 1_000}s"


def say_duration(duration_ms: int) -> str:
    """Return a duration in words, such as `90 days` or `5 minutes`."""
    for unit, word in _UNIT_WORDS:
        if duration_ms % UNIT_MS[unit] == 0 and duration_ms:
            count = duration_ms // UNIT_MS[unit]
            return f"{count} {word}" + ("" if count == 1 else "s")
    return f"{duration_ms / 1_000:g} seconds"


def read_cap(text: str) -> Cap | None:
    """Return the cap of `1 per 7d`, or None when it isn't one."""
    found = _CAP.fullmatch(text.strip())
    if not found:
        return None
    window_ms = read_duration(found[2])
    return Cap(int(found[1]), window_ms) if window_ms else None


def read_time(text: str) -> int | None:
    """Return the minute of the day of `09:00`, or None when it isn't one."""
    found = _TIME.fullmatch(text)
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        return None
    return int(found[1]) * 60 + int(found[2])


def write_time(minute: int) -> str:
    """Return a minute of the day as `read_time` takes it back."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def read_quiet_hours(text: str) -> QuietHours | None:
    """Return the span of `22:00-09:00`, or None when it isn't one."""
    found = _QUIET.fullmatch(text)
    if not found:
        return None
    hours = [int(part) for part in found.groups()]
    if hours[0] > 23 or hours[2] > 23 or hours[1] > 59 or hours[3] > 59:
        return None
    return QuietHours(hours[0] * 60 + hours[1], hours[2] * 60 + hours[3])


def read_share(text: str) -> float | None:
    """Return the share 0-1 of a percentage such as `10%`, or None when it isn't one."""
    found = _SHARE.fullmatch(text)
    if not found or float(found[1]) > 100:
        return None
    return float(found[1]) / 100
