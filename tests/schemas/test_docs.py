"""Laws of docs/events.md: it says what the schemas and the code say, and its examples are valid."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from engine.actions import Action
from engine.events import EVENT_TYPES, DeadLetterReason, Family
from engine.resources import shipped
from engine.streams.wire.codec import Decoder, decode_action

PAGE = Path(__file__).parents[2] / "docs" / "events.md"
ENVELOPE = ("id", "type", "customer_id", "time", "source", "channel", "props")


def type_name(node: Any) -> str:
    """Return what the page calls an Avro type."""
    if isinstance(node, list):
        return "scalars or null" if "null" in node else "scalars"
    if isinstance(node, dict):
        if node.get("logicalType") == "timestamp-millis":
            return "milliseconds"
        return f"map of {type_name(node['values'])}" if node["type"] == "map" else "object"
    plain = {"string": "text", "long": "whole number", "int": "whole number", "double": "number"}
    return plain.get(node, str(node))


def default_name(field: dict[str, Any]) -> str:
    """Return what the page says of a field's default."""
    if "default" not in field:
        return "required"
    return "empty" if field["default"] in ("", {}) else f"{field['default']:g}"


def field_table(name: str, only: Collection[str] = (), skip: Collection[str] = (), inside: str = "") -> str:
    """Return the page's table of a schema's fields, or of those of a record inside it."""
    document = json.loads((shipped("schemas") / f"{name}.avsc").read_text("utf-8"))
    if inside:
        document = next(field["type"] for field in document["fields"] if field["name"] == inside)
    rows = [
        f"| `{field['name']}` | {type_name(field['type'])} | {default_name(field)} | {field['doc']} |"
        for field in document["fields"]
        if (not only or field["name"] in only) and field["name"] not in skip
    ]
    return "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])


def json_blocks() -> list[str]:
    """Return the page's JSON examples."""
    return re.findall(r"```json\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("name", [*Family, "action", "decision"])
def test_the_tables_are_the_schemas(name: str) -> None:
    """Each field of each schema stands in the page with its type, default and meaning."""
    skip = ENVELOPE if name in set(Family) else ()
    assert field_table(name, skip=skip) in PAGE.read_text("utf-8"), field_table(name, skip=skip)


def test_the_envelope_and_the_reason_are_there() -> None:
    """What all events share, and the reason inside actions and decisions, have tables of their own."""
    page = PAGE.read_text("utf-8")
    assert field_table("action", inside="reason") in page
    for row in field_table("order", only=set(ENVELOPE) - {"type"}).splitlines():
        assert row in page


def test_every_type_and_reason_is_there() -> None:
    """No event type and no reason of a dead letter goes unexplained."""
    page = PAGE.read_text("utf-8")
    for name in (*EVENT_TYPES, *DeadLetterReason):
        assert f"| `{name}` | " in page, name


def test_the_examples_are_valid() -> None:
    """Each event of the page decodes on its topic, and the action is one."""
    *events, action = json_blocks()
    assert len(events) == len(Family)
    for text in events:
        fields = json.loads(text)
        family = EVENT_TYPES[fields["type"]].family
        event = Decoder("live").decode(
            family, text.encode(), fields["customer_id"].encode(), 1_700_000_000_000
        )
        assert event.id == fields["id"]
    assert isinstance(decode_action(action), Action)
