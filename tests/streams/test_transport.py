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
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Producer
from faust.transport import by_url

from engine.errors import ConfigError, StateError
from engine.streams.batch import Batch, check_together
from engine.streams.kafka import EMBEDDED_PARTITIONS, KafkaSettings, TopicSpec, create_topics
from engine.streams.local.stack import ApacheKafka
from engine.streams.producer import ActionProducer
from engine.streams.transport import EngageApp, Transport, create_app
from tests.streams.transport_harness import (
    Lane,
    Place,
    Worker,
    assert_once_in_order,
    committed,
    produce,
    read_journals,
    settings_for,
    until,
)


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


async def test_lag_can_be_asked_in_the_middle_of_a_rebalance(lane: Lane) -> None:
    """Asking for the lag never waits for the poll thread, which waits for the event loop in a rebalance."""
    worker = Worker(lane.settings())
    asked = 0

    async def ask() -> None:
        nonlocal asked
        assert worker.app is not None
        for _ in range(5):
            worker.app.batches.lag()
            await asyncio.sleep(0.01)
        asked += 1

    async def give_up(partitions: frozenset[Place], *, lost: bool) -> None:
        await ask()
        await Worker.on_revoked(worker, partitions, lost=lost)

    worker.on_revoked = give_up  # type: ignore[method-assign]
    values = await produce(worker.settings, lane.topics, 20)
    async with worker.running():
        await until(lambda: len(worker.seen) >= len(values), "all records seen")
    assert asked
    assert worker.revocations


async def test_lag_grows_while_a_batch_is_held_up(lane: Lane) -> None:
    """What comes while a batch waits for its store counts as behind, also what librdkafka has no room for."""
    worker = Worker(lane.settings(queued_max_kbytes=1, batch_max_records=10))
    held_up, released = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        held_up.set()
        await released.wait()

    worker.before_batch = wait
    values = await produce(worker.settings, lane.topics, 10)
    async with worker.running() as app:
        await asyncio.wait_for(held_up.wait(), 20)
        for start in range(10, 60, 10):
            values += await produce(worker.settings, lane.topics, 10, start)
            deadline_s = time.monotonic() + 10
            while sum(app.batches.lag().values()) < len(values):
                assert time.monotonic() < deadline_s, app.batches.lag()
                await asyncio.sleep(0.3)
                await app.batches.look()
        assert not worker.seen
        released.set()
        await until(lambda: len(worker.seen) >= len(values), "all records seen")
    assert_once_in_order(worker.seen, values)


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


async def test_a_listener_that_fails_stops_the_worker(lane: Lane) -> None:
    """A worker that cannot take its partitions over reads nothing and ends with the listener's exception."""
    worker = Worker(lane.settings())

    async def refuse(_partitions: frozenset[Place]) -> Mapping[Place, int]:
        raise StateError("layout too new")

    worker.on_assigned = refuse  # type: ignore[method-assign,assignment]
    await produce(worker.settings, lane.topics, 10)
    with pytest.raises(StateError, match="layout too new"):
        async with worker.running() as app:
            await until(lambda: app.crash_reason is not None, "the worker fails")
    assert not worker.seen


async def test_stops_while_the_listener_waits(lane: Lane) -> None:
    """A stop is not held up by a listener that waits for its store to take partitions over."""
    worker = Worker(lane.settings())
    entered = asyncio.Event()

    async def wait_for_ever(_partitions: frozenset[Place]) -> Mapping[Place, int]:
        entered.set()
        await asyncio.Event().wait()
        return {}

    worker.on_assigned = wait_for_ever  # type: ignore[method-assign,assignment]
    async with worker.running():
        await asyncio.wait_for(entered.wait(), 20)
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
    assert not worker.seen


async def test_a_stuck_batch_delays_a_stop_only_so_long(lane: Lane) -> None:
    """A batch not done within the drain timeout is given up uncommitted, its handler cancelled."""
    worker = Worker(lane.settings(drain_timeout_s=0.5), work_s=3_600.0)
    await produce(worker.settings, lane.topics[:1], 10)
    async with worker.running():
        await until(lambda: worker.in_flight == 1, "a batch in flight")
        begun = time.monotonic()
    assert time.monotonic() - begun < 3
    assert worker.in_flight == 0
    assert committed(worker.settings, lane.partitions) == {}


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
        for _ in range(10):
            worker.wake_at = time.perf_counter() + 0.15
            await until(lambda: worker.wake_at is None, "the timer's batch")
    assert len(worker.woken_after_s) == 10
    assert min(worker.woken_after_s) >= 0
    assert statistics.median(worker.woken_after_s) < 0.005


async def test_tells_how_far_it_has_read(lane: Lane) -> None:
    """A backlog is told as one until it is handed out; then no record is needed to tell that it is."""
    worker = Worker(lane.settings(batch_max_records=20, live=True), work_s=0.02)
    values = await produce(worker.settings, lane.topics, 300)
    worker.offsets.update({(lane.topics[0], number): 2 for number in range(lane.partitions)})
    everything = dict.fromkeys(range(lane.partitions), 0)
    async with worker.running():
        await until(lambda: bool(worker.batches) and worker.batches[-1].behind_ms == everything, "read")
        assert len(worker.seen) == len(values) - 2 * lane.partitions, "not before everything is"
        first = worker.batches[0]
        assert first.behind_ms is not None
        assert set(first.behind_ms.values()) <= {0}, "nothing is known of what is not read to its end"
        assert len(first.behind_ms) < lane.partitions
        more = await produce(worker.settings, lane.topics, 300, 300)
        await until(lambda: len(worker.seen) >= len(values) + len(more) - 2 * lane.partitions, "more")
        await until(lambda: worker.batches[-1].behind_ms == everything, "read again")


async def test_a_backlog_comes_in_the_order_of_its_appends(lane: Lane) -> None:
    """Across the topics of a partition, however much larger one of them is; what comes then is not held."""
    worker = Worker(lane.settings(live=True, queued_max_kbytes=64))
    clicks, orders = lane.topics
    begun_ms = int(time.time() * 1000) - 60_000
    sender = Producer({"bootstrap.servers": worker.settings.bootstrap, "log_level": 2})
    for number in range(3_000):
        topic, size = (orders, 10) if number % 10 == 0 else (clicks, 1_000)
        at_ms, partition = begun_ms + number, number // 10 % lane.partitions
        sender.produce(topic, b"%d/" % at_ms + b"." * size, partition=partition, timestamp=at_ms)
    await asyncio.to_thread(sender.flush)
    async with worker.running():
        await until(lambda: len(worker.seen) >= 3_000, "all records seen")
        assert len(worker.batches) > 1
        worker.wake_at = time.perf_counter()
        await until(lambda: worker.wake_at is None, "the timer's batch")
        for topic in (orders, clicks):
            sender.produce(topic, b"%d/" % begun_ms, partition=0, timestamp=begun_ms)
            await asyncio.to_thread(sender.flush)
        await until(lambda: len(worker.seen) >= 3_002, "what came behind it", 2)
    for number in range(lane.partitions):
        times = [int(value.split(b"/")[0]) for _, place, _, value in worker.seen if place == number]
        assert times[: 3_000 // lane.partitions] == sorted(times[: 3_000 // lane.partitions])


async def test_what_was_paused_and_taken_away_is_read_when_it_comes_back(lane: Lane) -> None:
    """The library remembers a pause beyond a rebalance, whoever asked for it does not."""
    worker = Worker(lane.settings(live=True))
    async with worker.running() as app:
        await until(lambda: len(worker.assigned) == 2 * lane.partitions, "all assigned")
        await app.batches.pause(worker.assigned)
        async with Worker(worker.settings).running() as _:
            await until(lambda: len(worker.assigned) < 2 * lane.partitions, "some taken away")
            taken = set(_all_places(lane)) - set(worker.assigned)
        await until(lambda: len(worker.assigned) == 2 * lane.partitions, "all assigned again")
        await produce(worker.settings, lane.topics, 200)
        await until(lambda: {(t, p) for t, p, *_ in worker.seen} >= taken, "read what came back")


async def test_what_the_group_has_read_and_the_state_forgotten_is_refused(lane: Lane) -> None:
    """A listener that knows nothing of a partition the group has worked on has lost its store."""
    worker = Worker(lane.settings(live=True))
    values = await produce(worker.settings, lane.topics, 100)
    async with worker.running():
        await until(lambda: len(worker.seen) >= len(values), "all records seen")
    again = Worker(worker.settings, dict(worker.offsets))
    async with again.running():
        await until(lambda: bool(again.assigned), "goes on")
    assert not again.seen
    with pytest.raises(StateError, match="redis knows nothing of partition"):
        async with Worker(worker.settings).running() as app:
            await until(lambda: app.crash_reason is not None, "the worker ends")


@pytest.mark.kafka
@pytest.mark.parametrize("stored", [0, 1], ids=["before the record", "on the mark behind it"])
async def test_the_marks_of_transactions_are_no_records(apache_kafka: ApacheKafka, stored: int) -> None:
    """Where a partition ends with a transaction's mark all is read; behind one that goes on there is more."""
    topic = f"marked-{uuid.uuid4().hex[:8]}"
    settings = settings_for(apache_kafka.bootstrap, "consumer", topic, [topic], live=True)
    create_topics(settings, [TopicSpec(topic, 1)])
    sender = Producer(
        {"bootstrap.servers": apache_kafka.bootstrap, "transactional.id": topic, "log_level": 2}
    )

    def begin() -> None:
        sender.begin_transaction()
        sender.produce(topic, b"one", b"customer")
        sender.flush(10)

    await asyncio.to_thread(sender.init_transactions, 30)
    await asyncio.to_thread(begin)
    await asyncio.to_thread(sender.commit_transaction, 10)
    worker = Worker(settings, offsets={(topic, 0): stored})
    told = worker.batches

    async def lag(app: EngageApp, wanted: int) -> None:
        deadline_s = time.monotonic() + 10
        while app.batches.lag() != {(topic, 0): wanted}:
            assert time.monotonic() < deadline_s, app.batches.lag()
            await asyncio.sleep(0.1)
            await app.batches.look()

    async with worker.running() as app:
        await until(lambda: bool(told) and told[-1].behind_ms == {0: 0}, "read")
        await lag(app, 0)
        await asyncio.to_thread(begin)
        other = ActionProducer(settings)
        other.produce_many([(topic, b"customer", b"two", None)])
        await other.flush()
        await asyncio.sleep(2)
        count = len(told)
        worker.wake_at = time.perf_counter()
        await until(lambda: len(told) > count, "a timer's batch")
        assert (told[-1].behind_ms or {}).get(0, 0) > 1_000, (
            "behind the transaction there is something unread"
        )
        await lag(app, 3)  # as long as there is more to read a mark counts as a record
        await asyncio.to_thread(sender.abort_transaction, 10)
        await until(lambda: told[-1].behind_ms == {0: 0}, "read")
        await lag(app, 0)
    assert [value for *_, value in worker.seen] == [b"one", b"two"][stored:]


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


async def test_a_rebalance_is_no_cause_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Faust ends a rebalance more than once, and there are no sensors to tell: both are as they should be."""
    settings = KafkaSettings("127.0.0.1:9", topics=("clicks",))
    app = create_app(settings, Worker(settings), Worker(settings).handle)
    app.on_rebalance_start()
    for _ in range(2):
        app.on_rebalance_return()
        app.on_rebalance_end()
    assert not app.rebalancing
    assert caplog.text == ""


def test_faust_finds_the_driver_by_entry_point() -> None:
    """`engage://` is registered in the official group, so any Faust tool finds the driver."""
    assert by_url("engage://127.0.0.1:9092") is Transport


async def test_an_app_needs_topics() -> None:
    """An app without topics would be healthy for ever and read nothing."""
    worker = Worker(KafkaSettings("127.0.0.1:9"))
    with pytest.raises(ConfigError, match="no event topics"):
        create_app(worker.settings, worker, worker.handle)


def test_torn_assignments_are_refused() -> None:
    """A partition number assigned for one topic but not for the other stops the worker."""
    whole = {("clicks", 1), ("orders", 1)}
    check_together(whole, ["clicks", "orders"])
    with pytest.raises(ConfigError, match="partition 2 was assigned without topic 'orders'"):
        check_together(whole | {("clicks", 2)}, ["clicks", "orders"])
