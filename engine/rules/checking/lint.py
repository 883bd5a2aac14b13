"""Checks beyond types, of one journey: what is possible, but hardly meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

from engine.actions import AGENT
from engine.features.profile import MAX_POSITIONS
from engine.rules.checking.at_entry import find_ruled_out
from engine.rules.checking.divisions import find_divisions
from engine.rules.checking.expressions import is_expression
from engine.rules.checking.spans import always_stopped, latest_end_ms
from engine.rules.expressions.syntax import Name, parse_expression, walk
from engine.rules.journey import Journey, Send, Wait, WaitUntil
from engine.rules.limits import MAX_DURATION_MS
from engine.rules.parsing.parsed import ParsedJourney, ParsedSend, ParsedSet, step_places
from engine.rules.scope import Vocabulary
from engine.rules.text.placement import place_in
from engine.rules.text.source import ErrorList, Place
from engine.rules.text.yaml_nodes import Scalar
from engine.rules.times.units import say_duration, write_duration, write_time

_PERSONAL = (
    (re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+"), "an e-mail address"),
    (re.compile(r"(?<![\w+])\+\d[\d -]{7,16}\d(?!\w)|(?<!\w)1[3-9]\d{9}(?!\w)"), "a phone number"),
)
_DAY_MS = 86_400_000
_MINUTE_MS = 60_000
_DAY_MIN = 1_440
_LONG_RUN_MS = 60 * _DAY_MS
_LONG_PAST = frozenset(
    ("birthday", "birthdate", "birth_date", "date_of_birth", "customer_since", "member_since")
)
_OWN_WORDS = frozenset(f"entry.event.{name}" for name in ("text", "subject", "answer"))


def find_oddities(
    parsed: ParsedJourney, journey: Journey, vocabulary: Vocabulary, problems: ErrorList
) -> None:
    """Look through a journey without errors.

    Args:
        parsed: what the file says, with places.
        journey: the same, compiled.
        vocabulary: what it talks about.
        problems: takes the warnings.
    """
    sequences = {each.name.value: each.steps for each in parsed.sequences}
    places = dict(step_places(parsed.steps, sequences))
    _without_consent(parsed, journey, problems)
    _too_long(parsed, journey, problems)
    _many_runs(parsed, journey, problems)
    _only_once(parsed, journey, problems)
    _long_past(parsed, problems)
    _caps_too_tight(journey, places, problems)
    _gone_by_morning(journey, places, problems)
    find_ruled_out(parsed, vocabulary, problems)
    scalars = tuple(_scalars((parsed.entry, parsed.exits, parsed.steps, parsed.sequences)))
    find_divisions(scalars, parsed.entry, vocabulary, problems)
    _personal_constants(scalars, problems)
    _own_words(parsed, problems)


def _without_consent(parsed: ParsedJourney, journey: Journey, problems: ErrorList) -> None:
    if journey.consent or journey.transactional:
        return
    sends = [step for step in journey.program if isinstance(step, Send) and step.channel != AGENT]
    if sends:
        message = f"messages on {sends[0].channel} go out without anybody being asked for consent"
        hint = "`guards: {consent: marketing}`, or `transactional: true` for receipts and service"
        problems.warn("W0402", message, parsed.name.place, hint)


def _too_long(parsed: ParsedJourney, journey: Journey, problems: ErrorList) -> None:
    longest_ms = latest_end_ms(journey.program)
    if longest_ms > MAX_DURATION_MS:
        days, kept = longest_ms // _DAY_MS, say_duration(MAX_DURATION_MS)
        message = f"a customer can be inside for {days} days, history is kept in detail for {kept}"
        problems.warn("W0406", message, parsed.name.place, "shorten the waits, or make it two journeys")


def _many_runs(parsed: ParsedJourney, journey: Journey, problems: ErrorList) -> None:
    """Runs side by side add up where each lasts long."""
    longest_ms = latest_end_ms(journey.program)
    if parsed.entry.per is not None and longest_ms > _LONG_RUN_MS:
        days = longest_ms // _DAY_MS
        message = f"with `per` a customer can be inside many times, each run lasts up to {days} days"
        hint = f"{MAX_POSITIONS} runs at a time are the most; further entries are suppressed (guard `bound`)"
        problems.warn("W0412", message, parsed.entry.per.place, hint)


def _only_once(parsed: ParsedJourney, journey: Journey, problems: ErrorList) -> None:
    """What comes again and again by itself is hardly meant for once."""
    yearly = journey.until is not None and journey.until.yearly
    if (journey.kind == "schedule" or yearly) and not parsed.entry.reentry_given:
        message = f"each customer gets this once only, although it comes again: {journey.trigger}"
        problems.warn("W0413", message, parsed.entry.place, "say `reentry: always`, or `reentry: never`")


def _long_past(parsed: ParsedJourney, problems: ErrorList) -> None:
    """A day of birth is over when it is learned: by itself it never comes."""
    until = parsed.entry.until
    if parsed.entry.kind == "date" and until is not None and until.trait in _LONG_PAST and not until.yearly:
        message = f"the day in the trait {until.trait} is over when it is learned: nobody enters"
        hint = "say `yearly: true` for each anniversary, and `reentry: always`"
        problems.warn("W0418", message, parsed.entry.place, hint)


def _gone_by_morning(journey: Journey, places: dict[str, Place], problems: ErrorList) -> None:
    """Note sends that quiet hours drop instead of putting off, unless a time of day is waited for."""
    quiet = journey.quiet_hours
    if (
        quiet is None
        or journey.kind in ("schedule", "date")
        or any(_by_the_clock(each) for each in journey.program)
    ):
        return
    quiet_ms = (quiet.end_min - quiet.start_min) % _DAY_MIN * _MINUTE_MS
    for step in journey.program:
        if isinstance(step, Send) and step.channel != AGENT and step.expires_ms < quiet_ms:
            waits = write_time((quiet.end_min - step.expires_ms // _MINUTE_MS) % _DAY_MIN)
            message = f"what is due from {write_time(quiet.start_min)} to {waits} is dropped, not put off"
            expires, least = write_duration(step.expires_ms), write_duration(quiet_ms)
            hint = f"`expires: {expires}` is shorter than the quiet hours {quiet}: write {least} or more"
            problems.warn("W0416", message, places[step.path], hint)


def _by_the_clock(step: object) -> bool:
    return isinstance(step, Wait | WaitUntil) and step.until is not None


def _caps_too_tight(journey: Journey, places: dict[str, Place], problems: ErrorList) -> None:
    """Note sends that a cap of this journey always stops, however late the run comes to them."""
    if journey.transactional:
        return
    for each in always_stopped(journey.program, journey.caps, lambda step: step.channel != AGENT):
        days = say_duration(each.most_ms)
        ago = f"what it counts is at most {days} ago" if each.most_ms else "no time lies between"
        message = f"the cap {each.cap} always stops this message: {ago}"
        problems.warn("W0407", message, places[each.send.path], "wait longer before it, or allow more")


def _personal_constants(scalars: Iterable[Scalar], problems: ErrorList) -> None:
    """Constants of conditions stand in the reasons of decisions, those of messages in the action topics."""
    for scalar in scalars:
        for pattern, what in _PERSONAL:
            found = pattern.search(scalar.text)
            if found:
                hint = "personal data belongs into the profile, not into a rule or a log"
                problems.warn("W0410", f"this looks like {what}", place_in(scalar, found.start()), hint)


def _own_words(parsed: ParsedJourney, problems: ErrorList) -> None:
    """What customers wrote may go to a person who helps them, but nowhere it is kept or passed on."""
    for step in _steps((parsed.steps, parsed.sequences)):
        scalars = [step.to] if isinstance(step, ParsedSet) else [scalar for _, scalar in step.data]
        if isinstance(step, ParsedSend) and step.channel.value == AGENT:
            continue
        for scalar in scalars:
            if "entry.event." not in scalar.text or not is_expression(scalar):
                continue
            for part in walk(parse_expression(scalar.text)):
                if isinstance(part, Name) and part.dotted in _OWN_WORDS:
                    message = f"`{part.dotted}` holds the customer's own words"
                    hint = "tasks for `agent` may have them; elsewhere say what it is about"
                    problems.warn("W0410", message, place_in(scalar, part.start), hint)


def _scalars(value: object) -> Iterator[Scalar]:
    """Yield every YAML value below a parsed part."""
    return (each for each in _below(value, (Scalar,)) if isinstance(each, Scalar))


def _steps(value: object) -> Iterator[ParsedSend | ParsedSet]:
    """Yield every step below a parsed part that gives values."""
    found = _below(value, (ParsedSend, ParsedSet))
    return (each for each in found if isinstance(each, ParsedSend | ParsedSet))


def _below(value: object, wanted: tuple[type, ...]) -> Iterator[object]:
    """Yield what is of the wanted types below a parsed part, in its order, and nothing below that."""
    left: list[Any] = [value]
    while left:
        part = left.pop()
        kind: Any = type(part)
        if kind in wanted:
            yield part
        elif isinstance(part, tuple):
            left.extend(reversed(part))
        else:
            left.extend(getattr(part, name) for name in _parts_of(kind))


@lru_cache(maxsize=64)
def _parts_of(kind: type) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, the last one first; of others none."""
    return tuple(part.name for part in reversed(fields(kind))) if is_dataclass(kind) else ()
