"""The form of a dead letter: a record set aside whole, with why and from where it came.

A dead letter carries the original key, value and headers untouched; why and from where it came stands in
headers of its own, all text. So nothing has to be decoded to send it again, and a sender's own tools can
read the topic.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from engine.errors import EngineError

DLQ_TOPIC = "engage.dlq"
PREFIX = "engage-"
REPLAYED_FROM = "engage-replayed-from"
_MAX_POSITION_CHARS = 40
MAX_DETAIL_CHARS = 512
MAX_LETTER_BYTES = 900_000  # a producer takes 1,000,000 by default; a dead letter must never be refused

_LINE_SEPARATORS = "\x85\u2028\u2029"

Headers = list[tuple[str, bytes]]
OutRecord = tuple[str, bytes | None, bytes | None, Headers]


class KafkaRecord(Protocol):
    """What is read of a record; `confluent_kafka.Message` has it."""

    def topic(self) -> str | None:
        """Return its topic."""

    def partition(self) -> int | None:
        """Return its partition."""

    def offset(self) -> int | None:
        """Return its offset."""

    def timestamp(self) -> tuple[int, int]:
        """Return the kind of its time stamp and the time stamp, milliseconds."""

    def key(self) -> bytes | None:
        """Return its key."""

    def value(self) -> bytes | None:
        """Return its value."""

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Return its headers."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a dead letter's record came from.

    Args:
        topic: its topic.
        partition: its partition.
        offset: its offset.
        timestamp_ms: its Kafka time stamp, milliseconds; -1 when it had none.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int = -1


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One record on the dead-letter topic.

    Args:
        partition: partition of the dead letter itself.
        offset: offset of the dead letter itself.
        set_aside_ms: when it was set aside, milliseconds.
        reason: a code of `engine.events.DeadLetterReason`.
        detail: what is wrong, without personal data.
        exception: type of the exception, or empty.
        origin: where the record came from.
        key: the original key.
        value: the original value.
        headers: the original headers.
        cut_from: 0 when whole; else the size in bytes of a record that was too large to be set aside whole.
        replayed_from: position of the dead letter whose replay this record was, or empty.
    """

    partition: int
    offset: int
    set_aside_ms: int
    reason: str
    detail: str
    exception: str
    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    cut_from: int = 0
    replayed_from: str = ""

    @property
    def position(self) -> str:
        """Its name on the command line: `partition/offset`."""
        return f"{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant; an empty field means all.

    Args:
        positions: `(partition, offset)` of dead letters.
        reasons: reason codes.
        topics: original topics.
        since_ms: set aside at or after, milliseconds.
    """

    positions: frozenset[tuple[int, int]] = frozenset()
    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()
    since_ms: int = 0

    def matches(self, letter: DeadLetter) -> bool:
        """Say whether a dead letter is meant."""
        return (
            (not self.positions or (letter.partition, letter.offset) in self.positions)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.topics or letter.origin.topic in self.topics)
            and letter.set_aside_ms >= self.since_ms
        )


EVERYTHING = Selection()


def dead_letter(
    record: KafkaRecord, reason: str, detail: str, exception: str = "", topic: str = DLQ_TOPIC
) -> OutRecord:
    """Make the dead letter of a record.

    A record over `MAX_LETTER_BYTES` is cut: value first, then headers and key go. It says so, and the whole
    stays where it was for as long as its own topic keeps it.

    Args:
        record: the record as Kafka gave it.
        reason: a code of `engine.events.DeadLetterReason`.
        detail: what is wrong, without personal data.
        exception: type of the exception, if one was raised.
        topic: the dead-letter topic.

    Returns:
        Topic, key, value and headers of the record to produce.
    """
    own = {
        "reason": reason,
        "detail": detail[:MAX_DETAIL_CHARS],
        "topic": record.topic(),
        "partition": record.partition(),
        "offset": record.offset(),
        "timestamp": record.timestamp()[1],
        "exception": exception,
    }
    key, value = record.key(), record.value()
    given = record.headers() or ()
    headers = [header for header in given if not header[0].startswith(PREFIX)]
    if replayed_from := dict(given).get(REPLAYED_FROM):
        own["replayed-from"] = replayed_from.decode(errors="replace")[:_MAX_POSITION_CHARS]
    beside = len(key or b"") + sum(len(name.encode()) + len(content or b"") for name, content in headers)
    size = beside + len(value or b"")
    if size > MAX_LETTER_BYTES:
        own["cut-from"] = size
        if beside > MAX_LETTER_BYTES:
            key, headers, beside = None, [], 0
        value = (value or b"")[: MAX_LETTER_BYTES - beside]
    headers += [(PREFIX + name, str(content).encode(errors="replace")) for name, content in own.items()]
    return topic, key, value, headers


def parse(record: KafkaRecord) -> DeadLetter:
    """Read a record of the dead-letter topic; foreign records give empty fields, never an error."""
    headers = record.headers() or []
    own = {
        name: (content or b"").decode(errors="replace")
        for name, content in headers
        if name.startswith(PREFIX)
    }
    return DeadLetter(
        partition=record.partition() or 0,
        offset=record.offset() or 0,
        set_aside_ms=record.timestamp()[1],
        reason=own.get("engage-reason", ""),
        detail=own.get("engage-detail", ""),
        exception=own.get("engage-exception", ""),
        origin=Origin(
            topic=own.get("engage-topic", ""),
            partition=_whole(own.get("engage-partition")),
            offset=_whole(own.get("engage-offset")),
            timestamp_ms=_whole(own.get("engage-timestamp")),
        ),
        key=record.key(),
        value=record.value(),
        headers=tuple((name, content) for name, content in headers if not name.startswith(PREFIX)),
        cut_from=max(0, _whole(own.get("engage-cut-from"))),
        replayed_from=own.get(REPLAYED_FROM, ""),
    )


def _whole(text: str | None) -> int:
    try:
        return int(text or "-1")
    except ValueError:
        return -1


def as_line(letter: DeadLetter) -> str:
    """Write a dead letter as one line of JSON that a person can edit.

    Args:
        letter: the dead letter.

    Returns:
        The line; key and value as text where they are UTF-8, else as `{"base64": …}`.
    """
    line = msgspec.structs.asdict(letter) | {
        "origin": msgspec.structs.asdict(letter.origin),
        "key": _as_text(letter.key),
        "value": _as_text(letter.value),
        "headers": [[name, _as_text(content)] for name, content in letter.headers],
    }
    text = msgspec.json.encode(line).decode()
    for separator in _LINE_SEPARATORS:  # JSON lets them stand, but they end a line for many a reader
        text = text.replace(separator, f"\\u{ord(separator):04x}")
    return text


def from_line(line: str) -> DeadLetter:
    """Read a dead letter that `as_line` wrote and a person may have edited.

    Args:
        line: one line of JSON.

    Returns:
        The dead letter.

    Raises:
        EngineError: the line is not a dead letter.
    """
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
        fields["key"], fields["value"] = _as_bytes(fields.get("key")), _as_bytes(fields.get("value"))
        headers: Sequence[Any] = fields.get("headers") or ()
        fields["headers"] = [(name, _as_bytes(content)) for name, content in headers]
        return msgspec.convert(fields, DeadLetter, builtin_types=(bytes,))
    except (msgspec.MsgspecError, UnicodeError, TypeError, ValueError) as error:
        raise EngineError(f"not a dead letter: {error}") from error


def _as_text(content: bytes | None) -> str | dict[str, str] | None:
    if content is None:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _as_bytes(content: object) -> bytes | None:
    if content is None:
        return None
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, Mapping) and isinstance(content.get("base64"), str):
        try:
            return base64.b64decode(content["base64"], validate=True)
        except binascii.Error as error:
            raise ValueError("base64 is broken") from error
    raise TypeError('expected text, null or {"base64": …}')
