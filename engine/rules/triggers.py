"""What makes customers enter, in words."""

from __future__ import annotations

from collections.abc import Callable

from engine.events import EVENT_TYPES, say_type
from engine.rules.parsing.parsed import ParsedEntry
from engine.rules.sentences import say_name, say_number
from engine.rules.times.cron import say_cron
from engine.rules.times.units import say_duration


def say_trigger(entry: ParsedEntry) -> str:
    """Say in words what makes a customer enter."""
    return _SAYINGS[entry.kind](entry)


def _event(entry: ParsedEntry) -> str:
    events = entry.events or ((entry.event,) if entry.event else ())
    return " or ".join(say_type(each.value) for each in events)


def _absent(entry: ParsedEntry) -> str:
    event = entry.event.value if entry.event else ""
    thing = say_name((EVENT_TYPES[event].singular,)) if event in EVENT_TYPES else event
    length = say_duration(entry.for_ms)
    return {
        "last": f"no {thing} for {length}",
        "first": f"no second {thing} within {length} of the first",
        "signup": f"no {thing} within {length} of signing up",
    }[entry.since]


def _segment(entry: ParsedEntry) -> str:
    name = entry.segment.value if entry.segment else ""
    return f"{entry.kind.removeprefix('segment_')} segment {name}"


def _count(entry: ParsedEntry) -> str:
    event = entry.event.value if entry.event else ""
    things = say_name((EVENT_TYPES[event].stem,)) if event in EVENT_TYPES else event
    return f"{entry.at_least} {things} within {say_duration(entry.for_ms)}"


def _schedule(entry: ParsedEntry) -> str:
    within = f", in segment {entry.segment.value}" if entry.segment else ""
    return f"{say_cron(entry.schedule.text) if entry.schedule else ''}{within}"


def _crossing(entry: ParsedEntry) -> str:
    feature = say_name(entry.feature.value.split(".")) if entry.feature else ""
    way = "rises above" if entry.kind == "rises" else "falls below"
    return f"{feature} {way} {say_number(entry.level)}"


_SAYINGS: dict[str, Callable[[ParsedEntry], str]] = {
    "event": _event,
    "absent": _absent,
    "unanswered": lambda entry: f"inquiry unanswered for {say_duration(entry.for_ms)}",
    "segment_entered": _segment,
    "segment_exited": _segment,
    "count": _count,
    "schedule": _schedule,
    "rises": _crossing,
    "falls": _crossing,
    "date": lambda entry: f"it is {entry.until}",
}
