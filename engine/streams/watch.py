"""What a worker looks at once a second, also while no event comes: lag, silent topics, late timers, Redis."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from engine import metrics as table
from engine.errors import ConfigError, TransientError
from engine.metrics import Metrics
from engine.streams.health import WorkerHealth
from engine.streams.kafka import TopicPartition
from engine.streams.steps.intake import Intake
from engine.streams.steps.partitions import OwnedPartition
from engine.streams.store.contract import Store, StoreHealth

log = structlog.get_logger(__name__)

WATCH_EVERY_S = 1.0
ASK_REDIS_EVERY_S = 15.0


class Behind(Protocol):
    """What is asked of the consumer."""

    async def look(self) -> None:
        """Note how far the partitions reach now."""

    def lag(self) -> dict[TopicPartition, int]:
        """Return the records of each partition that are not durable yet."""

    def awaited(self) -> dict[TopicPartition, float]:
        """Return which topics hand out nothing though they are not known to be read, and for how long, s."""


class Watch:
    """Keeps health and the metrics that no step counts current.

    Args:
        consumer: knows the lag; asked for at each use, for it exists only once started.
        owned: the partitions of the worker.
        intake: knows which topics have nothing to show.
        store: where the state is.
        metrics: told.
        health: told.
        live: whether the clock is the wall clock, and so lateness means something.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        consumer: Callable[[], Behind],
        owned: Mapping[int, OwnedPartition],
        intake: Intake,
        store: Store,
        metrics: Metrics,
        health: WorkerHealth,
        *,
        live: bool,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._consumer = consumer
        self._owned = owned
        self._intake = intake
        self._store = store
        self._metrics = metrics
        self._health = health
        self._live = live
        self._now_ms = now_ms
        self._told: set[TopicPartition] = set()
        self._behind_since_ms: dict[TopicPartition, int] = {}
        self._unread_since_ms: dict[int, int] = {}
        self._redis_silent = False
        self._ask_redis_s = 0.0

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._watch_kafka())
            both.create_task(self._watch_redis())

    async def _watch_kafka(self) -> None:
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            with contextlib.suppress(Exception):
                await self._look_at(self._consumer())
            self._tell_silences()

    async def _watch_redis(self) -> None:  # apart: a server that hangs lets a question wait for seconds
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            await self._redis()

    async def _look_at(self, consumer: Behind) -> None:
        with contextlib.suppress(TimeoutError):  # a rebalance that waits for Redis, say: as last seen
            await asyncio.wait_for(consumer.look(), WATCH_EVERY_S)
        self.look(consumer.lag())
        self._health.awaited_s = consumer.awaited()

    def look(self, lag: Mapping[TopicPartition, int]) -> None:
        """Bring lag and lateness up to date.

        Args:
            lag: records by topic and partition that are not durable yet.
        """
        self._health.lag_records = sum(lag.values())
        look_for_silence(self._intake, lag, self._health)
        records: dict[int, int] = {}
        for (_, number), count in lag.items():
            records[number] = records.get(number, 0) + count
        self._metrics.replace(table.LAG, {f"{number}": count for number, count in records.items()})
        if self._live:
            self._lateness(lag)

    def _lateness(self, lag: Mapping[TopicPartition, int]) -> None:
        now_ms = self._now_ms()
        self._metrics.replace(table.LAG_AGE, self._ages_s(lag, now_ms))
        due_ms = [due for owned in self._owned.values() if (due := owned.timers.earliest_ms()) is not None]
        self._metrics.set(table.TIMERS_LATE, max(0.0, (now_ms - min(due_ms, default=now_ms)) / 1000))
        self._metrics.set(table.DEADLINES_HELD, self._held_s(now_ms))

    def _ages_s(self, lag: Mapping[TopicPartition, int], now_ms: int) -> dict[str, float]:
        """Return for how long records wait, at most, by partition: of its topics, the one that lags most."""
        behind = [place for place, count in lag.items() if count]
        self._behind_since_ms = {place: self._behind_since_ms.get(place, now_ms) for place in behind}
        ages_s = {f"{number}": 0.0 for _, number in lag}
        for (topic, number), count in lag.items():
            owned = self._owned.get(number)
            if count:
                # before its first record is durable: since when it has been seen to be behind
                at_ms = self._behind_since_ms[topic, number]
                if owned is not None:
                    at_ms = owned.durable_ms.get(topic, at_ms)
                ages_s[f"{number}"] = max(ages_s[f"{number}"], (now_ms - at_ms) / 1000)
            elif owned is not None:
                owned.durable_ms[topic] = now_ms  # its last record may be hours old
        return ages_s

    def _held_s(self, now_ms: int) -> float:
        """Return how far behind the clock deadlines are judged."""
        unread = [number for number, owned in self._owned.items() if not owned.reached_ms]
        self._unread_since_ms = {number: self._unread_since_ms.get(number, now_ms) for number in unread}
        reached_ms = [
            owned.reached_ms or self._unread_since_ms[number]
            for number, owned in self._owned.items()
            if not owned.at_end
        ]
        return max(0.0, (now_ms - min(reached_ms, default=now_ms)) / 1000)

    def _tell_silences(self) -> None:
        silences = set(self._health.silences())
        for topic, partition in sorted(silences - self._told):
            log.warning("a silent topic stops its partition", topic=topic, partition=partition)
        self._told = silences

    async def _redis(self) -> None:
        started_s = time.perf_counter()
        try:
            await self._store.ping()
            self._metrics.observe_one(table.REDIS_PING, time.perf_counter() - started_s)
            if started_s >= self._ask_redis_s:
                self._ask_redis_s = started_s + ASK_REDIS_EVERY_S
                with contextlib.suppress(ConfigError):  # a user that may not ask INFO
                    show_redis(await self._store.health(), self._metrics)
        except (TransientError, ConfigError) as error:
            self._redis_silent = True
            self._health.trouble("ping", str(error))
        else:
            if self._redis_silent:  # what a step says of Redis is the step's to take back
                self._health.trouble("ping", "")
            self._redis_silent = False


def show_redis(found: StoreHealth, metrics: Metrics) -> None:
    """Show what Redis says of itself.

    Args:
        found: its answer.
        metrics: told.
    """
    metrics.set(table.REDIS_MEMORY, found.used_memory_bytes)
    metrics.set(table.REDIS_MAX_MEMORY, found.max_memory_bytes)
    metrics.set(table.REDIS_EVICTED, found.evicted_keys)
    metrics.set(table.REDIS_PERSISTENT, int(found.aof_enabled and found.aof_write_ok))


def look_for_silence(intake: Intake, lag: Mapping[TopicPartition, int], health: WorkerHealth) -> None:
    """Tell health which topics hold others back, on the replay clock.

    Args:
        intake: knows which topics have nothing to show.
        lag: records by topic and partition; a topic that has some is not silent, only not read yet.
        health: told.
    """
    found = [place for place in intake.silent() if not lag.get(place)]
    health.silent({place: intake.clock_ms(place[1]) for place in found})
    stopped = {partition for _, partition in found}
    health.waiting_records = sum(count for (_, number), count in lag.items() if number in stopped)
