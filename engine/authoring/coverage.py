"""Which parts of a journey its cases went through: steps, branches, exits, and what its guards did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from engine.actions import Outcome
from engine.authoring.simulation import Record
from engine.rules.journey import Branch, Instruction, Journey, Jump, Split, WaitUntil

KINDS = ("entry", "step", "branch", "exit", "guard")
# guard to what its decision says; one is tested when it has held something back at least once
_OUTCOMES = (Outcome.SUPPRESSED, Outcome.DEFERRED, Outcome.HELD_OUT, Outcome.EXITED)


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
    edges: set[tuple[int, int]] = set()
    told: set[tuple[str, str]] = set()  # outcome and guard of decisions; and of exits, their words
    for record in records:
        edges.update(
            (before, after)
            for name, version, before, after in record.moves
            if (name, version) == (journey.name, journey.version)
        )
        for decision in record.decisions:
            if (decision.journey, decision.version) == (journey.name, journey.version):
                told.add((decision.outcome, decision.reason.guard))
                if decision.outcome is Outcome.EXITED:
                    told.add(("text", decision.reason.text))
    parts = (*_entry(journey, edges), *_steps(journey, edges), *_branches(journey, edges))
    return Coverage(journey.name, journey.file, (*parts, *_exits(journey, told), *_guards(journey, told)))


def _entry(journey: Journey, edges: AbstractSet[tuple[int, int]]) -> Iterator[Part]:
    entered = any(before < 0 for before, _ in edges)
    yield Part("entry", journey.trigger, journey.lines.get("entry", 0), entered)


def _steps(journey: Journey, edges: AbstractSet[tuple[int, int]]) -> Iterator[Part]:
    reached = {after for _, after in edges}
    seen: dict[str, bool] = {}
    for pc, step in enumerate(journey.program):
        if not isinstance(step, Jump):
            seen[step.path] = seen.get(step.path, False) or pc in reached
    for path, covered in seen.items():
        yield Part("step", path, journey.lines.get(path, 0), covered)


def _branches(journey: Journey, edges: AbstractSet[tuple[int, int]]) -> Iterator[Part]:
    always_out = {each.code for each in journey.exits if each.where is None}
    for pc, step in enumerate(journey.program):
        for path, target in ways(step, always_out):
            line = journey.lines.get(path) or journey.lines.get(_path(step), 0)
            yield Part("branch", path, line, (pc, target) in edges)


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


def _exits(journey: Journey, told: AbstractSet[tuple[str, str]]) -> Iterator[Part]:
    texts = [text for kind, text in told if kind == "text"]
    for each in journey.exits:
        words = each.event_type.replace(".", " ").replace("_", " ")
        left = any(text == words or text.startswith(f"{words} and ") for text in texts)
        yield Part("exit", each.event_type, journey.lines.get("exit", 0), left)


def _guards(journey: Journey, told: AbstractSet[tuple[str, str]]) -> Iterator[Part]:
    guards = {guard for outcome, guard in told if outcome in _OUTCOMES}
    for name, there in (
        ("consent", bool(journey.consent) and not journey.transactional),
        ("cap", bool(journey.caps) and not journey.transactional),
        ("quiet_hours", journey.quiet_hours is not None and not journey.transactional),
        ("holdout", journey.holdout > 0),
    ):
        if there:
            yield Part("guard", name, journey.lines.get("guards", 0), name in guards)
