"""Instants as people read them, always in UTC and said so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def say_moment(time_ms: int) -> str:
    """Return an instant such as `2026-11-22 09:00 UTC`; seconds only where there are some.

    Args:
        time_ms: milliseconds since the epoch.
    """
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return moment.strftime("%Y-%m-%d %H:%M" + (":%S" if time_ms % 60_000 >= 1000 else "") + " UTC")


def say_span(span_ms: int) -> str:
    """Return a length of time roughly, in its largest unit: `12 days`, `3 hours`, `less than a minute`."""
    for word, unit_ms in (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000)):
        count = span_ms // unit_ms
        if count:
            return f"{count} {word}" + ("" if count == 1 else "s")
    return "less than a minute"
