"""Says, for a sample of events, which condition kept the customer out of a journey."""

from __future__ import annotations

from engine.actions import Decision, Outcome, Reason, deterministic_id
from engine.rules.journey import Journey
from engine.rules.limits import MAX_MISMATCHES
from engine.rules.runner import Runner
from engine.rules.sentences import Facts, say_mismatch, seen_values


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
