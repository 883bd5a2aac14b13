"""What of the batch consumer only a stand-in for librdkafka can show."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest

from engine.errors import ConfigError, EngineError
from engine.streams.consumer import BatchConsumer
from engine.streams.kafka import KafkaSettings
from engine.streams.security.refusals import judge
from tests.streams.transport_harness import Worker

CLICKS_0, CLICKS_1 = ("clicks", 0), ("clicks", 1)


@dataclass
class FakeMessage:
    """One record."""

    number: int
    at: int

    def topic(self) -> str:
        """Return the topic."""
        return "clicks"

    def partition(self) -> int:
        """Return the partition."""
        return self.number

    def offset(self) -> int:
        """Return the offset."""
        return self.at

    def error(self) -> None:
        """Return no error."""


@dataclass
class FakeConsumer:
    """A consumer in which a rebalance overtakes `consume`."""

    owner: BatchConsumer
    touches: frozenset[tuple[str, int]] = frozenset()
    read_to: int = 0
    sought: list[tuple[str, int, int]] = field(default_factory=list)
    committed: list[confluent_kafka.TopicPartition] = field(default_factory=list)

    def poll(self, _wait_s: float) -> FakeMessage:
        """Bring the first record."""
        return FakeMessage(0, 7)

    def consume(self, _count: int, _wait_s: float) -> list[FakeMessage]:
        """Bring the others, after a rebalance."""
        self.owner._begin_rebalance(self.touches)
        return [FakeMessage(0, 8), FakeMessage(1, 5)]

    def seek(self, place: confluent_kafka.TopicPartition) -> None:
        """Note where reading goes on."""
        self.sought.append((place.topic, place.partition, place.offset))

    def position(self, places: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        """Tell what was read."""
        return [confluent_kafka.TopicPartition(p.topic, p.partition, self.read_to) for p in places]

    def get_watermark_offsets(
        self, _place: confluent_kafka.TopicPartition, *, cached: bool
    ) -> tuple[int, int]:
        """Tell first and end offset."""
        assert cached
        return 0, 9

    def offsets_for_times(
        self, places: list[confluent_kafka.TopicPartition], _timeout_s: float
    ) -> list[confluent_kafka.TopicPartition]:
        """Tell where partitions end."""
        return [confluent_kafka.TopicPartition(p.topic, p.partition, 9) for p in places]

    def commit(self, *, offsets: list[confluent_kafka.TopicPartition], asynchronous: bool) -> None:
        """Take offsets."""
        assert asynchronous
        self.committed += offsets


def _consumer(touches: frozenset[tuple[str, int]] = frozenset()) -> tuple[BatchConsumer, FakeConsumer]:
    settings = KafkaSettings("x", topics=("clicks",))
    consumer = BatchConsumer(settings, Worker(settings))
    consumer._assigned = frozenset({CLICKS_0, CLICKS_1})
    consumer._starts = {CLICKS_0: 7, CLICKS_1: 5}
    fake = FakeConsumer(consumer, touches)
    consumer._consumer = fake
    return consumer, fake


def _places(records: list[confluent_kafka.Message]) -> list[tuple[int, int]]:
    return [(record.partition(), record.offset()) for record in records]


def test_records_a_rebalance_overtook_are_read_again() -> None:
    """What was taken before its partition moved is dropped and read again from the listener's offset."""
    consumer, fake = _consumer(frozenset({CLICKS_0}))
    assert _places(consumer._poll(0)) == [(1, 5)]
    assert fake.sought == [("clicks", 0, 7)]


def test_an_untouched_poll_keeps_everything() -> None:
    """Without a rebalance every record of the poll is in the batch, in order."""
    consumer, fake = _consumer()
    assert _places(consumer._poll(0)) == [(0, 7), (0, 8), (1, 5)]
    assert fake.sought == []


async def test_nothing_is_committed_past_what_was_read() -> None:
    """An offset reported durable beyond the records handed out is a mistake, and stops the worker."""
    consumer, fake = _consumer()
    fake.read_to = 9
    await consumer.commit({CLICKS_0: 9})
    assert [(p.partition, p.offset) for p in fake.committed] == [(0, 9)]
    with pytest.raises(EngineError, match="offset 10 of 'clicks' partition 0 reported durable, but only 9"):
        await consumer.commit({CLICKS_0: 10})


def test_offsets_of_foreign_partitions_are_not_mirrored() -> None:
    """A report about a partition this worker does not own changes nothing."""
    consumer, _ = _consumer()
    consumer.report({("clicks", 5): 3, CLICKS_1: 6})
    assert consumer.durable == {CLICKS_1: 6}


def test_refused_access_stops_the_worker() -> None:
    """An authorization error is told as a mistake of configuration instead of being waited out."""
    refused = confluent_kafka.KafkaError(confluent_kafka.KafkaError.GROUP_AUTHORIZATION_FAILED)
    passing = confluent_kafka.KafkaError(confluent_kafka.KafkaError.LEADER_NOT_AVAILABLE)

    def handed_out(*errors: confluent_kafka.KafkaError | None) -> list[Any]:
        return [SimpleNamespace(error=lambda error=error: error, topic=lambda: "orders") for error in errors]

    judge(handed_out(None, passing))
    with pytest.raises(ConfigError, match="kafka refuses access to 'orders'"):
        judge(handed_out(passing, refused))


@dataclass
class EndingConsumer:
    """A consumer that is closed; the brokers answer or not."""

    answers: bool
    done: list[str] = field(default_factory=list)

    def list_topics(self, *, topic: str, timeout: float) -> None:
        """Ask the brokers."""
        assert (topic, timeout > 0) == ("clicks", True)
        if not self.answers:
            raise confluent_kafka.KafkaException(confluent_kafka.KafkaError._TRANSPORT)

    def commit(self, *, offsets: list[confluent_kafka.TopicPartition], asynchronous: bool) -> None:
        """Take offsets and wait for the brokers."""
        assert not asynchronous
        self.done.append(f"commit {len(offsets)}")

    def close(self) -> None:
        """Leave the group."""
        self.done.append("close")


@pytest.mark.parametrize(("answers", "done"), [(True, ["close", "commit 1"]), (False, ["close"])])
def test_a_worker_ends_although_the_brokers_are_gone(answers: bool, done: list[str]) -> None:
    """A last commit would wait for the brokers for most of a minute; it is a mirror only: it is left out."""
    consumer, _ = _consumer()
    ending = EndingConsumer(answers)
    consumer._consumer = ending
    consumer._close()
    consumer._mirror.commit_now(ending, {CLICKS_0: 8})  # as when partitions are given up, which closing does
    assert ending.done == done
