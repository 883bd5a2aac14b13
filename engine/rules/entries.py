"""Who is to enter a journey at a row: by events, absences, open inquiries, schedules, levels, segments."""

from __future__ import annotations

from collections.abc import Sequence

from engine.actions import Reason
from engine.events import EVENT_TYPES, ServiceEvent
from engine.features.profile import MAX_INQUIRIES, MAX_TEXT, Inquiry
from engine.rules.admission import Cause, enter, refuse
from engine.rules.condition import Condition
from engine.rules.counts import use_up
from engine.rules.journey import Journey
from engine.rules.keys import instance_of, mark_of, marked_inquiry
from engine.rules.runner import Runner

_OPENED = EVENT_TYPES["inquiry.opened"].code


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
            due_ms = inquiry.opened_ms + journey.for_ms
            if cause is None and due_ms <= context.reached_ms:
                cause = _inquiry_cause(journey.trigger, inquiry_id, inquiry)
                runner.outbox.escalations_late_ms.append(context.now_ms - due_ms)
            if cause is None:
                continue
            context.state.note().entered[mark] = context.now_ms
            if journey.when is None or runner.facts().holds(journey.when):
                enter(runner, journey, cause)


def refuse_let_go(runner: Runner, inquiry_id: str, inquiry: Inquiry) -> None:
    """Tell of an inquiry that is not kept any more, and waited for a reply, that it will not enter."""
    if inquiry.replied:
        return
    text = f"another inquiry was opened, and {MAX_INQUIRIES} are open, the most that are kept"
    for index in runner.rules.unanswered:
        journey = runner.rules.journeys[index]
        if mark_of(journey, inquiry_id) in runner.context.state.profile.entered:
            continue
        if not runner.rules.takes(index, runner.context.state.customer_id):
            continue
        if journey.when is None or runner.facts().holds(journey.when):
            cause = _inquiry_cause(journey.trigger, inquiry_id, inquiry)
            refuse(runner, journey, cause, Reason(text=text, guard="bound"))


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
        instance = instance_of(journey, event) or ""  # without one `admission` bars the entry
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
        enter(runner, journey, cause)


def _by_priority(runner: Runner, indices: Sequence[int]) -> Sequence[int]:
    """Return journeys with the highest priority first; those alike stay in order, by name."""
    if len(indices) < 2:
        return indices
    return sorted(indices, key=lambda index: -runner.rules.journeys[index].priority)
