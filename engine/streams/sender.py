"""Write events to their topics from outside the engine, each one validated first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from engine.errors import EngineError, InvalidEvent, TransientError
from engine.events import EVENT_TYPES, DeadLetterReason, Event, Family
from engine.streams.kafka import KafkaSettings, partition_counts
from engine.streams.producer import fetch_reports, open_producer, wait_for_reports
from engine.streams.security.refusals import failed
from engine.streams.wire.codec import encode_json
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER
from engine.validation import build, latest_ms

_POLL_EVERY = 500
_BACKOFF_S = 0.05


def parse_line(line: str | bytes, now_ms: int | None) -> Event:
    """Read one event from a line of JSON.

    Args:
        line: one JSON object.
        now_ms: the wall clock, or None to allow any time that can be stored.

    Returns:
        The event, valid.

    Raises:
        InvalidEvent: what is wrong with it.
    """
    try:
        fields = json.loads(line)
    except RecursionError:
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "nested too deeply") from None
    except ValueError as error:
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "not a JSON object")
    return build_event(fields, now_ms)


def build_event(fields: Mapping[str, Any], now_ms: int | None) -> Event:
    """Build and validate an event from its fields; the type tells the family.

    Args:
        fields: as on the wire.
        now_ms: the wall clock, or None to allow any time that can be stored.

    Returns:
        The event.

    Raises:
        InvalidEvent: what is wrong with it.
    """
    name = fields.get("type")
    if not isinstance(name, str):
        raise InvalidEvent(DeadLetterReason.FIELD_MISSING, "type")
    known = EVENT_TYPES.get(name)
    if known is None:
        raise InvalidEvent(DeadLetterReason.TYPE_UNKNOWN, repr(name[:100]))
    return build(known.family, fields, latest_ms(now_ms))


class EventSender:
    """Produces events to the topics of their families, keyed by customer.

    Args:
        kafka: how to reach Kafka.
        topics: the event topic of each family.
    """

    def __init__(self, kafka: KafkaSettings, topics: Mapping[str, str]) -> None:
        self._kafka = kafka
        self._topics = {Family(family): topic for family, topic in topics.items()}
        self._producer = open_producer(kafka)
        self._failure: KafkaError | None = None
        self._failed_topic: str | None = None
        self._handed_over = 0
        self.acknowledged = 0

    def send(self, event: Event) -> None:
        """Hand an event over; `flush` tells whether it arrived.

        Raises:
            TransientError: Kafka refused an earlier one.
        """
        family = EVENT_TYPES[event.type].family
        self._produce(self._topics[family], encode_json(event), event.customer_id.encode())

    def end_of_stream(self) -> None:
        """Tell workers on the replay clock that nothing more will follow in any event topic.

        Raises:
            TransientError: Kafka does not answer.
        """
        counts = partition_counts(self._kafka)
        header = [(WATERMARK_HEADER, str(END_OF_STREAM_MS).encode())]
        for topic in self._topics.values():
            for partition in range(counts.get(topic, 0)):
                self._produce(topic, b"", None, partition=partition, headers=header)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything handed over is acknowledged.

        Raises:
            TransientError: something was not.
        """
        try:
            left = wait_for_reports(self._producer, timeout_s)
        except KafkaException as error:
            raise self._ended(error) from None
        self._check()
        if left:
            raise TransientError(f"kafka at {self._kafka.bootstrap!r} did not acknowledge {left} events")

    def _produce(self, topic: str, value: bytes, key: bytes | None, **more: Any) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered, **more)
            except BufferError:
                self._poll(_BACKOFF_S)
            except KafkaException as error:
                raise TransientError(f"kafka refuses events: {error.args[0].str()}") from None
            else:
                break
        self._handed_over += 1
        if self._handed_over % _POLL_EVERY == 0:
            self._poll(0)

    def _poll(self, timeout_s: float) -> None:
        try:
            fetch_reports(self._producer, timeout_s)
        except KafkaException as error:
            raise self._ended(error) from None
        self._check()

    def _ended(self, error: KafkaException) -> EngineError:
        return failed(error.args[0], self._kafka.bootstrap, "kafka takes no events")

    def _delivered(self, error: KafkaError | None, record: Message) -> None:
        if error is None:
            self.acknowledged += 1
        elif self._failure is None:
            self._failure, self._failed_topic = error, record.topic()

    def _check(self) -> None:
        if self._failure is not None:
            what = "kafka did not acknowledge every event, first"
            raise failed(self._failure, self._kafka.bootstrap, what, self._failed_topic)
