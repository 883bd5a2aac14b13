"""What becomes of the events at which a rule raises: they go to the dead letters, and may come again."""

from __future__ import annotations

import traceback

import structlog

from engine.events import DeadLetterReason, event_key
from engine.streams.steps.intake import DeadRecord, Intake, Step

log = structlog.get_logger(__name__)

MAX_FRAMES = 8  # of a failed record in the log


def set_events_aside(step: Step, intake: Intake, error: Exception) -> str:
    """Let a step's events go to the dead letters instead of taking effect.

    Args:
        step: changed in place; one event, or none where a timer is guilty.
        intake: forgets the event: sent again after a fix, it must not be taken for a repeat.
        error: what was raised.

    Returns:
        the exception's type.
    """
    kind = type(error).__name__
    # where, but neither message nor locals: they may hold what the customer wrote
    frames = traceback.format_tb(error.__traceback__, -MAX_FRAMES)
    customers = sorted({row.event.customer_id for row in step.events})
    log.error("a record failed", error=kind, customers=customers, where="".join(frames))
    for row in step.events:
        detail = f"{kind} while processing {row.event.type}"
        step.dead.append(DeadRecord(row.origin, DeadLetterReason.PROCESSING_FAILED, detail, kind))
        key = event_key(row.event)
        place = intake.forget(row.partition, key)
        step.ids[row.partition] = [place if each == key else each for each in step.ids[row.partition]]
    step.events = []
    return kind
