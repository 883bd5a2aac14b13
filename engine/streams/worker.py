"""The worker process: everything put together and run until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import msgspec
import structlog
import uvloop

from engine import metrics as table
from engine.errors import ConfigError, TransientError
from engine.metrics import Metrics
from engine.pipeline.core import Pipeline
from engine.settings import Settings
from engine.streams.files import fingerprint_of
from engine.streams.health import WATCHDOG_EXIT_CODE, HealthServer, WorkerHealth
from engine.streams.kafka import KafkaSettings, check_topics
from engine.streams.logs import configure_logs
from engine.streams.models.switch import ModelSwitch
from engine.streams.models.topic import ModelFollower
from engine.streams.producer import ActionProducer
from engine.streams.rules.follower import RuleFollower
from engine.streams.rules.loader import RuleLoader
from engine.streams.rules.switch import RuleSwitch
from engine.streams.running import run
from engine.streams.security.acls import check_rights
from engine.streams.security.rights import roles_of
from engine.streams.steps.delivery import Producers
from engine.streams.steps.handler import Handler
from engine.streams.store.redis import RedisStore
from engine.streams.topics import topic_specs
from engine.streams.transactions.producer import KafkaTransactions
from engine.streams.transport import create_app
from engine.streams.watch import Watch
from engine.streams.wire.codec import Decoder
from engine.streams.wire.registry import open_registry
from engine.streams.wiring import build_pipeline, kafka_settings

if TYPE_CHECKING:
    from engine.streams.tracing import Tracing

log = structlog.get_logger(__name__)

RULES_TIMEOUT_S = 60.0
END_S = 10.0  # for what is left once all is done
REDIS_PAUSE_S = 0.5  # between two questions, while it is not there


# A tenth of the default: the poll, produce and model threads get the interpreter back sooner.
SWITCH_INTERVAL_S = 0.0005
# Customer states live long and hold no cycles: full collections would only stop a batch for nothing.
GC_THRESHOLDS = (50_000, 50, 1_000)


def run_worker(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT; the batch in flight is finished first.

    Args:
        settings: all settings.

    Raises:
        EngineError: it can't start (topics, rules, settings), or can't go on.
    """
    configure_logs(settings)
    last = threading.Timer(END_S, _end)
    last.daemon = True
    try:
        uvloop.run(_run_to_the_end(settings, last))
    finally:
        last.cancel()


def _end() -> None:
    """End a process that cannot: where Faust did not stop in order, its agents swallow being cancelled."""
    log.critical("the watchdog ends the process: it was done, and could not stop")
    os._exit(WATCHDOG_EXIT_CODE)


async def _run_to_the_end(settings: Settings, last: threading.Timer) -> None:
    try:
        await _run(settings)
    finally:
        last.start()


async def _run(settings: Settings) -> None:
    kafka = kafka_settings(settings, "engage-worker")
    await _log_in(settings)
    settings = _checked(settings, kafka)
    follower = _follow_rules(settings, kafka)
    pipeline = await asyncio.to_thread(_first_pipeline, settings, follower)
    metrics, health = _metrics(settings), WorkerHealth(now_s=time.monotonic)
    store = RedisStore.of(settings.redis)
    producers = Producers(ActionProducer(kafka), ActionProducer(kafka))
    decoder = Decoder(settings.clock, open_registry(settings))
    handler = Handler(settings, pipeline, store, producers, decoder.decode, metrics, health)
    _tell_of_kafka(handler, settings, kafka)
    tracing = _trace(settings, handler)
    models = ModelSwitch(settings, ModelFollower(kafka, settings.topics.models), pipeline, metrics, health)
    rules = RuleSwitch(follower, pipeline, metrics, health, handler.forget_deadlines)

    def before_batch() -> None:
        models.switch()
        rules.switch()

    handler.before_batch = before_batch
    if follower is not None:
        loop = asyncio.get_running_loop()
        # an idle worker switches at once, a busy one before its next batch
        follower.on_news = lambda: loop.call_soon_threadsafe(
            lambda: None if handler.at_work else rules.switch()
        )
        rules.switch()
    app = create_app(kafka, handler, handler.handle)
    handler.attach(lambda: app.batches)
    server = HealthServer(metrics, health, settings)
    await server.start()
    log.info("worker listens", host=settings.http.host, port=server.port, clock=settings.clock)
    models.start()
    _tune_interpreter()
    live = settings.clock == "live"
    watch = Watch(
        lambda: app.batches, handler.holdings.owned, handler.intake, store, metrics, health, live=live
    )
    background = [asyncio.create_task(watch.run(), name="engage-watch")]
    if live:  # on the replay clock the rules stay, and no step but the log's is taken
        background.append(asyncio.create_task(handler.walk().run(), name="engage-arming"))
    try:
        await run(app, ready=lambda: _redis_answers(store, health))
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        models.stop()
        if follower is not None:
            await asyncio.to_thread(follower.stop)
        with contextlib.suppress(Exception):
            await producers.aclose()
        if tracing is not None:
            await tracing.aclose()
        await store.close()
        await server.stop()
        log.info("worker stopped")


def _checked(settings: Settings, kafka: KafkaSettings) -> Settings:
    """Refuse to start without topics and rights; return the settings with the partitions Kafka has.

    Limits over all customers are shared out by that number, whatever the settings would create.
    """
    count = check_topics(kafka, kafka.topics, [spec.name for spec in topic_specs(settings)])
    check_rights(kafka, roles_of(settings)["worker"].rights)
    topics = msgspec.structs.replace(settings.topics, partitions=count)
    return msgspec.structs.replace(settings, topics=topics)


async def _redis_answers(store: RedisStore, health: WorkerHealth) -> None:
    """Wait for Redis before partitions are asked for: who can't reach it would keep them, and do nothing."""
    while True:
        try:
            await store.ping()
            await store.check_rights()
        except TransientError as error:
            health.trouble("ping", str(error))
            await asyncio.sleep(REDIS_PAUSE_S)
        else:
            health.trouble("ping", "")
            health.in_group = True
            return


async def _log_in(settings: Settings) -> None:
    """Refuse to start with credentials or rights that do not do; Redis' absence is waited out later."""
    store = RedisStore.of(settings.redis)
    try:
        await store.ping()
        await store.check_rights()
    except TransientError as error:
        log.warning("redis is not there yet", error=str(error))
    finally:
        await store.close()


def _tell_of_kafka(handler: Handler, settings: Settings, kafka: KafkaSettings) -> None:
    """Tell the handler what is Kafka's: where customers belong, and transactions."""
    handler.intake.partitions = settings.topics.partitions
    handler.finishing.relay_with(KafkaTransactions(kafka), settings)


def _metrics(settings: Settings) -> Metrics:
    metrics = Metrics()
    metrics.set(table.RULES_FINGERPRINT, fingerprint_of(settings))
    return metrics


def _tune_interpreter() -> None:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _trace(settings: Settings, handler: Handler) -> Tracing | None:
    """Import OpenTelemetry and begin to trace, if that is wanted."""
    if not settings.tracing.endpoint:
        return None
    try:
        from engine.streams.tracing import open_tracing  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            f"tracing.endpoint: traces need OpenTelemetry ({error}); pip install 'engage[otel]'"
        ) from None
    tracing = open_tracing(settings)
    handler.finishing.trace_with(tracing)
    return tracing


def _follow_rules(settings: Settings, kafka: KafkaSettings) -> RuleFollower | None:
    """Begin to follow published rules, if that is where they come from."""
    if settings.rules.source == "files":
        return None
    follower = RuleFollower(kafka, settings.topics.rules, RuleLoader(settings))
    follower.start()
    return follower


def _first_pipeline(settings: Settings, follower: RuleFollower | None) -> Pipeline:
    """Wait for what is published; while nothing is, take the files.

    On the replay clock the rules stay what they are now: the outcome is a function of the log.
    """
    loaded = follower.first(RULES_TIMEOUT_S) if follower is not None else None
    if follower is not None and settings.clock == "replay":
        follower.stop()
    if loaded is not None:
        log.info("rules published", version=loaded.version, journeys=len(loaded.pipeline.rules.journeys))
        return loaded.pipeline
    if follower is not None:
        log.warning("no rules have been published, those in the files count", topic=settings.topics.rules)
    return build_pipeline(settings)
