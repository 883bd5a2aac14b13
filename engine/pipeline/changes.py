"""A change of segment, told to whoever wants to know."""

from __future__ import annotations

import msgspec

from engine.actions import deterministic_id
from engine.events import Event
from engine.features.state import CustomerState


class SegmentChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A customer entered one segment and left another; an event of its own.

    Args:
        id: deterministic.
        customer_id: who.
        entered: name of the new segment.
        exited: name of the one left, empty for the first.
        time: when, ms.
    """

    id: str
    customer_id: str
    entered: str
    exited: str
    time: int


def segment_change(
    state: CustomerState, event: Event | None, now_ms: int, exited: str, entered: str
) -> SegmentChange:
    """Return the change of a customer's segment at a row; arguments as in `SegmentChange`."""
    customer_id = state.customer_id
    # by its cause, not by the clock: worked off anew after a crash, the change has the same id
    cause = event.id if event is not None else state.due_ms
    return SegmentChange(
        id=deterministic_id("segment", customer_id, exited, entered, cause),
        customer_id=customer_id,
        entered=entered,
        exited=exited,
        time=now_ms,
    )
