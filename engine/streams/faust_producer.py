"""The producer Faust asks a transport driver for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from faust.transport.producer import Producer as FaustProducer
from faust.types.tuples import TP, RecordMetadata

from engine.streams.producer import ActionProducer


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
        """End the producing thread."""
        await self._records.aclose()

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Topics are made by `engage topics create`, never on the way."""

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Only transactions ask for it, and there are none."""
        raise NotImplementedError

    def supports_headers(self) -> bool:
        """Kafka has record headers."""
        return True
