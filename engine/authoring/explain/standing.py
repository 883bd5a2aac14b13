"""Where a customer stands in a journey, and what would end the wait."""

from __future__ import annotations

import msgspec

from engine.authoring.explain.moments import say_moment
from engine.events import TYPE_BY_CODE, say_type
from engine.features.profile import Position
from engine.rules.condition import Condition
from engine.rules.journey import Exit, Instruction, Journey, Send, Wait, WaitUntil
from engine.rules.runner import step_path
from engine.rules.sentences import as_written


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One run in progress.

    Args:
        version: the version entered.
        instance: tells apart runs side by side, or empty.
        step: path of the step it stands at.
        line: its line in the rule file; 0 = not known any more.
        text: what it waits for, in a sentence.
        entered: when the run began, ms.
        due: when it goes on by itself, ms; 0 = it waits for an event only.
        ends: what would end the wait, each in a sentence.
    """

    version: int
    instance: str
    step: str
    line: int
    text: str
    entered: int
    due: int
    ends: tuple[str, ...]


def say_standing(position: Position, journey: Journey | None) -> Standing:
    """Say where a run stands.

    Args:
        position: the run.
        journey: the version it entered; None when that is not among the rules any more.
    """
    if journey is None or position.pc >= len(journey.program):
        step, line = "?", 0
        text = f"inside version {position.version}, which is not among the rules any more"
        ends: tuple[str, ...] = ("the next event or timer: the run ends, for its version is gone",)
    else:
        step = step_path(journey, position.pc)
        line = journey.lines.get(step, 0)
        text = _say_wait(journey.program[position.pc], position)
        ends = tuple(_ends(journey, journey.program[position.pc], position))
    return Standing(
        version=position.version,
        instance=position.instance,
        step=step,
        line=line,
        text=text,
        entered=position.entered_ms,
        due=position.due_ms,
        ends=ends,
    )


def _say_wait(step: Instruction, position: Position) -> str:
    match step:
        case Send() if position.reserved_ms:
            place = f"its place is kept for {say_moment(position.reserved_ms)}"
            return f"the {step.template} has to wait by the rate limit of {step.channel}: {place}"
        case Send() if position.deferred:
            return f"the {step.template} for {step.channel} is put off by a guard"
        case Wait():
            return "waits"
        case WaitUntil():
            return f"waits for {_awaited(step)}"
        case _:
            return "goes on at the next instant"


def _awaited(step: WaitUntil) -> str:
    return " or ".join(say_event(each.code, each.where) for each in step.awaited)


def _ends(journey: Journey, step: Instruction, position: Position) -> list[str]:
    ends = []
    if isinstance(step, WaitUntil):
        ends.append(f"{_awaited(step)}: goes on with `then`")
    if position.due_ms:
        then = "goes on with `otherwise`" if isinstance(step, WaitUntil) else "goes on"
        if position.deferred:
            then = "all guards are judged again"
        ends.append(f"{say_moment(position.due_ms)}: {then}")
    ends.extend(f"{_say_exit(each)}: leaves the journey" for each in journey.exits)
    return ends


def _say_exit(leave: Exit) -> str:
    if leave.segment:
        return f"{leave.event_type.replace('_', ' ')} {leave.segment}"
    return say_event(leave.code, leave.where)


def say_event(code: int, where: Condition | None) -> str:
    """Return an event in words, with the condition it must meet as written."""
    name = say_type(TYPE_BY_CODE[code].name)
    return f"{name} where `{as_written(where.whole.program.text)}`" if where is not None else name
