"""The backlog: the load test's events in an order and time of their own: one topic for peers, five for us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka import Producer

from loadtest.peers.jobs import WINDOW_MS, Seen
from loadtest.processes import LoadTestError
from loadtest.workload import Template

_FLUSH_S = 60.0
_POLL_EVERY = 1_000


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events at even distances in event time.

    Args:
        run: first part of every record's id.
        pool: what goes round.
        records: how many.
        per_s: events a second of event time.
        start_ms: time of the first.
    """

    run: str
    pool: Sequence[Template]
    records: int
    per_s: float
    start_ms: int

    def time_ms(self, number: int) -> int:
        """Return the time of an event."""
        return self.start_ms + int(number * 1000 / self.per_s)

    def events(self) -> Iterator[tuple[Template, str, int]]:
        """Yield template, id and time of every event."""
        for number in range(self.records):
            yield self.pool[number % len(self.pool)], f"{self.run}-{number}", self.time_ms(number)

    def seen(self) -> Iterator[Seen]:
        """Yield what the jobs look at."""
        kinds: dict[bytes, str] = {}
        for template, identifier, time_ms in self.events():
            kind = kinds.get(template.tail)
            if kind is None:
                kind = kinds[template.tail] = template.tail.split(b'"', 4)[3].decode()
            yield Seen(template.key.decode(), kind, time_ms, identifier)

    def closing(self) -> Iterator[tuple[Template, str, int]]:
        """Yield one more event of each customer, late enough to close every window: a page viewed."""
        tail = b'"type":"page.viewed","source":"loadtest"}'
        time_ms = self.time_ms(self.records) + 2 * WINDOW_MS
        for number, key in enumerate(sorted({template.key for template in self.pool[: self.records]})):
            named = b'"customer_id":"%s",%s' % (key, tail)
            yield Template("click", key, named, fires=False), f"{self.run}-closing-{number}", time_ms


def produce(
    bootstrap: str, events: Iterator[tuple[Template, str, int]], topics: Mapping[str, str], *, stamped: bool
) -> int:
    """Write events to Kafka.

    Args:
        bootstrap: Kafka.
        events: template, id, time.
        topics: topic by family.
        stamped: whether the record's own timestamp is the event's time.

    Returns:
        How many.

    Raises:
        LoadTestError: when Kafka did not take all of them.
    """
    failed = 0

    def delivered(error: object, _: object) -> None:
        nonlocal failed
        failed += error is not None

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "acks": "1",
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
            "on_delivery": delivered,
        }
    )
    count = 0
    for template, identifier, time_ms in events:
        value = f'{{"id":"{identifier}","time":{time_ms},'.encode() + template.tail
        stamp = time_ms if stamped else 0
        producer.produce(topics[template.family], value, template.key, timestamp=stamp)
        count += 1
        if count % _POLL_EVERY == 0:
            producer.poll(0)
    if producer.flush(_FLUSH_S) or failed:
        raise LoadTestError("kafka did not take the whole backlog")
    return count
