"""What becomes of a customer whose timer cannot be worked on.

Whatever was due stays due, and would fail again at the customer's every later event. So it is taken out, with
a decision for each thing. What the customer waits for in journeys keeps its instant; a timer an hour later at
most brings everything else back on its way.
"""

from __future__ import annotations

from engine.actions import Decision, Outcome, Reason, deterministic_id
from engine.features.profile import Inquiry, Position
from engine.features.state import CustomerState
from engine.rules.journey import Journey
from engine.rules.keys import mark_of
from engine.rules.machine import JourneyMachine

RETRY_MS = 3_600_000
GUARD = "failed"


def set_timer_aside(state: CustomerState, machine: JourneyMachine, now_ms: int, kind: str) -> list[Decision]:
    """Take out everything that is due at a timer that fails.

    Args:
        state: the customer; changed in place.
        machine: runs the journeys.
        now_ms: up to here it is due.
        kind: the exception's type.

    Returns:
        A decision for each journey the customer left and each inquiry that nobody will be called for.
    """
    profile, rules = state.note(), machine.rules
    reason = Reason(text=f"what was due could not be worked on ({kind})", guard=GUARD)
    overdue = [position for position in profile.positions if 0 < position.due_ms <= now_ms]
    profile.positions = [position for position in profile.positions if position not in overdue]
    decisions = [_left(state, position, now_ms, reason) for position in overdue]
    for index in rules.unanswered:
        journey = rules.journeys[index]
        for inquiry_id, inquiry in profile.inquiries.items():
            mark = mark_of(journey, inquiry_id)
            late = not inquiry.replied and inquiry.opened_ms + journey.for_ms <= now_ms
            if late and mark not in profile.entered:
                profile.entered[mark] = now_ms
                decisions.append(_uncalled(state, journey, inquiry, now_ms, reason))
    state.clock_ms = max(state.clock_ms, now_ms)
    if 0 < state.next_score_ms <= now_ms:
        state.next_score_ms = now_ms + RETRY_MS
    state.journey_due_ms = machine.journey_due_ms(state)
    state.due_ms = min(now_ms + RETRY_MS, state.journey_due_ms or now_ms + RETRY_MS)
    return decisions


def _left(state: CustomerState, position: Position, now_ms: int, reason: Reason) -> Decision:
    parts = (position.journey, position.version, state.customer_id, position.event_id, position.instance)
    return Decision(
        id=deterministic_id("decision", *parts, "end", GUARD, now_ms),
        customer_id=state.customer_id,
        journey=position.journey,
        version=position.version,
        step="end",
        outcome=Outcome.EXITED,
        reason=reason,
        event_id=position.event_id,
        event_type=str(position.event.get("type", "")),
        time=now_ms,
    )


def _uncalled(
    state: CustomerState, journey: Journey, inquiry: Inquiry, now_ms: int, reason: Reason
) -> Decision:
    parts = (journey.name, journey.version, state.customer_id, inquiry.event_id)
    return Decision(
        id=deterministic_id("decision", *parts, "entry", GUARD, now_ms),
        customer_id=state.customer_id,
        journey=journey.name,
        version=journey.version,
        step="entry",
        outcome=Outcome.SUPPRESSED,
        reason=reason,
        event_id=inquiry.event_id,
        event_type="inquiry.opened",
        time=now_ms,
    )
