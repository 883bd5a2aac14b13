"""The rules topic: read it to its end, and append to it."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from dataclasses import dataclass, field

import structlog
from confluent_kafka import Message

from engine.errors import StateError
from engine.rules.limits import MAX_PUBLICATION_BYTES
from engine.rules.publishing.publication import (
    Contents,
    Operation,
    Publication,
    Record,
    decode_record,
    encode_record,
    fold,
    to_clear,
)
from engine.streams.kafka import KafkaSettings
from engine.streams.producer import ActionProducer
from engine.streams.reader import TopicReader

log = structlog.get_logger(__name__)

_ROOM_BYTES = MAX_PUBLICATION_BYTES + 1_000_000


def with_room(kafka: KafkaSettings) -> KafkaSettings:
    """Return settings of a producer that sends a publication in one record."""
    extra = {"message.max.bytes": _ROOM_BYTES} | dict(kafka.extra)
    return dataclasses.replace(kafka, extra=extra)


@dataclass(slots=True)
class RuleLog:
    """The records of the topic that have not been cleared away, by key.

    Args:
        records: those that can be read.
        unreadable: why others cannot be.
    """

    records: dict[str, Record] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)

    def take(self, message: Message) -> None:
        """Take in a record as it comes from the topic."""
        key = (message.key() or b"").decode("utf-8", "replace")
        value = message.value()
        self.records.pop(key, None)
        self.unreadable.pop(key, None)
        if not value:
            return
        try:
            record = decode_record(message.offset(), key, value)
        except StateError as error:
            self.unreadable[key] = str(error)
            return
        if record.compiled:
            self._forget_compiled()
        self.records[key] = record

    def _forget_compiled(self) -> None:
        """Keep the compiled form of the newest publication only: an older one is hardly ever needed again."""
        for key, record in self.records.items():
            if record.compiled:
                self.records[key] = dataclasses.replace(record, compiled=b"")

    def fold(self) -> Publication:
        """Return what the records say, taken together."""
        return fold(sorted(self.records.values(), key=lambda record: record.offset))


def read_rules(kafka: KafkaSettings, topic: str, timeout_s: float = 10.0) -> Publication:
    """Read the topic to its present end.

    Args:
        kafka: how to reach Kafka.
        topic: the rules topic.
        timeout_s: how long the broker may take.

    Raises:
        ConfigError: there is no such topic.
        TransientError: Kafka does not answer.
        StateError: a record can't be read: a newer engine wrote it.
    """
    found = RuleLog()
    with TopicReader(kafka, [topic], last=None, timeout_s=timeout_s) as reader:
        for message in reader.until_end():
            found.take(message)
    for problem in found.unreadable.values():
        raise StateError(problem)
    return found.fold()


def append(
    kafka: KafkaSettings,
    topic: str,
    operation: Operation,
    contents: Contents | None = None,
    compiled: bytes = b"",
    producer: ActionProducer | None = None,
) -> str:
    """Append an operation, and clear away what nobody needs any more.

    Args:
        kafka: how to reach Kafka.
        topic: the rules topic.
        operation: what to do.
        contents: of a publication.
        compiled: its journeys compiled, packed.
        producer: one that is open already, made with `with_room`.

    Returns:
        The record's key: whether it had an effect is seen by reading the topic once more.

    Raises:
        Refused: the publication is too large.
        TransientError: Kafka did not take it.
    """
    key = uuid.uuid4().hex
    _send(
        producer or ActionProducer(with_room(kafka)), topic, key, encode_record(operation, contents, compiled)
    )
    return key


def clear(kafka: KafkaSettings, topic: str, found: Publication) -> int:
    """Clear away records nobody needs any more, one after the other; return how many."""
    keys = to_clear(found)
    producer = ActionProducer(with_room(kafka))
    for key in keys:
        _send(producer, topic, key, None)
    return len(keys)


def _send(producer: ActionProducer, topic: str, key: str, value: bytes | None) -> None:
    asyncio.run(producer.send([(topic, key.encode(), value, None)]))
