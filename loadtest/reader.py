"""The reader: a process of its own that takes the time at which each action can be read.

Latency is reading time minus the intended send time of the event that caused the action. Every value goes
into an HdrHistogram; nothing is left out or corrected afterwards, but for the first seconds of a run, which
are declared.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from hdrh.histogram import HdrHistogram

from loadtest.workload import FIRE_JOURNEY, RELAY_OUTPUT, intended_us

LOWEST_US, HIGHEST_US, DIGITS = 1, 600_000_000, 3
PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0)
_POLL_S = 0.05
_MAX_CONSUME = 5_000
_EVENT_ID = b'"event_id":"'
_JOURNEY = f'"journey":"{FIRE_JOURNEY}'.encode()


@dataclass(frozen=True, slots=True)
class Latencies:
    """What the reader saw of a run.

    Args:
        actions: distinct causes whose action was read, the uncounted first seconds included.
        repeats: actions whose cause had been read before.
        counted: how many went into the histogram.
        percentiles_ms: latency by percentile.
        curve_ms: latency at many percentiles, for the picture.
        per_second_ms: median and largest latency of each second of intended time.
    """

    actions: int
    repeats: int
    counted: int
    percentiles_ms: dict[str, float]
    curve_ms: list[tuple[float, float]]
    per_second_ms: list[tuple[int, float, float]]


@dataclass(slots=True)
class _Run:
    name: bytes
    count_from_us: int
    histogram: Any = field(default_factory=lambda: HdrHistogram(LOWEST_US, HIGHEST_US, DIGITS))
    seen: set[bytes] = field(default_factory=set)
    repeats: int = 0
    seconds: dict[int, list[int]] = field(default_factory=dict)

    def note(self, identifier: bytes, now_us: int) -> None:
        if identifier in self.seen:
            self.repeats += 1
            return
        self.seen.add(identifier)
        due_us = intended_us(identifier)
        latency_us = max(LOWEST_US, now_us - due_us)
        self.seconds.setdefault(due_us // 1_000_000, []).append(latency_us)
        if due_us >= self.count_from_us:
            self.histogram.record_value(min(latency_us, HIGHEST_US))

    def result(self) -> Latencies:
        histogram = self.histogram
        counted = histogram.get_total_count()
        shares = sorted({*PERCENTILES, *(100 - 100 / 2 ** (step / 4) for step in range(68))})

        def at(share: float) -> float:
            return float(histogram.get_value_at_percentile(share)) / 1000

        return Latencies(
            actions=len(self.seen),
            repeats=self.repeats,
            counted=counted,
            percentiles_ms={f"{share:g}": at(share) for share in PERCENTILES} if counted else {},
            curve_ms=[(share, at(share)) for share in shares] if counted else [],
            per_second_ms=[
                (second, sorted(values)[len(values) // 2] / 1000, max(values) / 1000)
                for second, values in sorted(self.seconds.items())
            ],
        )


def cause(message: Message) -> bytes | None:
    """Return the id of the record that caused an output, or None when the load did not cause it."""
    value = message.value() or b""
    if message.topic() == RELAY_OUTPUT:
        return value
    if _JOURNEY not in value:
        return None
    start = value.find(_EVENT_ID)
    if start < 0:
        return None
    start += len(_EVENT_ID)
    return value[start : value.index(b'"', start)]


class Reader:
    """Reads the outputs, each partition from its end.

    Args:
        bootstrap: Kafka.
        topics: the outputs.
    """

    def __init__(self, bootstrap: str, topics: Sequence[str]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "loadtest-reader",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 2,
                "fetch.min.bytes": 1,
                "fetch.queue.backoff.ms": 1,
                "socket.nagle.disable": True,
            }
        )
        places = []
        for topic in topics:
            for partition in self._consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                places.append(TopicPartition(topic, partition, end))
        self._consumer.assign(places)

    def poll(self, run: _Run | None) -> None:
        """Take what is there; whatever does not belong to the run is passed over."""
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return
        messages = [first, *self._consumer.consume(_MAX_CONSUME, 0)]
        now_us = time.time_ns() // 1000
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent's name
                    raise RuntimeError(error.str())
                continue
            identifier = cause(message)
            if run is not None and identifier is not None and identifier.startswith(run.name):
                run.note(identifier, now_us)


def main(pipe: Connection, bootstrap: str, topics: Sequence[str]) -> None:
    """Serve the parent: `("begin", run, count from µs)`, `("count",)`, `("end",)`.

    Args:
        pipe: to the parent.
        bootstrap: Kafka.
        topics: the outputs.
    """
    reader = Reader(bootstrap, topics)
    run: _Run | None = None
    pipe.send("ready")
    try:
        while True:
            while pipe.poll():
                match pipe.recv():
                    case ("begin", str() as name, int() as count_from_us):
                        run = _Run(f"{name}-".encode(), count_from_us)
                        pipe.send("begun")
                    case ("count",):
                        pipe.send(len(run.seen) if run else 0)
                    case ("end",):
                        pipe.send(run.result() if run else None)
                        run = None
                    case _:
                        return
            reader.poll(run)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        return
