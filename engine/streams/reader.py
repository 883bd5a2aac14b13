"""Read topics from outside the engine: without a group of one's own, leaving no trace on the broker."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from engine.errors import ConfigError, TransientError
from engine.streams.kafka import KafkaSettings, common_config
from engine.streams.partition import partition_of
from engine.streams.security.refusals import is_refusal, refused

_POLL_S = 0.1
_CHUNK = 1000


class TopicReader:
    """Reads every partition of some topics, in the order records arrive here.

    Args:
        kafka: how to reach Kafka.
        topics: what to read; topics that do not exist yet are looked for again while reading.
        last: how many of the newest records per partition to start with; None starts at the oldest.
        timeout_s: how long the broker may take to answer.
        key: only the partition of each topic where records of this key stand; None = every partition.
        since_ms: start with the first record written at or after this instant; None = `last` alone says.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        *,
        last: int | None = 0,
        timeout_s: float = 10.0,
        key: bytes | None = None,
        since_ms: int | None = None,
    ) -> None:
        self._topics = list(topics)
        self._timeout_s = timeout_s
        self._key = key
        self._since_ms = since_ms
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
                if self._since_ms is not None:
                    offset = max(offset, self._since(topic, partition, low, high))
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
        if found.error is not None:
            if not is_refusal(found.error):
                return []
            self._consumer.close()
            raise refused(found.error, self._bootstrap, topic)
        if self._key is not None:
            return [partition_of(self._key, len(found.partitions))]
        return sorted(found.partitions)

    def _since(self, topic: str, partition: int, low: int, high: int) -> int:
        """Return the offset of the first record at or after the instant asked for.

        A broker that cannot search by time (the embedded one) says that there is none; then everything is
        read, and who reads leaves out what is too old.
        """
        assert self._since_ms is not None
        try:
            asked = [TopicPartition(topic, partition, self._since_ms)]
            found = self._consumer.offsets_for_times(asked, timeout=self._timeout_s)[0]
        except KafkaException as error:
            reason = error.args[0].str()
            raise TransientError(f"kafka does not search {topic!r} by time: {reason}") from None
        if found.error is None and found.offset >= 0:
            return int(found.offset)
        newest = high - 1
        if newest < low:
            return high
        at_ms = _written_ms(self._peek(topic, partition, newest))
        return high if 0 <= at_ms < self._since_ms else low

    def _peek(self, topic: str, partition: int, offset: int) -> Message | None:
        """Read one record; None when it does not come."""
        self._consumer.assign([TopicPartition(topic, partition, offset)])
        ends_s = time.monotonic() + self._timeout_s
        while time.monotonic() < ends_s:
            message = self._consumer.poll(_POLL_S)
            if message is not None:
                return message if message.error() is None else None
        return None

    @property
    def partitions(self) -> int:
        """How many partitions there are; of several topics, what the one with most has."""
        return 1 + max(number for _, number in self._ends)

    def firsts(self, topic: str) -> list[Message]:
        """Return the oldest record of each partition of a topic; none of one that is empty.

        Call it before anything is read: it moves the reader for a moment, then puts it back.
        """
        found = []
        for name, number in self._ends:
            low, high = self._bounds(name, number) if name == topic else (0, 0)
            if low < high and (message := self._peek(name, number, low)) is not None:
                found.append(message)
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in self._positions.items()])
        return found

    def _bounds(self, topic: str, partition: int) -> tuple[int, int]:
        place = TopicPartition(topic, partition)
        try:
            low, high = self._consumer.get_watermark_offsets(place, timeout=self._timeout_s)
        except KafkaException as error:
            reason = error.args[0].str()
            raise TransientError(f"kafka does not tell the ends of {topic!r}: {reason}") from None
        return low, high

    def follow(self) -> Iterator[Message]:
        """Yield records as they come, without end; after `until_end` or `newest` from where those ended."""
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
        # what came behind the ends meanwhile was not handed out: who follows reads it from there
        self._consumer.assign([TopicPartition(*place, end) for place, end in self._ends.items()])
        self._positions = dict(self._ends)

    def newest(self, count: int, wanted: Callable[[Message], bool] = lambda _: True) -> list[Message]:
        """Return the newest of the records that were there when the reader was made, oldest first.

        Args:
            count: how many of all topics and partitions together, by the time they were written.
            wanted: which records count.
        """
        kept: defaultdict[tuple[str, int], deque[Message]] = defaultdict(lambda: deque(maxlen=count))
        for message in self.until_end():
            if wanted(message):
                kept[message.topic(), message.partition()].append(message)
        found = sorted((message for queue in kept.values() for message in queue), key=_written_ms)
        return found[max(0, len(found) - count) :]

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
            elif is_refusal(error):
                raise refused(error, self._bootstrap, message.topic())
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


def _written_ms(message: Message | None) -> int:
    """Return when a record was written, ms; -1 when nobody knows."""
    return int(message.timestamp()[1]) if message is not None else -1
