"""The trainer process: training rows in, model snapshots out. One for a deployment.

Its whole state and the offsets it stands at are kept as one value in Redis, so a restart goes on where it
stopped; rows that are read twice are recognised by the core and count once.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from types import FrameType
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition

from engine.errors import ConfigError, StateError, TransientError
from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.snapshot import Snapshot, encode_snapshot
from engine.features.churn.trainer import TrainerCore, TrainerSettings
from engine.features.churn.trainer_state import dump_trainer, load_trainer
from engine.settings import Settings
from engine.streams.files import definitions_of
from engine.streams.kafka import KafkaSettings, check_topics, common_config
from engine.streams.logs import configure_logs
from engine.streams.models.topic import MODEL_KEY, Kept, ModelFollower, kept_key, now_ms
from engine.streams.producer import ActionProducer, OutRecord
from engine.streams.security.acls import check_rights
from engine.streams.security.links import redis_options
from engine.streams.security.rights import roles_of
from engine.streams.steps.sink import CLOCK_HEADER
from engine.streams.store.link import Link, checked, open_link
from engine.streams.wiring import kafka_settings

log = structlog.get_logger(__name__)

CHECKPOINT_EVERY_S: Final = 30.0
LOCK_MS: Final = 15_000
_RENEW_EVERY_S: Final = 5.0
TELL_AGAIN_S: Final = 30.0  # that Redis does not answer
_BATCH: Final = 200


class Checkpoint(msgspec.Struct, frozen=True):
    """Where the trainer stands: its core, and the next offset of each partition of the training topic."""

    core: bytes
    offsets: dict[int, int]


class Trainer:
    """Runs the trainer core on the training topic.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        partitions: partition count of the event topics.
    """

    def __init__(self, settings: Settings, kafka: KafkaSettings, partitions: int) -> None:
        self._settings = settings
        self._kafka = kafka
        self._link: Link
        self._state_key = f"{settings.redis.prefix}:trainer"
        self._lock_key = f"{settings.redis.prefix}:trainer:lock"
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._core_settings = TrainerSettings(partitions=partitions, horizon_days=settings.churn.horizon_days)
        self._core = TrainerCore(self._core_settings)
        definitions = definitions_of(settings)
        self._segment_names = definitions.segments_over(definitions.space(())).names
        self._offsets: dict[int, int] = {}
        self._producer = ActionProducer(kafka)
        self._models = ModelFollower(kafka, settings.topics.models)
        self._days_done = 0
        self._published_s = time.monotonic()
        self._saved_s = self._renewed_s = self._tell_s = 0.0
        self.stopped = False

    async def run(self) -> None:
        """Work until `stopped`.

        Raises:
            ConfigError: another trainer runs, or Redis refuses us.
            TransientError: Redis does not answer at the start, or at the end.
        """
        await self._connect()
        consumer = Consumer(
            common_config(self._kafka)
            | {"group.id": f"{self._kafka.group_id}-trainer", "enable.auto.commit": False}
            # a checkpoint older than what the topic keeps: go on with the oldest rows there are
            | {"auto.offset.reset": "earliest"}
        )
        try:
            if not await self._lock():
                return
            await self._restore()
            self._models.start()
            self._models.wait(self._settings.kafka.timeout_ms / 1000)
            # a snapshot may have been published after the last checkpoint: its number is taken
            self._core.version = max(self._core.version, self._models.board.highest_version)
            self._assign(consumer)
            log.info("trainer listens", topic=self._settings.topics.training, version=self._core.version)
            while not self.stopped:
                for message in consumer.consume(_BATCH, 0.2):
                    self._take(message)
                await self._between_or_wait()
            await self._renew()
            await self._publish()
            await self._save()
            await self._ask("DEL", self._lock_key)
            log.info("trainer stopped", version=self._core.version)
        finally:
            consumer.close()
            self._models.stop()
            await self._producer.aclose()
            await self._link.close()

    async def _connect(self) -> None:
        redis = self._settings.redis
        self._link = await open_link(redis.url, redis.timeout_ms / 1000, redis_options(redis))

    async def _ask(self, *command: bytes | str | int) -> Any:
        (reply,) = await self._link.send([command])
        return checked(reply)

    async def _lock(self) -> bool:
        """Make sure there is one trainer; the lock runs out by itself when a trainer dies.

        Returns:
            False when stopped before it was had: then nothing may be touched.
        """
        for _ in range(LOCK_MS // 500 + 2):
            if await self._ask("SET", self._lock_key, self._name, "NX", "PX", LOCK_MS):
                return True
            if self.stopped:
                return False
            await asyncio.sleep(0.5)
        holder = await self._ask("GET", self._lock_key)
        name = holder.decode() if isinstance(holder, bytes) else "unknown"
        raise ConfigError(f"another trainer runs as {name}; stop it first, a deployment has one")

    async def _restore(self) -> None:
        payload = await self._ask("GET", self._state_key)
        if not isinstance(payload, bytes):
            return
        try:
            checkpoint = msgspec.msgpack.decode(payload, type=Checkpoint)
        except msgspec.DecodeError as error:
            raise StateError(f"trainer checkpoint cannot be read: {error}") from error
        try:
            self._core = load_trainer(checkpoint.core, self._core_settings)
        except StateError as error:
            key = self._state_key
            raise StateError(
                f"{error}; go back to what was, or delete {key!r} in redis to learn anew"
            ) from error
        self._offsets = checkpoint.offsets
        log.info("trainer goes on", labels=sum(self._core.labels), version=self._core.version)

    def _assign(self, consumer: Consumer) -> None:
        topic = self._settings.topics.training
        found = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign(
            [TopicPartition(topic, number, self._offsets.get(number, OFFSET_BEGINNING)) for number in found]
        )

    def _take(self, message: Message) -> None:
        """Take in one block; one that cannot be read is told and passed over."""
        if message.error() is not None:
            log.warning("training topic", error=message.error().str())
            return
        try:
            partition = int(message.key() or b"")
            clock_ms = int(dict(message.headers() or ())[CLOCK_HEADER])
            if not 0 <= partition < self._core_settings.partitions:
                raise ValueError(f"partition {partition} of {self._core_settings.partitions}")
            block = TrainingBlock.decode(message.value() or b"")
        except (ValueError, KeyError, TypeError, StateError) as error:
            log.warning("training block refused", offset=message.offset(), error=str(error))
        else:
            # too many rows waiting for one partition raises: the trainer stops rather than lose labels
            self._core.add_block(partition, block)
            self._days_done += self._core.advance(partition, clock_ms // 1000)
        self._offsets[message.partition()] = message.offset() + 1

    async def _between_or_wait(self) -> None:
        """Do what is due; while Redis does not answer go on learning, and try again at the next block."""
        try:
            await self._between()
        except TransientError as error:
            if time.monotonic() >= self._tell_s:
                log.warning("waiting for redis: nothing is saved or published meanwhile", error=str(error))
                self._tell_s = time.monotonic() + TELL_AGAIN_S
        else:
            if self._tell_s:
                log.info("redis answers again")
            self._tell_s = 0.0

    async def _between(self) -> None:
        """Renew the lock, publish, save: each when it is time, and nothing without the lock."""
        now_s = time.monotonic()
        if now_s - self._renewed_s > _RENEW_EVERY_S:
            await self._renew()
            self._renewed_s = now_s
        if self._days_done and now_s - self._published_s > self._settings.churn.publish_every_s:
            await self._publish()
            self._published_s = now_s
        if now_s - self._saved_s > CHECKPOINT_EVERY_S:
            await self._save()
            self._saved_s = now_s

    async def _renew(self) -> None:
        holder = await self._ask("GET", self._lock_key)
        if holder not in (None, self._name.encode()):
            raise ConfigError("another trainer took over; this one stops")
        await self._ask("SET", self._lock_key, self._name, "PX", LOCK_MS)

    async def _publish(self) -> None:
        """Publish what was learned; it goes live if it passes its trial and nobody holds the model still.

        Kafka's absence is waited out by the next try.
        """
        if not self._days_done:
            return
        churn, topic, board = self._settings.churn, self._settings.topics.models, self._models.board
        self._core.segment_names = self._segment_names
        snapshot = self._core.snapshot(board.live, churn.max_loss_increase)
        trial = snapshot.trial
        goes_live = not board.frozen and trial is not None and trial.passed
        kept = Kept(snapshot, now_ms(), goes_live)
        records: list[OutRecord] = [(topic, kept_key(snapshot.version), msgspec.json.encode(kept), None)]
        if goes_live:
            records.append((topic, MODEL_KEY, encode_snapshot(snapshot), None))
        records += [(topic, kept_key(old), None, None) for old in board.surplus(churn.keep_snapshots - 1)]
        try:
            await self._producer.send(records)
        except TransientError as error:
            log.warning("model snapshot not published", error=str(error))
            return
        self._days_done = 0
        if goes_live:
            log.info("model snapshot published", version=snapshot.version, labels=snapshot.labels)
        elif board.frozen:
            log.info("model snapshot kept, the model is frozen", version=snapshot.version)
        else:
            log.warning("model snapshot failed its trial, the live one stays", **_told(snapshot))

    async def _save(self) -> None:
        checkpoint = Checkpoint(dump_trainer(self._core), self._offsets)
        await self._ask("SET", self._state_key, msgspec.msgpack.encode(checkpoint))


def _told(snapshot: Snapshot) -> dict[str, object]:
    return {"version": snapshot.version} | (msgspec.structs.asdict(snapshot.trial) if snapshot.trial else {})


def run_trainer(settings: Settings) -> None:
    """Run the trainer until SIGTERM or SIGINT.

    Args:
        settings: all settings.

    Raises:
        EngineError: it can't start, or a server is gone.
    """
    configure_logs(settings)
    kafka = kafka_settings(settings, "engage-trainer")
    partitions = check_topics(kafka, kafka.topics, (settings.topics.training, settings.topics.models))
    check_rights(kafka, roles_of(settings)["trainer"].rights)
    trainer = Trainer(settings, kafka, partitions)

    def stop(_number: int, _frame: FrameType | None) -> None:
        trainer.stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    asyncio.run(trainer.run())
