"""How long inquiries waited is told once each, from the first answer."""

from __future__ import annotations

from engine.events import EVENT_TYPES, ServiceEvent
from engine.features.profile import Inquiry
from engine.features.state import CustomerState
from engine.pipeline.waves import EventRow
from engine.streams.steps.answers import answers_s

T0 = 1_700_000_000_000


def row(kind: str, inquiry_id: str, at_s: int) -> EventRow:
    """Give a row of a service event of customer `c`."""
    event = ServiceEvent(
        id=f"{kind}-{inquiry_id}-{at_s}",
        type=f"inquiry.{kind}",
        customer_id="c",
        time=T0 + at_s * 1000,
        inquiry_id=inquiry_id,
    )
    return EventRow(0, event, EVENT_TYPES[event.type].code, event.time, 0, None)


def test_the_first_answer_counts_and_no_other() -> None:
    """A second reply, and the resolution after a reply, add nothing; a resolution alone is an answer."""
    rows = [
        row("opened", "a", 0),
        row("opened", "b", 10),
        row("replied", "a", 60),
        row("replied", "a", 90),
        row("resolved", "a", 99),
        row("resolved", "b", 110),
        row("replied", "unknown", 120),
    ]
    assert answers_s(rows, {"c": CustomerState("c")}) == [60.0, 100.0]


def test_what_was_open_before_the_step_counts() -> None:
    """Inquiries of the state that nobody has answered are waiting; answered ones are not."""
    state = CustomerState("c")
    inquiries = state.mutate().inquiries
    inquiries["a"] = Inquiry(T0, "e1")
    inquiries["b"] = Inquiry(T0, "e2", replied=True)
    assert answers_s([row("replied", "a", 30), row("replied", "b", 40)], {"c": state}) == [30.0]
