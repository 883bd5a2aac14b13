"""How a rule set treats customers while versions change: who enters which, who is moved, what is paused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from engine.rules.guards import share_of
from engine.rules.journey import STANDING, Journey, Send

#: Where a migration leads a customer whose step is not there any more: out of the journey.
OUT = "exit"
OUT_PC = -1


class Lane(Enum):
    """Which customers a version of a journey takes: those of the new version, of the one before, or all."""

    NEW = "new"
    BEFORE = "before"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Move:
    """Where customers of one version of a journey go on in another.

    Args:
        version: the version they are moved to.
        steps: index in the old program to the index in the new one; `OUT_PC` ends the run.
    """

    version: int
    steps: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Release:
    """A published state of the rules.

    Args:
        version: number of the publication; 0 = from files.
        lanes: the journey versions that take entries.
        share: share of the customers, 0-1, who are in the new lane.
        paused: journeys that neither let in nor send.
        moves: by journey and version, where those inside go on.
    """

    version: int
    lanes: Mapping[tuple[str, int], Lane]
    share: float = 1.0
    paused: frozenset[str] = frozenset()
    moves: Mapping[tuple[str, int], Move] = field(default_factory=dict)

    def takes(self, name: str, version: int) -> bool:
        """Tell whether anybody may enter a version of a journey now."""
        if name in self.paused:
            return False
        lane = self.lanes.get((name, version))
        if lane is Lane.NEW:
            return self.share > 0
        return lane is Lane.ALL or (lane is Lane.BEFORE and self.share < 1)

    def lane_of(self, journey: str, customer_id: str) -> Lane:
        """Return the lane a customer is in: stable for a journey while the share grows."""
        return Lane.NEW if share_of("stage", journey, customer_id) < self.share else Lane.BEFORE


def percent(share: float) -> str:
    """Write a share as a percentage."""
    return f"{share * 100:.4g}%"


def standing(journey: Journey) -> dict[str, int]:
    """Return the steps a customer can stand at, path to index in the program."""
    return {step.path: pc for pc, step in enumerate(journey.program) if isinstance(step, STANDING)}


def plan_move(old: Journey, new: Journey, given: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Work out where those inside `old` go on in `new`.

    Args:
        old: the version they are inside.
        new: the version they are to go on with.
        given: path to path, or to `OUT`; paths that are not named stay what they are.

    Returns:
        path to path for every step a customer can stand at; and what is wrong, empty when it is total.
    """
    problems: list[str] = []
    steps: dict[str, str] = {}
    for path, pc in standing(old).items():
        target = given.get(path, path)
        problem = _misfit(old, new, pc, target)
        if problem:
            problems.append(problem if path in given else f"{problem}; say where {path!r} leads")
        else:
            steps[path] = target
    missing = sorted(set(new.correlation) - set(old.correlation))
    if missing and any(target != OUT for target in steps.values()):
        names = ", ".join(f"entry.event.{name}" for name in missing)
        problems.append(f"the new version asks for {names}, which is not kept for those inside")
    return steps, problems


def _misfit(old: Journey, new: Journey, pc: int, target: str) -> str:
    if target == OUT:
        return ""
    at = standing(new).get(target)
    if at is None:
        return f"there is no step {target!r} in the new version where a customer can stand"
    if isinstance(old.program[pc], Send) != isinstance(new.program[at], Send):
        return f"step {target!r} of the new version is another kind of step"
    return ""


def resolve_move(old: Journey, new: Journey, steps: Mapping[str, str]) -> Move | None:
    """Turn a migration's paths into program indices; None when it doesn't fit these two versions."""
    before, after = standing(old), standing(new)
    found: dict[int, int] = {}
    for path, pc in before.items():
        target = steps.get(path)
        if target is None or (target != OUT and target not in after):
            return None
        found[pc] = OUT_PC if target == OUT else after[target]
    return Move(new.version, found)


def moved(
    moves: Mapping[tuple[str, int], Move], journey: str, version: int, pc: int
) -> Iterator[tuple[int, int]]:
    """Yield the version and index a position comes to, migration after migration; none when it stays.

    Args:
        moves: acyclic, see `publication.compose`.
        journey: the position's journey.
        version: its version.
        pc: its index.
    """
    while pc != OUT_PC and (move := moves.get((journey, version))) is not None:
        version, pc = move.version, move.steps.get(pc, OUT_PC)
        yield version, pc
