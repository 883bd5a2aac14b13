"""The producer side: a batch of records goes out together, and every one of them is acknowledged.

Everything happens on the event loop. librdkafka sends in threads of its own; its reports, a call of Python's
for each record, are fetched when the loop has time for them. A thread that waited for them would fight with
the loop for the interpreter at every single one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engine.errors import TransientError
from engine.streams.kafka import KafkaSettings, producer_config
from engine.streams.security.refusals import is_refusal, reason_of

# For librdkafka: what ends a producer is raised, and need not be printed besides.
_unheard = logging.getLogger(f"{__name__}.unheard")
_unheard.addHandler(logging.NullHandler())
_unheard.propagate = False

Headers: TypeAlias = Mapping[str, bytes] | Sequence[tuple[str, bytes]] | None

#: Topic, key, value, headers; the key decides the partition by Kafka's murmur2.
OutRecord: TypeAlias = tuple[str, bytes | None, bytes | None, Headers]


#: Between two looks for reports; librdkafka's threads go on meanwhile.
_PAUSE_S = 0.001
_WAIT_S = 0.1

#: Errors that the same record meets again however often it is sent.
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
    }
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """Where a record came to stand."""

    topic: str
    partition: int
    offset: int


class DeliveryError(TransientError):
    """Records of a flush that Kafka did not acknowledge.

    Args:
        message: how many, and the first reason.
        failed: positions of the records, in the order they were taken.
        refused: positions of those among them that no retry will help, for example too large ones.
        no_access: whether it was a right or a login that was wanting.
    """

    def __init__(
        self, message: str, failed: tuple[int, ...], refused: tuple[int, ...], *, no_access: bool = False
    ) -> None:
        super().__init__(message)
        self.failed = failed
        self.refused = refused
        self.no_access = no_access


class ActionProducer:
    """Produces batches and tells for certain whether they arrived.

    Args:
        settings: how to reach Kafka.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._config = producer_config(settings)
        self._producer: Producer | None = None
        self._pending: list[OutRecord] = []
        self.delivered_total = 0
        self.failed_total = 0

    def open(self) -> None:
        """Begin to connect: an idempotent producer needs half a second before its first record goes out."""
        if self._producer is None:
            self._open()

    def produce_many(self, records: Iterable[OutRecord]) -> None:
        """Take records for the next flush; nothing is sent before it.

        Args:
            records: topic, key, value and headers of each.
        """
        self._pending.extend(records)

    async def flush(self) -> list[Delivered]:
        """Send what was taken and wait until the brokers acknowledged all of it.

        Returns:
            Where each record stands, in the order they were taken.

        Raises:
            DeliveryError: at least one record was not acknowledged (a `TransientError`). The records are
                no longer held: produce them again.
        """
        records, self._pending = self._pending, []
        if not records:
            return []
        producer = self._producer or self._open()
        outcome = _Outcome(len(records))
        # Every record reports within delivery.timeout.ms; the second more is for the reports themselves.
        deadline = time.monotonic() + self._settings.delivery_timeout_ms / 1000 + 1
        for index, record in enumerate(records):
            while not outcome.hand_over(producer, index, record) and time.monotonic() < deadline:
                await asyncio.sleep(_PAUSE_S)
                outcome.serve(producer)
        while outcome.open and not outcome.ended and time.monotonic() < deadline:
            await asyncio.sleep(_PAUSE_S)
            outcome.serve(producer)
        self.delivered_total += outcome.delivered
        if outcome.delivered < len(records):
            self._fail(producer, outcome, len(records))
        return outcome.places  # type: ignore[return-value] # all were delivered, so none is None

    async def send(self, records: Iterable[OutRecord]) -> list[Delivered]:
        """`produce_many` and `flush` in one call.

        Args:
            records: topic, key, value and headers of each.

        Returns:
            Where each record stands.

        Raises:
            DeliveryError: at least one record was not acknowledged (a `TransientError`).
        """
        self.produce_many(records)
        return await self.flush()

    async def aclose(self) -> None:
        """Send what is pending and let librdkafka go."""
        try:
            await self.flush()
        finally:
            self._producer = None

    def _fail(self, producer: Producer, outcome: _Outcome, count: int) -> None:
        failed = tuple(index for index, place in enumerate(outcome.places) if place is None)
        self.failed_total += len(failed)
        # A fatal error of an idempotent producer is for good, and late reports of this batch must not
        # reach the next one: start afresh.
        producer.purge()
        self._producer = None
        reason = outcome.first_error or "no acknowledgement in time"
        if outcome.no_access:
            reason = f"{reason}: this user may not write there; `engage topics acls` shows each role's rights"
        raise DeliveryError(
            f"{len(failed)} of {count} records not acknowledged by kafka, first: {reason}",
            failed,
            tuple(outcome.refused),
            no_access=outcome.no_access,
        )

    def _open(self) -> Producer:
        self._producer = Producer(self._config, logger=_unheard)
        return self._producer


def open_producer(settings: KafkaSettings) -> Producer:
    """Open a producer for one who sends and waits.

    Args:
        settings: how to reach Kafka.
    """
    return Producer(producer_config(settings), logger=_unheard)


def fetch_reports(producer: Producer, timeout_s: float) -> None:
    """Fetch delivery reports that are there, or wait for the first.

    Raises:
        KafkaException: a fatal error has ended librdkafka's producer.
    """
    try:
        producer.poll(timeout_s)
    except (KafkaException, SystemError) as error:
        raise KafkaException(reason_of(error)) from None


def wait_for_reports(producer: Producer, timeout_s: float) -> int:
    """Wait until every record handed over is reported.

    `Producer.flush` does the same, but calls back once more after a fatal error, and with that loses it
    (confluent-kafka 2.16: a `SystemError` without a reason).

    Args:
        producer: of librdkafka.
        timeout_s: how long to wait.

    Returns:
        How many records are not reported.

    Raises:
        KafkaException: a fatal error has ended librdkafka's producer.
    """
    deadline_s = time.monotonic() + timeout_s
    while len(producer) and (left_s := deadline_s - time.monotonic()) > 0:
        fetch_reports(producer, min(left_s, _WAIT_S))
    return len(producer)


class _Outcome:
    """Delivery reports of one batch."""

    __slots__ = ("delivered", "ended", "first_error", "no_access", "open", "places", "refused")

    def __init__(self, count: int) -> None:
        self.places: list[Delivered | None] = [None] * count
        self.open = count
        self.delivered = 0
        self.ended = False
        self.first_error = ""
        self.no_access = False
        self.refused: list[int] = []

    def serve(self, producer: Producer) -> None:
        """Fetch reports; note when librdkafka's producer has ended for good."""
        try:
            fetch_reports(producer, 0)
        except KafkaException as error:
            self.ended = True
            self.first_error = self.first_error or error.args[0].name()
            self.no_access |= is_refusal(error.args[0])

    def hand_over(self, producer: Producer, index: int, record: OutRecord) -> bool:
        """Give one record to librdkafka; False while there is no room in its queue."""
        topic, key, value, headers = record

        def report(error: KafkaError | None, message: Message) -> None:
            self.open -= 1
            if error is None:
                self.delivered += 1
                self.places[index] = Delivered(message.topic(), message.partition(), message.offset())
            else:
                self._note(index, topic, error)

        try:
            producer.produce(topic, value, key, headers=_headers(headers), on_delivery=report)
        except BufferError:
            return False
        except KafkaException as error:
            self.open -= 1
            self._note(index, topic, error.args[0])
        return True

    def _note(self, index: int, topic: str, error: KafkaError) -> None:
        self.first_error = self.first_error or f"{error.name()} on topic {topic!r}"
        self.no_access |= is_refusal(error)
        if error.code() in REFUSALS:
            self.refused.append(index)


def _headers(headers: Headers) -> Any:
    return dict(headers) if isinstance(headers, Mapping) else headers
