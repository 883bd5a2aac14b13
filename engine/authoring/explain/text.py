"""An explanation as lines of text, each with a style for terminals that have colours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.actions import Outcome
from engine.authoring.explain.checks import Check, Contacts
from engine.authoring.explain.explanation import Considered, Explanation, JourneyExplanation, Origin
from engine.authoring.explain.moments import say_moment
from engine.authoring.explain.parts import Part
from engine.rules.times.units import say_duration

Line = tuple[str, str]  # text, and style: `head`, `dim`, `yes`, `no`, `open` or none

_MARKS = {"yes": "✓", "no": "✗", "open": "○"}
_MAX_SHOWN = 40  # instants of one journey; JSON has all


@dataclass(frozen=True, slots=True)
class Look:
    """How much to show: `alone` when one journey was asked for: shown in full also if nothing happened."""

    alone: bool


def explanation_lines(explained: Explanation, look: Look) -> list[Line]:
    """Lay an explanation out.

    Args:
        explained: the explanation.
        look: how much to show.
    """
    lines: list[Line] = [(f"{explained.customer_id} as of {say_moment(explained.now_ms)}", "head")]
    lines.extend((text, "dim") for text in _scope(explained))
    quiet = []
    for journey in explained.journeys:
        if look.alone or journey.considered or journey.standing:
            lines.extend(_journey(journey))
        else:
            quiet.append(journey)
    if quiet:
        lines.extend((("", ""), ("not considered in this time; what is missing now", "head")))
        lines.extend(line for journey in quiet for line in _brief(journey))
    return lines


def _scope(explained: Explanation) -> Iterator[str]:
    asked = f"looked back to {say_moment(explained.since_ms)}"
    if not explained.reaches_ms:
        yield f"{asked}; the decision topic holds nothing on this customer's partition"
    elif explained.reaches_ms > explained.since_ms:
        yield f"{asked}; the decision topic reaches back to {say_moment(explained.reaches_ms)} only"
    else:
        yield f"{asked}; the decision topic reaches back to {say_moment(explained.reaches_ms)}"
    if explained.rules:
        yield f"rules: publication {explained.rules}"
    if explained.sample < 1:
        yield (
            f"events that did not match are logged for {explained.sample * 100:g}% of events only "
            "(decisions.not_matched_sample): others that did not match leave no trace here"
        )


def _journey(journey: JourneyExplanation) -> Iterator[Line]:
    where = f" ({journey.file})" if journey.file else " (not among the rules any more)"
    yield "", ""
    yield f"{journey.journey}{f' v{journey.version}' if journey.version else ''}{where}", "head"
    yield from _history(journey.considered)
    for standing in journey.standing:
        instance = f" [{standing.instance}]" if standing.instance else ""
        yield f"  inside{instance} since {say_moment(standing.entered)}, version {standing.version}", ""
        at = f"{standing.step}{f', line {standing.line}' if standing.line else ''}"
        yield f"    at {at}: {standing.text}", ""
        yield from ((f"    {end}", "dim") for end in standing.ends)
    yield from _contacts(journey.contacts)
    yield from ((f"  goal: {goal}", "") for goal in journey.goals)
    if journey.checks:
        yield "  what would make it fire now", ""
        yield from (_check(check) for check in journey.checks)
        if journey.missing:
            yield "  missing", ""
            yield from ((f"    {text}", "") for text in journey.missing)
        else:
            yield "  nothing is missing", "yes"


def _brief(journey: JourneyExplanation) -> Iterator[Line]:
    yield f"  {journey.journey}: {'; '.join(journey.missing) or 'nothing'}", ""


def _history(considered: tuple[Considered, ...]) -> Iterator[Line]:
    if not considered:
        yield "  not considered in this time", "dim"
        return
    left_out = len(considered) - _MAX_SHOWN
    if left_out > 0:
        yield f"  {left_out} earlier ones are left out; --json has all", "dim"
    for each in considered[-_MAX_SHOWN:]:
        yield from _considered(each)


def _considered(each: Considered) -> Iterator[Line]:
    guard = f" by {each.guard}" if each.guard and each.outcome != Outcome.EXITED else ""
    place = f"{each.step}{f', line {each.line}' if each.line else ''}"
    style = {
        Outcome.FIRED: "yes",
        Outcome.ENTERED: "yes",
        Outcome.COMPLETED: "yes",
        Outcome.CONVERTED: "yes",
    }.get(each.outcome, "no")
    style = "open" if each.outcome == Outcome.DEFERRED else style
    said = f"{each.outcome.replace('_', ' ')}{guard}"
    yield f"  {say_moment(each.time)}  {said}: {each.text}", style
    cause = f"{each.event_type} {each.event_id}".strip()
    until = f"; taken up again {say_moment(each.until)}" if each.until else ""
    message = f"; message {each.action_id}" if each.action_id else ""
    yield f"      v{each.version} {place}; by {cause}{until}{message}", "dim"
    yield from _parts(each.parts, "      ")


def _parts(parts: Iterable[Part], indent: str) -> Iterator[Line]:
    for part in parts:
        style = {True: "yes", False: "no", None: "open"}[part.holds]
        yield f"{indent}{_MARKS[style]} {part.text}", style


def _contacts(contacts: Iterable[Contacts]) -> Iterator[Line]:
    for each in contacts:
        free = f"; the next from {say_moment(each.free_ms)}" if each.free_ms else ""
        window = say_duration(each.window_ms)
        text = f"  contacts by {each.whose} in {window}: {each.count} of {each.cap}{free}"
        yield text, "no" if each.free_ms else ""


def _check(check: Check) -> Line:
    return f"    {_MARKS[check.verdict]} {check.text}", check.verdict


def origin_lines(origin: Origin) -> list[Line]:
    """Lay out where a message comes from.

    Args:
        origin: what was found.
    """
    lines: list[Line] = [(f"message {origin.action_id} for {origin.customer_id}", "head")]
    facts = {
        "decided": say_moment(origin.time),
        "because": origin.text,
        "event": f"{origin.event_type} {origin.event_id}",
        "journey": f"{origin.journey} version {origin.version}",
        "step": _place(origin, origin.step, origin.step_line),
        "sends": f"{origin.template} on {origin.channel}" if origin.template else "",
        "entry": _place(origin, "entry", origin.entry_line),
        "values": ", ".join(f"{name} = {value}" for name, value in origin.values.items()),
    }
    lines.extend((f"  {name:<8} {text}", "") for name, text in facts.items() if text)
    lines.extend(_parts(origin.parts, "    "))
    lines.append(("  the run", ""))
    lines.extend(line for each in origin.run for line in _considered(each))
    return lines


def _place(origin: Origin, step: str, line: int) -> str:
    return (
        f"{step} at {origin.file}:{line}" if line else f"{step}; this version is not among the rules any more"
    )
