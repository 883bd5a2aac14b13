"""The four pages tell the truth, and the watchdog ends what only a restart can cure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from engine import metrics as table
from engine.config import Settings, load_settings
from engine.errors import EngineError
from engine.metrics import Metrics
from engine.streams import health
from engine.streams.health import HealthServer, WorkerHealth
from engine.streams.rates import RecentRates

SETTINGS: Settings = load_settings({"http.port": "0", "watchdog.no_progress_s": "60"}, environ={})


@dataclass
class Clock:
    """A monotonic clock a test moves."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@dataclass
class Worker:
    """A worker's health on a clock the test moves, with its server's counters."""

    clock: Clock = field(default_factory=Clock)
    metrics: Metrics = field(default_factory=Metrics)
    exits: list[int] = field(default_factory=list)
    health: WorkerHealth = field(init=False)

    def __post_init__(self) -> None:
        self.health = WorkerHealth(self.clock)


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[aiohttp.ClientSession]:
    """Run the server of a worker and give a client for it."""
    server = HealthServer(worker.metrics, worker.health, SETTINGS, worker.exits.append)
    await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
            yield session
    finally:
        await server.stop()


async def _get(session: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with session.get(path) as answer:
        return answer.status, await answer.text()


async def test_ready_only_with_partitions_redis_kafka_and_rules() -> None:
    """Readiness names each obstacle and clears when it is gone; health does not care."""
    worker = Worker()
    async with serving(worker) as session:
        assert await _get(session, "/readyz") == (503, "kafka: no partitions assigned yet\n")
        worker.health.rebalance_ended((0, 1))
        assert await _get(session, "/readyz") == (200, "ok\n")
        worker.health.redis_error = "connection refused"
        worker.health.rules_error = "2 errors"
        status, text = await _get(session, "/readyz")
        assert status == 503
        assert text == "redis: connection refused\nrules: 2 errors\n"
        assert (await _get(session, "/healthz"))[0] == 200
        worker.health.redis_error = worker.health.rules_error = ""
        worker.health.rebalance_started()
        assert (await _get(session, "/readyz"))[1] == "kafka: rebalancing\n"


def test_a_long_rebalance_and_lag_without_progress_are_ill() -> None:
    """Health fails on what a restart cures, and only after its limit."""
    worker = Worker()
    worker.health.rebalance_started()
    worker.clock.now_s += 59
    assert worker.health.ills(SETTINGS) == []
    worker.health.rebalance_started()
    worker.clock.now_s += 2
    assert "rebalancing for 61 s" in worker.health.ills(SETTINGS)[0]
    worker.health.rebalance_ended((0,))
    worker.health.lag_records = 5
    worker.clock.now_s += 61
    assert "5 records behind and nothing committed for 61 s" in worker.health.ills(SETTINGS)[0]
    worker.health.progressed()
    assert worker.health.ills(SETTINGS) == []


def test_idleness_and_waiting_for_a_server_are_no_stall() -> None:
    """No lag, or a server that is down, never makes the worker ill, and the count starts anew after."""
    worker = Worker()
    worker.health.rebalance_ended((0,))
    worker.clock.now_s += 10_000
    assert worker.health.ills(SETTINGS) == []
    worker.health.lag_records = 3
    worker.health.redis_error = "connection refused"
    worker.clock.now_s += 10_000
    assert worker.health.ills(SETTINGS) == []
    worker.health.redis_error = ""
    worker.clock.now_s += 30
    assert worker.health.ills(SETTINGS) == []


def test_a_topic_that_stays_silent_is_named() -> None:
    """After half a minute readiness names topic and partition, unless the partition's stream time moved."""
    worker = Worker()
    worker.health.rebalance_ended((2,))
    worker.health.silent({("orders", 2): 5})
    worker.clock.now_s += 31
    worker.health.silent({("orders", 2): 6})
    assert worker.health.obstacles(SETTINGS) == []
    worker.clock.now_s += 31
    worker.health.silent({("orders", 2): 6})
    (obstacle,) = worker.health.obstacles(SETTINGS)
    assert obstacle.startswith("replay clock: orders partition 2 has been silent for 31 s")
    worker.health.silent({})
    assert worker.health.obstacles(SETTINGS) == []


def test_topics_that_hand_out_nothing_are_named() -> None:
    """Readiness names those that are waited for, once it lasts, and of many the first."""
    worker = Worker()
    worker.health.rebalance_ended((2,))
    worker.health.awaited_s = {("orders", 2): 4.0}
    assert worker.health.obstacles(SETTINGS) == []
    worker.health.awaited_s = {("orders", 2): 6.0}
    (obstacle,) = worker.health.obstacles(SETTINGS)
    assert obstacle.startswith("kafka: orders partition 2 has handed out nothing for 6 s")
    worker.health.awaited_s = {("orders", number): 6.0 for number in range(12)}
    *named, more = worker.health.obstacles(SETTINGS)
    assert len(named) == 5
    assert more == "kafka: so have 7 more"


def test_waiting_for_a_silent_topic_is_no_stall() -> None:
    """A restart makes no topic speak; records beyond those that wait are a stall all the same."""
    worker = Worker()
    worker.health.rebalance_ended((0,))
    worker.health.lag_records = worker.health.waiting_records = 5
    worker.clock.now_s += 10_000
    assert worker.health.ills(SETTINGS) == []
    worker.health.lag_records = 6
    worker.clock.now_s += 61
    assert "6 records behind" in worker.health.ills(SETTINGS)[0]


def test_the_step_that_fails_names_the_server() -> None:
    """A failing step shows as its server's obstacle until a step of that server goes through again."""
    worker = Worker()
    worker.health.rebalance_ended((0,))
    for step, server in (("commit", "redis"), ("produce", "kafka"), ("decode", "schema registry")):
        worker.health.trouble(step, "gone")
        assert worker.health.obstacles(SETTINGS) == [f"{server}: gone"]
        worker.health.trouble(step, "")
        assert worker.health.obstacles(SETTINGS) == []


def test_a_worker_that_cannot_reach_redis_makes_room_for_others() -> None:
    """After minutes, and only in the group: one that waits to join keeps nobody from a partition."""
    worker = Worker()
    for step in ("ping", "commit"):
        worker.health.trouble(step, "gone")
        worker.clock.now_s += 151
    assert worker.health.ills(SETTINGS) == []
    worker.health.in_group = True
    (ill,) = worker.health.ills(SETTINGS)
    assert ill.startswith("redis has not answered for 302 s (limit 300 s)")
    never = load_settings({"watchdog.redis_s": "0"}, environ={})
    assert worker.health.ills(never) == []
    worker.health.paused(100.0)
    assert worker.health.ills(SETTINGS) == []
    worker.clock.now_s += 200
    worker.health.trouble("commit", "")
    assert worker.health.ills(SETTINGS) == []


async def test_the_watchdog_ends_a_stuck_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lag without progress past the limit ends the process with the documented exit code."""
    monkeypatch.setattr(health, "SAMPLE_EVERY_S", 0.01)
    worker = Worker()
    async with serving(worker):
        worker.health.rebalance_ended((0,))
        worker.health.lag_records = 1
        await asyncio.sleep(0.05)
        assert worker.exits == []
        worker.clock.now_s += 61
        await asyncio.sleep(0.05)
    assert set(worker.exits) == {health.WATCHDOG_EXIT_CODE}


async def test_the_watchdog_ends_a_process_whose_loop_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that never yields to the event loop is noticed, though nothing else in the loop can run."""
    monkeypatch.setattr(health, "SAMPLE_EVERY_S", 0.01)
    worker = Worker()
    async with serving(worker):
        worker.clock.now_s += 61
        time.sleep(0.1)  # noqa: ASYNC251 - blocking the loop is the point
        exits = set(worker.exits)
    assert exits == {health.WATCHDOG_EXIT_CODE}


async def test_the_watchdog_forgives_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stood still, or a SIGSTOP, ends nobody: the watchdog stood still as well."""
    monkeypatch.setattr(health, "SAMPLE_EVERY_S", 0.01)
    worker = Worker()
    begun_s = worker.clock.now_s
    monkeypatch.setattr(health, "_monotonic_s", lambda: time.monotonic() + worker.clock.now_s - begun_s)
    async with serving(worker):
        worker.health.lag_records = 1
        worker.clock.now_s += 188
        time.sleep(0.1)  # noqa: ASYNC251 - the loop stands still
        await asyncio.sleep(0.05)
        assert worker.exits == []


async def test_status_and_metrics_show_what_was_counted() -> None:
    """`/status` has every key a screen reads; `/metrics` mirrors health."""
    worker = Worker()
    worker.metrics.add(table.EVENTS, 10, "click")
    worker.metrics.add(table.ACTIONS, 2, "welcome", "email")
    worker.metrics.add(table.SUPPRESSED, 1, "consent")
    worker.metrics.add(table.DEAD_LETTERS, 2, "not_decodable")
    worker.metrics.add(table.DEAD_LETTERS, 0, "field_invalid")
    worker.metrics.set(table.SEGMENT_CUSTOMERS, 4, "new")
    worker.health.clock_ms = 1_500
    worker.health.lag_records = 9
    worker.health.rebalance_ended((3,))
    async with serving(worker) as session:
        async with session.get("/status") as answer:
            status = await answer.json()
        _, text = await _get(session, "/metrics")
    assert status["events_total"] == 10
    assert status["dead_letters"] == {"not_decodable": 2}
    assert status["actions"] == {"welcome": 2}
    assert status["suppressed"] == {"consent": 1}
    assert status["segments"] == {"new": 4}
    assert (status["clock_ms"], status["lag"], status["partitions"]) == (1500, 9, [3])
    assert "engage_partitions 1.0" in text
    assert "engage_ready 1.0" in text


def test_rates_forget_what_is_older_than_the_window() -> None:
    """Events per second and percentiles are of the last seconds, not of all time."""
    counted = Metrics()
    rates = RecentRates(counted)
    counted.add(table.EVENTS, 1_000_000, "click")
    counted.observe(table.ENGINE_LATENCY, [5.0] * 100)
    for second in range(12):
        rates.sample(float(second))
        counted.add(table.EVENTS, 50, "click")
        counted.observe(table.ENGINE_LATENCY, [0.0021] * 50)
    events_per_s, latency = rates.read(12.0)
    assert events_per_s == pytest.approx(50)
    assert latency["p50"] == pytest.approx(2.5, abs=0.5)
    assert latency["p99"] == pytest.approx(3.0, abs=0.5)


async def test_a_taken_port_is_a_clear_error() -> None:
    """Two workers on one port: the second says which, and what to set."""
    worker = Worker()
    first = HealthServer(worker.metrics, worker.health, SETTINGS)
    await first.start()
    settings = load_settings({"http.port": str(first.port)}, environ={})
    with pytest.raises(EngineError, match=r"cannot listen on 127\.0\.0\.1:\d+: .*set http\.port"):
        await HealthServer(Metrics(), worker.health, settings).start()
    await first.stop()
