"""How a run can go through a program: where to, how early and late, and what went out before.

Programs only jump ahead, so one pass from the first instruction to the last sees every way there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.rules.journey import Branch, Instruction, Jump, Leave, Send, Split, Wait, WaitUntil
from engine.rules.limits import MAX_DURATION_MS
from engine.rules.times.units import Cap
from engine.rules.times.until import Until

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Way:
    """A way on from an instruction: to `pc`, after `least_ms` to `most_ms`."""

    pc: int
    least_ms: int = 0
    most_ms: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """A send that a cap always stops: what the cap counts is at most `most_ms` ago."""

    send: Send
    cap: Cap
    most_ms: int


@dataclass(frozen=True, slots=True)
class _Before:
    """How long ago the last messages went out, the latest first: at the least and at the most, milliseconds.

    Infinite where there need not have been any.
    """

    least: tuple[float, ...]
    most: tuple[float, ...]

    def later(self, way: Way) -> _Before:
        return _Before(
            tuple(each + way.least_ms for each in self.least), tuple(each + way.most_ms for each in self.most)
        )

    def or_else(self, other: _Before | None) -> _Before:
        if other is None:
            return self
        return _Before(tuple(map(min, self.least, other.least)), tuple(map(max, self.most, other.most)))

    def sent(self, *, surely: bool) -> _Before:
        # One that a cap may have stopped can be the last one, or not: the longest time stays as it was.
        least = (0.0, *self.least[:-1])
        return _Before(least, (0.0, *self.most[:-1]) if surely else self.most)


def ways_on(  # noqa: PLR0911 - one line per kind of instruction
    step: Instruction, pc: int
) -> tuple[Way, ...]:
    """Return how a run can go on behind an instruction.

    Args:
        step: the instruction.
        pc: where it stands.
    """
    match step:
        case Wait(wait_ms=wait_ms, until=until):
            return (Way(pc + 1, wait_ms, wait_ms or _longest_ms(until)),)
        case WaitUntil(timeout_ms=timeout_ms, until=until):
            most_ms = timeout_ms or _longest_ms(until)
            return (Way(step.then_pc, 0, most_ms), Way(step.otherwise_pc, timeout_ms, most_ms))
        case Branch(arms=arms, else_pc=else_pc):
            return (*(Way(arm.pc) for arm in arms), Way(else_pc))
        case Split(variants=variants):
            return tuple(Way(variant.pc) for variant in variants)
        case Jump(pc=target):
            return (Way(target),)
        case Leave():
            return ()
        case _:
            return (Way(pc + 1),)


def _longest_ms(until: Until | None) -> int:
    if until is None or until.trait:
        return MAX_DURATION_MS
    # An hour more for the day that is 25 hours long.
    return (7 if until.weekdays else 1) * _DAY_MS + _HOUR_MS


def latest_end_ms(program: Sequence[Instruction]) -> int:
    """Return how many milliseconds after its entry a run is over at the latest, deferrals aside."""
    reached: list[int] = [-1] * (len(program) + 1)
    reached[0] = 0
    for pc, step in enumerate(program):
        if reached[pc] >= 0:
            for way in ways_on(step, pc):
                reached[way.pc] = max(reached[way.pc], reached[pc] + way.most_ms)
    return max(reached)


def always_stopped(
    program: Sequence[Instruction], caps: Sequence[Cap], counts: Callable[[Send], bool]
) -> Iterator[Stopped]:
    """Yield the sends that a cap always stops, provided the messages before them went out.

    Args:
        program: the instructions.
        caps: what the journey allows itself.
        counts: tells which sends the caps are about.
    """
    if not caps:
        return
    never = (math.inf,) * max(cap.count for cap in caps)
    reached: list[_Before | None] = [None] * (len(program) + 1)
    reached[0] = _Before(never, never)
    for pc, step in enumerate(program):
        before = reached[pc]
        if before is None:
            continue
        if isinstance(step, Send) and counts(step):
            stopping = next((cap for cap in caps if before.most[cap.count - 1] < cap.window_ms), None)
            if stopping is not None:
                yield Stopped(step, stopping, int(before.most[stopping.count - 1]))
            else:
                surely = all(before.least[cap.count - 1] >= cap.window_ms for cap in caps)
                before = before.sent(surely=surely)
        for way in ways_on(step, pc):
            reached[way.pc] = before.later(way).or_else(reached[way.pc])
