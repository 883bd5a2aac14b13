"""Until when a wait for a time of day lasts: the next, one on a weekday, or one by a customer's date."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any

from engine.rules.limits import MAX_DURATION_MS
from engine.rules.times.local_time import MIN_DEFERRAL_MS, instant_ahead, local_time
from engine.rules.times.units import write_duration, write_time
from engine.rules.times.windows import WEEKDAYS

_DATE = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?:Z|[-+][0-9]{2}:[0-9]{2})?)?"
)


@dataclass(frozen=True, slots=True)
class Until:
    """A time of day, and on which day.

    Args:
        minute: minute of the day, 0-1439.
        weekdays: the days it may be on, 0 = Monday; empty = any.
        trait: the trait that holds the date, or empty: the next such time.
        before_days: how many days before that date.
        yearly: whether the next anniversary of that date is meant.
        zone: an IANA time zone; empty = the customer's own.
    """

    minute: int
    weekdays: tuple[int, ...] = ()
    trait: str = ""
    before_days: int = 0
    yearly: bool = False
    zone: str = ""

    def __str__(self) -> str:
        """Say it in words, to go behind "until"."""
        said = write_time(self.minute)
        if self.weekdays:
            said += " on " + " or ".join(WEEKDAYS[day] for day in self.weekdays)
        if self.trait:
            plural = "" if self.before_days == 1 else "s"
            said += f" {self.before_days} day{plural} before" if self.before_days else " on"
            said += f" {'the next ' if self.yearly else ''}{self.trait.replace('_', ' ')}"
        return f"{said} in {self.zone}" if self.zone else said


class NoDate(Exception):  # noqa: N818 - what the customer's trait says, no mistake of ours
    """A trait gives no date to wait for; the message says why, without the trait's value."""


def until_ms(until: Until, now_ms: int, zone: tzinfo, traits: Mapping[str, Any]) -> int:
    """Return when a wait ends: at least `MIN_DEFERRAL_MS` ahead, or not after `now_ms` when the date is past.

    Args:
        until: the time of day and day.
        now_ms: the instant the wait begins.
        zone: the zone whose clocks are meant.
        traits: the customer's traits.

    Raises:
        NoDate: the trait is absent, no date, or more than 400 days ahead.
    """
    end_ms = _by_date(until, now_ms, zone, traits) if until.trait else _next_time(until, now_ms, zone)
    return max(end_ms, now_ms + MIN_DEFERRAL_MS) if end_ms > now_ms else end_ms


def _next_time(until: Until, now_ms: int, zone: tzinfo) -> int:
    """Return the next such time of day, strictly ahead."""
    day = local_time(now_ms, zone).date()
    for ahead in range(9):  # today may be over, and the same weekday comes again in seven days
        each = day + timedelta(days=ahead)
        if not until.weekdays or each.weekday() in until.weekdays:
            end_ms = instant_ahead(each, until.minute, zone, now_ms)
            if end_ms > now_ms:
                return end_ms
    raise AssertionError("a time of day comes within eight days")


def _by_date(until: Until, now_ms: int, zone: tzinfo, traits: Mapping[str, Any]) -> int:
    name = until.trait
    if name not in traits:
        raise NoDate(f"there is no trait {name}")
    found = read_date(traits[name], zone)
    if found is None:
        raise NoDate(f"the trait {name} is no date (YYYY-MM-DD)")
    today = local_time(now_ms, zone).date()
    for day in [_anniversary(found, today.year + more) for more in range(3)] if until.yearly else [found]:
        ahead = day.toordinal() - until.before_days - today.toordinal()
        if ahead < -2:
            continue  # long past; perhaps before the first day of the calendar
        end_ms = now_ms + MAX_DURATION_MS + 1
        if ahead <= MAX_DURATION_MS // 86_400_000 + 1:
            end_ms = instant_ahead(today + timedelta(days=ahead), until.minute, zone, now_ms)
        if end_ms - now_ms > MAX_DURATION_MS:
            raise NoDate(f"the date in the trait {name} is more than {write_duration(MAX_DURATION_MS)} ahead")
        if end_ms > now_ms:
            return end_ms
    return now_ms


def _anniversary(born: date, year: int) -> date:
    """Return the anniversary in a year; of 29 February the 28th in common years."""
    try:
        return born.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def read_date(value: object, zone: tzinfo) -> date | None:
    """Return the day a trait names, or None when it names none.

    Args:
        value: the trait: an ISO date, or a date-time (one with an offset: the day it is then in `zone`).
        zone: the zone whose clocks are meant.
    """
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return None
    try:
        found = datetime.fromisoformat(value)
        return (found.astimezone(zone) if found.tzinfo is not None else found).date()
    except (ValueError, OverflowError):
        return None
