"""Checks beyond types, over all journeys of a deployment together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from engine.rules.expressions.ranges import Atom, atoms_of, contradiction
from engine.rules.expressions.syntax import parse_expression
from engine.rules.journey import Journey, Send
from engine.rules.parsing.parsed import ParsedEntry, ParsedJourney, step_places
from engine.rules.text.source import ErrorList, Placed
from engine.rules.text.yaml_nodes import Scalar

_NOT_THE_TRIGGER = frozenset(
    ("where", "when", "at_once_where", "at_once_when", "reentry", "reentry_given", "place", "per")
)


@dataclass(frozen=True, slots=True)
class Linted:
    """A journey without errors, and where to note what is odd about it."""

    parsed: ParsedJourney
    journey: Journey
    problems: ErrorList


def find_oddities_between(files: Sequence[Linted]) -> None:
    """Look through all journeys together; a file checked alone has no others to be held against.

    Args:
        files: every journey without errors; their error lists take the warnings.
    """
    if len(files) < 2:
        return
    newest = dict(sorted((each.journey.name, each.journey.version) for each in files))
    entering = [
        each for each in files if each.journey.enabled and newest[each.journey.name] == each.journey.version
    ]
    _lonely_groups(entering)
    _same_answers(entering)


def _lonely_groups(files: Iterable[Linted]) -> None:
    members: dict[str, list[Linted]] = {}
    for each in files:
        group = each.parsed.guards.exclusion_group
        if group is not None:
            members.setdefault(group.value, []).append(each)
    for name, found in members.items():
        group = found[0].parsed.guards.exclusion_group
        if len(found) == 1 and group is not None:
            message = f"no other journey is in the exclusion group {name!r}, so it excludes nothing"
            found[0].problems.warn("W0408", message, group.place, "is the name right?")


def _same_answers(files: Sequence[Linted]) -> None:
    """Note journeys that send the same template for the same entry: who is in both gets it twice."""
    first: dict[tuple[object, str, str], list[Linted]] = {}
    for each in files:
        trigger = tuple(_trigger(each.parsed.entry))
        sequences = {sequence.name.value: sequence.steps for sequence in each.parsed.sequences}
        places = dict(step_places(each.parsed.steps, sequences))
        sends = {
            (step.channel, step.template): step for step in each.journey.program if isinstance(step, Send)
        }
        for (channel, template), step in sends.items():
            others = first.setdefault((trigger, channel, template), [])
            twin = next(
                (other for other in others if _can_both_enter(each.parsed.entry, other.parsed.entry)), None
            )
            if twin is not None:
                message = f"{twin.journey.name} sends {template} on {channel} for the same entry, too"
                hint = f"see {twin.journey.file}; who enters both gets it twice"
                each.problems.warn("W0409", message, places[step.path], hint)
            others.append(each)


def _trigger(entry: ParsedEntry) -> Iterator[object]:
    """Yield what makes customers enter, conditions and places left out."""
    for part in fields(entry):
        if part.name not in _NOT_THE_TRIGGER:
            value = getattr(entry, part.name)
            yield value.value if isinstance(value, Placed) else value


def _can_both_enter(one: ParsedEntry, other: ParsedEntry) -> bool:
    """Tell whether nothing in their conditions keeps a customer from entering both."""
    pairs = ((one.where, other.where), (one.when, other.when))
    return all(contradiction([*_atoms(left), *_atoms(right)]) is None for left, right in pairs)


def _atoms(scalar: Scalar | None) -> Iterator[Atom]:
    if scalar is not None:
        yield from atoms_of(parse_expression(scalar.text))
