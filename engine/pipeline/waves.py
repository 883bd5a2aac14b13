"""Cut the rows of a step into waves: sets of rows that can be worked on at once as arrays.

Customers are independent, so a wave takes rows from every customer that has any left. How many rows of one
customer fit into a wave is decided by what the first of them may change (docs/internals.md, "Order and
waves").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from engine.events import EVENT_TYPES, TIMER_CODE, TYPE_BY_CODE, Event
from engine.features.state import CustomerState

_ERASURE = EVENT_TYPES["erasure.requested"].code
MUTATES = frozenset(code for code, event_type in TYPE_BY_CODE.items() if event_type.mutates)


class EventRow(NamedTuple):
    """An event to be worked on.

    Args:
        partition: partition number, the same for all topics.
        event: the decoded event.
        code: its type's code.
        now_ms: the instant it is worked on.
        origin: the record it came in, opaque to the pipeline.
    """

    partition: int
    event: Event
    code: int
    now_ms: int
    origin: Any = None


class Row(NamedTuple):
    """A row of a wave: an event, or a due timer when `event` is None."""

    partition: int
    state: CustomerState
    event: Event | None
    code: int
    now_ms: int


class Waves:
    """Hands out the rows of a step, wave by wave.

    Args:
        events: the step's events in order.
        timers: customers with a timer due in the step, and their partitions.
        states: the state of every customer in either.
        until_ms: for each partition, the instant up to which timers are due.
        replay: whether timers fire at their due instant (replay clock) or at `until_ms` (live clock).
        min_delay_ms: the shortest timer a row can create.
    """

    def __init__(
        self,
        events: Iterable[EventRow],
        timers: Mapping[str, int],
        states: Mapping[str, CustomerState],
        until_ms: Mapping[int, int],
        *,
        replay: bool,
        min_delay_ms: int,
    ) -> None:
        self._states = states
        self._until_ms = until_ms
        self._replay = replay
        self._min_delay_ms = min_delay_ms
        # lists, although they are taken from in front: nearly all hold one row, and a list is made faster
        self._queues: dict[str, list[EventRow]] = {}
        self._partitions: dict[str, int] = dict(timers)
        queues, partitions = self._queues, self._partitions
        for row in events:
            customer_id = row.event.customer_id
            queue = queues.get(customer_id)
            if queue is None:
                queues[customer_id] = [row]
                partitions[customer_id] = row.partition
            else:
                queue.append(row)

    def __iter__(self) -> Iterator[list[Row]]:
        """Yield waves until no row is left; the caller updates the states in between."""
        active = list(self._partitions.items())
        while active:
            rows: list[Row] = []
            active = [customer for customer in active if self._take(*customer, rows)]
            if rows:
                yield rows

    def _take(self, customer_id: str, partition: int, rows: list[Row]) -> bool:
        """Append this customer's rows of the wave; False when it has none left after them."""
        state = self._states[customer_id]
        queue = self._queues.get(customer_id)
        due_ms = state.due_ms
        until_ms = self._until_ms[partition]
        limit_ms = queue[0].now_ms if queue and self._replay else until_ms
        if 0 < due_ms <= limit_ms:
            rows.append(Row(partition, state, None, TIMER_CODE, due_ms if self._replay else until_ms))
            return True
        if not queue:
            return False
        event_row = queue.pop(0)
        first_ms = event_row.now_ms
        rows.append(Row(partition, state, event_row.event, event_row.code, first_ms))
        while queue and self._joins(event_row, queue[0], due_ms, first_ms):
            event_row = queue.pop(0)
            rows.append(Row(partition, state, event_row.event, event_row.code, event_row.now_ms))
        # on the live clock a row can't make a timer due within its own step
        return self._replay or bool(queue)

    def _joins(self, last: EventRow, following: EventRow, due_ms: int, first_ms: int) -> bool:
        """Whether a customer's following row may go into the wave after its last one."""
        if following.code == _ERASURE:
            return False
        if following.now_ms == first_ms:
            return True
        # a late event can arm a deadline at any moment: only what is on time is known to be harmless
        on_time = last.event.time == last.now_ms
        return (
            on_time
            and following.now_ms < first_ms + self._min_delay_ms
            and not 0 < due_ms <= following.now_ms
        )
