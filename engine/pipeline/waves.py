"""Cut the rows of a step into waves: sets of rows that can be worked on at once as arrays.

Customers are independent, so a wave takes rows from every customer that has any left. How many rows of one
customer fit into a wave is decided by what the first of them may change (docs/internals.md, "Order and
waves").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.events import EVENT_TYPES, TIMER_CODE, TYPE_BY_CODE, Event
from engine.features.state import CustomerState

_MINUTE_MS = 60_000
_ERASURE = EVENT_TYPES["erasure.requested"].code
MUTATES = frozenset(code for code, event_type in TYPE_BY_CODE.items() if event_type.mutates)


class EventRow(msgspec.Struct, gc=False):
    """An event to be worked on.

    Args:
        partition: partition number, the same for all topics.
        event: the decoded event.
        code: its type's code.
        now_ms: the instant it is worked on.
        key: hash of its id (`events.event_key`).
        origin: the record it came in, opaque to the pipeline.
    """

    partition: int
    event: Event
    code: int
    now_ms: int
    key: int
    origin: Any = None


@dataclass(slots=True)
class Wave:
    """Rows that are worked on at once: parallel lists, an element per row.

    Args:
        partitions: partition numbers.
        states: whose row it is.
        events: what happened; None at a due timer.
        codes: codes of the events' types, or `TIMER_CODE`.
        now_ms: the rows' instants.
        keys: hashes of the events' ids; 0 at a due timer.
    """

    partitions: list[int] = field(default_factory=list)
    states: list[CustomerState] = field(default_factory=list)
    events: list[Event | None] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    now_ms: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.states)

    def add_event(self, row: EventRow, state: CustomerState) -> None:
        """Append an event."""
        self.partitions.append(row.partition)
        self.states.append(state)
        self.events.append(row.event)
        self.codes.append(row.code)
        self.now_ms.append(row.now_ms)
        self.keys.append(row.key)

    def add_timer(self, partition: int, state: CustomerState, now_ms: int) -> None:
        """Append a due timer."""
        self.partitions.append(partition)
        self.states.append(state)
        self.events.append(None)
        self.codes.append(TIMER_CODE)
        self.now_ms.append(now_ms)
        self.keys.append(0)


@dataclass(frozen=True, slots=True)
class Ahead:
    """How near a timer can be that a row creates.

    Args:
        min_delay_ms: the shortest time until it.
        by_minutes: whether it can be at any whole minute, however near.
    """

    min_delay_ms: int
    by_minutes: bool = False

    def timer_ms(self, first_ms: int) -> int:
        """Return the earliest instant of a timer created by a row at `first_ms` or later."""
        soonest_ms = first_ms + self.min_delay_ms
        if self.by_minutes:
            soonest_ms = min(soonest_ms, (first_ms // _MINUTE_MS + 1) * _MINUTE_MS)
        return soonest_ms

    def joins(self, last: EventRow, following: EventRow, due_ms: int, first_ms: int) -> bool:
        """Tell whether a customer's following row may go into the wave after its last one.

        Args:
            last: the customer's last row in the wave.
            following: the one after it.
            due_ms: the customer's timer before the wave; 0 = none.
            first_ms: the instant of the customer's first row in the wave.
        """
        if following.code == _ERASURE:
            return False
        if following.now_ms == first_ms:
            return True
        # a late event can arm a deadline at any moment: only what is on time is known to be harmless
        on_time = last.event.time == last.now_ms
        return on_time and following.now_ms < self.timer_ms(first_ms) and not 0 < due_ms <= following.now_ms


class Waves:
    """Hands out the rows of a step, wave by wave.

    Args:
        events: the step's events in order.
        timers: customers with a timer due in the step, and their partitions.
        states: the state of every customer in either.
        until_ms: for each partition, the instant up to which timers are due.
        replay: whether timers fire at their due instant (replay clock) or at `until_ms` (live clock).
        ahead: how near a timer can be that a row creates.
    """

    def __init__(
        self,
        events: Sequence[EventRow],
        timers: Mapping[str, int],
        states: Mapping[str, CustomerState],
        until_ms: Mapping[int, int],
        *,
        replay: bool,
        ahead: Ahead,
    ) -> None:
        self._states = states
        self._until_ms = until_ms
        self._replay = replay
        self._ahead = ahead
        self._first = Wave()
        # lists, although they are taken from in front: nearly all hold one row, and a list is made faster
        self._queues: dict[str, list[EventRow]] = {}
        self._partitions: dict[str, int] = dict(timers)
        if replay or any(row.code == _ERASURE for row in events):
            for row in events:
                self._enqueue(row)
        else:
            self._begin(events)

    def __iter__(self) -> Iterator[Wave]:
        """Yield waves until no row is left; the caller updates the states in between."""
        wave = self._first
        active = list(self._partitions.items())
        while active or wave.states:
            active = [customer for customer in active if self._take(*customer, wave)]
            if wave.states:
                yield wave
            wave = Wave()

    def _enqueue(self, row: EventRow) -> None:
        customer_id = row.event.customer_id
        queue = self._queues.get(customer_id)
        if queue is None:
            self._queues[customer_id] = [row]
            self._partitions[customer_id] = row.partition
        else:
            queue.append(row)

    def _begin(self, events: Sequence[EventRow]) -> None:
        """Put into the first wave, as they come, the events of all customers without a due timer.

        On the live clock all rows have one instant, so none of them need wait for another.
        """
        states, until_ms, apart, wave = self._states, self._until_ms, self._partitions, self._first
        for row in events:
            customer_id = row.event.customer_id
            state = states[customer_id]
            if customer_id in apart or 0 < state.due_ms <= until_ms[row.partition]:
                self._enqueue(row)
            else:
                wave.add_event(row, state)

    def _take(self, customer_id: str, partition: int, wave: Wave) -> bool:
        """Append this customer's rows of the wave; False when it has none left after them."""
        state = self._states[customer_id]
        queue = self._queues.get(customer_id)
        due_ms = state.due_ms
        until_ms = self._until_ms[partition]
        limit_ms = queue[0].now_ms if queue and self._replay else until_ms
        if 0 < due_ms <= limit_ms:
            wave.add_timer(partition, state, due_ms if self._replay else until_ms)
            return True
        if not queue:
            return False
        row = queue.pop(0)
        first_ms = row.now_ms
        wave.add_event(row, state)
        while queue and self._ahead.joins(row, queue[0], due_ms, first_ms):
            row = queue.pop(0)
            wave.add_event(row, state)
        # on the live clock a row can't make a timer due within its own step
        return self._replay or bool(queue)
