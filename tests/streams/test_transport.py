"""The transport's contract, on Apache Kafka with both group protocols and on the embedded broker."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from faust.transport import by_url

from engine.errors import ConfigError, TransientError
from engine.streams.batch import Batch
from engine.streams.consumer import BatchConsumer
from engine.streams.kafka import (
    EMBEDDED_PARTITIONS,
    KafkaSettings,
    TopicSpec,
    check_topics,
    consumer_config,
    create_topics,
    producer_config,
)
from engine.streams.producer import ActionProducer
from engine.streams.transport import Transport, create_app
from tests.streams.transport_harness import (
    Place,
    Worker,
    assert_once_in_order,
    committed,
    produce,
    read_journals,
    settings_for,
    until,
)


@dataclass(frozen=True)
class Lane:
    """One broker and one group protocol, with two event topics of its own."""

    bootstrap: str
    protocol: Literal["consumer", "classic"]
    topics: tuple[str, str]
    partitions: int

    def settings(self, group: str = "", **more: object) -> KafkaSettings:
        """Settings of a worker on this lane; without a group, one of its own."""
        return settings_for(self.bootstrap, self.protocol, group or uuid.uuid4().hex, self.topics, **more)


@pytest.fixture(
    params=[
        "embedded-classic",
        pytest.param("apache-classic", marks=pytest.mark.kafka),
        pytest.param("apache-consumer", marks=pytest.mark.kafka),
    ]
)
def lane(request: pytest.FixtureRequest) -> Lane:
    """Provide fresh topics on each broker and protocol."""
    broker, protocol = request.param.split("-")
    server = request.getfixturevalue("apache_kafka" if broker == "apache" else "embedded_broker")
    topics = (f"clicks-{uuid.uuid4().hex[:8]}", f"orders-{uuid.uuid4().hex[:8]}")
    partitions = 6 if broker == "apache" else EMBEDDED_PARTITIONS
    create_topics(KafkaSettings(server.bootstrap), [TopicSpec(topic, partitions) for topic in topics])
    return Lane(server.bootstrap, protocol, topics, partitions)


async def test_delivers_everything_once_in_order(lane: Lane) -> None:
    """Each record of each topic arrives once, in order within its partition, in batches."""
    worker = Worker(lane.settings())
    values = await produce(worker.settings, lane.topics, 1_000)
    async with worker.running():
        await until(lambda: len(worker.seen) >= len(values), "all records seen")
    assert_once_in_order(worker.seen, values)
    assert len(worker.batches) < len(values) / 2


async def test_starts_where_the_listener_says(lane: Lane) -> None:
    """The listener's offsets decide where to start; a partition without one starts at its first record."""
    clicks, orders = lane.topics
    worker = Worker(lane.settings())
    values = await produce(worker.settings, lane.topics, 200)
    worker.offsets.update({(clicks, number): 7 for number in range(lane.partitions)})
    async with worker.running():
        await until(lambda: bool(worker.seen), "first record")
        await until(lambda: _offset_sum(worker, orders) >= len(values) // 2, "all orders seen")
    first: dict[Place, int] = {}
    for topic, partition, offset, _ in worker.seen:
        first.setdefault((topic, partition), offset)
    assert {offset for (topic, _), offset in first.items() if topic == clicks} == {7}
    assert {offset for (topic, _), offset in first.items() if topic == orders} == {0}


def _offset_sum(worker: Worker, topic: str) -> int:
    return sum(offset for (name, _), offset in worker.offsets.items() if name == topic)


async def test_mirrors_durable_offsets_to_kafka(lane: Lane) -> None:
    """Kafka's committed offsets follow ours within the interval, and are complete after a stop."""
    worker = Worker(lane.settings())
    values = await produce(worker.settings, lane.topics, 100)
    async with worker.running() as app:
        await until(lambda: len(worker.seen) >= len(values), "all records seen")
        await until(lambda: app.batches.stats.last_commit_ns > 0, "a commit")
        assert sum(app.batches.lag().values()) == 0
    assert committed(worker.settings, lane.partitions) == worker.offsets
    assert worker.revocations[-1] == (frozenset(_all_places(lane)), False)


def _all_places(lane: Lane) -> set[Place]:
    return {(topic, number) for topic in lane.topics for number in range(lane.partitions)}


async def test_a_raising_handler_stops_the_worker(lane: Lane) -> None:
    """A batch that fails is neither skipped nor committed past: the worker ends with its exception."""
    worker = Worker(lane.settings(batch_max_records=10))

    def explode(batch: Batch) -> None:
        if any(message.value().endswith(b"/57") for message in batch.records):
            raise ZeroDivisionError("poisoned")

    worker.on_batch = explode
    await produce(worker.settings, lane.topics[:1], 100)
    with pytest.raises(ZeroDivisionError, match="poisoned"):
        async with worker.running() as app:
            await until(lambda: app.crash_reason is not None, "the worker fails")
    assert committed(worker.settings, lane.partitions) == worker.offsets
    assert not any(value.endswith(b"/57") for *_, value in worker.seen)


async def test_rebalance_with_work_in_flight(lane: Lane) -> None:
    """A second worker joins under load: no batch is cut, nothing is lost or doubled, customers move whole."""
    shared: dict[Place, int] = {}
    group = uuid.uuid4().hex
    first, second = (Worker(lane.settings(group), shared, work_s=0.02) for _ in range(2))
    settings = first.settings
    values = await produce(settings, lane.topics, 300)
    async with first.running():
        await until(lambda: len(first.seen) > 100, "the first worker works")
        async with second.running():
            for start in range(300, 1_200, 50):
                values += await produce(settings, lane.topics, 50, start)
                await asyncio.sleep(0.02)
            await until(lambda: bool(second.assigned), "the second worker gets its share")
            await until(lambda: len(first.assigned) < len(_all_places(lane)), "the first gives some up")
            values += await produce(settings, lane.topics, 300, 2_000)
            await until(lambda: bool(second.seen), "the second worker works")
            assert _numbers(first).isdisjoint(_numbers(second))
            assert first.assigned | second.assigned == _all_places(lane)
        values += await produce(settings, lane.topics, 50, 5_000)
        await until(lambda: len(first.seen) + len(second.seen) >= len(values), "all records seen")
        await until(lambda: first.assigned == _all_places(lane), "the first owns everything again")
    by_offset = sorted(first.seen + second.seen)
    assert_once_in_order(by_offset, values)


def _numbers(worker: Worker) -> set[int]:
    return {number for _, number in worker.assigned}


async def test_pause_holds_back_and_resume_goes_on(lane: Lane) -> None:
    """A paused partition brings nothing while the others go on; after resume nothing is missing."""
    worker = Worker(lane.settings())
    clicks, orders = lane.topics
    async with worker.running() as app:
        await until(lambda: worker.assigned == _all_places(lane), "everything assigned")
        held = {(clicks, number) for number in range(lane.partitions)}
        await app.batches.pause(held)
        values = await produce(worker.settings, lane.topics, 200)
        await until(lambda: _offset_sum(worker, orders) >= 200, "orders go on")
        await asyncio.sleep(0.2)
        assert _offset_sum(worker, clicks) == 0
        await app.batches.resume(held)
        await until(lambda: len(worker.seen) >= len(values), "clicks follow")
    assert_once_in_order(worker.seen, values)


async def test_seek_reads_again(lane: Lane) -> None:
    """After a seek from inside a batch each partition goes on at the offset asked for."""
    worker = Worker(lane.settings())
    values = await produce(worker.settings, lane.topics[:1], 200)
    async with worker.running() as app:
        await until(lambda: len(worker.seen) >= len(values), "all records seen")
        rewound = {place: 3 for place, end in worker.offsets.items() if end > 3}
        again = sum(worker.offsets[place] - 3 for place in rewound)
        worker.seen.clear()
        worker.before_batch = lambda: app.batches.seek(rewound)
        worker.wake_at = time.perf_counter()
        await until(lambda: len(worker.seen) >= again, "the records come again")
    first: dict[Place, int] = {}
    for topic, partition, offset, _ in worker.seen:
        first.setdefault((topic, partition), offset)
    assert first == rewound
    assert len(worker.seen) == again


async def test_wakes_for_a_timer_without_events(lane: Lane) -> None:
    """A due timer brings an empty batch within milliseconds, never early."""
    worker = Worker(lane.settings())
    async with worker.running():
        await until(lambda: bool(worker.assigned), "assigned")
        await asyncio.sleep(0.3)
        for _ in range(20):
            worker.wake_at = time.perf_counter() + 0.15
            await until(lambda: worker.wake_at is None, "the timer's batch")
    assert len(worker.woken_after_s) == 20
    assert min(worker.woken_after_s) >= 0
    assert statistics.median(worker.woken_after_s) < 0.005


@contextlib.contextmanager
def _processes(lane: Lane, folder: Path, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    group = uuid.uuid4().hex
    command = [sys.executable, "-m", "tests.streams.transport_harness"]
    arguments = [lane.bootstrap, lane.protocol, group, str(folder), *lane.topics]
    workers = [subprocess.Popen([*command, *arguments]) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


async def test_kill_9_loses_and_doubles_nothing(lane: Lane, tmp_path: Path) -> None:
    """A worker killed at work is followed by the other where its last durable write ended."""
    settings = lane.settings()
    values = await produce(settings, lane.topics, 200)
    with _processes(lane, tmp_path, 2) as workers:
        await until(lambda: len(list(tmp_path.glob("*.assigned"))) == 2, "both workers assigned")
        for start in range(200, 1_000, 100):
            values += await produce(settings, lane.topics, 100, start)
            if start == 600:
                workers[0].kill()
        killed = time.monotonic()
        await until(lambda: len(read_journals(tmp_path)) >= len(values), "the survivor catches up")
        takeover_s = time.monotonic() - killed
        values += await produce(settings, lane.topics, 100, 5_000)
        await until(lambda: len(read_journals(tmp_path)) >= len(values), "the survivor goes on")
    assert_once_in_order(sorted(read_journals(tmp_path)), values)
    # Session 1.5 s; the embedded broker's own group join takes 3 s more.
    assert takeover_s < (12 if lane.partitions == EMBEDDED_PARTITIONS else 6)


async def test_sigterm_ends_cleanly(lane: Lane, tmp_path: Path) -> None:
    """SIGTERM finishes the batch in flight, commits and leaves with exit code 0."""
    settings = lane.settings()
    values = await produce(settings, lane.topics, 200)
    with _processes(lane, tmp_path, 1) as (worker,):
        await until(lambda: len(read_journals(tmp_path)) >= len(values), "all records taken")
        worker.send_signal(signal.SIGTERM)
        await until(lambda: worker.poll() is not None, "the worker ends", 10)
        assert worker.returncode == 0


async def test_produced_records_land_by_murmur2(lane: Lane) -> None:
    """Keys land on the partition the Java client's partitioner gives, headers and values unharmed."""
    worker = Worker(lane.settings())
    producer = ActionProducer(worker.settings)
    headers = {"ce_id": b"1"}
    async with worker.running():
        places = await producer.send(
            [(lane.topics[0], b"21", b"x", headers), (lane.topics[0], b"foobar", b"y", None)]
        )
        await until(lambda: len(worker.seen) >= 2, "both seen")
    await producer.aclose()
    # Kafka's own test vectors: murmur2("21") = -973932308, murmur2("foobar") = -790332482.
    expected = [(value & 0x7FFFFFFF) % lane.partitions for value in (-973932308, -790332482)]
    assert [place.partition for place in places] == expected
    headers_seen = {m.value(): m.headers() for batch in worker.batches for m in batch.records}
    assert headers_seen == {b"x": [("ce_id", b"1")], b"y": None}


async def test_failed_produce_raises() -> None:
    """A flush that no broker acknowledged raises, with the count; it never passes silently."""
    settings = KafkaSettings("127.0.0.1:9", delivery_timeout_ms=300, extra={"log_level": 0})
    producer = ActionProducer(settings)
    with pytest.raises(TransientError, match="2 of 2 records not acknowledged"):
        await producer.send([("actions", b"k", b"1", None), ("actions", b"k", b"2", None)])
    assert producer.failed_total == 2
    await producer.aclose()


async def test_a_partly_failed_flush_raises(lane: Lane) -> None:
    """One record too large among good ones fails the flush; the producer works afterwards."""
    producer = ActionProducer(lane.settings())
    topic = lane.topics[0]
    with pytest.raises(TransientError, match=r"1 of 2 records .* MSG_SIZE_TOO_LARGE"):
        await producer.send([(topic, b"k", b"small", None), (topic, b"k", bytes(2_000_000), None)])
    assert len(await producer.send([(topic, b"k", b"again", None)])) == 1
    await producer.aclose()


def test_missing_topics_are_refused(lane: Lane) -> None:
    """A missing topic stops the start with its name and the command that helps."""
    settings = lane.settings()
    assert check_topics(settings, lane.topics) == lane.partitions
    with pytest.raises(ConfigError, match=r"nowhere.*engage topics create"):
        check_topics(settings, [*lane.topics, "nowhere"])


@pytest.mark.kafka
def test_unequal_partition_counts_are_refused(request: pytest.FixtureRequest) -> None:
    """Event topics with different partition counts would tear customers apart: the start is refused."""
    settings = KafkaSettings(request.getfixturevalue("apache_kafka").bootstrap)
    names = [f"uneven-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    made = create_topics(
        settings, [TopicSpec(name, count) for name, count in zip(names, (2, 3), strict=True)]
    )
    assert made == names
    with pytest.raises(ConfigError, match=f"{names[0]}=2, {names[1]}=3"):
        check_topics(settings, names)
    assert create_topics(settings, [TopicSpec(names[0], 2)]) == []


def test_topics_are_checked_against_a_silent_broker() -> None:
    """Without a broker the check says so instead of naming topics as missing."""
    with pytest.raises(TransientError, match="does not answer"):
        check_topics(KafkaSettings("127.0.0.1:9", extra={"log_level": 0}), ["any"], timeout_s=0.2)


def test_faust_finds_the_driver_by_entry_point() -> None:
    """`engage://` is registered in the official group, so any Faust tool finds the driver."""
    assert by_url("engage://127.0.0.1:9092") is Transport


async def test_an_app_needs_topics() -> None:
    """An app without topics would be healthy for ever and read nothing."""
    worker = Worker(KafkaSettings("127.0.0.1:9"))
    with pytest.raises(ConfigError, match="no event topics"):
        create_app(worker.settings, worker, worker.handle)


@pytest.mark.parametrize(
    "name", ["enable.auto.commit", "partition.assignment.strategy", "group.remote.assignor"]
)
def test_guarantees_cannot_be_configured_away(name: str) -> None:
    """A property the guarantees rest on is refused by name."""
    with pytest.raises(ConfigError, match=name):
        consumer_config(KafkaSettings("x", extra={name: "y"}))


def test_tls_and_sasl_reach_every_client() -> None:
    """Any librdkafka property is passed through to the consumer and the producer."""
    extra = {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "ssl.ca.location": "/ca.pem"}
    settings = KafkaSettings("x", extra=extra)
    assert extra.items() <= consumer_config(settings).items()
    assert extra.items() <= producer_config(settings).items()


def test_torn_assignments_are_refused() -> None:
    """A partition number assigned for one topic but not for the other stops the worker."""
    settings = KafkaSettings("x", topics=("clicks", "orders"))
    consumer = BatchConsumer(settings, Worker(settings))
    consumer._check_together(frozenset({("clicks", 1), ("orders", 1)}))
    with pytest.raises(ConfigError, match="partition 2 was assigned without topic 'orders'"):
        consumer._check_together(frozenset({("clicks", 1), ("orders", 1), ("clicks", 2)}))
