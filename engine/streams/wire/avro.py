"""Avro on the wire: single-object encoding by fingerprint, and writer schemas from a registry.

Old and new versions of a schema resolve by Avro's own rules. Every released version of our schemas ships
with the engine (`schemas/released/`), so a sender that was built against an old one is understood without a
registry.
"""

from __future__ import annotations

import io
import json
import uuid
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import fastavro
import fastavro.schema
import msgspec

from engine.actions import Action, Decision
from engine.errors import InvalidEvent
from engine.events import FAMILY_OF, DeadLetterReason, Event, Family
from engine.resources import shipped

GUID_HEADER = "__value_schema_id"
MAX_WRITER_SCHEMAS = 1000

_SINGLE_OBJECT_MARKER = b"\xc3\x01"
_SINGLE_OBJECT_HEADER_BYTES = 10
_REGISTRY_HEADER_BYTES = 5
_GUID_MAGIC = 1

Schema = Any  # fastavro's parsed form
SchemaId = int | uuid.UUID


class Registry(Protocol):
    """Where writer schemas come from."""

    def schema(self, schema_id: SchemaId) -> Schema:
        """Return the parsed schema of an id.

        Raises:
            InvalidEvent: the registry says that there is none, or none in Avro.
            TransientError: the registry does not answer.
        """


def parse_schema(document: object, named: dict[str, Any] | None = None) -> Schema:
    """Parse an Avro schema for reading plain values: logical types stay the integers they are on the wire."""
    return fastavro.parse_schema(
        _without_logical_types(document), named_schemas={} if named is None else named
    )


def _without_logical_types(node: object) -> object:
    if isinstance(node, dict):
        return {key: _without_logical_types(value) for key, value in node.items() if key != "logicalType"}
    if isinstance(node, list):
        return [_without_logical_types(entry) for entry in node]
    return node


def fingerprint(schema: Schema) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema's parsing canonical form, 8 bytes little endian."""
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    return bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))


def load_schema(path: Path) -> Schema:
    """Parse a schema file."""
    return parse_schema(json.loads(path.read_text("utf-8")))


@cache
def current_schema(name: str) -> Schema:
    """Return the current schema of a family's name, of `action` or of `decision`."""
    return load_schema(shipped("schemas") / f"{name}.avsc")


@cache
def known_schemas() -> dict[bytes, tuple[str, Schema]]:
    """Return every shipped schema, current and released, by fingerprint: its name and parsed form."""
    folder = shipped("schemas")
    known: dict[bytes, tuple[str, Schema]] = {}
    for path in sorted((*folder.glob("released/*/*.avsc"), *folder.glob("*.avsc"))):
        schema = load_schema(path)
        known[fingerprint(schema)] = (path.stem, schema)
    return known


class AvroReader:
    """Reads Avro records of the event topics into plain fields.

    Args:
        registry: where writer schemas of the registry wire format come from, or `None`.
    """

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry
        self._writers: OrderedDict[SchemaId, Schema] = OrderedDict()

    def single_object(self, family: Family, value: bytes) -> dict[str, Any]:
        """Read a record in single-object encoding.

        Raises:
            InvalidEvent: not decodable, or of a schema that is unknown or not the family's.
        """
        if value[:2] != _SINGLE_OBJECT_MARKER or len(value) < _SINGLE_OBJECT_HEADER_BYTES:
            raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the single-object header is broken")
        crc = value[2:_SINGLE_OBJECT_HEADER_BYTES]
        known = known_schemas().get(crc)
        if known is None:
            detail = f"no shipped schema has the fingerprint {crc.hex()}"
            raise InvalidEvent(DeadLetterReason.SCHEMA_UNKNOWN, detail)
        name, writer = known
        if name != family:
            detail = f"a record of schema {name} is on the {family.value} topic"
            raise InvalidEvent(DeadLetterReason.SCHEMA_INCOMPATIBLE, detail)
        return _read(value, _SINGLE_OBJECT_HEADER_BYTES, writer, family)

    def registry_format(self, family: Family, value: bytes) -> dict[str, Any]:
        """Read a record that starts with a zero byte and the writer schema's 4-byte id.

        Raises:
            InvalidEvent: not decodable, or of a schema that is unknown or cannot be resolved to ours.
            TransientError: the registry does not answer.
        """
        if len(value) < _REGISTRY_HEADER_BYTES:
            raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the schema id is cut off")
        schema_id = int.from_bytes(value[1:_REGISTRY_HEADER_BYTES], "big")
        return _read(value, _REGISTRY_HEADER_BYTES, self._writer(schema_id), family)

    def by_guid(self, family: Family, header: bytes, value: bytes) -> dict[str, Any]:
        """Read a record whose writer schema's id is in the header `__value_schema_id`.

        Raises:
            InvalidEvent: not decodable, or of a schema that is unknown or cannot be resolved to ours.
            TransientError: the registry does not answer.
        """
        if len(header) == 1 + 16 and header[0] == _GUID_MAGIC:
            return _read(value, 0, self._writer(uuid.UUID(bytes=header[1:])), family)
        if len(header) == _REGISTRY_HEADER_BYTES and header[0] == 0:
            return _read(value, 0, self._writer(int.from_bytes(header[1:], "big")), family)
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, "the schema id in the header is broken")

    def _writer(self, schema_id: SchemaId) -> Schema:
        writer = self._writers.get(schema_id)
        if writer is not None:
            self._writers.move_to_end(schema_id)
            return writer
        if self._registry is None:
            detail = f"schema {schema_id} needs a schema registry, none is configured"
            raise InvalidEvent(DeadLetterReason.SCHEMA_UNKNOWN, detail)
        writer = self._writers[schema_id] = self._registry.schema(schema_id)
        if len(self._writers) > MAX_WRITER_SCHEMAS:
            self._writers.popitem(last=False)
        return writer


def _read(value: bytes, start: int, writer: Schema, family: Family) -> dict[str, Any]:
    stream = io.BytesIO(value)
    stream.seek(start)
    try:
        fields = fastavro.schemaless_reader(stream, writer, current_schema(family.value))
    except fastavro.read.SchemaResolutionError:
        detail = f"the writer's schema cannot be resolved to the {family.value} schema"
        raise InvalidEvent(DeadLetterReason.SCHEMA_INCOMPATIBLE, detail) from None
    except Exception as error:  # noqa: BLE001 - fastavro meets broken bytes with whatever its parts happen to raise
        detail = f"not a {family.value} record in Avro: {type(error).__name__}"
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, detail) from None
    if stream.tell() != len(value):
        detail = f"{len(value) - stream.tell()} bytes are left after the Avro record"
        raise InvalidEvent(DeadLetterReason.NOT_DECODABLE, detail)
    if not isinstance(fields, dict):
        raise InvalidEvent(DeadLetterReason.SCHEMA_INCOMPATIBLE, "the writer's schema is not a record")
    return fields


def write_avro(schema: Schema, fields: dict[str, Any]) -> bytes:
    """Encode fields by a schema, without any header."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, schema, fields)
    return stream.getvalue()


def _encode(name: str, fields: dict[str, Any]) -> bytes:
    schema = current_schema(name)
    return _SINGLE_OBJECT_MARKER + _fingerprint_of(name) + write_avro(schema, fields)


@cache
def _fingerprint_of(name: str) -> bytes:
    return fingerprint(current_schema(name))


def encode_avro_single_object(value: Event | Action | Decision) -> bytes:
    """Encode an event, action or decision in Avro's single-object encoding, by the current schema.

    Args:
        value: what to encode; events must be valid.

    Returns:
        `C3 01`, the schema's fingerprint, the record.
    """
    if isinstance(value, Event):
        return _encode(FAMILY_OF[type(value)].value, msgspec.structs.asdict(value))
    name = "action" if isinstance(value, Action) else "decision"
    return _encode(name, msgspec.to_builtins(value) | {"reason": msgspec.structs.asdict(value.reason)})
