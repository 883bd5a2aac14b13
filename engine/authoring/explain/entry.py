"""The entry of a journey as of now: what has to happen before a customer can enter."""

from __future__ import annotations

from collections.abc import Callable

from engine.authoring.explain.checks import Check, Person
from engine.authoring.explain.moments import say_moment, say_span
from engine.authoring.explain.standing import say_event
from engine.events import TYPE_BY_CODE
from engine.features.catalog import NEVER_DAYS
from engine.rules.journey import Journey
from engine.rules.keys import mark_of
from engine.rules.sentences import as_written, say_number
from engine.rules.times.units import say_duration

_DAY_MS = 86_400_000


def check_entry(journey: Journey, person: Person) -> tuple[Check, ...]:
    """Say what has to happen for the customer to enter, and how far it is.

    Args:
        journey: the version that takes new entries.
        person: the customer.
    """
    judge = _KINDS.get(journey.kind)
    if judge is not None:
        return (judge(journey, person),)
    if journey.kind in ("schedule", "date"):
        return (_open(f"enters when {journey.trigger}", f"the next time: {journey.trigger}"),)
    where = f" where `{as_written(journey.where.whole.program.text)}`" if journey.where is not None else ""
    return (_open(f"enters at: {journey.trigger}{where}", f"an event: {journey.trigger}{where}"),)


def _open(text: str, missing: str) -> Check:
    return Check(about="entry", verdict="open", text=text, missing=missing)


def _absent(journey: Journey, person: Person) -> Check:
    """Tell how long the awaited event has been away; it counts once, at its moment."""
    kind = TYPE_BY_CODE[journey.code]
    thing = kind.singular.replace("_", " ")
    feature = {"last": f"days_since_{kind.singular}", "first": f"days_since_first_{kind.singular}"}
    days = float(person.values.get(feature.get(journey.since, "days_since_signup"), NEVER_DAYS))
    begin = {"last": f"the last {thing}", "first": f"the first {thing}", "signup": "signing up"}[
        journey.since
    ]
    span = say_duration(journey.for_ms)
    if days >= NEVER_DAYS:
        return _open(f"enters {span} after {begin}; there was none yet", f"{begin}, then {span} without one")
    ago_ms = int(days * _DAY_MS)
    due_ms = person.now_ms - ago_ms + journey.for_ms
    if journey.since != "last" and _happened_since(journey, person, ago_ms):
        text = f"{_a(thing)} came within {span} of {begin}: this entry cannot come any more"
        return Check(about="entry", verdict="no", text=text, missing=text)
    if ago_ms < journey.for_ms:
        text = f"{begin} was {say_span(ago_ms)} ago, {span} are asked for"
        return _open(text, f"no {thing} until {say_moment(due_ms)}")
    text = f"{begin} was {say_span(ago_ms)} ago; the moment was {say_moment(due_ms)} and comes once"
    again = f"another {thing}, then {span} without one" if journey.since == "last" else "nothing: it is over"
    return Check(about="entry", verdict="no", text=text, missing=f"the moment has passed; next: {again}")


def _happened_since(journey: Journey, person: Person, ago_ms: int) -> bool:
    """Tell whether the awaited event came (again) after the instant counted from, within the time."""
    kind = TYPE_BY_CODE[journey.code]
    last_ms = int(float(person.values.get(f"days_since_{kind.singular}", NEVER_DAYS)) * _DAY_MS)
    return last_ms < ago_ms - 1000


def _crossing(journey: Journey, person: Person) -> Check:
    """Tell on which side of the level the customer is; crossing it counts, being beyond does not."""
    value = say_number(float(person.values.get(journey.feature, 0.0)))
    if journey.name in person.profile.beyond:
        back = "falls back" if journey.kind == "rises" else "rises again"
        text = f"enters when {journey.trigger}; it is {value} already"
        return Check(
            about="entry", verdict="no", text=text, missing=f"it {back} first, then: {journey.trigger}"
        )
    return _open(f"enters when {journey.trigger}; it is {value}", f"{journey.trigger} (it is {value})")


def _a(thing: str) -> str:
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def _unanswered(journey: Journey, person: Person) -> Check:
    waiting = [
        inquiry.opened_ms
        for inquiry_id, inquiry in person.profile.inquiries.items()
        if not inquiry.replied and mark_of(journey, inquiry_id) not in person.profile.entered
    ]
    span = say_duration(journey.for_ms)
    if not waiting:
        text = "no inquiry is open that this journey has not dealt with"
        return _open(text, f"an inquiry unanswered for {span}")
    due_ms = min(waiting) + journey.for_ms
    return _open(
        f"an inquiry is open; it enters at {say_moment(due_ms)}", f"no reply until {say_moment(due_ms)}"
    )


def _count(journey: Journey, person: Person) -> Check:
    """Tell how many of the events counted there are; with `per` each key is counted apart."""
    event = say_event(journey.code, journey.where)
    if journey.per:
        return _open(f"enters at {journey.trigger}", f"{journey.trigger}: {event}")
    after_ms = person.now_ms - journey.for_ms
    have = sum(time_ms > after_ms for time_ms in person.profile.counts.get(journey.name, ()))
    more = journey.at_least - have
    return _open(f"enters at {journey.trigger}, {have} so far", f"{more} more: {event}")


def _segment(journey: Journey, person: Person) -> Check:
    segment = str(person.values.get("segment", "")) or "no segment"
    entering = journey.kind == "segment_entered"
    inside = segment == journey.segment
    now = f'segment is "{segment}"'
    if entering:
        needed = (
            f'must leave "{journey.segment}" and enter it again'
            if inside
            else f'must enter "{journey.segment}"'
        )
    else:
        needed = (
            f'must leave "{journey.segment}"' if inside else f'must enter "{journey.segment}" and leave it'
        )
    return _open(f"{now}; enters when the segment changes", f"{now}, {needed}")


_KINDS: dict[str, Callable[[Journey, Person], Check]] = {
    "absent": _absent,
    "unanswered": _unanswered,
    "segment_entered": _segment,
    "segment_exited": _segment,
    "count": _count,
    "rises": _crossing,
    "falls": _crossing,
}
