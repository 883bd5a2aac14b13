"""What a wave's customers were before its rows, and the way back there; what they will be after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from engine.events import Event
from engine.features.apply import change_profile
from engine.features.rows import RowBatch
from engine.features.state import CustomerState


@dataclass(slots=True)
class Before:
    """What a wave's customers were before each row, where the batch doesn't tell, and how far the row goes.

    Args:
        clock_ms: up to here deadlines were judged for the customer; 0 = the customer is new.
        clock_after_ms: up to here they are at the row.
        reached_ms: up to here the deadlines of journeys are, where what came up to then is known.
        first_seen_ms: see `CustomerState`; on the replay clock only, as the next.
        next_score_ms: see `CustomerState`.
    """

    clock_ms: list[int] = field(default_factory=list)
    clock_after_ms: list[int] = field(default_factory=list)
    reached_ms: list[int] = field(default_factory=list)
    first_seen_ms: list[int] = field(default_factory=list)
    next_score_ms: list[int] = field(default_factory=list)

    def go_back(self, batch: RowBatch, first: int) -> None:
        """Undo what `Pipeline._apply` did at a row and its customer's later ones.

        Args:
            batch: the rows.
            first: number of the row; the one before it is the customer's, too.
        """
        state, kept = batch.states[first], first - 1
        state.marks, state.values = batch.marks[kept], batch.values[kept]
        state.tiles, state.purchases = batch.tiles[kept], batch.purchases[kept]
        state.clock_ms = self.clock_ms[first]
        state.first_seen_ms = self.first_seen_ms[first]
        if not self.next_score_ms[first]:  # a timer that has been moved on stays so
            state.next_score_ms = 0


def end_of(states: Sequence[CustomerState], first: int) -> int:
    """Return the number behind the last of the rows of one customer that begin at `first`."""
    end = first + 1
    while end < len(states) and states[end] is states[first]:
        end += 1
    return end


def timers_before(states: Sequence[CustomerState]) -> Iterator[int]:
    """Yield the timer that was set before each row; none is known yet before a customer's further rows."""
    before = None
    for state in states:
        yield state.due_ms if state is not before else 0
        before = state


def look_ahead(
    state: CustomerState, event: Event, code: int, now_ms: int, shadows: dict[str, CustomerState]
) -> CustomerState:
    """Return a shadow of the state that shows what the event will have changed."""
    shadow = shadows.get(state.customer_id)
    if shadow is None:
        shadow = shadows[state.customer_id] = state.shadow()
    change_profile(shadow, event, code, now_ms)
    shadow.first_seen_ms = state.first_seen_ms
    return shadow
