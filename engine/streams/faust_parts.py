"""The lesser parts Faust asks a driver for: producer, schema, stand-ins for what is not used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import faust
from faust.tables import TableManager
from faust.transport.producer import Producer as FaustProducer
from faust.types.tuples import TP, RecordMetadata
from mode import Service
from mode.utils.queues import FlowControlEvent

from engine.streams.producer import ActionProducer


class NoSensors(faust.App):  # type: ignore[misc]
    """Faust tells sensors of a rebalance; having none, it would warn of a state that got lost."""

    def on_rebalance_return(self) -> None:
        """Tell nobody."""

    def on_rebalance_end(self) -> None:
        """Tell nobody, but know it."""
        self.rebalancing = False


class OpenFlow(FlowControlEvent):  # type: ignore[misc]
    """Faust's flow control, never closed.

    Faust suspends its streams at a rebalance and empties their queues, once more when it resumes them in
    the background some time later. Here a rebalance only happens while no batch is in flight, so there is
    nothing to hold back; but the late emptying would swallow the first batch after it.
    """

    def __init__(self) -> None:
        super().__init__(initially_suspended=False)

    def suspend(self) -> None:
        """Stay open."""

    def clear(self) -> None:
        """Keep the batch."""


class NoTables(TableManager):  # type: ignore[misc]
    """Faust's rebalance ends in its table manager; without tables it need not wait for them to appear."""

    async def on_start(self) -> None:
        """Start without Faust's second of grace for tables."""
        await self._update_channels()
        await self.recovery.start()


class Fetcher(Service):  # type: ignore[misc]
    """Stands in for Faust's fetcher: the consumer pulls by itself."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        super().__init__(**kwargs)


class BatchSchema(faust.Schema):  # type: ignore[misc]
    """Hands the batch through: decoding is the handler's."""

    def loads_key(self, app: Any, message: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """A batch has no key."""
        return message.key

    def loads_value(self, app: Any, message: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """The batch."""
        return message.value


class Producer(FaustProducer):  # type: ignore[misc]
    """Serves `app.send`; the engine's actions go through `ActionProducer` themselves."""

    def __init__(self, transport: Any, **kwargs: Any) -> None:
        super().__init__(transport, **kwargs)
        self._records = ActionProducer(transport.kafka_settings)

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,  # noqa: ARG002 - the key decides
        timestamp: float | None,  # noqa: ARG002
        headers: Any,
        *,
        transactional_id: str | None = None,  # noqa: ARG002
    ) -> Awaitable[RecordMetadata]:
        """Send one record.

        Returns:
            A future of where it stands.
        """
        return asyncio.ensure_future(self._send_one(topic, key, value, headers))

    async def send_and_wait(self, *args: Any, **kwargs: Any) -> RecordMetadata:
        """Send one record and wait for the acknowledgement."""
        return await (await self.send(*args, **kwargs))

    async def _send_one(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Any
    ) -> RecordMetadata:
        (place,) = await self._records.send([(topic, key, value, headers)])
        partition = TP(place.topic, place.partition)
        return RecordMetadata(place.topic, place.partition, partition, place.offset)

    async def flush(self) -> None:
        """Wait for what `send_soon` took."""
        await self.buffer.flush()

    async def on_stop(self) -> None:
        """Send what is pending."""
        await self._records.aclose()

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Topics are made by `engage topics create`, never on the way."""

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Only transactions ask for it, and there are none."""
        raise NotImplementedError

    def supports_headers(self) -> bool:
        """Kafka has record headers."""
        return True
