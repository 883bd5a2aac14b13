"""How far partitions reach: their first and end offsets as of the last poll, and what lies between."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from confluent_kafka import Consumer

from engine.streams.kafka import TopicPartition, named

#: How often they are looked at.
MARKS_EVERY_S = 0.25
_UNKNOWN = (-1, -1)


class Marks:
    """First and end offset of each partition, as the last fetch told them."""

    def __init__(self) -> None:
        self._marks: dict[TopicPartition, tuple[int, int]] = {}
        self._due = 0.0

    def look(self, consumer: Consumer, assigned: Collection[TopicPartition]) -> None:
        """Note where partitions begin and end, if it is time to; from the thread that polls.

        Args:
            consumer: knows it from its fetches.
            assigned: the partitions to ask for.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + MARKS_EVERY_S
        marks = {}
        for partition in assigned:
            low, end = consumer.get_watermark_offsets(named([partition])[0], cached=True)
            marks[partition] = max(-1, low), max(-1, end)
        self._marks = marks

    def end_offset(self, partition: TopicPartition) -> int:
        """Return the offset after the last record of a partition; -1 when unknown."""
        return self._marks.get(partition, _UNKNOWN)[1]

    def behind(
        self, assigned: Collection[TopicPartition], done: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Return how many records of each partition are not done yet.

        Args:
            assigned: the partitions to tell of.
            done: next offset of each partition; from its first record on where it is missing.
        """
        behind = {}
        for partition in assigned:
            low, end = self._marks.get(partition, _UNKNOWN)
            behind[partition] = max(0, end - max(0, low, done.get(partition, 0)))
        return behind
