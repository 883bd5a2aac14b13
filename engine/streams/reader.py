"""Read topics from outside the engine: without a group of one's own, leaving no trace on the broker."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from engine.errors import ConfigError, TransientError
from engine.streams.kafka import KafkaSettings, common_config

_POLL_S = 0.1
_CHUNK = 1000


class TopicReader:
    """Reads every partition of some topics, in the order records arrive here.

    Args:
        kafka: how to reach Kafka.
        topics: what to read; topics that do not exist yet are looked for again while reading.
        last: how many of the newest records per partition to start with; None starts at the oldest.
        timeout_s: how long the broker may take to answer.
    """

    def __init__(
        self, kafka: KafkaSettings, topics: Sequence[str], *, last: int | None = 0, timeout_s: float = 10.0
    ) -> None:
        self._topics = list(topics)
        self._timeout_s = timeout_s
        self._consumer = Consumer(
            {
                # Assigned by hand and never committed: the group exists only in this configuration.
                "group.id": "engage-reader",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 20,
                "fetch.queue.backoff.ms": 1,
                **common_config(kafka),
            }
        )
        self._bootstrap = kafka.bootstrap
        self._ends: dict[tuple[str, int], int] = {}
        self._assign(last)

    def _assign(self, last: int | None) -> None:
        start: list[TopicPartition] = []
        for topic in self._topics:
            for partition in self._partitions(topic):
                low, high = self._bounds(topic, partition)
                offset = low if last is None else max(low, high - last)
                self._ends[topic, partition] = high
                start.append(TopicPartition(topic, partition, offset))
        if not start:
            names = ", ".join(self._topics)
            self._consumer.close()
            raise ConfigError(f"no such topic: {names}; create the topics with `engage topics create`")
        self._consumer.assign(start)
        self._positions = {(place.topic, place.partition): place.offset for place in start}

    def _partitions(self, topic: str) -> list[int]:
        try:
            found = self._consumer.list_topics(topic, timeout=self._timeout_s).topics[topic]
        except KafkaException as error:
            self._consumer.close()
            reason = error.args[0].str()
            raise TransientError(f"kafka at {self._bootstrap!r} does not answer: {reason}") from None
        return [] if found.error is not None else sorted(found.partitions)

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        place = TopicPartition(topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(place, timeout=self._timeout_s)
        except KafkaException as error:
            reason = error.args[0].str()
            raise TransientError(f"kafka does not tell the ends of {topic!r}: {reason}") from None
        return low, high

    def follow(self) -> Iterator[Message]:
        """Yield records as they come, without end."""
        while True:
            yield from self._poll()

    def until_end(self) -> Iterator[Message]:
        """Yield the records that were there when the reader was made."""
        quiet_since_s = time.monotonic()
        while any(self._positions[place] < end for place, end in self._ends.items()):
            for message in self._poll():
                quiet_since_s = time.monotonic()
                if message.offset() < self._ends[message.topic(), message.partition()]:
                    yield message
            if time.monotonic() - quiet_since_s > self._timeout_s:
                raise TransientError(f"kafka at {self._bootstrap!r} stopped sending")

    def _poll(self) -> Iterator[Message]:
        first = self._consumer.poll(_POLL_S)
        if first is None:
            return
        for message in (first, *self._consumer.consume(_CHUNK, 0)):
            error = message.error()
            place = (message.topic(), message.partition())
            if error is None:
                self._positions[place] = message.offset() + 1
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - confluent's name for it
                # Records between here and the end that compaction or a transaction took away do not come.
                self._positions[place] = max(self._positions[place], message.offset())
            elif error.fatal():
                raise TransientError(f"kafka: {error.str()}")

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
