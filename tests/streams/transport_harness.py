"""What the transport's contract suite runs: workers in this process and workers to be killed.

As a program: `python -m tests.streams.transport_harness BOOTSTRAP PROTOCOL GROUP JOURNAL TOPIC...` is a
worker whose journal file is its whole state: records and, by that, the offsets to go on from.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from confluent_kafka import Consumer, TopicPartition

from engine.streams.batch import Batch
from engine.streams.kafka import KafkaSettings
from engine.streams.producer import ActionProducer
from engine.streams.running import run
from engine.streams.transport import EngageApp, create_app

Place = tuple[str, int]
Seen = tuple[str, int, int, bytes]  # topic, partition, offset, value

#: Short enough for a quick takeover, long enough for two busy cores; the local Kafka allows it.
SESSION_TIMEOUT_MS = 1_500


def settings_for(
    bootstrap: str,
    protocol: Literal["consumer", "classic"],
    group: str,
    topics: Iterable[str],
    **more: object,
) -> KafkaSettings:
    """Settings of a test worker."""
    chosen: dict[str, object] = {
        "session_timeout_ms": SESSION_TIMEOUT_MS,
        "drain_timeout_s": 5.0,
        "commit_interval_s": 0.2,
    } | more
    return KafkaSettings(bootstrap, group, tuple(topics), protocol, **chosen)  # type: ignore[arg-type]


@dataclass
class Worker:
    """A worker in this process; `offsets` may be shared with others as the state store is."""

    settings: KafkaSettings
    offsets: dict[Place, int] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    assigned: set[Place] = field(default_factory=set)
    revocations: list[tuple[frozenset[Place], bool]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    in_flight: int = 0
    wake_at: float | None = None
    woken_after_s: list[float] = field(default_factory=list)
    work_s: float = 0.0
    on_batch: Callable[[Batch], None] | None = None
    before_batch: Callable[[], Awaitable[None]] | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    app: EngageApp | None = None

    async def on_assigned(self, partitions: frozenset[Place]) -> Mapping[Place, int]:
        """Start where the offsets say."""
        assert not self.in_flight
        self.assigned |= partitions
        return {place: self.offsets[place] for place in partitions if place in self.offsets}

    async def on_revoked(self, partitions: frozenset[Place], *, lost: bool) -> None:
        """Remember what was taken away."""
        assert not self.in_flight
        self.assigned -= partitions
        self.revocations.append((partitions, lost))

    def settled(self) -> bool:
        """Whether no batch is at hand."""
        return not self.in_flight

    def next_wakeup_s(self) -> float | None:
        """Seconds to the timer a test has set."""
        return None if self.wake_at is None else self.wake_at - time.perf_counter()

    async def handle(self, batch: Batch) -> None:
        """Take a batch as the engine does: work, then make records and offsets durable in one step."""
        assert not self.in_flight
        self.in_flight += 1
        try:
            if self.work_s:
                await asyncio.sleep(self.work_s)
            if self.before_batch is not None:
                once, self.before_batch = self.before_batch, None
                await once()
            if self.on_batch is not None:
                self.on_batch(batch)
            self._take(batch)
        finally:
            self.in_flight -= 1
        batch.done(batch.next_offsets())

    def _take(self, batch: Batch) -> None:
        self.batches.append(batch)
        if self.wake_at is not None and not batch.records:
            self.woken_after_s.append(time.perf_counter() - self.wake_at)
            self.wake_at = None
        self.seen += [(m.topic(), m.partition(), m.offset(), m.value()) for m in batch.records]
        self.offsets.update(batch.next_offsets())

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[EngageApp]:
        """Run the worker; leaving stops it cleanly and raises what it raised."""
        self.app = create_app(self.settings, self, self.handle)
        task = asyncio.create_task(run(self.app, self.stop))
        try:
            yield self.app
        finally:
            self.stop.set()
            await task


@dataclass(frozen=True)
class Lane:
    """One broker and one group protocol, with two event topics of its own."""

    bootstrap: str
    protocol: Literal["consumer", "classic"]
    topics: tuple[str, str]
    partitions: int

    def settings(self, group: str = "", **more: object) -> KafkaSettings:
        """Settings of a worker on this lane; without a group, one of its own."""
        return settings_for(self.bootstrap, self.protocol, group or uuid.uuid4().hex, self.topics, **more)


async def until(holds: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.005)


#: One per broker: connecting costs more than the records.
_producers: dict[str, ActionProducer] = {}


async def produce(settings: KafkaSettings, topics: Iterable[str], count: int, start: int = 0) -> list[bytes]:
    """Produce numbered records over 50 keys to every topic; returns their values."""
    producer = _producers.setdefault(settings.bootstrap, ActionProducer(settings))
    values = []
    for topic in topics:
        records = [
            (topic, b"customer-%d" % (n % 50), b"%s/%d" % (topic.encode(), n), None)
            for n in range(start, start + count)
        ]
        producer.produce_many(records)
        values += [value for _, _, value, _ in records]
    await producer.flush()
    return values


def committed(settings: KafkaSettings, partitions: int) -> dict[Place, int]:
    """What Kafka holds as the group's offsets."""
    consumer = Consumer({"bootstrap.servers": settings.bootstrap, "group.id": settings.group_id})
    wanted = [TopicPartition(topic, number) for topic in settings.topics for number in range(partitions)]
    found = consumer.committed(wanted, timeout=10)
    consumer.close()
    return {(place.topic, place.partition): place.offset for place in found if place.offset >= 0}


def assert_once_in_order(seen: Iterable[Seen], values: Iterable[bytes]) -> None:
    """Every value once, and offsets of each partition without gap or repeat."""
    by_place: dict[Place, list[int]] = {}
    found = []
    for topic, partition, offset, value in seen:
        by_place.setdefault((topic, partition), []).append(offset)
        found.append(value)
    assert sorted(found) == sorted(values)
    for place, offsets in by_place.items():
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))), place


def read_journals(folder: Path) -> list[Seen]:
    """Every record the killed and the living workers took, in the order they took them."""
    # A line without its end is still being written, or its writer was killed: it does not count.
    texts = [path.read_bytes() for path in sorted(folder.glob("*.journal"))]
    lines = [line for text in texts for line in text.splitlines(keepends=True) if line.endswith(b"\n")]
    entries = []
    for line in lines:
        taken_ns, topic, partition, offset, value = line.split(b" ", 4)
        entries.append((int(taken_ns), topic.decode(), int(partition), int(offset), value.rstrip(b"\n")))
    return [(topic, partition, offset, value) for _, topic, partition, offset, value in sorted(entries)]


class JournalWorker(Worker):
    """A worker that can be killed at any moment."""

    def __init__(self, settings: KafkaSettings, folder: Path) -> None:
        super().__init__(settings)
        self._folder = folder
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        self._journal = os.open(folder / f"{os.getpid()}.journal", flags)

    async def on_assigned(self, partitions: frozenset[Place]) -> Mapping[Place, int]:
        """Start after the last record any worker has taken."""
        for topic, partition, offset, _ in read_journals(self._folder):
            self.offsets[topic, partition] = max(self.offsets.get((topic, partition), 0), offset + 1)
        (self._folder / f"{os.getpid()}.assigned").touch()
        return await super().on_assigned(partitions)

    def _take(self, batch: Batch) -> None:
        now_ns = time.time_ns()
        lines = [
            b"%d %s %d %d %s\n" % (now_ns, m.topic().encode(), m.partition(), m.offset(), m.value())
            for m in batch.records
        ]
        # One write holds the records and, by that, the offsets: as the store's one MULTI does.
        os.write(self._journal, b"".join(lines))


async def _serve(bootstrap: str, protocol: str, group: str, folder: str, *topics: str) -> None:
    settings = settings_for(bootstrap, protocol, group, topics)  # type: ignore[arg-type]
    worker = JournalWorker(settings, Path(folder))
    worker.work_s = 0.005
    await run(create_app(settings, worker, worker.handle), worker.stop)


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
