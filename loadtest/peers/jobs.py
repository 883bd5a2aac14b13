"""The two jobs that every peer does, and what must come out. Standard library only: peers import it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

WINDOW_MS = 600_000
GRACE_MS = 10_000
VIEWS = 3
WITHIN_MS = 1_800_000
VIEWED = "product.viewed"
ORDERED = "order.placed"
JOBS = ("count", "trigger")
COMMIT_S = 5  # at most; what makes results durable
_LOOK_EVERY = 500


@dataclass(frozen=True, slots=True)
class Task:
    """What a peer is asked to do.

    Args:
        bootstrap: Kafka.
        job: `count` or `trigger`.
        source: topic to read.
        target: topic to write.
        name: of the consumer group and whatever else must be new each time.
        folder: for state.
        seconds: how long to look from the first record on; 0 for ever.
        records: how many there are.
    """

    bootstrap: str
    job: str
    source: str
    target: str
    name: str
    folder: str
    seconds: float
    records: int

    def environment(self) -> dict[str, str]:
        """Return it as an environment variable."""
        return {"PEER_TASK": json.dumps({name: getattr(self, name) for name in self.__slots__})}


def task() -> Task:
    """Read the task of this process."""
    return Task(**json.loads(os.environ["PEER_TASK"]))


class Progress:
    """Counts records; says once how many there were, how long they took and what they cost.

    Args:
        seconds: how long to look from the first record on; 0 for ever.
        records: how many there are; ends sooner when all of them have come.
    """

    __slots__ = ("_count", "_cpu_s", "_first_s", "_limit_s", "_next", "_records")

    def __init__(self, seconds: float, records: int) -> None:
        self._limit_s = seconds
        self._records = records
        self._count = 0
        self._first_s = 0.0
        self._cpu_s = 0.0
        self._next = 1

    def tick(self) -> None:
        """Count a record."""
        self._count += 1
        if self._count >= self._next:
            self._look()

    def _look(self) -> None:
        now_s = time.perf_counter()
        if self._count == 1:
            self._first_s, self._cpu_s = now_s, time.process_time()
        passed_s = now_s - self._first_s
        ended = self._count >= self._records or passed_s >= self._limit_s > 0
        if ended:
            said = {"records": self._count, "seconds": passed_s, "cpu_s": time.process_time() - self._cpu_s}
            os.write(1, f"\npeer {json.dumps(said)}\n".encode())  # Faust takes sys.stdout over for its log
            self._next = sys.maxsize
        else:
            self._next = min(self._count + _LOOK_EVERY, self._records)


@dataclass(slots=True)
class Views:
    """What the trigger keeps of a customer: the last views not used up, the time of the last order."""

    times_ms: list[int] = field(default_factory=list)
    ordered_ms: int = -WITHIN_MS

    def fires(self, kind: str, time_ms: int) -> bool:
        """Take an event up; whether it is the third view within 30 minutes, with no order in these minutes.

        Views that fired are used up; those that could not, for an order's sake, are kept.
        """
        if kind == ORDERED:
            self.ordered_ms = time_ms
            return False
        self.times_ms = [*(seen for seen in self.times_ms if seen > time_ms - WITHIN_MS), time_ms]
        if len(self.times_ms) < VIEWS:
            return False
        if time_ms - self.ordered_ms < WITHIN_MS:
            self.times_ms = self.times_ms[1 - VIEWS :]
            return False
        self.times_ms = []
        return True


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as far as the jobs look at it."""

    customer: str
    kind: str
    time_ms: int
    identifier: str


def counts(events: Iterable[Seen]) -> dict[tuple[str, int], int]:
    """Count the plain way: events by customer and window's start in ms."""
    found: dict[tuple[str, int], int] = {}
    for event in events:
        window = (event.customer, event.time_ms // WINDOW_MS * WINDOW_MS)
        found[window] = found.get(window, 0) + 1
    return found


def triggers(events: Iterable[Seen]) -> Iterator[tuple[str, str]]:
    """Yield customer and event id wherever the trigger fires, the plain way."""
    views: dict[str, Views] = {}
    for event in events:
        if event.kind not in {VIEWED, ORDERED}:
            continue
        state = views.get(event.customer)
        if state is None:
            state = views[event.customer] = Views()
        if state.fires(event.kind, event.time_ms):
            yield event.customer, event.identifier


def fired(event: Mapping[str, object]) -> dict[str, object]:
    """Return the action that the trigger's third view gives."""
    return {"action": "remind", "event_id": event["id"], "time": event["time"]}
