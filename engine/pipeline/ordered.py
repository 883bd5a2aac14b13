"""Waves for the replay clock where customers compete for room: rows in the order of their instants.

Entry caps and rate limits make customers of a partition depend on each other: who comes first gets the place.
So that this doesn't hang on how the log was cut into batches, a wave ends where a row that is not in it might
come first. The order is: by instant; timers before events, those by customer id; events as in the log.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.features.state import CustomerState
from engine.pipeline.waves import ERASURE, EventRow, Wave

_NEVER_MS = 2**62
_MINUTE_MS = 60_000
_TIMER, _EVENT = 0, 1


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
        if following.code == ERASURE:
            return False
        if following.now_ms == first_ms:
            return True
        # a late event can arm a deadline at any moment: only what is on time is known to be harmless
        on_time = last.event.time == last.now_ms
        return on_time and following.now_ms < self.timer_ms(first_ms) and not 0 < due_ms <= following.now_ms


class OrderedWaves:
    """Hands out the rows of a step, wave by wave, in order within each partition.

    Args:
        events: the step's events in order.
        timers: customers with a timer due in the step, and their partitions.
        states: the state of every customer in either.
        until_ms: for each partition, the instant up to which timers are due.
        ahead: how near a timer can be that a row creates.
    """

    def __init__(
        self,
        events: Sequence[EventRow],
        timers: Mapping[str, int],
        states: Mapping[str, CustomerState],
        until_ms: Mapping[int, int],
        ahead: Ahead,
    ) -> None:
        self._parts: dict[int, _Partition] = {}
        self._until_ms = until_ms
        self._states = states
        self._ahead = ahead
        for number, row in enumerate(events):
            self._part(row.partition).queues.setdefault(row.event.customer_id, []).append((number, row))
        for customer_id, partition in timers.items():
            self._part(partition).queues.setdefault(customer_id, [])

    def _part(self, number: int) -> _Partition:
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = _Partition(number, self._until_ms[number], self._states, self._ahead)
        return part

    def __iter__(self) -> Iterator[Wave]:
        """Yield waves until no row is left; the caller updates the states in between."""
        for part in self._parts.values():
            part.idle = list(part.queues)
        while True:
            wave = Wave()
            for part in self._parts.values():
                part.fill(wave)
            if not wave.states:
                return
            yield wave


@dataclass(slots=True)
class _Partition:
    """One partition's rows.

    Args:
        number: of the partition.
        until_ms: timers are due up to here.
        states: of the customers.
        ahead: how near a timer can be that a row creates.
        queues: each customer's events that are left, with their places in the log.
        heap: each customer's next row: instant, timer or event, place, customer.
        idle: customers whose next row is to be found anew, for a wave may have changed it.
    """

    number: int
    until_ms: int
    states: Mapping[str, CustomerState]
    ahead: Ahead
    queues: dict[str, list[tuple[int, EventRow]]] = field(default_factory=dict)
    heap: list[tuple[int, int, int, str]] = field(default_factory=list)
    idle: list[str] = field(default_factory=list)

    def fill(self, wave: Wave) -> None:
        """Append the rows that come before any that the wave itself may bring about."""
        for customer_id in self.idle:
            self._push_next(customer_id)
        first_ms: dict[str, int] = {}
        waiting: set[str] = set()
        frontier_ms = _NEVER_MS
        while self.heap and self.heap[0][0] < frontier_ms:
            now_ms, kind, _, customer_id = heapq.heappop(self.heap)
            state = self.states[customer_id]
            waiting.discard(customer_id)
            if kind == _TIMER:
                wave.add_timer(self.number, state, now_ms)
                first_ms[customer_id] = now_ms
                frontier_ms = min(frontier_ms, now_ms + 1)
                continue
            _, row = self.queues[customer_id].pop(0)
            wave.add_event(row, state)
            begun_ms = first_ms.setdefault(customer_id, now_ms)
            frontier_ms = min(frontier_ms, self._following_ms(row, begun_ms, state))
            if self._push_joining(row, begun_ms, state):
                waiting.add(customer_id)
        self.idle = [customer_id for customer_id in first_ms if customer_id not in waiting]

    def _push_next(self, customer_id: str) -> None:
        """Put a customer's next row into the heap."""
        queue, due_ms = self.queues[customer_id], self.states[customer_id].due_ms
        if 0 < due_ms <= (queue[0][1].now_ms if queue else self.until_ms):
            heapq.heappush(self.heap, (due_ms, _TIMER, 0, customer_id))
        elif queue:
            number, row = queue[0]
            heapq.heappush(self.heap, (row.now_ms, _EVENT, number, customer_id))

    def _push_joining(self, row: EventRow, begun_ms: int, state: CustomerState) -> bool:
        """Put a customer's next event into the heap if it may go into the same wave."""
        queue = self.queues[state.customer_id]
        if not queue or not self.ahead.joins(row, queue[0][1], state.due_ms, begun_ms):
            return False
        number, following = queue[0]
        heapq.heappush(self.heap, (following.now_ms, _EVENT, number, state.customer_id))
        return True

    def _following_ms(self, row: EventRow, begun_ms: int, state: CustomerState) -> int:
        """Return the earliest instant of a row of the customer that cannot go into the wave."""
        # a late event can arm a deadline at any moment
        late = row.event.time != row.now_ms
        bounds = [row.now_ms + 1 if late else self.ahead.timer_ms(begun_ms)]
        if state.due_ms > 0:
            bounds.append(max(state.due_ms, row.now_ms))
        queue = self.queues[state.customer_id]
        if queue and not self.ahead.joins(row, queue[0][1], state.due_ms, begun_ms):
            bounds.append(queue[0][1].now_ms)
        return min(bounds)
