"""How long inquiries waited for an answer, told from a step's events before they change any state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.events import EVENT_TYPES, ServiceEvent
from engine.features.profile import MAX_TEXT
from engine.features.state import CustomerState
from engine.pipeline.waves import EventRow

_OPENED = EVENT_TYPES["inquiry.opened"].code
_ENDS = frozenset({EVENT_TYPES["inquiry.replied"].code, EVENT_TYPES["inquiry.resolved"].code})


def answers_s(events: Iterable[EventRow], states: Mapping[str, CustomerState]) -> list[float]:
    """Return how long each inquiry that gets its first answer here had waited, s.

    Args:
        events: of a step, in order.
        states: of their customers, as they were before the step.
    """
    found: list[float] = []
    waiting: dict[str, dict[str, int]] = {}
    for row in events:
        event = row.event
        if not isinstance(event, ServiceEvent) or (row.code != _OPENED and row.code not in _ENDS):
            continue
        name, inquiry_id = event.customer_id, event.inquiry_id[:MAX_TEXT]
        if name not in waiting:
            inquiries = states[name].profile.inquiries
            waiting[name] = {key: each.opened_ms for key, each in inquiries.items() if not each.replied}
        if row.code == _OPENED:
            waiting[name][inquiry_id] = event.time
        elif event.time >= (opened_ms := waiting[name].get(inquiry_id, event.time + 1)):
            found.append((event.time - opened_ms) / 1000)
            del waiting[name][inquiry_id]
    return found
