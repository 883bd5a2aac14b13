"""Transactions on Apache Kafka: all of a step or none of it, and a name that shuts out who used it before."""

from __future__ import annotations

import time
import uuid

import pytest
from confluent_kafka import KafkaException

from engine.errors import ConfigError, TransientError
from engine.streams.kafka import KafkaSettings
from engine.streams.local.stack import ApacheKafka
from engine.streams.producer import DeliveryError, OutRecord
from engine.streams.store.contract import retrying
from engine.streams.transactions.producer import KafkaTransactions
from tests.conftest import TopicMaker
from tests.faults.harness import read_all

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(120)]


class Place:
    """A group of workers with topics of its own."""

    def __init__(self, kafka: ApacheKafka, make_topic: TopicMaker) -> None:
        self.bootstrap = kafka.bootstrap
        self.events = make_topic(kafka, "events", 2)
        self.actions = make_topic(kafka, "actions", 2)
        self.group = uuid.uuid4().hex

    def worker(self, **more: object) -> KafkaTransactions:
        """Return another worker's transactions."""
        return KafkaTransactions(
            KafkaSettings(self.bootstrap, self.group, (self.events,), **more)  # type: ignore[arg-type]
        )

    def records(self, *values: bytes) -> list[OutRecord]:
        """Return actions."""
        return [(self.actions, b"c", value, [("ce_id", value[:9])]) for value in values]

    def seen(self) -> list[bytes]:
        """Return what who reads `read_committed` sees."""
        return read_all(self.bootstrap, [self.actions])


@pytest.fixture
def place(apache_kafka: ApacheKafka, make_topic: TopicMaker) -> Place:
    """Provide topics and a group."""
    return Place(apache_kafka, make_topic)


async def test_actions_and_tokens_are_committed_together(place: Place) -> None:
    """What was sent is told by its token, to any worker; of a partition without one nothing is told."""
    worker, other = place.worker(), place.worker()
    await worker.open()
    # a coordinator may move while the brokers make the topic it keeps things in
    assert await retrying(lambda: worker.sent([0, 1], settled=True)) == {}
    await worker.send(place.records(b"a", b"b"), {0: "first"})
    await worker.send(place.records(b"c"), {0: "second"})
    assert await other.sent([0, 1], settled=True) == {0: "second"}
    assert place.seen() == [b"a", b"b", b"c"]


async def test_who_is_fenced_commits_nothing(place: Place) -> None:
    """What a worker has begun is aborted when its name is taken; it goes on once it has looked again."""
    worker, other = place.worker(), place.worker()
    await worker.open()
    begun = worker._producer
    assert begun is not None
    begun.begin_transaction()
    begun.produce(place.actions, b"of the dead")
    begun.flush(5)
    await other.fence([worker.sender])
    await other.open()
    await other.send(place.records(b"of the living"), {1: "token"})
    with pytest.raises(KafkaException, match="_FENCED"):
        begun.commit_transaction(5)
    with pytest.raises(DeliveryError, match="a transaction of 1 actions failed: _FENCED"):
        await worker.send(place.records(b"late"), {1: "late"})
    assert await other.sent([1], settled=True) == {1: "token"}
    await worker.open()
    await worker.send(place.records(b"again"), {1: "again"})
    assert place.seen() == [b"of the living", b"again"]


async def test_nothing_of_a_step_is_seen_when_one_action_is_refused(place: Place) -> None:
    """A record too large fails the whole transaction, and is named; without it the rest goes."""
    worker = place.worker()
    await worker.open()
    with pytest.raises(DeliveryError, match="MSG_SIZE_TOO_LARGE") as caught:
        await worker.send(place.records(b"small", bytes(9_000_000)), {0: "first"})
    assert caught.value.refused == (1,)
    await worker.open()
    assert await worker.sent([0], settled=True) == {}
    await worker.send(place.records(b"small"), {0: "first"})
    assert place.seen() == [b"small"]


class _Stuck:
    """A producer of librdkafka's whose group coordinator has gone."""

    def begin_transaction(self) -> None:
        """Begin."""

    def produce(self, *_: object, **__: object) -> None:
        """Take a record."""

    def send_offsets_to_transaction(self, *_: object) -> None:
        """Wait, whatever the timeout."""
        time.sleep(5)


async def test_a_call_that_never_ends_is_given_up(place: Place) -> None:
    """A coordinator that is lost in the middle holds up nothing but its transaction."""
    worker = place.worker(delivery_timeout_ms=200)
    worker._producer = _Stuck()
    with pytest.raises(DeliveryError, match="no answer"):
        await worker.send(place.records(b"a"), {0: "first"})
    with pytest.raises(AssertionError, match="not opened"):
        await worker.send(place.records(b"a"), {0: "first"})


async def test_a_kafka_that_is_away_is_worth_another_try(place: Place) -> None:
    """Who cannot reach the coordinator is told so within the timeout; who is refused is told that, too."""
    place.bootstrap = "127.0.0.1:9"
    worker = place.worker(delivery_timeout_ms=300, extra={"log_level": 0})
    with pytest.raises(TransientError, match="kafka's transactions: "):
        await worker.open()
    with pytest.raises(TransientError, match="kafka's transactions: "):
        await worker.sent([0], settled=True)
    with pytest.raises(ConfigError, match=r"transactional\.id"):
        await place.worker(extra={"transactional.id": "mine"}).open()
