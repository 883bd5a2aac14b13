"""Sends what a step produces until Kafka has acknowledged all of it.

A broker answers the requests of a connection one after the other, and each partition is a request: actions
have a connection of their own, so that none waits behind decisions and training rows.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from engine.errors import EngineError
from engine.streams.producer import ActionProducer, DeliveryError, OutRecord
from engine.streams.steps.holdings import Holdings
from engine.streams.steps.sink import Sink
from engine.streams.steps.tally import Tally

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


@dataclass(frozen=True, slots=True)
class Producers:
    """Two ways to Kafka; each sends a batch and says for certain what arrived.

    Args:
        actions: for actions.
        records: for what else a step sends.
    """

    actions: ActionProducer
    records: ActionProducer

    async def aclose(self) -> None:
        """Send what is pending and let both go."""
        try:
            await self.actions.aclose()
        finally:
            await self.records.aclose()


class Delivery:
    """The way of a step's records to Kafka.

    Args:
        producers: the ways to Kafka.
        sink: lays out dead letters.
        holdings: waits while Kafka is away.
        tally: counts.
    """

    def __init__(self, producers: Producers, sink: Sink, holdings: Holdings, tally: Tally) -> None:
        self._producers = producers
        self._sink = sink
        self._holdings = holdings
        self._tally = tally

    async def produce(
        self, actions: list[OutRecord], records: list[OutRecord], on_actions: Callable[[], None]
    ) -> None:
        """Send until acknowledged; what no retry will help (too large, say) goes to the dead letters.

        Args:
            actions: topic, key, value and headers of each.
            records: what else there is, alike.
            on_actions: called when the actions have been acknowledged.

        Raises:
            EngineError: Kafka refuses a dead letter for good.
        """

        async def send_actions() -> None:
            await self._deliver(self._producers.actions, actions)
            on_actions()

        sent = [send_actions(), self._deliver(self._producers.records, records)]
        # both come to their end before either's failure counts: nothing is on its way any more
        for error in await asyncio.gather(*sent, return_exceptions=True):
            if error is not None:
                raise error

    async def _deliver(self, producer: ActionProducer, records: list[OutRecord]) -> None:
        while records:
            try:
                await self._holdings.retrying("produce", functools.partial(_send, producer, records))
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


async def _send(producer: ActionProducer, records: list[OutRecord]) -> None:
    try:
        await producer.send(records)
    except DeliveryError as error:
        if error.refused:
            raise _Refused(str(error), frozenset(error.refused)) from error
        raise
