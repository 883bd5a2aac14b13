"""Instants as authors of fixtures write them: `90d 2h`, `1d 09:00`, `2026-03-02T10:00:00+08:00`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo

from engine.rules.units import UNIT_MS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN = re.compile(r"(-?)((?:[0-9]{1,6}[dhms]\s*)+)")
_PART = re.compile(r"([0-9]{1,6})([dhms])")
_OF_DAY = re.compile(r"(?:(-?[0-9]{1,5})d\s+)?([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?")


def read_absolute(text: str, zone: tzinfo) -> int | None:
    """Return the milliseconds of an ISO 8601 date-time, or None when it isn't one.

    Args:
        text: with an offset, or without one for a local time.
        zone: of a local time.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if len(text.strip()) <= len("2026-03-02"):  # a date alone says no instant
        return None
    return to_ms(found if found.tzinfo is not None else found.replace(tzinfo=zone))


def read_span(text: str) -> int | None:
    """Return the milliseconds of `90d`, `90d 2h`, `-3d` or `0`, or None when it isn't one."""
    text = text.strip()
    if text == "0":
        return 0
    found = _SPAN.fullmatch(text)
    if found is None:
        return None
    total_ms = sum(int(count) * UNIT_MS[unit] for count, unit in _PART.findall(found[2]))
    return -total_ms if found[1] else total_ms


def read_instant(text: str, start_ms: int, zone: tzinfo) -> int | None:
    """Return the instant a text names, ms, or None when it names none.

    Args:
        text: a span after the start (`90d 2h`, `-3d`), a time of day so many days after it (`1d 09:00`,
            `09:00`), or a date-time of its own.
        start_ms: the start of the case.
        zone: the customer's, for times of day.
    """
    span_ms = read_span(text)
    if span_ms is not None:
        return start_ms + span_ms
    found = _OF_DAY.fullmatch(text.strip())
    if found is None:
        return read_absolute(text, zone)
    days, hour, minute, second = (int(part or 0) for part in found.groups())
    if hour > 23 or minute > 59 or second > 59:
        return None
    start = (_EPOCH + timedelta(milliseconds=start_ms)).astimezone(zone)
    try:
        day = start.date() + timedelta(days=days)
        return to_ms(datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=zone))
    except (OverflowError, ValueError):
        return None


def to_ms(instant: datetime) -> int:
    """Return an instant in milliseconds since the epoch."""
    return (instant.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)


def say_span(span_ms: int) -> str:
    """Return a span as `read_span` takes it back, largest unit first; milliseconds as a fraction."""
    if not span_ms:
        return "0s"
    parts = []
    rest = abs(span_ms)
    for unit in "dhm":
        count, rest = divmod(rest, UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    if rest:
        parts.append(f"{rest / 1000:g}s")
    return ("-" if span_ms < 0 else "") + " ".join(parts)


def say_instant(instant_ms: int, zone: tzinfo) -> str:
    """Return an instant as local time with the day of the week: `Mon 2026-03-02 10:00`, seconds if any."""
    local = (_EPOCH + timedelta(milliseconds=instant_ms)).astimezone(zone)
    text = local.strftime("%a %Y-%m-%d %H:%M")
    if local.microsecond:
        return f"{text}:{local.second:02d}.{local.microsecond // 1000:03d}"
    return f"{text}:{local.second:02d}" if local.second else text
