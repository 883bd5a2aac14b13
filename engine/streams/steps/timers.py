"""The due timers of one partition, from memory.

Redis holds every customer's timer; memory holds those due before a horizon, so a partition with millions of
waiting customers costs no more than what falls due soon. The worker moves the horizon on with `needs_load`
and `extend`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

_NEVER_MS = 2**63


class TimerQueue:
    """A heap of (due, customer) up to a horizon, with at most one valid entry a customer."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._due_ms: dict[str, int] = {}
        self._handed_out: list[tuple[int, str]] = []
        self.horizon_ms = 0

    def __len__(self) -> int:
        return len(self._due_ms)

    def needs_load(self, until_ms: int) -> bool:
        """Whether timers up to `until_ms` may exist that memory does not hold yet."""
        return until_ms > self.horizon_ms

    def extend(self, timers: Iterable[tuple[str, int]], horizon_ms: int) -> None:
        """Take over what the store holds up to a new horizon."""
        self.horizon_ms = max(self.horizon_ms, horizon_ms)
        for customer_id, due_ms in timers:
            self._set(customer_id, due_ms)

    def move(self, customer_id: str, due_ms: int) -> None:
        """Take over a customer's timer as it is now; 0 = none."""
        if 0 < due_ms <= self.horizon_ms:
            self._set(customer_id, due_ms)
        elif customer_id in self._due_ms:
            del self._due_ms[customer_id]

    def due(self, until_ms: int, limit: int) -> list[tuple[str, int]]:
        """List what is due, earliest first, without taking it out.

        An entry leaves when `move` moves it: a step that fails leaves its timers due.

        Args:
            until_ms: due up to and including this instant.
            limit: most entries returned.
        """
        self._put_back()
        heap, current = self._heap, self._due_ms
        last: tuple[int, str] | None = None
        while heap and heap[0][0] <= until_ms and len(self._handed_out) < limit:
            entry = heapq.heappop(heap)
            if entry != last and current.get(entry[1]) == entry[0]:
                self._handed_out.append(entry)
                last = entry
        return [(customer_id, due_ms) for due_ms, customer_id in self._handed_out]

    def due_of(self, customer_id: str) -> int:
        """Return when one customer's timer is due; far ahead when it has none before the horizon."""
        return self._due_ms.get(customer_id, _NEVER_MS)

    def next_due_ms(self) -> int | None:
        """Return the earliest due instant in memory."""
        self._put_back()
        return self._top_ms()

    def earliest_ms(self) -> int | None:
        """Return the same in the middle of a step, whose timers are handed out and still due."""
        handed_out = (due_ms for due_ms, name in self._handed_out if self._due_ms.get(name) == due_ms)
        return next(handed_out, self._top_ms())

    def _top_ms(self) -> int | None:
        heap, current = self._heap, self._due_ms
        while heap and current.get(heap[0][1]) != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def _put_back(self) -> None:
        """Push again what was handed out and has not been moved since; nearly always nothing."""
        for entry in self._handed_out:
            if self._due_ms.get(entry[1]) == entry[0]:
                heapq.heappush(self._heap, entry)
        self._handed_out.clear()

    def _set(self, customer_id: str, due_ms: int) -> None:
        if self._due_ms.get(customer_id) != due_ms:
            self._due_ms[customer_id] = due_ms
            heapq.heappush(self._heap, (due_ms, customer_id))
