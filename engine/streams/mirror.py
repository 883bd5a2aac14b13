"""Durable offsets, mirrored to Kafka for lag monitors; where to go on is in the state store."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaError, KafkaException

from engine.errors import EngineError
from engine.streams.batch import ConsumerStats
from engine.streams.kafka import TopicPartition, named
from engine.streams.security.refusals import has_moved_on

logger = logging.getLogger(__name__)


class OffsetMirror:
    """Commits what is durable, once in a while.

    Args:
        every_s: how often.
        stats: counts what failed.

    Attributes:
        durable: next offset of each partition as last reported.
        away: whether the brokers do not answer any more, at the end.
    """

    def __init__(self, every_s: float, stats: ConsumerStats) -> None:
        self._every_s = every_s
        self._stats = stats
        self._mirrored: dict[TopicPartition, int] = {}
        self._due_s = 0.0
        self.durable: dict[TopicPartition, int] = {}
        self.away = False

    def hurry(self) -> None:
        """Let the next commit be due."""
        self._due_s = 0.0

    def forget(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Partitions are given up; return what was durable of them."""
        last = {}
        for partition in partitions:
            self._mirrored.pop(partition, None)
            if partition in self.durable:
                last[partition] = self.durable.pop(partition)
        return last

    def commit(self, consumer: Consumer) -> None:
        """Commit what is new, if it is time to, without waiting for the answer; from the polling thread."""
        durable = dict(self.durable)  # at once: the event loop may be told more meanwhile
        if durable == self._mirrored:
            return
        now_s = time.monotonic()
        if now_s < self._due_s:
            return
        self._due_s = now_s + self._every_s
        offsets = {p: offset for p, offset in durable.items() if self._mirrored.get(p) != offset}
        _check_read(consumer, offsets)
        consumer.commit(offsets=named(offsets, offsets), asynchronous=True)
        self._mirrored.update(offsets)

    def commit_now(self, consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit, and wait for the answer."""
        if not offsets or self.away:  # a commit would wait for the brokers, for minutes perhaps
            return
        try:
            consumer.commit(offsets=named(offsets, offsets), asynchronous=False)
        except KafkaException as error:
            self.on_commit(error.args[0], None)
        else:
            self._stats.last_commit_ns = time.perf_counter_ns()

    def on_commit(self, error: KafkaError | None, _offsets: object) -> None:
        """Take the answer; librdkafka's callback."""
        if error is None:
            self._stats.last_commit_ns = time.perf_counter_ns()
            return
        self._stats.commits_failed += 1
        self._mirrored.clear()
        level = logging.INFO if has_moved_on(error) else logging.WARNING
        logger.log(level, "offsets not mirrored to kafka: %s", error.str())


def _check_read(consumer: Consumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Nothing is committed past what was handed out."""
    for position in consumer.position(named(offsets)):
        offset = offsets[position.topic, position.partition]
        if 0 <= position.offset < offset:
            raise EngineError(
                f"offset {offset} of {position.topic!r} partition {position.partition} reported durable, "
                f"but only {position.offset} was read"
            )
