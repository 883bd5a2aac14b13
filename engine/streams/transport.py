"""Faust transport driver over confluent-kafka, in the entry-point group `faust.transports` as `engage://`.

Everything that knows Faust's inside is in this file and in `faust_parts`. One poll is one Faust message
whose value is a `Batch`; the next poll happens when that batch is done. Faust's own acknowledgements,
commits, fetcher and tables play no part: offsets belong to the `PartitionListener`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import confluent_kafka
from faust.transport import base
from faust.types.tuples import TP, ConsumerMessage
from mode import Service

from engine.errors import ConfigError, EngineError
from engine.streams.batch import Batch, PartitionListener
from engine.streams.consumer import BatchConsumer
from engine.streams.faust_parts import BatchSchema, Fetcher, NoSensors, NoTables, OpenFlow, Producer
from engine.streams.kafka import KafkaSettings, TopicPartition

logger = logging.getLogger(__name__)

#: Handles one batch and calls `batch.done(offsets)`; an exception stops the worker.
BatchHandler = Callable[[Batch], Awaitable[None]]


class EngageApp(NoSensors):
    """A Faust app that knows its Kafka settings and the owner of its partitions."""

    kafka_settings: KafkaSettings
    listener: PartitionListener

    @cached_property
    def flow_control(self) -> OpenFlow:
        """Never closed."""
        return OpenFlow()

    @property
    def batches(self) -> BatchConsumer:
        """The consumer under the driver: pause, resume, seek, lag, counters."""
        consumer: BatchConsumer = self.consumer.batches
        return consumer

    def _create_directories(self) -> None:
        """Make none: the folders are for Faust's tables, and there are no tables."""

    async def on_stop(self) -> None:
        """Finish the batch in flight and leave the group while the agent still runs."""
        await self.consumer.drain()
        await super().on_stop()


class Consumer(base.Consumer):  # type: ignore[misc]
    """Brings batches to the conductor, one at a time."""

    def __init__(self, transport: Transport, *args: Any, **kwargs: Any) -> None:
        super().__init__(transport, *args, **kwargs)
        self.batches = BatchConsumer(transport.kafka_settings, transport.listener, self._follow)
        self._subscribed = asyncio.Event()
        self._drained = asyncio.Event()
        self._draining = False
        self._pumping: asyncio.Future[None] | None = None
        self._in_flight: Batch | None = None

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Begin to pull; the topics are those of the settings.

        Args:
            topics: what Faust's agents read.

        Raises:
            ConfigError: an agent reads a topic the settings do not name.
        """
        unknown = set(topics) - set(self.batches.topics)
        if unknown:
            raise ConfigError(f"topic {min(unknown)!r} is not among the settings' topics")
        self._subscribed.set()

    @Service.task  # type: ignore[untyped-decorator]
    async def _pump(self) -> None:
        """Pull until drained; a failure stops the app, it is never skipped over."""
        self._pumping = asyncio.get_running_loop().create_future()
        try:
            await self._subscribed.wait()
            if not self._draining:
                await self.batches.start()
            while not self._draining:
                batch = await self.batches.poll()
                if batch is not None:
                    await self._deliver(batch)
        except asyncio.CancelledError:
            if not self._draining:
                await self.crash(EngineError("the agent was cancelled with a batch in flight"))
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it must stop the app
            await self.crash(error)
        finally:
            self._pumping.set_result(None)

    async def _deliver(self, batch: Batch) -> None:
        self._in_flight = batch
        if batch.records:
            partition = TP(batch.records[0].topic(), batch.records[0].partition())
            offset = batch.records[0].offset()
        else:
            partition, offset = TP(*min(self.batches.assigned)), 0
        message = ConsumerMessage(
            partition.topic,
            partition.partition,
            offset,
            timestamp=0.0,
            timestamp_type=0,
            headers=None,
            key=None,
            value=batch,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=0,
            tp=partition,
            # Faust silently drops what carries another generation than the app's.
            generation_id=self.app.consumer_generation_id,
        )
        await self.callback(message)
        self.batches.report(await batch.finished)
        self._in_flight = None

    async def _follow(self, assigned: frozenset[TopicPartition], revoked: frozenset[TopicPartition]) -> None:
        """Tell Faust of a rebalance: always the full set, and the generation first."""
        app = self.app
        if app.should_stop or self._draining:
            return
        app.consumer_generation_id = self.batches.generation
        app.on_rebalance_start()
        if revoked:
            await self.on_partitions_revoked({TP(*partition) for partition in revoked})
        full = {TP(*partition) for partition in assigned}
        await self.on_partitions_assigned(full, app.consumer_generation_id)

    async def drain(self) -> None:
        """Stop pulling, let the batch in flight finish, commit, leave the group; a second call waits."""
        if self._draining:
            await self._drained.wait()
            return
        self._draining = True
        self._subscribed.set()
        self.batches.begin_close()
        try:
            await self._await_pump()
            await self.batches.close()
        finally:
            self._drained.set()

    async def _await_pump(self) -> None:
        if self._pumping is None or self._pumping.done():
            return
        patience_s = self.transport.kafka_settings.drain_timeout_s
        done, _ = await asyncio.wait({self._pumping}, timeout=patience_s)
        if not done:
            logger.warning("stopping with a batch in flight: it was not done within %s s", patience_s)
            if self._in_flight is not None:
                self._in_flight.finished.cancel()

    async def on_stop(self) -> None:
        """Drain, in case the app's own stop did not come first."""
        await self.drain()

    # ---- what Faust asks of a consumer ------------------------------------------------------------

    async def _drain_messages(self, fetcher: Any) -> None:
        """Unused: `_pump` pulls."""

    async def perform_seek(self) -> None:
        """Offsets were given with the assignment."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Offsets were given with the assignment."""
        return {}

    async def _seek(self, partition: TP, offset: int) -> None:
        await self.batches.seek({(partition.topic, partition.partition): offset})

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Read on from other offsets."""
        await self.batches.seek({(p.topic, p.partition): offset for p, offset in partitions.items()})

    async def wait_empty(self) -> None:
        """Rebalances run inside polls, so at a revoke nothing is in flight; at a stop `drain` waited."""

    @Service.task  # type: ignore[untyped-decorator]
    async def _commit_handler(self) -> None:
        """Unused: the batch consumer mirrors offsets."""

    @Service.task  # type: ignore[untyped-decorator]
    async def _commit_livelock_detector(self) -> None:
        """Unused: librdkafka's max.poll.interval.ms guards against a stuck agent."""

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Offsets are mirrored by the batch consumer; Faust's bookkeeping commits nothing."""
        return False

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        await self.batches.commit({(p.topic, p.partition): offset for p, offset in offsets.items()})
        return True

    def ack(self, message: Any) -> bool:
        """Only `Batch.done` counts."""
        message.acked = True
        return True

    def assignment(self) -> set[TP]:
        """The partitions owned now."""
        return {TP(*partition) for partition in self.batches.assigned}

    def highwater(self, tp: TP) -> int:
        """Offset after the last record of a partition."""
        return self.batches.end_offset((tp.topic, tp.partition))

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """Offset after the last record of each partition."""
        return {partition: self.highwater(partition) for partition in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Only tables ask for it, and there are none."""
        return dict.fromkeys(partitions, 0)

    async def position(self, tp: TP) -> int | None:
        """Only tables ask for it, and there are none."""
        return self.batches.durable.get((tp.topic, tp.partition))

    def topic_partitions(self, topic: str) -> int | None:
        """Partition count as far as it is assigned here."""
        return sum(name == topic for name, _ in self.batches.assigned) or None

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:  # noqa: ARG002
        """Only transactions ask for it, and there are none."""
        return partition

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Topics are made by `engage topics create`, never on the way."""

    async def _getmany(self, active_partitions: Any, timeout: float) -> Mapping[TP, list[Any]]:  # noqa: ASYNC109
        """Unused: `_pump` pulls."""
        raise NotImplementedError

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        """Unused: `_deliver` makes the message."""
        raise NotImplementedError

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)


class Transport(base.Transport):  # type: ignore[misc]
    """The driver Faust finds for `engage://host:port`."""

    Consumer: ClassVar[type] = Consumer
    Producer: ClassVar[type] = Producer
    Fetcher: ClassVar[type] = Fetcher
    default_port = 9092
    driver_version = f"confluent_kafka={confluent_kafka.__version__}"

    @property
    def kafka_settings(self) -> KafkaSettings:
        """Settings of the app."""
        return self._app().kafka_settings

    @property
    def listener(self) -> PartitionListener:
        """Owner of the app's partitions."""
        return self._app().listener

    def _app(self) -> EngageApp:
        if not isinstance(self.app, EngageApp):
            raise ConfigError(
                f"broker {self.url[0]} needs an app made by engine.streams.transport.create_app"
            )
        return self.app


def create_app(settings: KafkaSettings, listener: PartitionListener, handler: BatchHandler) -> EngageApp:
    """A Faust app with one agent over all event topics.

    Args:
        settings: how to reach Kafka; `topics` is what the agent reads.
        listener: owner of offsets and state.
        handler: processes one batch and calls `batch.done(offsets)`.

    Returns:
        The app; give it to `engine.streams.running.run`.

    Raises:
        ConfigError: no topic is given.
    """
    if not settings.topics:
        raise ConfigError("no event topics to read")
    app = EngageApp(
        settings.group_id,
        broker=[f"engage://{address}" for address in settings.bootstrap.split(",")],
        TableManager=NoTables,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        autodiscover=False,
    )
    app.kafka_settings = settings
    app.listener = listener
    topics = app.topic(*settings.topics, key_serializer="raw", schema=BatchSchema(), acks=False)

    async def run_batches(batches: Any) -> None:
        async for batch in batches:
            await _handle(handler, batch)

    app.agent(topics, name="engage.batches")(run_batches)
    return app


async def _handle(handler: BatchHandler, batch: Batch) -> None:
    """Run the handler; its failure stops the worker, where Faust would skip the batch and go on."""
    work = asyncio.ensure_future(handler(batch))
    # A stop that waited long enough cancels the batch, and with it what still works on it.
    batch.finished.add_done_callback(lambda finished: work.cancel() if finished.cancelled() else None)
    try:
        await work
    except asyncio.CancelledError:
        if batch.finished.cancelled():
            return
        batch.finished.cancel()
        raise
    except Exception as error:  # noqa: BLE001
        batch.fail(error)
    else:
        batch.fail(EngineError("the batch handler returned without batch.done()"))
