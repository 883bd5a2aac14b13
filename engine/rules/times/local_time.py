"""Local times of day as instants, right on the days the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MIN_DEFERRAL_MS: Final = 60_000  # nothing waits for less: the pipeline may work on a minute's rows at once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(maxsize=1024)
def zone_of(name: str, default: str) -> tzinfo:
    """Return the zone by its IANA name, or the default one when the name is empty or unknown."""
    for each in (name, default):
        if each:
            found = _zone(each)
            if found is not None:
                return found
    return UTC


def is_zone(name: str) -> bool:
    """Tell whether a time zone of this IANA name exists."""
    return bool(name) and _zone(name) is not None


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def local_time(now_ms: int, zone: tzinfo) -> datetime:
    """Return an instant as the clocks of a zone show it."""
    return (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone)


def instant_ahead(day: date, minute: int, zone: tzinfo, now_ms: int) -> int:
    """Return when the clocks of a zone show a minute of a day, if that lies ahead; else the instant past.

    A time that does not exist (clocks go forward) is taken after the gap; of one that exists twice (clocks go
    back) the first that lies ahead is taken.

    Args:
        day: the local day.
        minute: minute of the day, 0-1439.
        zone: the time zone.
        now_ms: the instant that has to be passed.
    """
    local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=zone)
    first_ms = _to_ms(local)
    return first_ms if first_ms > now_ms else max(first_ms, _to_ms(local.replace(fold=1)))


def _to_ms(local: datetime) -> int:
    return (local.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
