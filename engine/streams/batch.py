"""What passes between the batch consumer and the engine: batches, and who owns the partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import Message

from engine.errors import ConfigError, StateError
from engine.streams.kafka import TopicPartition


class PartitionListener(Protocol):
    """The owner of offsets and state. Every method runs on the event loop."""

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Take partitions over.

        Args:
            partitions: those newly assigned; a partition number always comes with all its topics.

        Returns:
            The offset to start each at; one that is missing starts at the earliest record.
        """

    async def on_revoked(self, partitions: frozenset[TopicPartition], *, lost: bool) -> None:
        """Give partitions up; no batch is in flight.

        Args:
            partitions: those revoked.
            lost: whether another worker may own them already, so nothing may be written any more.
        """

    def settled(self) -> bool:
        """Whether all that was handed out is durable."""

    def next_wakeup_s(self) -> float | None:
        """Time to the next due timer in seconds, zero or less when due, None without any."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one poll brought; empty when only a timer is due.

    Args:
        records: in order per partition.
        received_ns: `time.perf_counter_ns()` when the poll returned.
        generation: count of rebalances; the same number means the same partitions.
        finished: resolved by `done` or `fail`.
        behind_ms: for each partition number, how long ago all that was there by then has been handed out,
            with this batch; 0 = up to now. One that is missing is not known. None = nobody asks.
    """

    records: list[Message]
    received_ns: int
    generation: int
    finished: asyncio.Future[Mapping[TopicPartition, int]]
    behind_ms: Mapping[int, int] | None = None

    def done(self, offsets: Mapping[TopicPartition, int] | None = None) -> None:
        """Let the next poll happen.

        Args:
            offsets: next offset of each partition whose effects are durable, to be mirrored to Kafka.
        """
        if not self.finished.done():
            self.finished.set_result(offsets or {})

    def fail(self, error: BaseException) -> None:
        """Stop the worker: the batch cannot be processed and must not be skipped.

        Args:
            error: why.
        """
        if not self.finished.done():
            self.finished.set_exception(error)

    def next_offsets(self) -> dict[TopicPartition, int]:
        """Offset after the last record of each partition in the batch."""
        return {(record.topic(), record.partition()): record.offset() + 1 for record in self.records}


@dataclass(slots=True)
class ConsumerStats:
    """Counters for metrics and health; times are `time.perf_counter_ns()`, 0 before the first."""

    rebalances: int = 0
    batches: int = 0
    records: int = 0
    commits_failed: int = 0
    last_commit_ns: int = 0
    last_rebalance_ns: int = 0
    last_poll_ns: int = 0


def check_together(assigned: Collection[TopicPartition], topics: Collection[str]) -> None:
    """One worker must own a partition number across all topics: a customer's state has one writer.

    Args:
        assigned: the partitions of this worker.
        topics: the subscription.

    Raises:
        ConfigError: a number is assigned for some topics only.
    """
    for number in {partition for _, partition in assigned}:
        missing = [topic for topic in topics if (topic, number) not in assigned]
        if missing:
            raise ConfigError(
                f"partition {number} was assigned without topic {min(missing)!r}: "
                "event topics need equal partition counts and the `range` assignor"
            )


def forgotten(number: int) -> StateError:
    """What to raise where the listener knows nothing of a partition that has been worked on.

    Going on would take every record Kafka keeps as happening now, and send for all of them.

    Args:
        number: the partition.
    """
    return StateError(
        f"redis knows nothing of partition {number}, which this group has worked on before: it has lost its "
        'data, or is another server, database or redis.prefix; docs/tasks.md, "Lost Redis", tells how to go '
        "on. Another kafka.group goes on with what there is, and takes every record of this partition that "
        "Kafka keeps as happening now: right only where the backup is older than the partition's first event"
    )
