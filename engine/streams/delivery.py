"""Sends what a step produces until Kafka has acknowledged all of it."""

from __future__ import annotations

import functools

import structlog

from engine.errors import EngineError
from engine.streams.holdings import Holdings
from engine.streams.producer import ActionProducer, DeliveryError, OutRecord
from engine.streams.sink import Sink
from engine.streams.tally import Tally

log = structlog.get_logger(__name__)


class _Refused(EngineError):  # noqa: N818 - what happened to them
    """Records that Kafka will never take.

    Args:
        why: Kafka's reason.
        numbers: their positions in what was sent.
    """

    def __init__(self, why: str, numbers: frozenset[int]) -> None:
        super().__init__(why)
        self.numbers = numbers


class Delivery:
    """The way of a step's records to Kafka.

    Args:
        producer: sends a batch and says for certain what arrived.
        sink: lays out dead letters.
        holdings: waits while Kafka is away.
        tally: counts.
    """

    def __init__(self, producer: ActionProducer, sink: Sink, holdings: Holdings, tally: Tally) -> None:
        self._producer = producer
        self._sink = sink
        self._holdings = holdings
        self._tally = tally

    async def produce(self, records: list[OutRecord]) -> None:
        """Send until acknowledged; what no retry will help (too large, say) goes to the dead letters.

        Args:
            records: topic, key, value and headers of each.

        Raises:
            EngineError: Kafka refuses a dead letter for good.
        """
        while records:
            try:
                await self._holdings.retrying("produce", functools.partial(self._send, records))
            except _Refused as error:
                log.warning("kafka refuses records for good", count=len(error.numbers), why=str(error))
                self._tally.refused_records(len(error.numbers))
                letters = [
                    self._sink.refused(records[number], str(error)) for number in sorted(error.numbers)
                ]
                records = [record for number, record in enumerate(records) if number not in error.numbers]
                records += letters
            else:
                return

    async def _send(self, records: list[OutRecord]) -> None:
        try:
            await self._producer.send(records)
        except DeliveryError as error:
            if error.refused:
                raise _Refused(str(error), frozenset(error.refused)) from error
            raise
