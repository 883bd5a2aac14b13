"""Laws of the Avro schemas: they say what the code says, and no change breaks the last release."""

from __future__ import annotations

import io
import json
import types
import typing
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given

from engine.actions import Action, Decision, Outcome, Reason
from engine.events import EVENT_CLASSES, EVENT_TYPES, PURPOSES, Event, Family
from engine.resources import shipped
from engine.streams.wire.avro import (
    current_schema,
    encode_avro_single_object,
    fingerprint,
    known_schemas,
    load_schema,
    write_avro,
)
from tests.event_examples import events

STRUCTS: dict[str, type[msgspec.Struct]] = {
    **{family.value: cls for family, cls in EVENT_CLASSES.items()},
    "action": Action,
    "decision": Decision,
}
RELEASES = sorted(path for path in (shipped("schemas") / "released").iterdir() if path.is_dir())


def fields_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a record schema's fields by name."""
    return {field["name"]: field for field in document["fields"]}


def document(name: str) -> dict[str, Any]:
    """Return a current schema as it stands in its file."""
    found: dict[str, Any] = json.loads((shipped("schemas") / f"{name}.avsc").read_text("utf-8"))
    return found


def avro_type(annotation: Any) -> Any:
    """Return the Avro type that a Python annotation calls for, logical types aside."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return avro_type(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        names = {avro_type(part) for part in typing.get_args(annotation)}
        return tuple(name for name in ("null", "string", "long", "double", "boolean") if name in names)
    if origin is not None:
        return ("map", avro_type(typing.get_args(annotation)[1]))
    plain = {str: "string", int: "long", float: "double", bool: "boolean", types.NoneType: "null"}
    return plain.get(annotation) or ("string" if issubclass(annotation, str) else annotation.__name__)


def declared_type(node: Any) -> Any:
    """Return a schema's type in the same form; an `int` is a narrower `long`."""
    if isinstance(node, list):
        return tuple(declared_type(entry) for entry in node)
    if isinstance(node, dict):
        if node["type"] == "map":
            return ("map", declared_type(node["values"]))
        return node["name"] if node["type"] == "record" else declared_type(node["type"])
    return {"int": "long"}.get(node, node)


@pytest.mark.parametrize("name", STRUCTS)
def test_a_schema_and_its_struct_agree_field_by_field(name: str) -> None:
    """Names, order, types and defaults are the same, so Avro and JSON carry the same thing."""
    declared = fields_of(document(name))
    known = msgspec.structs.fields(STRUCTS[name])
    assert list(declared) == [info.name for info in known]
    for info in known:
        field = declared[info.name]
        assert declared_type(field["type"]) == avro_type(info.type), info.name
        assert ("default" not in field) == info.required, info.name
        if not info.required:
            default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
            assert field["default"] == default, info.name


def test_the_reason_agrees_too() -> None:
    """The record inside actions and decisions is the code's `Reason`."""
    for name in ("action", "decision"):
        reason = fields_of(document(name))["reason"]["type"]
        assert list(fields_of(reason)) == [info.name for info in msgspec.structs.fields(Reason)]


@pytest.mark.parametrize("name", STRUCTS)
def test_every_field_is_documented(name: str) -> None:
    """A schema is read by people who have nothing else: no field goes without its meaning."""
    found = document(name)
    assert found["namespace"] == "engage.v1"
    assert found["doc"]
    assert all(field.get("doc", "").endswith(".") for field in found["fields"])


def test_the_lists_in_the_docs_are_complete() -> None:
    """Types, purposes and outcomes named in the schemas are the code's."""
    for family in Family:
        text = fields_of(document(family.value))["type"]["doc"]
        assert all(name in text for name, kind in EVENT_TYPES.items() if kind.family is family)
    assert all(purpose in fields_of(document("profile"))["purpose"]["doc"] for purpose in PURPOSES)
    assert all(outcome in fields_of(document("decision"))["outcome"]["doc"] for outcome in Outcome)


def sample(schema: Any, name: str) -> dict[str, Any]:
    """Make a record of a schema with every field set to something that is not its default."""
    values = {"string": "text", "long": 7, "int": 7, "double": 1.5, "boolean": True}

    def value(node: Any) -> Any:
        if isinstance(node, list):
            return value(node[-1])
        if isinstance(node, dict):
            if node["type"] == "record":
                return {field["name"]: value(field["type"]) for field in node["fields"]}
            return {"name": value(node["values"])} if node["type"] == "map" else value(node["type"])
        return values[node]

    made: dict[str, Any] = value(schema)
    assert made, name
    return made


def read(value: bytes, writer: Any, reader: Any) -> dict[str, Any]:
    """Read a record written by one schema with another, by Avro's rules."""
    found: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(value), writer, reader)
    return found


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
@pytest.mark.parametrize("name", STRUCTS)
def test_each_release_and_the_current_schemas_read_each_other(name: str, release: Path) -> None:
    """New engines read old senders, old consumers new engines: names, types and defaults stay usable."""
    path = release / f"{name}.avsc"
    if not path.exists():
        assert name not in {"click", "order", "service", "profile", "engagement", "action", "decision"}
        return
    old, new = load_schema(path), current_schema(name)
    for writer, reader in ((old, new), (new, old)):
        written = sample(writer, name)
        found = read(write_avro(writer, written), writer, reader)
        assert all(found[field] == written[field] for field in found.keys() & written.keys())


def broken(change: str) -> dict[str, Any]:
    """Return the order schema with a change that breaks readers."""
    found = document("order")
    fields = fields_of(found)
    if change == "type":
        fields["amount"] |= {"type": "string", "default": ""}
    elif change == "no default":
        found["fields"].append({"name": "added", "type": "string"})
    elif change == "renamed":
        fields["order_id"]["name"] = "order"
    return found


@pytest.mark.parametrize("change", ["type", "no default", "renamed"])
def test_the_compatibility_test_sees_a_breaking_change(change: str) -> None:
    """A changed type, a new field without default and a renamed field each fail in one direction."""
    current, changed = current_schema("order"), fastavro.parse_schema(broken(change), named_schemas={})
    failed = 0
    for writer, reader in ((current, changed), (changed, current)):
        try:
            read(write_avro(writer, sample(writer, "order")), writer, reader)
        except fastavro.read.SchemaResolutionError:
            failed += 1
    assert failed


def test_there_is_a_release() -> None:
    """Compatibility is checked against something."""
    assert RELEASES
    assert all(list(path.glob("*.avsc")) for path in RELEASES)


def test_fingerprints_are_those_of_the_specification() -> None:
    """CRC-64-AVRO, little endian, of the parsing canonical form; the value for `null` is published."""
    assert fingerprint(fastavro.parse_schema("null")) == (0x63DD24E7CC258F8A).to_bytes(8, "little")


def test_every_shipped_schema_is_found_by_its_fingerprint() -> None:
    """Each schema, current and released, has a fingerprint of its own within its name."""
    names = {name for name, _ in known_schemas().values()}
    assert names == set(STRUCTS)
    for name in STRUCTS:
        assert known_schemas()[fingerprint(current_schema(name))][0] == name


@given(events())
def test_the_single_object_header(event: Event) -> None:
    """An encoded event starts with the marker and its schema's fingerprint."""
    value = encode_avro_single_object(event)
    name = EVENT_TYPES[event.type].family.value
    assert value[:10] == b"\xc3\x01" + fingerprint(current_schema(name))


def test_actions_and_decisions_go_through_avro() -> None:
    """Consumers that speak Avro can be given actions and decisions by the same schemas."""
    reason = Reason(text="because", values={"churn_risk": 0.5})
    common: dict[str, Any] = {"customer_id": "c", "journey": "j", "version": 1, "step": "s", "reason": reason}
    common |= {"event_id": "e", "event_type": "order.placed", "time": 5}
    decision = Decision(id="d", outcome=Outcome.FIRED, **common)
    action = Action(
        id="a",
        channel="email",
        template="t",
        data={"n": 1},
        priority="normal",
        transactional=False,
        event_time=4,
        expires_at=6,
        **common,
    )
    for name, value in (("action", action), ("decision", decision)):
        schema = current_schema(name)
        found = read(encode_avro_single_object(value)[10:], schema, schema)
        assert msgspec.convert(found, type(value)) == value
