"""Run a log through the handler on in-memory servers: the product's own path without Kafka and Redis."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.events import Event, Family
from engine.metrics import Metrics
from engine.settings import Settings
from engine.streams.batch import Batch
from engine.streams.health import WorkerHealth
from engine.streams.partition import partition_of
from engine.streams.producer import OutRecord
from engine.streams.steps.delivery import Producers
from engine.streams.steps.handler import Handler
from engine.streams.store.contract import PartitionWrite
from engine.streams.store.memory import MemoryServer, MemoryStore
from engine.streams.wire.codec import Decoder, encode_json
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER
from engine.streams.wiring import build_pipeline


@dataclass(slots=True)
class MemoryRecord:
    """A Kafka record in memory, with the methods of `confluent_kafka.Message`."""

    where: tuple[str, int, int]
    written: tuple[bytes | None, bytes]
    extra: list[tuple[str, bytes]] = field(default_factory=list)

    def topic(self) -> str:
        """Topic."""
        return self.where[0]

    def partition(self) -> int:
        """Partition."""
        return self.where[1]

    def offset(self) -> int:
        """Offset."""
        return self.where[2]

    def timestamp(self) -> tuple[int, int]:
        """Kind and time."""
        return 1, 0

    def key(self) -> bytes | None:
        """Key."""
        return self.written[0]

    def value(self) -> bytes | None:
        """Value."""
        return self.written[1]

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Headers."""
        return self.extra


Log = dict[tuple[str, int], list[MemoryRecord]]


class Tap:
    """A producer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[OutRecord] = []

    async def send(self, records: Iterable[OutRecord]) -> list[Any]:
        """Keep the records."""
        self.records.extend(records)
        return []


def write_log(settings: Settings, events: Iterable[tuple[Family, Event]], partitions: int) -> Log:
    """Lay events out by topic and partition as a producer would, with the mark of the end."""
    topics = {Family(family): topic for family, topic in settings.event_topics().items()}
    log: Log = {(topic, number): [] for topic in topics.values() for number in range(partitions)}
    for family, event in events:
        key = event.customer_id.encode()
        place = (topics[family], partition_of(key, partitions))
        log[place].append(MemoryRecord((*place, len(log[place])), (key, encode_json(event))))
    for place, records in log.items():
        mark = [(WATERMARK_HEADER, str(END_OF_STREAM_MS).encode())]
        records.append(MemoryRecord((*place, len(records)), (None, b""), mark))
    return log


def make_handler(settings: Settings, store: MemoryStore, tap: Tap, **more: Any) -> Handler:
    """Put a handler together over in-memory servers."""
    decoder = Decoder(settings.clock)
    health = WorkerHealth(now_s=time.monotonic)
    producer: Any = tap
    producers = Producers(producer, producer)
    return Handler(
        settings, build_pipeline(settings), store, producers, decoder.decode, Metrics(), health, **more
    )


async def handle(
    handler: Handler, records: Sequence[MemoryRecord], behind_ms: Mapping[int, int] | None = None
) -> dict[tuple[str, int], int]:
    """Hand one batch over, wait until it is durable, and return the offsets reported with it."""
    finished = asyncio.get_running_loop().create_future()
    polled: list[Any] = list(records)
    await handler.handle(Batch(polled, time.perf_counter_ns(), 1, finished, behind_ms))
    offsets = dict(await finished)
    await handler.settle()
    return offsets


class SlowTap(Tap):
    """A producer whose acknowledgements take their time."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self._rng = rng

    async def send(self, records: Iterable[OutRecord]) -> list[Any]:
        """Keep the records; tell so later."""
        await _some_time(self._rng)
        await super().send(records)
        await _some_time(self._rng)
        return []


class SlowStore(MemoryStore):
    """A store whose replies take their time."""

    def __init__(self, server: MemoryServer, rng: random.Random) -> None:
        super().__init__(server)
        self._rng = rng

    async def load(self, reads: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes | None]]:
        """See `Store`."""
        await _some_time(self._rng)
        found = await super().load(reads)
        await _some_time(self._rng)
        return found

    async def commit(self, writes: Sequence[PartitionWrite]) -> None:
        """See `Store`."""
        await _some_time(self._rng)
        await super().commit(writes)
        await _some_time(self._rng)


async def _some_time(rng: random.Random) -> None:
    for _ in range(rng.choice((0, 1, 2, 20))):
        await asyncio.sleep(0)


class Reader:
    """Reads a log for the handler, from where it is told.

    Args:
        log: what to read.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        self.at: dict[tuple[str, int], int] = {}

    @property
    def done(self) -> bool:
        """Whether everything has been read."""
        return all(self.at[place] >= len(records) for place, records in self.log.items())

    def take(self, rng: random.Random, most: int) -> list[MemoryRecord]:
        """Take some records of some partitions."""
        places = sorted(self.log)
        polled: list[MemoryRecord] = []
        for place in rng.sample(places, rng.randint(1, len(places))):
            size = rng.randint(0, most)
            polled.extend(self.log[place][self.at[place] : self.at[place] + size])
            self.at[place] = min(self.at[place] + size, len(self.log[place]))
        return polled

    async def seek(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Read on from other offsets."""
        self.at.update(offsets)

    async def pause(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Go on: what is read ahead is held back by the intake."""

    async def resume(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Nothing was paused."""

    def report(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Offsets are read from the store."""


async def replay(
    settings: Settings,
    log: Log,
    *,
    seed: int,
    most: int,
    crashes: int = 0,
    ahead: bool = False,
    rollbacks: int = 0,
) -> tuple[MemoryServer, Tap]:
    """Replay a log in batches of random sizes and interleavings; crash and go on from the store.

    Args:
        settings: of the deployment.
        log: what to replay.
        seed: of sizes, interleaving and accidents.
        most: most records of a batch.
        crashes: how often the worker loses its memory.
        ahead: let each batch be worked on while the one before becomes durable, on slow servers.
        rollbacks: how often the server loses its last moments.
    """
    rng = random.Random(seed)
    server, tap = MemoryServer(), SlowTap(rng) if ahead else Tap()
    reader = Reader(log)
    total = sum(map(len, log.values()))
    crash_at = sorted(rng.sample(range(total), crashes), reverse=True)
    lose_at = sorted(rng.sample(range(total), rollbacks), reverse=True)
    dump = server.dump()

    async def start() -> Handler:
        store = SlowStore(server, rng) if ahead else MemoryStore(server)
        handler = make_handler(settings, store, tap)
        handler.attach(lambda: reader)
        if ahead:
            handler.ahead_from = 0
        reader.at = await _assign(handler, sorted(log))
        return handler

    handler = await start()
    handed = 0
    while not reader.done:
        polled = reader.take(rng, most)
        handed += len(polled)
        if ahead:
            finished = asyncio.get_running_loop().create_future()
            records: list[Any] = list(polled)
            await handler.handle(Batch(records, time.perf_counter_ns(), 1, finished))
            await _some_time(rng)
        else:
            await handle(handler, polled)
        if crash_at and handed > crash_at[-1]:
            crash_at.pop()
            await _kill(handler)
            handler = await start()
        if lose_at and handed > lose_at[-1]:
            lose_at.pop()
            server.restore(dump)
        elif rng.random() < 0.3:
            dump = server.dump()
        if reader.done:
            await handler.settle()  # which may find that something is to be read again
    return server, tap


async def _kill(handler: Handler) -> None:
    """End a handler with whatever it has in hand."""
    task = handler.finishing.task
    if task is not None:
        task.cancel()
        await asyncio.wait({task})


async def _assign(handler: Handler, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    starts = await handler.on_assigned(frozenset(places))
    return {place: starts.get(place, 0) for place in places}
