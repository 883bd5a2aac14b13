"""Kafka's side of actions in transactions: a transactional producer, and the tokens of what was sent.

librdkafka's calls about transactions block, so each runs in a thread, one at a time. Not all keep to the
timeout they are given (`send_offsets_to_transaction` waits for its coordinator for ever, librdkafka #5456):
what takes too long is left to itself, and the next producer of the same name shuts it out.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from engine.errors import TransientError
from engine.streams.kafka import KafkaSettings, common_config, producer_config
from engine.streams.producer import REFUSALS, DeliveryError, OutRecord
from engine.streams.security.refusals import is_refusal, reason_of, refused
from engine.streams.transactions.names import TRANSACTION_TIMEOUT_MS, sender_prefix, tokens_group

logger = logging.getLogger(__name__)

#: The broker refuses a transaction while it still closes the one before; the default waits 0.1 s.
_BACKOFF_MS = 10
_FULL_S = 0.01
_PATIENCE = 1.5  # times the timeout that calls are given
_T = TypeVar("_T")


class Transactions(Protocol):
    """A worker's transactions in Kafka.

    Attributes:
        sender: the transactional id.
    """

    sender: str

    async def open(self) -> None:
        """Be ready to send: an earlier transaction of this sender is over then. Does nothing where it is.

        Raises:
            TransientError: Kafka does not answer.
            ConfigError: Kafka refuses us.
        """

    async def send(self, records: Sequence[OutRecord], tokens: Mapping[int, str]) -> None:
        """Send records and commit tokens, all or none of it; only after `open`.

        Args:
            records: topic, key, value and headers of each.
            tokens: by partition number.

        Raises:
            DeliveryError: it is not known whether it was committed; `open` again, and look at `sent`. If
                records are named as refused, nothing was.
        """

    async def sent(self, numbers: Collection[int], *, settled: bool) -> dict[int, str]:
        """Return the tokens committed last, by partition number; none where there never was one.

        Args:
            numbers: of the partitions.
            settled: wait for transactions that are still open.

        Raises:
            TransientError: Kafka does not answer, or a transaction stays open.
        """

    async def fence(self, senders: Collection[str]) -> None:
        """End what these senders have begun: committed or aborted, and none of them commits it later.

        Args:
            senders: transactional ids.

        Raises:
            TransientError: Kafka does not answer.
        """


class KafkaTransactions:
    """The real ones; see `Transactions`.

    Args:
        settings: how to reach Kafka. Tokens are kept as offsets of a group in the first of its topics.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self.sender = sender_prefix(settings.group_id) + uuid.uuid4().hex
        self._settings = settings
        self._topic = settings.topics[0]
        self._timeout_s = settings.delivery_timeout_ms / 1000
        self._producer: Producer | None = None
        self._group: object = None  # as librdkafka wants it named
        self._tokens = common_config(settings) | {
            "group.id": tokens_group(settings.group_id),
            "enable.auto.commit": False,
        }

    async def open(self) -> None:
        """See `Transactions`."""
        if self._producer is None:
            self._producer = await self._call(functools.partial(self._begin, self.sender))

    async def send(self, records: Sequence[OutRecord], tokens: Mapping[int, str]) -> None:
        """See `Transactions`."""
        producer, outcome = self._producer, _Outcome()
        assert producer is not None, "not opened"
        try:
            await self._run(functools.partial(self._send, producer, outcome, records, tokens))
        except (KafkaException, SystemError, TimeoutError) as error:
            # A new one ends what this one has begun; and a fatal error is for good.
            self._producer = None
            why = "no answer" if isinstance(error, TimeoutError) else reason_of(error).name()
            text = f"a transaction of {len(records)} actions failed: {why}"
            raise DeliveryError(text, tuple(range(len(records))), tuple(outcome.refused)) from None

    async def sent(self, numbers: Collection[int], *, settled: bool) -> dict[int, str]:
        """See `Transactions`."""
        return await self._call(functools.partial(self._sent, numbers, settled))

    async def fence(self, senders: Collection[str]) -> None:
        """See `Transactions`."""
        for sender in senders:
            await self._call(functools.partial(self._begin, sender))

    async def _call(self, call: Callable[[], _T]) -> _T:
        try:
            return await self._run(call)
        except TimeoutError:
            raise TransientError("kafka's transactions: no answer") from None
        except (KafkaException, SystemError) as error:
            reason = reason_of(error)
            if is_refusal(reason):
                raise refused(reason, self._settings.bootstrap) from None
            raise TransientError(f"kafka's transactions: {reason.str()}") from None

    async def _run(self, call: Callable[[], _T]) -> _T:
        """Run a call in a thread that nobody waits for at the end, and not for ever."""
        loop, done = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def settle(result: _T | None, error: BaseException | None) -> None:
            if done.done():
                return
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)

        def run() -> None:
            result, failure = None, None
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - the loop raises it
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody wants to know
                loop.call_soon_threadsafe(settle, result, failure)

        threading.Thread(target=run, name="engage-transactions", daemon=True).start()
        return await asyncio.wait_for(done, _PATIENCE * self._timeout_s)

    def _begin(self, sender: str) -> Producer:
        config = producer_config(self._settings) | {
            "transactional.id": sender,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "retry.backoff.ms": _BACKOFF_MS,
            "delivery.report.only.error": True,
        }
        producer = Producer(config, logger=logger)
        producer.init_transactions(self._timeout_s)
        if self._group is None:
            consumer = Consumer(self._tokens)
            self._group = consumer.consumer_group_metadata()
            consumer.close()
        return producer

    def _send(
        self,
        producer: Producer,
        outcome: _Outcome,
        records: Sequence[OutRecord],
        tokens: Mapping[int, str],
    ) -> None:
        deadline_s = time.monotonic() + self._timeout_s
        producer.begin_transaction()
        for index, record in enumerate(records):
            while not outcome.hand_over(producer, index, record):
                if time.monotonic() > deadline_s:
                    raise KafkaException(KafkaError(KafkaError._QUEUE_FULL))  # noqa: SLF001
                producer.poll(_FULL_S)
        places = [TopicPartition(self._topic, number, 0, metadata=token) for number, token in tokens.items()]
        producer.send_offsets_to_transaction(places, self._group, self._timeout_s)
        producer.commit_transaction(self._timeout_s)

    def _sent(self, numbers: Collection[int], settled: bool) -> dict[int, str]:
        level = "read_committed" if settled else "read_uncommitted"
        consumer = Consumer(self._tokens | {"isolation.level": level}, logger=logger)
        try:
            places = [TopicPartition(self._topic, number) for number in numbers]
            found = consumer.committed(places, timeout=self._timeout_s)
        finally:
            consumer.close()
        for place in found:
            if place.error is not None:
                raise KafkaException(place.error)
        return {place.partition: place.metadata for place in found if place.metadata}


class _Outcome:
    """Which records Kafka will never take."""

    def __init__(self) -> None:
        self.refused: list[int] = []

    def hand_over(self, producer: Producer, index: int, record: OutRecord) -> bool:
        """Give one record to librdkafka; False while there is no room in its queue."""
        topic, key, value, headers = record

        def report(error: KafkaError | None, _: object) -> None:
            if error is not None and error.code() in REFUSALS:
                self.refused.append(index)

        try:
            producer.produce(topic, value, key, headers=headers, on_delivery=report)
        except BufferError:
            return False
        except KafkaException as error:
            report(error.args[0], None)
            raise
        return True
