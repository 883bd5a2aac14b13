"""Quiet hours in the customer's own time zone, right on the days the clocks change."""

from __future__ import annotations

from datetime import timedelta, tzinfo

from engine.rules.times.local_time import MIN_DEFERRAL_MS, instant_ahead, local_time
from engine.rules.times.units import QuietHours


def quiet_until(quiet: QuietHours, now_ms: int, zone: tzinfo) -> int:
    """Return when the quiet hours that hold at an instant end, or 0 when none hold.

    Args:
        quiet: the daily span.
        now_ms: the instant.
        zone: the customer's zone.
    """
    local = local_time(now_ms, zone)
    minute = local.hour * 60 + local.minute
    if not _inside(quiet, minute):
        return 0
    day = local.date() + timedelta(days=1 if minute >= quiet.end_min else 0)
    return max(instant_ahead(day, quiet.end_min, zone, now_ms), now_ms + MIN_DEFERRAL_MS)


def _inside(quiet: QuietHours, minute: int) -> bool:
    if quiet.start_min < quiet.end_min:
        return quiet.start_min <= minute < quiet.end_min
    return minute >= quiet.start_min or minute < quiet.end_min
