"""What the worker sees of itself once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine import metrics as table
from engine.events import Family
from engine.metrics import Metrics
from engine.streams import watch
from engine.streams.health import WorkerHealth
from engine.streams.local.stack import ValkeyServer
from engine.streams.steps.intake import Intake
from engine.streams.steps.partitions import OwnedPartition
from engine.streams.store.memory import MemoryStore
from engine.streams.store.redis import RedisStore
from tests.streams.steps.test_intake import T0, decode, log_of

SILENT = ("orders", 0)


@pytest.fixture
def waiting() -> Intake:
    """Give an intake on the replay clock that holds a click and waits for orders."""
    intake = Intake({"clicks": Family.CLICK, "orders": Family.ORDER}, decode, replay=True, ids_remembered=10)
    intake.assign(0, 0, b"", b"")
    intake.add(log_of("clicks", f"a@{T0}"), T0)
    return intake


@pytest.mark.parametrize(
    ("lag", "silent", "waits"),
    [
        ({("clicks", 0): 3, SILENT: 0, ("clicks", 1): 9}, [SILENT], 3),
        ({("clicks", 0): 3, SILENT: 2}, [], 0),
    ],
)
def test_a_topic_with_records_to_read_is_not_silent(
    waiting: Intake, lag: Mapping[tuple[str, int], int], silent: list[tuple[str, int]], waits: int
) -> None:
    """Only a topic read to its end is silent, and only the lag of its partition waits for it."""
    now_s = 0.0
    health = WorkerHealth(lambda: now_s)
    watch.look_for_silence(waiting, lag, health)
    now_s = 31.0
    assert list(health.silences()) == silent
    assert health.waiting_records == waits


async def test_a_silence_is_logged_once(waiting: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it lasts, one warning names topic and partition; while it is short, none does."""
    monkeypatch.setattr(watch, "WATCH_EVERY_S", 0.001)
    now_s, told, enough = 0.0, [], asyncio.Event()

    async def look() -> None:
        nonlocal now_s
        now_s += 10
        told.append(len(logs))
        if len(told) == 7:
            enough.set()

    consumer: Any = SimpleNamespace(look=look, lag=lambda: {("clicks", 0): 1, SILENT: 0})
    health = WorkerHealth(lambda: now_s)
    looking = watch.Watch(lambda: consumer, {}, waiting, MemoryStore(), Metrics(), health, live=False)
    with capture_logs() as logs:
        task = asyncio.create_task(looking.run())
        await asyncio.wait_for(enough.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert told[:7] == [0, 0, 0, 0, 0, 1, 1]
    assert (logs[0]["topic"], logs[0]["partition"], logs[0]["log_level"]) == (*SILENT, "warning")


NOW_MS = 1_700_000_100_000


def looking(owned: dict[int, OwnedPartition], metrics: Metrics, now_ms: list[int]) -> watch.Watch:
    """Give a watch over partitions, with nothing behind it."""
    intake = Intake({"clicks": Family.CLICK}, decode, replay=False, ids_remembered=10)
    nothing: Any = None
    health = WorkerHealth(lambda: 0.0)
    return watch.Watch(nothing, owned, intake, nothing, metrics, health, live=True, now_ms=lambda: now_ms[0])


def test_lag_is_told_by_partition_in_records_and_in_seconds() -> None:
    """A partition with nothing to do has no age; one that was never seen to move ages from the first look."""
    metrics, now_ms = Metrics(), [NOW_MS]
    owned = {number: OwnedPartition(number, 1) for number in range(3)}
    for number in (0, 1):
        owned[number].durable_ms = dict.fromkeys(("clicks", "orders"), NOW_MS - 4_000)
    seen = looking(owned, metrics, now_ms)
    lag = {("clicks", 0): 2, ("orders", 0): 3, ("clicks", 1): 0, ("clicks", 2): 7}
    seen.look(lag)
    now_ms[0] += 1_000
    seen.look(lag)
    assert metrics.by_label(table.LAG, "partition") == {"0": 5, "1": 0, "2": 7}
    assert metrics.by_label(table.LAG_AGE, "partition") == {"0": 5.0, "1": 0.0, "2": 1.0}
    now_ms[0] += 2_000
    seen.look({("clicks", 1): 1})
    assert metrics.by_label(table.LAG_AGE, "partition") == {"1": 2.0}, "the others went to another worker"


def test_a_topic_that_is_read_to_its_end_hides_none_that_lags() -> None:
    """Of a partition's topics the one that lags most counts, however new the others' records are."""
    metrics = Metrics()
    owned = OwnedPartition(0, 1, durable_ms={"clicks": NOW_MS - 100, "orders": NOW_MS - 90_000})
    seen = looking({0: owned}, metrics, [NOW_MS])
    seen.look({("clicks", 0): 3, ("orders", 0): 500, ("service", 0): 0})
    assert metrics.by_label(table.LAG_AGE, "partition") == {"0": 90.0}


def test_a_sparse_topic_does_not_lag_by_its_silence() -> None:
    """A topic that was read to its end a second ago has nothing that waits for longer; a restore, it has."""
    metrics, now_ms = Metrics(), [NOW_MS]
    owned = {0: OwnedPartition(0, 1, durable_ms={"clicks": NOW_MS, "orders": NOW_MS - 3_600_000})}
    seen = looking(owned, metrics, now_ms)
    seen.look({("clicks", 0): 3, ("orders", 0): 0})
    assert metrics.by_label(table.LAG_AGE, "partition") == {"0": 0.0}
    now_ms[0] += 1_000
    seen.look({("clicks", 0): 0, ("orders", 0): 1})
    assert metrics.by_label(table.LAG_AGE, "partition") == {"0": 1.0}
    # Redis came back from an older moment
    owned[0] = OwnedPartition(0, 2, durable_ms={"orders": NOW_MS - 7_200_000})
    seen.look({("clicks", 0): 0, ("orders", 0): 900})
    assert metrics.by_label(table.LAG_AGE, "partition") == {"0": 7_201.0}


async def test_lag_is_looked_at_while_redis_hangs(waiting: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question Redis does not answer holds up no other; nor does a rebalance that waits."""
    monkeypatch.setattr(watch, "WATCH_EVERY_S", 0.001)
    metrics = Metrics()

    async def hang() -> None:
        await asyncio.Event().wait()

    consumer: Any = SimpleNamespace(look=hang, lag=lambda: {("clicks", 0): 7})
    store: Any = SimpleNamespace(ping=hang)
    health = WorkerHealth(lambda: 0.0)
    looking = watch.Watch(lambda: consumer, {}, waiting, store, metrics, health, live=False)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(looking.run(), 0.2)
    assert health.lag_records == 7
    assert metrics.by_label(table.LAG, "partition") == {"0": 7}


def test_late_timers_are_told_also_in_the_middle_of_a_step() -> None:
    """A timer that was handed out and not moved since is still late; one in the future is not."""
    metrics = Metrics()
    owned = OwnedPartition(0, 1)
    seen = looking({0: owned}, metrics, [NOW_MS])
    owned.timers.extend([("a", NOW_MS - 9_000), ("b", NOW_MS + 9_000)], NOW_MS + 10_000)
    seen.look({})
    assert metrics.value(table.TIMERS_LATE) == 9
    assert owned.timers.due(NOW_MS, 10) == [("a", NOW_MS - 9_000)]
    seen.look({})
    assert metrics.value(table.TIMERS_LATE) == 9
    owned.timers.move("a", 0)
    seen.look({})
    assert metrics.value(table.TIMERS_LATE) == 0


def test_deadlines_that_wait_for_reading_are_told() -> None:
    """Since when: of what has been read, or of taking the partition; of all the most."""
    metrics, now_ms = Metrics(), [NOW_MS]
    owned = {number: OwnedPartition(number, 1) for number in range(3)}
    seen = looking(owned, metrics, now_ms)
    seen.look({})
    assert metrics.value(table.DEADLINES_HELD) == 0
    now_ms[0] += 7_000
    owned[0].reach(now_ms[0], 0)
    owned[1].reach(now_ms[0], 3_000)
    seen.look({})
    assert metrics.value(table.DEADLINES_HELD) == 7, "nothing is known of the third yet"
    owned[2].reach(now_ms[0], 0)
    seen.look({})
    assert metrics.value(table.DEADLINES_HELD) == 3
    owned[1].reach(now_ms[0], 0)
    now_ms[0] += 60_000
    seen.look({})
    assert metrics.value(table.DEADLINES_HELD) == 0, "with nothing to read the clock goes on"


async def test_redis_tells_memory_and_persistence(valkey_server: ValkeyServer) -> None:
    """The gauges hold what the real server says; this one keeps its append-only file."""
    metrics = Metrics()
    store = RedisStore(valkey_server.url)
    try:
        watch.show_redis(await store.health(), metrics)
    finally:
        await store.close()
    assert metrics.value(table.REDIS_MEMORY) > 100_000
    assert metrics.value(table.REDIS_MAX_MEMORY) == 0
    assert metrics.value(table.REDIS_EVICTED) == 0
    assert metrics.value(table.REDIS_PERSISTENT) == 1
