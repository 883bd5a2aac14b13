"""Run a log through the handler on in-memory servers: the product's own path without Kafka and Redis."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.events import Event, Family
from engine.metrics import Metrics
from engine.settings import Settings
from engine.streams.batch import Batch
from engine.streams.codec import Decoder, encode_json
from engine.streams.handler import Handler
from engine.streams.health import WorkerHealth
from engine.streams.intake import END_OF_STREAM_MS, WATERMARK_HEADER
from engine.streams.partition import partition_of
from engine.streams.producer import OutRecord
from engine.streams.store_memory import MemoryServer, MemoryStore
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
    return Handler(
        settings, build_pipeline(settings), store, producer, decoder.decode, Metrics(), health, **more
    )


async def handle(handler: Handler, records: Sequence[MemoryRecord]) -> dict[tuple[str, int], int]:
    """Hand one batch over and return the offsets it made durable."""
    finished = asyncio.get_running_loop().create_future()
    polled: list[Any] = list(records)
    await handler.handle(Batch(polled, time.perf_counter_ns(), 1, finished))
    return dict(await finished)


async def replay(
    settings: Settings, log: Log, *, seed: int, most: int, crashes: int = 0
) -> tuple[MemoryServer, Tap]:
    """Replay a log in batches of random sizes and interleavings; crash and go on from the store.

    Args:
        settings: of the deployment.
        log: what to replay.
        seed: of sizes, interleaving and crashes.
        most: most records of a batch.
        crashes: how often the worker loses its memory.
    """
    rng = random.Random(seed)
    server, tap = MemoryServer(), Tap()
    store = MemoryStore(server)
    places = sorted(log)
    total = sum(map(len, log.values()))
    crash_at = sorted(rng.sample(range(total), crashes), reverse=True)
    handler = make_handler(settings, store, tap)
    at = await _assign(handler, places)
    handed = 0
    while any(at[place] < len(log[place]) for place in places):
        polled: list[MemoryRecord] = []
        for place in rng.sample(places, rng.randint(1, len(places))):
            size = rng.randint(0, most)
            polled.extend(log[place][at[place] : at[place] + size])
            at[place] = min(at[place] + size, len(log[place]))
        handed += len(polled)
        await handle(handler, polled)
        if crash_at and handed > crash_at[-1]:
            crash_at.pop()
            store = MemoryStore(server)
            handler = make_handler(settings, store, tap)
            at = await _assign(handler, places)
    return server, tap


async def _assign(handler: Handler, places: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    starts = await handler.on_assigned(frozenset(places))
    return {place: starts.get(place, 0) for place in places}
