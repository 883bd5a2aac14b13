"""Bytes to events, and actions and decisions to bytes.

The first byte tells the wire format: `{` or white space is JSON, `C3 01` Avro in single-object encoding,
`00` Avro in the registry's wire format. A record comes out as a valid event or as `InvalidEvent` with a
code of the closed list; only a registry that does not answer is a `TransientError`, for then nothing is
known about the record yet.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any, Literal, NoReturn

import msgspec

from engine.actions import Action, Decision
from engine.errors import InvalidEvent
from engine.events import (
    EVENT_CLASSES,
    LATEST_MS,
    MAX_AHEAD_MS,
    MAX_RECORD_BYTES,
    DeadLetterReason,
    Event,
    Family,
)
from engine.streams.wire.avro import GUID_HEADER, AvroReader, Registry
from engine.validation import accepts, read_fields

Headers = list[tuple[str, bytes]]

_JSON = ord("{")
_JSON_SPACE = frozenset(b" \t\r\n")
_SINGLE_OBJECT = 0xC3
_REGISTRY = 0x00
_CONTENT_TYPE = ("content-type", b"application/json")
_SPEC_VERSION = ("ce_specversion", b"1.0")
_ACTION_TYPE = ("ce_type", b"engage.action.fired")
_SECOND_MS = 1000

_encoder = msgspec.json.Encoder()
encode_json = _encoder.encode


Decode = Callable[[Family, bytes | None, bytes | None, int, Headers | None], Event]


class Decoder:
    """Reads the records of the event topics.

    Args:
        clock: `live` refuses times more than an hour ahead of `now_ms`; `replay` takes any that fits.
        registry: where writer schemas of the registry wire format come from; `None` when there is none.
    """

    def __init__(self, clock: Literal["live", "replay"] = "live", registry: Registry | None = None) -> None:
        self._live = clock == "live"
        self._json = {family: msgspec.json.Decoder(cls).decode for family, cls in EVENT_CLASSES.items()}
        self._avro = AvroReader(registry)

    def decode(
        self,
        family: Family,
        value: bytes | None,
        key: bytes | None,
        now_ms: int,
        headers: Iterable[tuple[str, bytes]] | None = None,
    ) -> Event:
        """Decode and validate one record.

        Args:
            family: the family of its topic.
            value: the record's bytes.
            key: its Kafka key, which must be the customer id: that is what brings all of a customer's records
                to one worker.
            now_ms: the live clock, milliseconds; not read on the replay clock.
            headers: its Kafka headers; only needed for senders that put the schema's id there.

        Returns:
            The event.

        Raises:
            InvalidEvent: the record can never be processed; `reason` is a `DeadLetterReason`.
            TransientError: the schema registry does not answer.
        """
        latest_ms = now_ms + MAX_AHEAD_MS if self._live else LATEST_MS
        if not value or len(value) > MAX_RECORD_BYTES:
            _refuse_size(value)
        first = value[0]
        if first == _JSON or (first in _JSON_SPACE and _schema_id(headers) is None):
            try:
                event = self._json[family](value)
                accepted = accepts(event, family, latest_ms)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                accepted = False
            if not accepted:
                event = read_fields(family, _parse(value), latest_ms)
        else:
            event = read_fields(family, self._avro_fields(family, first, value, headers), latest_ms)
        if event.customer_id.encode() != key:
            _refuse_key(key)
        return event

    def _avro_fields(
        self, family: Family, first: int, value: bytes, headers: Iterable[tuple[str, bytes]] | None
    ) -> dict[str, Any]:
        guid = _schema_id(headers)
        if guid is not None:
            return self._avro.by_guid(family, guid, value)
        if first == _SINGLE_OBJECT:
            return self._avro.single_object(family, value)
        if first == _REGISTRY:
            return self._avro.registry_format(family, value)
        detail = f"first byte 0x{first:02x} belongs to no known wire format"
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, detail)


def _schema_id(headers: Iterable[tuple[str, bytes]] | None) -> bytes | None:
    """Return the schema's id from a record's headers; the value is then Avro, whatever its first byte."""
    return next((content for name, content in headers or () if name == GUID_HEADER), None)


def _refuse_size(value: bytes | None) -> NoReturn:
    if not value:
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the record has no value")
    detail = f"the record has {len(value)} bytes, allowed are {MAX_RECORD_BYTES}"
    raise InvalidEvent(DeadLetterReason.RECORD_TOO_LARGE, detail)


def _refuse_key(key: bytes | None) -> NoReturn:
    state = "is missing" if key is None else "differs from the customer id"
    raise InvalidEvent(DeadLetterReason.KEY_MISMATCH, f"the record's key {state}; it must be the customer id")


def _parse(value: bytes) -> dict[str, Any]:
    """Parse JSON for the slow road, NaN included, so that the field which holds it can be named."""
    try:
        fields = json.loads(value.decode())  # of bytes it would let surrogates pass and guess UTF-16
    except RecursionError:
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the JSON is nested too deeply") from None
    except UnicodeError:
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the JSON is not UTF-8") from None
    except json.JSONDecodeError as error:
        detail = f"not JSON: {error.msg.lower()} at character {error.pos}"
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, detail) from None
    except ValueError:
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the JSON holds too long a number") from None
    if not isinstance(fields, dict):
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the JSON is not an object")
    if b"\\u" in value:
        _refuse_surrogates(fields)
    return fields


def _refuse_surrogates(fields: dict[str, Any]) -> None:
    r"""Refuse half a surrogate pair (`\ud800`): it cannot be written as UTF-8 again."""
    try:
        json.dumps(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the JSON holds a lone surrogate") from None


@functools.lru_cache(maxsize=4)
def _rfc3339(time_ms: int) -> bytes:
    seconds, milliseconds = divmod(time_ms, _SECOND_MS)
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z".encode()


@functools.lru_cache(maxsize=1024)
def _source(journey: str) -> tuple[str, bytes]:
    return ("ce_source", b"/engage/journeys/" + urllib.parse.quote(journey, safe="").encode())


@functools.lru_cache(maxsize=64)
def _decision_type(outcome: str) -> tuple[str, bytes]:
    return ("ce_type", f"engage.decision.{outcome}".encode())


def encode_action(action: Action) -> tuple[bytes, Headers]:
    """Encode an action as a CloudEvent in Kafka's binary mode.

    Args:
        action: the action.

    Returns:
        The record's value (JSON) and its headers. The key is the customer id; no header holds personal data.
    """
    headers = [
        _SPEC_VERSION,
        ("ce_id", action.id.encode()),
        _source(action.journey),
        _ACTION_TYPE,
        ("ce_time", _rfc3339(action.time)),
        _CONTENT_TYPE,
    ]
    return _encoder.encode(action), headers


def encode_decision(decision: Decision) -> tuple[bytes, Headers]:
    """Encode a decision as a CloudEvent in Kafka's binary mode.

    Args:
        decision: the decision.

    Returns:
        The record's value (JSON) and its headers.
    """
    headers = [
        _SPEC_VERSION,
        ("ce_id", decision.id.encode()),
        _source(decision.journey),
        _decision_type(decision.outcome),
        ("ce_time", _rfc3339(decision.time)),
        _CONTENT_TYPE,
    ]
    return _encoder.encode(decision), headers


decode_action: Any = msgspec.json.Decoder(Action).decode
decode_decision: Any = msgspec.json.Decoder(Decision).decode
