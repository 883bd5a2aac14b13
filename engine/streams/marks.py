"""How far partitions reach: their first and end offsets as last noted, and what lies between."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from engine.streams.kafka import TopicPartition, named

#: How often they are looked at.
MARKS_EVERY_S = 0.25

#: How long brokers are asked for them, all partitions together.
ASK_PATIENCE_S = 0.5
_UNKNOWN = (-1, -1)


class Marks:
    """First and end offset of each partition, as the last fetch or the brokers told them."""

    def __init__(self) -> None:
        self._marks: dict[TopicPartition, tuple[int, int]] = {}
        self._due = 0.0

    def look(self, consumer: Consumer, assigned: Collection[TopicPartition], *, ask: bool = False) -> None:
        """Note where partitions begin and end, if it is time to; from the thread that polls.

        Args:
            consumer: knows it from its fetches.
            assigned: the partitions to ask for.
            ask: ask the brokers, within `ASK_PATIENCE_S`; what is not answered is as the fetches told it.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + MARKS_EVERY_S
        marks = {}
        for partition in assigned:
            place = named([partition])[0]
            left_s = now + ASK_PATIENCE_S - time.monotonic()
            found = _asked(consumer, place, left_s) if ask and left_s > 0 else None
            low, end = found or consumer.get_watermark_offsets(place, cached=True)
            marks[partition] = max(-1, low), max(-1, end)
        self._marks = marks

    def end_offset(self, partition: TopicPartition) -> int:
        """Return the offset after the last record of a partition; -1 when unknown."""
        return self._marks.get(partition, _UNKNOWN)[1]

    def behind(
        self,
        assigned: Collection[TopicPartition],
        done: Mapping[TopicPartition, int],
        at_end: Collection[TopicPartition] = (),
    ) -> dict[TopicPartition, int]:
        """Return how many records of each partition are not done yet.

        Args:
            assigned: the partitions to tell of.
            done: next offset of each partition; from its first record on where it is missing.
            at_end: of these all is done: what follows `done` are marks of transactions, no records.
        """
        behind = {}
        for partition in assigned:
            low, end = self._marks.get(partition, _UNKNOWN)
            left = end - max(0, low, done.get(partition, 0))
            behind[partition] = 0 if partition in at_end else max(0, left)
        return behind


def _asked(
    consumer: Consumer, place: confluent_kafka.TopicPartition, timeout_s: float
) -> tuple[int, int] | None:
    try:
        found: tuple[int, int] | None = consumer.get_watermark_offsets(place, timeout=timeout_s)
    except KafkaException:
        return None
    return found
