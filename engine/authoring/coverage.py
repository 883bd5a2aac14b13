"""Which parts of a journey its cases went through: steps, branches, exits, and what its guards did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from engine.actions import Outcome
from engine.authoring.simulation import Record
from engine.rules.context import EXITED
from engine.rules.journey import Branch, Instruction, Journey, Jump, Send, Split, WaitUntil

KINDS = ("entry", "step", "branch", "exit", "guard")
_HELD_BACK = (Outcome.SUPPRESSED, Outcome.DEFERRED, Outcome.HELD_OUT, Outcome.EXITED)
# key of `guards` to the guard's name in decisions; one is tested when it has held something back once
_GUARDS = {
    "consent": "consent",
    "cap": "cap",
    "quiet_hours": "quiet_hours",
    "send_window": "send_window",
    "exclusion_group": "exclusion_group",
    "entry_cap": "entry_cap",
    "holdout": "holdout",
}
_NOT_TRANSACTIONAL = ("consent", "cap", "quiet_hours", "send_window")


@dataclass(frozen=True, slots=True)
class Part:
    """One thing a case can go through.

    Args:
        kind: of `KINDS`.
        name: the step's path, the branch, the event, the guard.
        line: where it stands in the journey's file; 0 = unknown.
        covered: whether any case went through it.
    """

    kind: str
    name: str
    line: int
    covered: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """What the cases of a journey went through.

    Args:
        journey: the journey's name.
        file: its file.
        parts: everything there is to go through, in file order by kind.
    """

    journey: str
    file: str
    parts: tuple[Part, ...]

    @property
    def percent(self) -> float:
        """The share of all parts, 0-100."""
        return percent(self.parts)

    def of(self, kind: str) -> tuple[Part, ...]:
        """Return the parts of a kind."""
        return tuple(part for part in self.parts if part.kind == kind)

    @property
    def untested(self) -> tuple[Part, ...]:
        """The parts no case went through."""
        return tuple(part for part in self.parts if not part.covered)


def percent(parts: Iterable[Part]) -> float:
    """Return the share of parts covered, 0-100; 100 of none."""
    covered = [part.covered for part in parts]
    return 100.0 * sum(covered) / len(covered) if covered else 100.0


def coverage(journey: Journey, records: Iterable[Record]) -> Coverage:
    """Return what cases went through.

    Args:
        journey: the journey under test.
        records: what came of its cases.
    """
    seen = _Seen(set(), set(), set(), set())
    for record in records:
        seen.edges.update(move[2:] for move in record.moves if move[:2] == (journey.name, journey.version))
        seen.rows.update(row[2:] for row in record.chosen if row[:2] == (journey.name, journey.version))
        seen.guards.update(
            each.reason.guard
            for each in record.decisions
            if (each.journey, each.version) == (journey.name, journey.version) and each.outcome in _HELD_BACK
        )
        seen.converted.update(each.journey for each in record.decisions if each.outcome is Outcome.CONVERTED)
    parts: tuple[Part, ...] = (*_entry(journey, seen), *_steps(journey, seen), *_branches(journey, seen))
    parts += (*_exits(journey, seen), *_goal(journey, seen), *_guards(journey, seen))
    return Coverage(journey.name, journey.file, parts)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What happened to a journey: ways taken, (step's path, row) of tables, guards that held back.

    `converted` are the journeys whose goal was reached.
    """

    edges: set[tuple[int, int]]
    rows: set[tuple[str, int]]
    guards: set[str]
    converted: set[str]


def _entry(journey: Journey, seen: _Seen) -> Iterator[Part]:
    entered = any(before < 0 for before, _ in seen.edges)
    yield Part("entry", journey.trigger, journey.lines.get("entry", 0), entered)


def _steps(journey: Journey, seen: _Seen) -> Iterator[Part]:
    reached = {after for _, after in seen.edges}
    paths: dict[str, bool] = {}
    for pc, step in enumerate(journey.program):
        if not isinstance(step, Jump):
            paths[step.path] = paths.get(step.path, False) or pc in reached
    for path, covered in paths.items():
        yield Part("step", path, journey.lines.get(path, 0), covered)


def _branches(journey: Journey, seen: _Seen) -> Iterator[Part]:
    always_out = {each.code for each in journey.exits if each.where is None}
    for pc, step in enumerate(journey.program):
        for path, target in ways(step, always_out):
            line = journey.lines.get(path) or journey.lines.get(_path(step), 0)
            yield Part("branch", path, line, (pc, target) in seen.edges)
        if isinstance(step, Send) and step.row is not None:
            start = f"{step.path}.table["
            for path in (name for name in journey.lines if name.startswith(start)):
                number = int(path[len(start) : -1])
                yield Part("branch", path, journey.lines[path], (step.path, number) in seen.rows)


def ways(step: Instruction, always_out: AbstractSet[int] = frozenset()) -> tuple[tuple[str, int], ...]:
    """Return the ways out of a step that has several: the path of each and where it leads.

    Args:
        step: the step.
        always_out: codes of the events that end a run wherever it stands; waiting for one of these is waiting
            for the time to be over.
    """
    match step:
        case WaitUntil(path=path, awaited=awaited):
            comes = not all(each.code in always_out for each in awaited)
            then = ((f"{path}.then", step.then_pc),) if comes else ()
            return (*then, (f"{path}.otherwise", step.otherwise_pc))
        case Branch(path=path, arms=arms):
            return (*((arm.path, arm.pc) for arm in arms), (f"{path}.else", step.else_pc))
        case Split(variants=variants):
            return tuple((each.path, each.pc) for each in variants)
    return ()


def _path(step: Instruction) -> str:
    return "" if isinstance(step, Jump) else step.path


def _exits(journey: Journey, seen: _Seen) -> Iterator[Part]:
    ended = {after for _, after in seen.edges}
    for number, each in enumerate(journey.exits):
        line = journey.lines.get(f"exit[{number}]", 0)
        yield Part("exit", each.event_type, line, EXITED - number in ended)


def _goal(journey: Journey, seen: _Seen) -> Iterator[Part]:
    if journey.goal is not None:
        line = journey.lines.get("goal", 0)
        yield Part("goal", journey.goal.event_type, line, journey.name in seen.converted)


def _guards(journey: Journey, seen: _Seen) -> Iterator[Part]:
    """Yield the guards the file names that can hold a message or an entry back."""
    for key, guard in _GUARDS.items():
        line = journey.lines.get(f"guards.{key}", 0)
        if line and not (journey.transactional and key in _NOT_TRANSACTIONAL):
            yield Part("guard", key, line, guard in seen.guards)
