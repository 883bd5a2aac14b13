"""Quiet hours in the customer's own time zone, right on the days the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from engine.rules.units import QuietHours

MIN_DEFERRAL_MS = 60_000  # a deferral never lasts less: the pipeline may work on a minute's rows at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def zone_of(name: str, default: str) -> tzinfo:
    """Return the zone by its IANA name, or the default one when the name is empty or unknown."""
    for each in (name, default):
        if each:
            try:
                return ZoneInfo(each)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                continue
    return UTC


def quiet_until(quiet: QuietHours, now_ms: int, zone: tzinfo) -> int:
    """Return when the quiet hours that hold at an instant end, or 0 when none hold.

    An end that does not exist (clocks go forward) is taken after the gap; of one that exists twice (clocks go
    back) the first that lies ahead is taken.

    Args:
        quiet: the daily span.
        now_ms: the instant.
        zone: the customer's zone.
    """
    local = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone)
    minute = local.hour * 60 + local.minute
    if not _inside(quiet, minute):
        return 0
    day = local.date() + timedelta(days=1 if minute >= quiet.end_min else 0)
    end = datetime(day.year, day.month, day.day, quiet.end_min // 60, quiet.end_min % 60, tzinfo=zone)
    until_ms = _to_ms(end)
    if until_ms <= now_ms:
        until_ms = _to_ms(end.replace(fold=1))
    return max(until_ms, now_ms + MIN_DEFERRAL_MS)


def _inside(quiet: QuietHours, minute: int) -> bool:
    if quiet.start_min < quiet.end_min:
        return quiet.start_min <= minute < quiet.end_min
    return minute >= quiet.start_min or minute < quiet.end_min


def _to_ms(local: datetime) -> int:
    return (local.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
