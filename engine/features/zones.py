"""Time zones as tables, so that local days and months are found for a whole batch at once.

A zone is interned: its index is good for the life of the process and never stored. Per zone there is one row
of offsets by UTC day, with the second of the day at which the offset changes, so the local time of any
instant is two gathers; daylight saving is exact to the second. Outside 1990-2060 the nearest table entry is
used.
"""

from __future__ import annotations

import datetime as dt
import re
import zoneinfo
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

DAY_S = 86_400
MAX_ZONES = 1024  # IANA has about 600 names
_FIRST_DAY = 7305  # 1990-01-01
_DAYS = 25_933  # to 2061-01-01
_PROBE_S = 7 * DAY_S  # no zone changes its offset twice within a week
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+\-]{0,31}(/[A-Za-z0-9_+\-]{1,32}){0,2}")

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]


@dataclass(slots=True)
class _Tables:
    """Interned zones and their stacked rows of `_DAYS + 1` entries each."""

    index: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    offsets: Int32s = field(default_factory=lambda: np.zeros(0, np.int32))
    changes: Int32s = field(default_factory=lambda: np.zeros(0, np.int32))


_ROW = _DAYS + 1
_tables = _Tables()


def is_zone(name: str) -> bool:
    """Tell whether a name is a time zone this machine's data knows."""
    if not _NAME.fullmatch(name):
        return False
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def zone_index(name: str) -> int:
    """Return the index of a zone in this process; an empty or unknown name is 0, taken for UTC.

    Args:
        name: IANA name. The first use of a name costs a few milliseconds.
    """
    known = _tables.index.get(name)
    if known is not None:
        return known
    if not name or len(_tables.index) >= MAX_ZONES or not is_zone(name):
        return 0
    return _intern(name)


def zone_name(index: int) -> str:
    """Return the name of a zone by its index in this process; empty for 0, the unknown zone."""
    return _tables.names[index]


def _intern(name: str) -> int:
    offsets, changes = _build(zoneinfo.ZoneInfo(name or "UTC"))
    index = len(_tables.offsets) // _ROW
    _tables.offsets = np.concatenate((_tables.offsets, offsets))
    _tables.changes = np.concatenate((_tables.changes, changes))
    _tables.index[name] = index
    _tables.names.append(name)
    return index


def _offset(zone: zoneinfo.ZoneInfo, time_s: int) -> int:
    offset = dt.datetime.fromtimestamp(time_s, zone).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _build(zone: zoneinfo.ZoneInfo) -> tuple[Int32s, Int32s]:
    """Return a zone's offsets at the start of each UTC day, and the second of the day of their change."""
    offsets = np.zeros(_ROW, np.int32)
    changes = np.full(_ROW, DAY_S, np.int32)
    time_s, end_s = _FIRST_DAY * DAY_S, (_FIRST_DAY + _DAYS) * DAY_S
    now = _offset(zone, time_s)
    offsets[:] = now
    while time_s < end_s:
        ahead_s = min(time_s + _PROBE_S, end_s)
        later = _offset(zone, ahead_s)
        if later != now:
            change_s = _bisect(zone, time_s, ahead_s, now)
            day, second = divmod(change_s - _FIRST_DAY * DAY_S, DAY_S)
            changes[day] = second
            offsets[day + 1 :] = later
            if second == 0:
                offsets[day] = later
        time_s, now = ahead_s, later
    return offsets, changes


def _bisect(zone: zoneinfo.ZoneInfo, low_s: int, high_s: int, before: int) -> int:
    """Return the first second at which the offset is no longer `before`."""
    while high_s - low_s > 1:
        middle_s = (low_s + high_s) // 2
        if _offset(zone, middle_s) == before:
            low_s = middle_s
        else:
            high_s = middle_s
    return high_s


def local_seconds(time_s: Int64s, zones: Int64s) -> Int64s:
    """Return wall-clock seconds of instants in their zones.

    Args:
        time_s: `(n,)` seconds since the epoch, UTC.
        zones: `(n,)` indexes from `zone_index`.

    Returns:
        `(n,)` seconds since 1970-01-01 00:00 of the local calendar.
    """
    day = time_s // DAY_S
    second = time_s - day * DAY_S
    at = zones * _ROW + np.minimum(np.maximum(day - _FIRST_DAY, 0), _DAYS - 1)
    at += second >= _tables.changes[at]  # from the change on, the offset the next day begins with
    local: Int64s = time_s + _tables.offsets[at]
    return local


def local_days(time_s: Int64s, zones: Int64s) -> Int64s:
    """Return the local calendar day of instants, counted from 1970-01-01; arguments as in `local_seconds`."""
    return local_seconds(time_s, zones) // DAY_S


def months_of_days(days: Int64s) -> Int64s:
    """Return the calendar month of each day, counted from January 1970."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def half_months_of_days(days: Int64s) -> Int64s:
    """Return the half month of each day (1st to 15th, 16th to end), counted from January 1970."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    day_of_month = (dates - months.astype("datetime64[D]")).astype(np.int64)
    halves: Int64s = months.astype(np.int64) * 2 + (day_of_month >= 15)
    return halves


_intern("")
