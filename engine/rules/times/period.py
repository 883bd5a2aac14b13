"""A period as people name it: the last 30 days, or from one date to another."""

from __future__ import annotations

import re
from calendar import month_name, monthrange
from datetime import UTC, datetime

from engine.errors import ConfigError
from engine.rules.times.units import read_duration

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DAY_MS = 86_400_000


def read_period(since: str, until: str, begins_ms: int, ends_ms: int) -> tuple[int, int]:
    """Return start and end of a period, ms; the end is never behind the log's, the start may lie before it.

    Args:
        since: a duration before the end, or a date or date-time (UTC unless it says otherwise).
        until: a date (to its end) or date-time, or empty.
        begins_ms: where the log begins.
        ends_ms: where it ends.

    Raises:
        ConfigError: one cannot be read, or nothing lies in between.
    """
    to_ms = min(_instant_ms("--to", until, end=True), ends_ms) if until else ends_ms
    back_ms = read_duration(since)
    from_ms = to_ms - back_ms if back_ms is not None else _instant_ms("--from", since, end=False)
    if from_ms >= to_ms or to_ms < begins_ms:
        raise ConfigError(
            f"nothing lies between {since!r} and {until or 'the end'!r}: "
            f"the log goes from {iso(begins_ms)} to {iso(ends_ms)}"
        )
    return from_ms, to_ms


def iso(instant_ms: int) -> str:
    """Write an instant as ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(instant_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def no_such_day(text: str) -> str:
    """Say that the date a text begins with is none, as 30 February; empty when something else is wrong.

    Args:
        text: a date or date-time.
    """
    found = _DATE.match(text.strip())
    year, month, day = (int(part) for part in found[0].split("-")) if found else (0, 0, 0)
    if not (year and 1 <= month <= len(month_name) - 1):
        return ""
    days = monthrange(year, month)[1]
    return "" if 1 <= day <= days else f"{month_name[month]} {year} has {days} days"


def _instant_ms(option: str, text: str, *, end: bool) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        why = no_such_day(text) or "write 30d, 2026-01-31 or 2026-01-31T09:00:00Z"
        raise ConfigError(f"{option} {text!r}: {why}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole_day = bool(_DATE.fullmatch(text)) and end
    return int(moment.timestamp() * 1000) + (_DAY_MS - 1 if whole_day else 0)
