"""Lets customers whose conditions hold into journeys, unless re-entry, a group or a bound forbids it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from engine.actions import Outcome, Reason
from engine.events import Scalar
from engine.features.profile import MAX_POSITIONS, Position
from engine.rules.condition import Condition
from engine.rules.goals import open_goal
from engine.rules.guards import CONTROL_GROUP_TEXT, held_out, in_control_group, judge_entry_cap, share_of
from engine.rules.journey import Journey
from engine.rules.keys import kept_as, remember_entry
from engine.rules.limits import MAX_ENTERED, MAX_REASON_CHARS
from engine.rules.runner import REASON, Runner, step_path
from engine.rules.sentences import Facts, entry_values, say_condition
from engine.rules.times.units import say_duration


class Cause(msgspec.Struct, frozen=True, gc=False):
    """What makes a customer enter.

    Args:
        event_id: the event's id, or what stands for it.
        event_type: its type.
        time_ms: when it happened.
        fields: its fields kept for the journey's steps.
        trigger: the cause in words.
        instance: tells apart runs of one journey side by side, or empty.
        where: the condition on the event that has been judged, to be said in the reason.
        when: the condition on the customer that has been judged, to be said in the reason.
    """

    event_id: str
    event_type: str
    time_ms: int
    fields: Mapping[str, Any]
    trigger: str
    instance: str = ""
    where: Condition | None = None
    when: Condition | None = None


def enter(runner: Runner, journey: Journey, cause: Cause) -> None:
    """Let a customer in whose conditions hold; into a journey of an exclusion group at the row's end.

    Args:
        runner: the row.
        journey: the journey.
        cause: what makes the customer enter.
    """
    if journey.exclusion_group:
        runner.grouped.append((journey, cause))
    else:
        _let_in(runner, journey, cause)


def refuse(runner: Runner, journey: Journey, cause: Cause, reason: Reason) -> None:
    """Tell that a customer is not let in.

    Args:
        runner: the row.
        journey: the journey.
        cause: what would have made the customer enter.
        reason: why not.
    """
    run = _run_of(journey, cause, runner.context.now_ms, {"type": cause.event_type})
    runner.decide(run, "entry", Outcome.SUPPRESSED, reason)


def enter_grouped(runner: Runner) -> None:
    """Of each exclusion group, let the customer into the one with the highest priority that takes them."""
    entered: dict[str, Journey] = {}
    grouped: list[tuple[Journey, Cause]] = runner.grouped
    for journey, cause in sorted(grouped, key=lambda each: (-each[0].priority, each[0].name)):
        first = entered.setdefault(journey.exclusion_group, journey)
        rival = first if first.name != journey.name else None
        if not _let_in(runner, journey, cause, rival) and first is journey:
            del entered[journey.exclusion_group]


def _let_in(runner: Runner, journey: Journey, cause: Cause, rival: Journey | None = None) -> bool:
    """Let a customer in, unless a guard of entries forbids it.

    Args:
        runner: the row.
        journey: the journey.
        cause: what makes the customer enter.
        rival: the journey of the same exclusion group entered at this row.

    Returns:
        whether the customer is in, or held out.
    """
    context = runner.context
    barred = _barred(journey, cause.instance, runner)
    if barred is not None:
        if share_of("not_matched", cause.event_id) < runner.settings.not_matched_sample:
            run = _run_of(journey, cause, context.now_ms, {"type": cause.event_type})
            runner.decide(run, "entry", Outcome.NOT_MATCHED, barred)
        return False
    text = " and ".join(_reason_parts(journey, cause, runner.facts()))[:MAX_REASON_CHARS]
    kept = {"type": cause.event_type, "time": cause.time_ms, **cause.fields, REASON: text}
    position = _run_of(journey, cause, context.now_ms, kept)
    outranked = _group_mates(journey, runner) if journey.exclusion_group else []
    refused = (
        _excluded(journey, rival, outranked)
        or _full(journey, cause.instance, runner, len(outranked))
        or judge_entry_cap(journey, context.ledger, context.now_ms)
    )
    if refused is not None:
        runner.decide(position, "entry", Outcome.SUPPRESSED, refused)
        return False
    if journey.reentry.rule != "always" and journey.kind != "unanswered":
        remember_entry(context.state.note(), journey, cause.instance, context.now_ms)
    held = _held_out(journey, runner)
    if held is not None:
        runner.decide(position, "entry", Outcome.HELD_OUT, held)
        open_goal(runner, journey, position, held_out=True)
        return True
    _end_outranked(runner, journey, outranked)
    _begin(runner, journey, position, text)
    return True


def _run_of(journey: Journey, cause: Cause, now_ms: int, event: dict[str, Any]) -> Position:
    """Return the run a cause begins, or would begin; `event` is what is kept of it."""
    return Position(
        journey=journey.name,
        version=journey.version,
        instance=cause.instance,
        pc=0,
        entered_ms=now_ms,
        due_ms=0,
        event_id=cause.event_id,
        event=event,
    )


def _begin(runner: Runner, journey: Journey, position: Position, text: str) -> None:
    """Take the first steps of a run."""
    if runner.lasts(journey) or journey.goal is not None:
        reason = Reason(text=text, values=entry_values(journey, runner.facts()))
        runner.decide(position, "entry", Outcome.ENTERED, reason)
    open_goal(runner, journey, position, held_out=False)
    moved = runner.advance(journey, position)
    if moved is not None:
        profile = runner.context.state.note()
        profile.positions = [*profile.positions, moved]


def _group_mates(journey: Journey, runner: Runner) -> list[tuple[Journey, Position]]:
    """Return the runs of other journeys of the same exclusion group."""
    runs = [
        (runner.rules.by_name.get((each.journey, each.version)), each)
        for each in runner.context.state.profile.positions
        if each.journey != journey.name
    ]
    return [
        (other, run)
        for other, run in runs
        if other is not None and other.exclusion_group == journey.exclusion_group
    ]


def _excluded(
    journey: Journey, rival: Journey | None, mates: list[tuple[Journey, Position]]
) -> Reason | None:
    """Say which journey of the same exclusion group goes first, or None."""
    if rival is not None:
        text = f"{rival.name} of the group {journey.exclusion_group} was entered at the same moment"
        return _ranked(text, journey, rival)
    strongest = max((other for other, _ in mates), key=lambda other: other.priority, default=None)
    if strongest is None or strongest.priority < journey.priority:
        return None
    return _ranked(f"is inside {strongest.name} of the group {journey.exclusion_group}", journey, strongest)


def _end_outranked(runner: Runner, journey: Journey, outranked: list[tuple[Journey, Position]]) -> None:
    """End the runs of lower priority of the same exclusion group."""
    for other, run in outranked:
        runner.leave(run)
        text = f"{journey.name} of the group {journey.exclusion_group} has a higher priority"
        runner.decide(run, step_path(other, run.pc), Outcome.EXITED, _ranked(text, other, journey))


def _ranked(text: str, journey: Journey, winner: Journey) -> Reason:
    values: dict[str, Scalar] = {"priority": journey.priority, "other_priority": winner.priority}
    return Reason(text=text, guard="exclusion_group", values=values)


def _held_out(journey: Journey, runner: Runner) -> Reason | None:
    """Say why the customer gets nothing from this journey, or None."""
    customer_id = runner.context.state.customer_id
    if not journey.transactional and in_control_group(runner.settings, customer_id):
        text, guard = CONTROL_GROUP_TEXT, "control_group"
    elif held_out(journey, customer_id):
        share = f"{journey.holdout * 100:g}%"
        text, guard = f"in the {share} who get nothing from this journey, to compare with", "holdout"
    else:
        return None
    return Reason(text=text, guard=guard, values=entry_values(journey, runner.facts()))


def _reason_parts(journey: Journey, cause: Cause, facts: Facts) -> Iterator[str]:
    yield cause.trigger
    conditions = (cause.where, cause.when) if cause.where or cause.when else (journey.where, journey.when)
    for condition in conditions:
        if condition is not None:
            yield say_condition(condition, facts)


def _barred(journey: Journey, instance: str, runner: Runner) -> Reason | None:
    """Say why the customer may not enter (again) now, or None."""
    profile = runner.context.state.profile
    if journey.per and not instance:
        return Reason(text=f"the event has no {journey.per[-1]}, which tells its runs apart", guard="per")
    if any(each.journey == journey.name and each.instance == instance for each in profile.positions):
        return Reason(text="already inside this journey", guard="reentry")
    last_ms = profile.entered.get(kept_as(journey, instance))
    if journey.kind == "unanswered" or journey.reentry.rule == "always" or last_ms is None:
        return None
    if journey.reentry.rule == "never":
        return Reason(text="has been in this journey before, and re-entry is never", guard="reentry")
    if runner.context.now_ms - last_ms < journey.reentry.after_ms:
        pause = say_duration(journey.reentry.after_ms)
        return Reason(text=f"was in this journey less than {pause} ago", guard="reentry")
    return None


def _full(journey: Journey, instance: str, runner: Runner, leaving: int) -> Reason | None:
    """Say which bound of the customer's state forbids another entry, or None; `leaving` runs will end."""
    profile = runner.context.state.profile
    if runner.lasts(journey) and len(profile.positions) - leaving >= MAX_POSITIONS:
        return Reason(
            text=f"already inside {len(profile.positions)} journeys, the most there can be", guard="bound"
        )
    if len(profile.entered) >= MAX_ENTERED and kept_as(journey, instance) not in profile.entered:
        return Reason(
            text=f"{len(profile.entered)} entries are remembered, the most there can be", guard="bound"
        )
    return None
