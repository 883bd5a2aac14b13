"""Who enters a journey at a row: events, absences, unanswered inquiries, segment changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.actions import Decision, Outcome, Reason, deterministic_id
from engine.events import EVENT_TYPES, Scalar, ServiceEvent
from engine.features.profile import MAX_POSITIONS, MAX_TEXT, Inquiry, Position
from engine.rules.condition import Condition
from engine.rules.counts import use_up
from engine.rules.goals import open_goal
from engine.rules.guards import CONTROL_GROUP_TEXT, held_out, in_control_group, judge_entry_cap, share_of
from engine.rules.journey import Journey
from engine.rules.keys import instance_of, kept_as, mark_of, marked_inquiry, remember_entry
from engine.rules.limits import MAX_ENTERED, MAX_MISMATCHES, MAX_REASON_CHARS
from engine.rules.runner import REASON, Runner, step_path
from engine.rules.sentences import Facts, entry_values, say_condition, say_mismatch, seen_values
from engine.rules.units import say_duration

_OPENED = EVENT_TYPES["inquiry.opened"].code


@dataclass(frozen=True, slots=True)
class Cause:
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


def unmark_closed(runner: Runner) -> None:
    """Forget the marks of inquiries that are not open any more."""
    profile = runner.context.state.profile
    marked = ((name, marked_inquiry(name)) for name in profile.entered)
    gone = [name for name, inquiry_id in marked if inquiry_id and inquiry_id not in profile.inquiries]
    if gone:
        profile = runner.context.state.note()
        for name in gone:
            del profile.entered[name]


def enter_unanswered(runner: Runner) -> None:
    """Let inquiries in whose answer is overdue, and those that are not to wait at all; each one once."""
    context = runner.context
    for inquiry_id, inquiry in sorted(
        context.state.profile.inquiries.items(), key=lambda item: item[1].opened_ms
    ):
        for index in runner.rules.unanswered:
            journey = runner.rules.journeys[index]
            mark = mark_of(journey, inquiry_id)
            if mark in context.state.profile.entered or inquiry.replied:
                continue
            if not runner.rules.takes(index, context.state.customer_id):
                continue
            cause = _at_once(runner, journey, inquiry_id, inquiry)
            overdue = inquiry.opened_ms + journey.for_ms <= context.now_ms
            if cause is None and overdue:
                cause = _inquiry_cause(journey.trigger, inquiry_id, inquiry)
            if cause is None:
                continue
            context.state.note().entered[mark] = context.now_ms
            if journey.when is None or runner.facts().holds(journey.when):
                _enter(runner, journey, cause)


def _at_once(runner: Runner, journey: Journey, inquiry_id: str, inquiry: Inquiry) -> Cause | None:
    """Return the cause if the row's event has just opened the inquiry and it is not to wait."""
    event = runner.context.event
    if runner.context.code != _OPENED or not isinstance(event, ServiceEvent):
        return None
    if event.inquiry_id[:MAX_TEXT] != inquiry_id:
        return None
    facts = runner.facts()
    where, when = journey.at_once_where, journey.at_once_when
    if where is not None and not facts.holds(where):
        where = None
    if when is not None and not facts.holds(when):
        when = None
    if where is None and when is None:
        return None
    return _inquiry_cause("inquiry opened", inquiry_id, inquiry, where, when)


def _inquiry_cause(
    trigger: str,
    inquiry_id: str,
    inquiry: Inquiry,
    where: Condition | None = None,
    when: Condition | None = None,
) -> Cause:
    fields = {
        "id": inquiry.event_id,
        "type": "inquiry.opened",
        "time": inquiry.opened_ms,
        "inquiry_id": inquiry_id,
        "sentiment": inquiry.sentiment,
    }
    return Cause(
        inquiry.event_id, "inquiry.opened", inquiry.opened_ms, fields, trigger, inquiry_id, where, when
    )


def enter_absent(runner: Runner) -> None:
    """Let customers in whose absence deadline fired at this row."""
    for index, deadline_ms in runner.context.absences:
        journey = runner.rules.journeys[index]
        cause = Cause(f"absent:{deadline_ms}", "timer.absence", deadline_ms, {}, journey.trigger)
        _consider(runner, index, cause)


def enter_scheduled(runner: Runner) -> None:
    """Let customers in for whom a schedule's instant or a date of their own has come at this row."""
    for index, instant_ms in runner.context.schedules:
        journey = runner.rules.journeys[index]
        kind = journey.kind
        cause = Cause(f"{kind}:{instant_ms}", f"timer.{kind}", instant_ms, {}, journey.trigger)
        _consider(runner, index, cause)


def enter_crossed(runner: Runner) -> None:
    """Let customers in a feature of whose has crossed a level at this row."""
    context = runner.context
    for index in context.crossed:
        journey = runner.rules.journeys[index]
        cause_id = f"{journey.kind}:{journey.feature}:{_cause_of_row(runner)}"
        cause = Cause(cause_id, f"customer.{journey.kind}", context.now_ms, {}, journey.trigger)
        _consider(runner, index, cause)


def _cause_of_row(runner: Runner) -> str | int:
    """Return what made the row; not the clock: worked off anew after a crash, it is the same."""
    context = runner.context
    return context.event.id if context.event is not None else context.state.due_ms or context.now_ms


def enter_segments(runner: Runner) -> None:
    """Let customers in who changed their segment at this row."""
    context = runner.context
    before, after = context.segment_before, context.segment_after
    if before == after:
        return
    cause_id = _cause_of_row(runner)
    for kind, segment in (("segment_exited", before), ("segment_entered", after)):
        for index in _by_priority(runner, runner.rules.by_segment.get((kind, segment), ())):
            cause = Cause(
                f"segment:{before}>{after}:{cause_id}",
                f"customer.{kind}",
                context.now_ms,
                {},
                runner.rules.journeys[index].trigger,
            )
            _consider(runner, index, cause)


def enter_by_event(runner: Runner) -> None:
    """Let customers in by the row's own event: candidates of the column index, and counts it made enough."""
    event = runner.context.event
    if event is None:
        return
    for index in _by_priority(runner, runner.context.candidates):
        journey = runner.rules.journeys[index]
        instance = instance_of(journey, event)
        if instance is None:  # nothing tells the run apart
            continue
        fields = {name: getattr(event, name) for name in journey.correlation}
        _consider(runner, index, Cause(event.id, event.type, event.time, fields, journey.trigger, instance))


def _consider(runner: Runner, index: int, cause: Cause) -> None:
    """Judge what is left of the entry's conditions, then re-entry; let in or say why not."""
    if not runner.rules.takes(index, runner.context.state.customer_id):
        return
    journey = runner.rules.journeys[index]
    facts = runner.facts()
    # Candidates have passed their columns; the other kinds of entry have passed nothing yet.
    judge = facts.rest_holds if journey.kind == "event" else facts.holds
    if all(judge(condition) for condition in (journey.where, journey.when) if condition is not None):
        if journey.kind == "count":
            use_up(runner.context.state, journey, cause.instance)
        _enter(runner, journey, cause)


def _by_priority(runner: Runner, indices: Sequence[int]) -> Sequence[int]:
    """Return journeys with the highest priority first; those alike stay in order, by name."""
    if len(indices) < 2:
        return indices
    return sorted(indices, key=lambda index: -runner.rules.journeys[index].priority)


def _enter(runner: Runner, journey: Journey, cause: Cause) -> None:
    """Let a customer in whose conditions hold; into a journey of an exclusion group at the row's end."""
    if journey.exclusion_group:
        runner.grouped.append((journey, cause))
    else:
        _let_in(runner, journey, cause)


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
    facts = runner.facts()
    text = " and ".join(_reason_parts(journey, cause, facts))[:MAX_REASON_CHARS]
    kept = {"type": cause.event_type, "time": cause.time_ms, **cause.fields, REASON: text}
    position = Position(
        journey=journey.name,
        version=journey.version,
        instance=cause.instance,
        pc=0,
        entered_ms=context.now_ms,
        due_ms=0,
        event_id=cause.event_id,
        event=kept,
    )
    barred = _barred(journey, position, runner)
    if barred is not None:
        if share_of("not_matched", cause.event_id) < runner.settings.not_matched_sample:
            runner.decide(position, "entry", Outcome.NOT_MATCHED, barred)
        return False
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


def _barred(journey: Journey, position: Position, runner: Runner) -> Reason | None:
    """Say why the customer may not enter (again) now, or None."""
    profile = runner.context.state.profile
    if any(each.journey == journey.name and each.instance == position.instance for each in profile.positions):
        return Reason(text="already inside this journey", guard="reentry")
    last_ms = profile.entered.get(kept_as(journey, position.instance))
    if journey.kind == "unanswered" or journey.reentry.rule == "always" or last_ms is None:
        return None
    if journey.reentry.rule == "never":
        return Reason(text="has been in this journey before, and re-entry is never", guard="reentry")
    if position.entered_ms - last_ms < journey.reentry.after_ms:
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


def explain_mismatches(runner: Runner) -> None:
    """Report, for a sampled event, which condition kept the customer out of some journeys on its type.

    Where there are many journeys the event's hash says with which of them to begin, so that in the long run
    each is reported as often as the others.
    """
    context = runner.context
    event = context.event
    journeys = runner.rules.by_code.get(context.code, ())
    if event is None or not journeys:
        return
    facts = runner.facts()
    reported = 0
    first = context.event_key % len(journeys)
    for index in (*journeys[first:], *journeys[:first]):
        journey = runner.rules.journeys[index]
        reason = None
        if runner.rules.takes(index, context.state.customer_id):
            reason = explain_mismatch(journey, facts)
        if reason is None:
            continue
        runner.outbox.decisions.append(
            Decision(
                id=deterministic_id(
                    "mismatch", journey.name, journey.version, context.state.customer_id, event.id
                ),
                customer_id=context.state.customer_id,
                journey=journey.name,
                version=journey.version,
                step="entry",
                outcome=Outcome.NOT_MATCHED,
                reason=reason,
                event_id=event.id,
                event_type=event.type,
                time=context.now_ms,
            )
        )
        reported += 1
        if reported == MAX_MISMATCHES:
            return


def explain_mismatch(journey: Journey, facts: Facts) -> Reason | None:
    """Say which of a journey's entry conditions does not hold, or None when all do.

    Args:
        journey: the journey.
        facts: the customer's values and the event.
    """
    for condition, guard in ((journey.where, "where"), (journey.when, "when")):
        if condition is not None and not facts.holds(condition):
            text = say_mismatch(condition, facts) or f"`{guard}` does not hold"
            return Reason(text=text, guard=guard, values=seen_values(condition, facts))
    return None
