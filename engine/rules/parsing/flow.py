"""How the steps of a parsed journey hang together: how many, which are never reached, which sequences run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from engine.rules.limits import MAX_SEQUENCE_DEPTH, MAX_STEPS
from engine.rules.parsing.parsed import (
    ParsedBranch,
    ParsedLeave,
    ParsedRun,
    ParsedSequence,
    ParsedSplit,
    ParsedStep,
    ParsedWaitUntil,
    children_of,
)
from engine.rules.text.source import ErrorList, Place, nearest

Steps = tuple[ParsedStep, ...]


def check_flow(steps: Steps, sequences: tuple[ParsedSequence, ...], place: Place, errors: ErrorList) -> None:
    """Note steps never reached, sequences that are unknown, unused or run themselves, and too many steps.

    Args:
        steps: the journey's steps.
        sequences: the journey's sequences.
        place: where the list of steps stands.
        errors: takes every problem.
    """
    flow = _Flow({each.name.value: each.steps for each in sequences}, errors)
    flow.height(steps, ())
    used = set(flow.heights)
    for each in sequences:
        name = each.name.value
        if name not in used:
            hint = f"run it by `- run: {name}`, or remove it"
            errors.add("E0227", f"the sequence {name!r} is never run", each.name.place, hint)
        if name not in flow.heights:
            flow.height(each.steps, (name,))
    if flow.broken:
        return  # what runs itself has no end to look for and no number of steps
    flow.reach(steps)
    for each in sequences:
        flow.reach(each.steps)
    count = flow.count(steps)
    if count > MAX_STEPS:
        inlined = ", those of its sequences counted at each `run`" if sequences else ""
        errors.add("E0208", f"the journey has {count} steps{inlined}, the limit is {MAX_STEPS}", place)


def walk_steps(steps: Steps) -> Iterator[ParsedStep]:
    """Yield the steps and all those inside of them, in file order; sequences are not entered."""
    for step in steps:
        yield step
        for inner in children_of(step):
            yield from walk_steps(inner)


@dataclass(slots=True)
class _Flow:
    sequences: Mapping[str, Steps]
    errors: ErrorList
    heights: dict[str, int] = field(default_factory=dict)
    broken: bool = False
    _leaves: dict[str, bool] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def height(self, steps: Steps, inside: tuple[str, ...]) -> int:
        """Follow every `run`; return how many levels of sequences lie below these steps.

        Args:
            steps: where to begin.
            inside: the sequences that have led here.
        """
        height = 0
        for step in walk_steps(steps):
            if isinstance(step, ParsedRun) and self._known(step, inside):
                name, place = step.sequence.value, step.sequence.place
                if name not in self.heights:
                    self.heights[name] = self.height(self.sequences[name], (*inside, name))
                if inside and self.heights[name] + 1 >= MAX_SEQUENCE_DEPTH:
                    said = f"sequences run each other deeper than {MAX_SEQUENCE_DEPTH}"
                    self.errors.add("E0208", said, place)
                height = max(height, self.heights[name] + 1)
        return height

    def _known(self, step: ParsedRun, inside: tuple[str, ...]) -> bool:
        name, place = step.sequence.value, step.sequence.place
        if name in inside:
            round_trip = " runs ".join((*inside[inside.index(name) :], name))
            self.errors.add("E0226", f"a sequence cannot run itself: {round_trip}", place)
        elif name not in self.sequences:
            hint = nearest(name, self.sequences) or "sequences stand under `sequences:` in the same file"
            self.errors.add("E0225", f"unknown sequence {name!r}", place, hint)
        else:
            return True
        self.broken = True
        return False

    def reach(self, steps: Steps) -> None:
        """Note the first step of each list that nothing leads to."""
        for before, step in pairwise(steps):
            if self._ends(before):
                after_exit = isinstance(before, ParsedLeave)
                why = "it follows `exit`" if after_exit else "every way to it ends in `exit`"
                self.errors.add("E0214", f"this step can never be reached: {why}", step.place)
                break
        for step in steps:
            for inner in children_of(step):
                self.reach(inner)

    def _ends(self, step: ParsedStep) -> bool:
        """Tell whether every way through a step ends in `exit`."""
        match step:
            case ParsedLeave():
                return True
            case ParsedRun(sequence=sequence):
                name = sequence.value
                if name not in self._leaves:
                    self._leaves[name] = self._all_end(self.sequences[name])
                return self._leaves[name]
            case ParsedWaitUntil() | ParsedBranch() | ParsedSplit():
                return all(self._all_end(inner) for inner in children_of(step))
            case _:
                return False

    def _all_end(self, steps: Steps) -> bool:
        return any(self._ends(step) for step in steps)

    def count(self, steps: Steps) -> int:
        """Return how many steps there are, those of sequences counted where they run."""
        total = 0
        for step in walk_steps(steps):
            total += 1
            if isinstance(step, ParsedRun):
                name = step.sequence.value
                if name not in self._counts:
                    self._counts[name] = self.count(self.sequences[name])
                total += self._counts[name]
        return total
