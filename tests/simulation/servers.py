"""What a simulated worker works on: the store and the producer in memory, which take time and fail.

Both are the twins the other tests use. Here each call takes some virtual time before and after it is carried
out, so that a worker can be killed or stopped at each of those points.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from engine.streams.producer import DeliveryError, OutRecord
from engine.streams.store.contract import PartitionMeta, PartitionWrite
from engine.streams.store.memory import MemoryServer, MemoryStore
from tests.streams.replay import Tap

Pause = Callable[[], Awaitable[None]]
OnCommit = Callable[[PartitionWrite], None]


class Link:
    """A worker's way to its servers: each call takes its time, and none goes on while the worker is stopped.

    Args:
        rng: how long a call takes.
        slowest_s: the longest.
    """

    def __init__(self, rng: random.Random, slowest_s: float) -> None:
        self._rng = rng
        self._slowest_s = slowest_s
        self.running = asyncio.Event()
        self.running.set()

    async def pause(self) -> None:
        """Let some time pass; more while the worker is stopped."""
        await asyncio.sleep(self._rng.random() * self._slowest_s)
        await self.running.wait()


class SlowStore(MemoryStore):
    """A worker's connection to the store.

    Args:
        server: what all workers share.
        link: the way there.
        on_commit: told of each write to a partition that was carried out.
    """

    def __init__(self, server: MemoryServer, link: Link, on_commit: OnCommit) -> None:
        super().__init__(server)
        self._link = link
        self._on_commit = on_commit

    async def acquire(self, partition: int, partitions: int = 0) -> PartitionMeta:
        """See `Store`."""
        await self._link.pause()
        meta = await super().acquire(partition, partitions)
        await self._link.pause()
        return meta

    async def load(self, reads: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes | None]]:
        """See `Store`."""
        await self._link.pause()
        found = await super().load(reads)
        await self._link.pause()
        return found

    async def due(self, partition: int, until_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """See `Store`."""
        await self._link.pause()
        found = await super().due(partition, until_ms, limit)
        await self._link.pause()
        return found

    async def commit(self, writes: Sequence[PartitionWrite]) -> None:
        """See `Store`."""
        await self._link.pause()
        parts = {write.partition: self._server.partition(write.partition) for write in writes}
        before = {number: part.sequence for number, part in parts.items()}
        try:
            await super().commit(writes)
        finally:
            for write in writes:
                if parts[write.partition].sequence != before[write.partition]:
                    self._on_commit(write)
        await self._link.pause()


class Broker(Tap):
    """Takes what the workers send; can refuse one record for good, or the end of what it is given.

    Attributes:
        failures: so many times it fails.
        refusals: so many actions it will never take.
        refused: those actions, as they were sent.
        begun: transactions that are open, by their sender.
        tokens: those committed last, by partition number.
        sending: set for a moment when a transaction begins.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng
        self.failures = 0
        self.refusals = 0
        self.refused: list[OutRecord] = []
        self.begun: dict[str, Any] = {}
        self.tokens: dict[int, str] = {}
        self.epochs = Counter[str]()
        self.sending = asyncio.Event()

    def take(self, records: Sequence[OutRecord]) -> None:
        """Keep the records; of each topic the first few of them, and fail; or all but one action."""
        if (number := self.refuse(records)) is not None:
            self.records.extend(record for other, record in enumerate(records) if other != number)
            raise DeliveryError("too large", (number,), (number,))
        if not self.failures:
            self.records.extend(records)
            return
        self.failures -= 1
        by_topic: dict[str, list[int]] = defaultdict(list)
        for number, (topic, *_) in enumerate(records):
            by_topic[topic].append(number)
        kept = {number for own in by_topic.values() for number in own[: self._rng.randint(0, len(own))]}
        self.records.extend(records[number] for number in sorted(kept))
        # kept, but perhaps not acknowledged
        failed = tuple(number for number in range(len(records)) if number not in kept) or (0,)
        raise DeliveryError("no acknowledgement", failed, ())

    def refuse(self, records: Sequence[OutRecord]) -> int | None:
        """Return which of the records it will never take; None = it takes all."""
        found = [number for number, (topic, *_) in enumerate(records) if is_action(topic)]
        if not self.refusals or not found:
            return None
        self.refusals -= 1
        number = self._rng.choice(found)
        self.refused.append(records[number])
        return number


def is_action(topic: str) -> bool:
    """Tell whether a topic is one of actions."""
    return topic.startswith("engage.actions.")


class SlowProducer(Tap):
    """A worker's connection to the broker.

    Args:
        broker: what all workers share.
        link: the way there.
    """

    def __init__(self, broker: Broker, link: Link) -> None:
        super().__init__()
        self._broker = broker
        self._link = link

    async def send(self, records: Iterable[OutRecord]) -> list[Any]:
        """Send, and wait for the acknowledgement."""
        waiting = list(records)
        await self._link.pause()
        self._broker.take(waiting)
        await self._link.pause()
        return []
