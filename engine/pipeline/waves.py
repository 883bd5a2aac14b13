"""Cut the rows of a step into waves: sets of rows that can be worked on at once as arrays.

Customers are independent, so a wave takes rows from every customer that has any left (docs/internals.md,
"Order and waves").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec

from engine.events import EVENT_TYPES, TIMER_CODE, TYPE_BY_CODE, Event
from engine.features.state import CustomerState

ERASURE = EVENT_TYPES["erasure.requested"].code
_AT_ONCE, _FEWEST = 16, 2  # events of one customer at later and later instants in a wave: at first, at least
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


class Waves:
    """Hands out the rows of a step, wave by wave.

    On the replay clock a customer's rows go in together on the chance that none of them sets a timer that
    comes before the next. Where one does, the caller hands back (`put_back`) what came after it.

    Args:
        events: the step's events in order.
        timers: customers with a timer due in the step, and their partitions.
        states: the state of every customer in either.
        until_ms: for each partition, the instant the step goes up to.
        replay: whether timers fire at their due instant (replay clock) or at `until_ms` (live clock).
        reached_ms: for each partition, the instant up to which timers are due; left out, `until_ms`.
    """

    def __init__(
        self,
        events: Sequence[EventRow],
        timers: Mapping[str, int],
        states: Mapping[str, CustomerState],
        until_ms: Mapping[int, int],
        *,
        replay: bool,
        reached_ms: Mapping[int, int] | None = None,
    ) -> None:
        self._states = states
        self._until_ms = until_ms
        self._reached_ms = until_ms if reached_ms is None else reached_ms
        self._replay = replay
        self._most: dict[str, int] = {}
        self._first = Wave()
        # lists, although they are taken from in front: nearly all hold one row, and a list is made faster
        self._queues: dict[str, list[EventRow]] = {}
        self._partitions: dict[str, int] = dict(timers)
        if replay or any(row.code == ERASURE for row in events):
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
        states, reached_ms, apart = self._states, self._reached_ms, self._partitions
        rows, theirs = [], []
        for row in events:
            customer_id = row.event.customer_id
            state = states[customer_id]
            if customer_id in apart or 0 < state.due_ms <= reached_ms[row.partition]:
                self._enqueue(row)
            else:
                rows.append(row)
                theirs.append(state)
        self._first = Wave(
            [row.partition for row in rows],
            theirs,
            [row.event for row in rows],
            [row.code for row in rows],
            [row.now_ms for row in rows],
            [row.key for row in rows],
        )

    def put_back(self, wave: Wave, first: int, end: int) -> None:
        """Take back rows of one customer, to be handed out anew; they must not have left any trace.

        Args:
            wave: the wave they were in, the last one.
            first: number of the first of them.
            end: number behind the last.
        """
        rows = []
        for number in range(first, end):
            event = wave.events[number]
            assert event is not None, "timers come first"
            code, now_ms, key = wave.codes[number], wave.now_ms[number], wave.keys[number]
            rows.append(EventRow(wave.partitions[number], event, code, now_ms, key))
        customer_id = wave.states[first].customer_id
        self._queues[customer_id][:0] = rows
        # about as many again, no more: so what is worked on in vain stays a part of the whole
        kept = first
        while kept and wave.states[kept - 1] is wave.states[first]:
            kept -= 1
        self._most[customer_id] = max(_FEWEST, first - kept)

    def _take(self, customer_id: str, partition: int, wave: Wave) -> bool:
        """Append this customer's rows of the wave; False when it has none left after them."""
        state = self._states[customer_id]
        queue = self._queues.get(customer_id)
        due_ms = state.due_ms
        limit_ms = queue[0].now_ms if queue and self._replay else self._reached_ms[partition]
        if 0 < due_ms <= limit_ms:
            wave.add_timer(partition, state, due_ms if self._replay else self._until_ms[partition])
            if not queue or not self._replay or queue[0].code == ERASURE:
                return True
            due_ms = 0  # what the timer itself sets is seen when it has been worked on
        if not queue:
            return False
        self._take_events(queue, state, due_ms, wave)
        # on the live clock a row can't make a timer due within its own step
        return self._replay or bool(queue)

    def _take_events(self, queue: list[EventRow], state: CustomerState, due_ms: int, wave: Wave) -> None:
        """Append a customer's events up to the timer that is known, an erasure, or as many as may be."""
        wave.add_event(queue[0], state)
        taken, last_ms = 1, queue[0].now_ms
        if len(queue) > 1:
            most = self._most.get(state.customer_id, _AT_ONCE)
            for row in islice(queue, 1, None):
                if row.code == ERASURE or 0 < due_ms <= row.now_ms:
                    break
                if taken >= most and row.now_ms > last_ms:
                    self._most[state.customer_id] = 2 * most
                    break
                wave.add_event(row, state)
                taken, last_ms = taken + 1, row.now_ms
        del queue[:taken]
