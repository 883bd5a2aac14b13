"""The events of a chaos run: a steady stream with bursts, written straight to the broker."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from engine.demo.data import build_log
from engine.events import Family, OrderEvent
from engine.settings import Settings
from engine.streams.wire.avro import GUID_HEADER, encode_avro_single_object
from engine.streams.wire.codec import encode_json
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER

#: Topic, partition or None, key, value, headers.
Record: TypeAlias = tuple[str, int | None, bytes | None, bytes | None, list[tuple[str, bytes]]]
TOPICS = {Family(family): topic for family, topic in Settings().event_topics().items()}
_TICK_S = 0.25
_FLUSH_S = 60.0
_ORDER = OrderEvent(id="broken", type="order.placed", customer_id="poison", time=1, order_id="o", amount=1.0)

#: Records that no worker can read: each of the formats, broken.
POISON: dict[str, Record] = {
    "json cut off": (TOPICS[Family.ORDER], None, b"poison", b'{"id": "x", "type": "order.pl', []),
    "json without fields": (TOPICS[Family.CLICK], None, b"poison", b'{"type": "page.viewed"}', []),
    "json with another key": (TOPICS[Family.ORDER], None, b"other", encode_json(_ORDER), []),
    "avro cut off": (TOPICS[Family.ORDER], None, b"poison", encode_avro_single_object(_ORDER)[:14], []),
    "avro of an unknown schema": (TOPICS[Family.PROFILE], None, b"poison", b"\xc3\x01unknown!rest", []),
    "registry without a registry": (TOPICS[Family.SERVICE], None, b"poison", b"\x00\x00\x00\x00\x07x", []),
    "registry by header": (TOPICS[Family.CLICK], None, b"poison", b"x", [(GUID_HEADER, b"\x01" + b"g" * 16)]),
    "no value": (TOPICS[Family.ENGAGEMENT], None, b"poison", None, []),
    "not utf-8": (TOPICS[Family.ORDER], None, b"poison", b'{"id": "\xff\xfe"}', []),
    "too large": (TOPICS[Family.PROFILE], None, b"poison", b'{"id": "' + b"x" * 70_000 + b'"}', []),
}


class Source(Protocol):
    """Where the events come from."""

    taken: int

    def take(self, count: int) -> list[Record]:
        """Return the next events."""

    def finish(self) -> list[Record]:
        """Return what is to be written after the last event."""


class ReplaySource:
    """The demo's log; after each group of events every partition is told the time.

    Args:
        seed: of the log.
        customers: about how many; None takes all.
        partitions: of each topic.
    """

    def __init__(self, seed: int, customers: int | None, partitions: int) -> None:
        log = build_log(seed, customers)
        self.taken, self.total = 0, len(log)
        self._events = log.events()
        self._partitions = partitions
        self._time_ms = 1

    def take(self, count: int) -> list[Record]:
        """See `Source`."""
        events = list(itertools.islice(self._events, count))
        self.taken += len(events)
        records: list[Record] = [
            (TOPICS[family], None, event.customer_id.encode(), encode_json(event), [])
            for family, event in events
        ]
        self._time_ms = events[-1][1].time if events else self._time_ms
        return records + self._mark(self._time_ms)

    def finish(self) -> list[Record]:
        """See `Source`."""
        return self._mark(END_OF_STREAM_MS)

    def _mark(self, time_ms: int) -> list[Record]:
        headers = [(WATERMARK_HEADER, str(time_ms).encode())]
        return [
            (topic, number, b"", None, headers)
            for topic in TOPICS.values()
            for number in range(self._partitions)
        ]


@dataclass
class LiveSource:
    """Orders of a few customers, one after the other.

    Args:
        customers: how many.
        taken: orders so far.
    """

    customers: int
    taken: int = 0

    def take(self, count: int) -> list[Record]:
        """See `Source`."""
        now_ms = time.time_ns() // 1_000_000
        first, self.taken = self.taken, self.taken + count
        return [self._order(number, now_ms) for number in range(first, first + count)]

    def finish(self) -> list[Record]:
        """See `Source`."""
        return []

    def _order(self, number: int, now_ms: int) -> Record:
        customer = f"c{number % self.customers}"
        order = {"type": "order.placed", "order_id": f"o{number}", "amount": 1.0, "source": "chaos"}
        order |= {"id": f"e{number}", "customer_id": customer, "time": now_ms}
        return TOPICS[Family.ORDER], None, customer.encode(), msgspec.json.encode(order), []


class Feed:
    """Writes a source's events at a rate, until told to stop.

    Args:
        bootstrap: Kafka.
        source: the events.
        per_s: events a second; 0 writes only bursts.

    Attributes:
        written: next offset of each topic and partition, as acknowledged.
        poisoned: topic, partition and offset of each record that nobody can read.
    """

    def __init__(self, bootstrap: str, source: Source, per_s: int) -> None:
        self.source = source
        self.written: dict[tuple[str, int], int] = {}
        self.poisoned: set[tuple[str, int, int]] = set()
        self._per_s = per_s
        self._burst = 0
        self._poison: list[Record] = []
        self._failure = ""
        self._stop = threading.Event()
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "reconnect.backoff.max.ms": 500,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 2,
            }
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def burst(self, count: int) -> None:
        """Write so many events at once with the next turn."""
        with self._turn:
            self._burst += count

    def poison(self, name: str) -> None:
        """Write a record that nobody can read with the next turn."""
        with self._turn:
            self._poison.append(POISON[name])

    def write_now(self, events: int) -> int:
        """Write so many events, and what was asked for besides, without `start`.

        Returns:
            How many records have been written so far.
        """
        poison, self._poison = self._poison, []
        self._write(self.source.take(events))
        self._write(poison)
        self._flush()
        return sum(self.written.values())

    def finish(self) -> None:
        """Stop; write what the source ends with; wait until everything is acknowledged.

        Raises:
            AssertionError: Kafka did not take all of it.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._write(self.source.finish())
        self._flush()

    def _flush(self) -> None:
        left = self._producer.flush(_FLUSH_S)
        assert not left, f"{left} records not acknowledged"
        assert not self._failure, self._failure

    def _run(self) -> None:
        for tick_s in self._ticks():
            with self._turn:
                count, self._burst = round(tick_s * self._per_s) + self._burst, 0
                poison, self._poison = self._poison, []
            self._write(self.source.take(count))
            self._write(poison)
            self._producer.poll(0)

    def _ticks(self) -> Iterator[float]:
        while not self._stop.wait(_TICK_S):
            yield _TICK_S

    def _write(self, records: list[Record]) -> None:
        for topic, partition, key, value, headers in records:
            where = {} if partition is None else {"partition": partition}
            self._producer.produce(topic, value, key, headers=headers, on_delivery=self._delivered, **where)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failure = self._failure or str(error)
            return
        topic, number, offset = message.topic(), message.partition(), message.offset()
        self.written[topic, number] = max(self.written.get((topic, number), 0), offset + 1)
        if message.key() in (b"poison", b"other"):
            self.poisoned.add((topic, number, offset))
