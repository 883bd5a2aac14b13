"""The worker's HTTP side: /metrics, /healthz, /readyz and /status tell the truth about it.

`/healthz` fails only where a restart helps: a rebalance that does not end, or lag without progress.
`/readyz` fails whenever the worker cannot work just now, and says why. The watchdog, a thread of its own,
ends a process that a restart would cure: heartbeats go on in librdkafka's thread, so a stuck worker would
keep its partitions for ever.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from engine import metrics as table
from engine.errors import EngineError
from engine.metrics import Metrics
from engine.settings import Settings
from engine.streams.kafka import TopicPartition
from engine.streams.merge import PATIENCE_S
from engine.streams.rates import SAMPLE_EVERY_S, RecentRates

_monotonic_s = time.monotonic
logger = logging.getLogger(__name__)

PAUSED_S = 2.0  # the watchdog's thread does nothing but wait: later than that, nothing ran
WATCHDOG_EXIT_CODE = 70
SILENT_AFTER_S = 30.0
AWAITED_AFTER_S = 5.0  # a topic is often waited for during a rebalance or while a leader moves
AWAITED_TOLD = 5


@dataclass(frozen=True, slots=True)
class _Silence:
    """A topic that holds others back: the partition's stream time, and since when it stands still."""

    clock_ms: int
    since_s: float


@dataclass(slots=True)
class WorkerHealth:
    """What the worker says about itself; the worker writes it, the server reads it.

    Args:
        now_s: a monotonic clock in seconds.
        redis_error: why Redis does not answer; empty while it does.
        kafka_error: why Kafka does not answer or acknowledge; empty while it does.
        registry_error: why the schema registry does not answer; empty while it does or is not needed.
        rules_error: why the rules could not be loaded; empty when they are.
        lag_records: records behind the end of the owned partitions.
        awaited_s: topics that hand out nothing though they are not known to be read, and for how long.
        partitions: owned partitions.
        all_partitions: how many each event topic has.
        waiting_records: those of them that wait for a silent topic, on the replay clock.
        in_group: whether it has asked the group for partitions; before that, it keeps nobody from any.
        assigned: whether the group has given this worker its partitions, be it none, at least once.
        clock_ms: the engine's clock.
        model: passport of the live churn model, as plain data.
        rules: which version of the rules runs, as plain data.
    """

    now_s: Callable[[], float]
    redis_error: str = ""
    kafka_error: str = ""
    registry_error: str = ""
    rules_error: str = ""
    lag_records: int = 0
    awaited_s: Mapping[TopicPartition, float] = field(default_factory=dict)
    waiting_records: int = 0
    partitions: tuple[int, ...] = ()
    all_partitions: int = 0
    in_group: bool = False
    assigned: bool = False
    clock_ms: int = 0
    model: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, Any] = field(default_factory=dict)
    _rebalancing_since_s: float | None = None
    _redis_away_since_s: float | None = None
    _progress_s: float = 0.0
    _silent: dict[TopicPartition, _Silence] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._progress_s = self.now_s()

    def progressed(self) -> None:
        """Note that a batch was committed."""
        self._progress_s = self.now_s()

    def trouble(self, step: str, error: str) -> None:
        """Note how a step that needs a server went.

        Args:
            step: `produce` needs Kafka, `decode` the schema registry, every other step Redis.
            error: why it failed, or empty when it went through.
        """
        if step == "produce":
            self.kafka_error = error
        elif step == "decode":
            self.registry_error = error
        else:
            if not error:
                self._redis_away_since_s = None
            elif not self.redis_error:
                self._redis_away_since_s = self.now_s()
            self.redis_error = error

    def silent(self, clocks_ms: Mapping[TopicPartition, int]) -> None:
        """Note which topics hold others back now; call it again and again.

        Args:
            clocks_ms: by topic and partition the partition's stream time; when that moves, the topic spoke.
        """
        now_s = self.now_s()
        before = self._silent
        self._silent = {
            place: found
            if (found := before.get(place)) is not None and found.clock_ms == clock_ms
            else _Silence(clock_ms, now_s)
            for place, clock_ms in clocks_ms.items()
        }

    def silences(self) -> dict[TopicPartition, float]:
        """Return the topics that have held others back for over `SILENT_AFTER_S`, and for how long, s."""
        now_s = self.now_s()
        lasting = {place: now_s - found.since_s for place, found in self._silent.items()}
        return {place: silent_s for place, silent_s in lasting.items() if silent_s > SILENT_AFTER_S}

    def rebalance_started(self) -> None:
        """Note that the group is changing; the first of several calls counts."""
        if self._rebalancing_since_s is None:
            self._rebalancing_since_s = self.now_s()

    def rebalance_ended(self, partitions: tuple[int, ...]) -> None:
        """Note which partitions this worker owns now."""
        self._rebalancing_since_s = None
        self.partitions = partitions
        self.assigned = True
        self._progress_s = self.now_s()

    def paused(self, seconds: float) -> None:
        """Note that nothing could run for a while: that counts neither as a stall nor as a rebalance."""
        now_s = self.now_s()
        self._progress_s = min(self._progress_s + seconds, now_s)
        if self._rebalancing_since_s is not None:
            self._rebalancing_since_s = min(self._rebalancing_since_s + seconds, now_s)
        if self._redis_away_since_s is not None:
            self._redis_away_since_s = min(self._redis_away_since_s + seconds, now_s)

    def rebalancing_s(self) -> float:
        """Return for how long the group has been changing; 0 when it is not."""
        return 0.0 if self._rebalancing_since_s is None else self.now_s() - self._rebalancing_since_s

    def stalled_s(self) -> float:
        """Return for how long nothing was committed although there is lag; 0 when all is worked on.

        Waiting for a server that is down or for a silent topic is no stall: a restart would not help.
        """
        behind = self.lag_records - self.waiting_records
        if behind <= 0 or self.redis_error or self.kafka_error or self.registry_error:
            self._progress_s = self.now_s()
            return 0.0
        return self.now_s() - self._progress_s

    def redis_away_s(self) -> float:
        """Return for how long Redis has not answered; 0 when it does."""
        return 0.0 if self._redis_away_since_s is None else self.now_s() - self._redis_away_since_s

    def ills(self, settings: Settings) -> list[str]:
        """Return what a restart would help against; empty when healthy."""
        found = []
        limits = settings.watchdog
        if (rebalancing_s := self.rebalancing_s()) > limits.rebalancing_s:
            found.append(f"rebalancing for {rebalancing_s:.0f} s (limit {limits.rebalancing_s} s)")
        stalled_s = self.stalled_s()
        if limits.no_progress_s and stalled_s > limits.no_progress_s:
            found.append(
                f"{self.lag_records} records behind and nothing committed for {stalled_s:.0f} s"
                f" (limit {limits.no_progress_s} s)"
            )
        away_s = self.redis_away_s()
        if limits.redis_s and self.in_group and away_s > limits.redis_s:
            found.append(
                f"redis has not answered for {away_s:.0f} s (limit {limits.redis_s} s);"
                " another worker may reach it"
            )
        return found

    def obstacles(self, settings: Settings) -> list[str]:
        """Return why the worker cannot work just now; empty when ready."""
        found = self.ills(settings)
        if self.redis_error:
            found.append(_of("redis", self.redis_error))
        if self.kafka_error:
            found.append(_of("kafka", self.kafka_error))
        if self.registry_error:
            found.append(f"schema registry: {self.registry_error}")
        if self.rules_error:
            found.append(f"rules: {self.rules_error}")
        if not self.assigned:
            found.append("kafka: no partitions assigned yet")
        elif self._rebalancing_since_s is not None:
            found.append("kafka: rebalancing")
        for (topic, partition), silent_s in self.silences().items():
            found.append(
                f"replay clock: {topic} partition {partition} has been silent for {silent_s:.0f} s;"
                " the others wait for its next record or watermark"
            )
        return found + self._awaited()

    def _awaited(self) -> list[str]:
        long = [place for place, since_s in sorted(self.awaited_s.items()) if since_s > AWAITED_AFTER_S]
        found = [
            f"kafka: {topic} partition {number} has handed out nothing for"
            f" {self.awaited_s[topic, number]:.0f} s and is not known to be read to its end;"
            " is its leader away? Deadlines wait for it, and"
            f" for {PATIENCE_S:.0f} s the other topics of partition {number}"
            for topic, number in long[:AWAITED_TOLD]
        ]
        if len(long) > AWAITED_TOLD:
            found.append(f"kafka: so have {len(long) - AWAITED_TOLD} more")
        return found


def _of(server: str, error: str) -> str:
    return error if error.startswith(server) else f"{server}: {error}"


class HealthServer:
    """Serves the four pages in the worker's own event loop.

    Args:
        metrics: what was counted.
        health: what the worker says about itself.
        settings: where to listen, and the limits.
        die: ends the process at once, with an exit code; the watchdog's last word.
    """

    def __init__(
        self,
        metrics: Metrics,
        health: WorkerHealth,
        settings: Settings,
        die: Callable[[int], object] = os._exit,
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._settings = settings
        self._die = die
        self._rates = RecentRates(metrics)
        self._runner: web.AppRunner | None = None
        self._sampler: asyncio.Task[None] | None = None
        self._stopped = threading.Event()
        self._beat_s = 0.0
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            EngineError: if the address cannot be listened on.
        """
        app = web.Application()
        for path, handler in (
            ("/metrics", self._serve_metrics),
            ("/healthz", self._serve_health),
            ("/readyz", self._serve_readiness),
            ("/status", self._serve_status),
        ):
            app.router.add_get(path, handler)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        http = self._settings.http
        site = web.TCPSite(self._runner, http.host, http.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise EngineError(
                f"cannot listen on {http.host}:{http.port}: {error.strerror};"
                " set http.port, or 0 for a free one"
            ) from None
        self.port = self._runner.addresses[0][1]
        self._beat_s = self._health.now_s()
        self._sampler = asyncio.create_task(self._sample(), name="engage-sampler")
        self._stopped.clear()
        threading.Thread(target=self._watch, name="engage-watchdog", daemon=True).start()

    async def stop(self) -> None:
        """Stop listening and watching."""
        self._stopped.set()
        if self._sampler is not None:
            self._sampler.cancel()
            await asyncio.gather(self._sampler, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _sample(self) -> None:
        while True:
            self._beat_s = self._health.now_s()
            self._rates.sample(self._beat_s)
            await asyncio.sleep(SAMPLE_EVERY_S)

    def _watch(self) -> None:
        """Run in a thread: an event loop that is stuck cannot watch itself."""
        limit_s = self._settings.watchdog.no_progress_s
        looked_s = _monotonic_s()
        while not self._stopped.wait(SAMPLE_EVERY_S):
            paused_s = _monotonic_s() - looked_s - SAMPLE_EVERY_S
            looked_s += paused_s + SAMPLE_EVERY_S
            if paused_s > PAUSED_S:  # a machine that moves, a SIGSTOP: ending now would only cost a restart
                logger.warning("the process was paused for %.0f s", paused_s)
                self._health.paused(paused_s)
                self._beat_s = min(self._beat_s + paused_s, self._health.now_s())
            ills = self._health.ills(self._settings)
            silent_s = self._health.now_s() - self._beat_s
            if limit_s and silent_s > limit_s:
                ills.append(f"the event loop has been stuck for {silent_s:.0f} s (limit {limit_s} s)")
            if ills:
                logger.critical("the watchdog ends the process: %s", "; ".join(ills))
                self._die(WATCHDOG_EXIT_CODE)

    def _refresh(self) -> None:
        """Bring the gauges that mirror the health up to date."""
        health = self._health
        self._metrics.set(table.PARTITIONS, len(health.partitions))
        self._metrics.set(table.EVENT_PARTITIONS, health.all_partitions)
        self._metrics.set(table.STALLED, health.stalled_s())
        self._metrics.set(table.CLOCK, health.clock_ms / 1000)
        self._metrics.set(table.READY, 0 if health.obstacles(self._settings) else 1)

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        self._refresh()
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _serve_health(self, _: web.Request) -> web.Response:
        return _verdict(self._health.ills(self._settings))

    async def _serve_readiness(self, _: web.Request) -> web.Response:
        return _verdict(self._health.obstacles(self._settings))

    async def _serve_status(self, _: web.Request) -> web.Response:
        self._refresh()
        return web.Response(body=msgspec.json.encode(self.status()), content_type="application/json")

    def status(self) -> dict[str, Any]:
        """Return the page `/status`: what a screen wants to know, as plain data."""
        health, counted = self._health, self._metrics
        events_per_s, latency_ms = self._rates.read(health.now_s())
        return {
            "clock_ms": health.clock_ms,
            "ready": not (obstacles := health.obstacles(self._settings)),
            "obstacles": obstacles,
            "events_total": int(counted.value(table.EVENTS)),
            "events_per_s": events_per_s,
            "latency_ms": latency_ms,
            "customers": int(counted.value(table.CUSTOMERS)),
            "segments": _whole(counted.by_label(table.SEGMENT_CUSTOMERS, "segment")),
            "actions": _whole(counted.by_label(table.ACTIONS, "journey")),
            "suppressed": _whole(counted.by_label(table.SUPPRESSED, "guard")),
            "deferred": int(counted.value(table.DEFERRED)),
            "dead_letters": {
                reason: number
                for reason, number in _whole(counted.by_label(table.DEAD_LETTERS, "reason")).items()
                if number
            },
            "duplicates": int(counted.value(table.DUPLICATES)),
            "timers": int(counted.value(table.TIMERS)),
            "batches": int(counted.value(table.BATCHES)),
            "model": health.model,
            "rules": health.rules,
            "partitions": list(health.partitions),
            "lag": health.lag_records,
        }


def _whole(values: dict[str, float]) -> dict[str, int]:
    return {name: int(value) for name, value in values.items()}


def _verdict(problems: list[str]) -> web.Response:
    text = "ok\n" if not problems else "".join(f"{problem}\n" for problem in problems)
    return web.Response(text=text, status=503 if problems else 200)
