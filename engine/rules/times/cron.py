"""Cron expressions: read, said in words, and the instants they name in a time zone.

`cronsim` reads and evaluates them. Hours and minutes are written out for it as plain lists, so that one rule
holds for all of them on the days the clocks change: each time of day comes once a day, at the first moment
the clocks show it or have jumped past it.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

from engine.rules.limits import MAX_CRON_CHARS

_FIELDS = 5
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_YEAR = len(_MONTHS)
_TWO_DAYS = timedelta(days=2)
_SOME_DAY = datetime(2024, 1, 1)  # noqa: DTZ001 - whatever the zone, of a leap year


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression.

    Args:
        text: as written, spaces tidied.
        plain: with hours and minutes as lists; equal ones name the same instants.
        per_day: how often it comes on a day it comes at all.
    """

    text: str
    plain: str
    per_day: int


def read_cron(text: str) -> Cron | str:
    """Return the expression, or what is wrong with it.

    Args:
        text: five fields: minute, hour, day of the month, month, day of the week.
    """
    parts = text.split()
    if len(text) > MAX_CRON_CHARS:
        return f"a schedule has at most {MAX_CRON_CHARS} characters"
    if len(parts) != _FIELDS:
        return f"a schedule has five fields, not {len(parts)}"
    try:
        found = CronSim(" ".join(parts), _SOME_DAY)
        next(found)
    except CronSimError as error:
        return _no_such_day(parts) or f"{str(error).lower()} in the schedule {text!r}"
    except StopIteration:
        return f"the schedule {text!r} names no day that exists"
    minutes, hours = (",".join(map(str, sorted(each))) for each in (found.minutes, found.hours))
    return Cron(
        text=" ".join(parts),
        plain=" ".join((minutes, hours, *parts[2:])).upper(),
        per_day=len(found.minutes) * len(found.hours),
    )


def _no_such_day(parts: Sequence[str]) -> str:
    """Say that a month has no such day, as 30 February; empty when something else is wrong."""
    day, month = parts[2:4]
    name = _MONTHS[int(month) - 1] if month.isdecimal() and 1 <= int(month) <= _YEAR else month.upper()
    if not day.isdecimal() or name not in _MONTHS:
        return ""
    days = monthrange(_SOME_DAY.year, _MONTHS.index(name) + 1)[1]
    return f"{name} has no day {day}: its last is {days}, or `L`" if int(day) > days else ""


def say_cron(text: str) -> str:
    """Return a checked expression in words, such as `at 09:00 on Monday`."""
    said: str = CronSim(text, _SOME_DAY).explain()
    return said[0].lower() + said[1:]


def instants(plain: str, zone: tzinfo, after_ms: int) -> Iterator[int]:
    """Yield the instants of a schedule after a moment, in order, as milliseconds since the epoch.

    Args:
        plain: `Cron.plain`.
        zone: whose clocks count.
        after_ms: the moment; yields begin strictly after it.
    """
    # Two days before, where no change of the clocks at the moment itself can lead astray.
    begin = datetime.fromtimestamp(after_ms / 1000, zone) - _TWO_DAYS
    last_ms = after_ms
    for each in CronSim(plain, begin):
        at_ms = round(each.timestamp()) * 1000
        if at_ms > last_ms:
            yield at_ms
            last_ms = at_ms
