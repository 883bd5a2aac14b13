"""The JSON Schema of fixture files, for editors; made of the reader's own tables of keys."""

from __future__ import annotations

from typing import Any

from engine.authoring.fixtures_customer import CUSTOMER_KEYS
from engine.authoring.fixtures_parse import CASE_KEYS, FILE_KEYS
from engine.rules.schema import DIALECT

_ANYTHING = ("given", "arm", "split", "with")


def fixtures_schema() -> dict[str, Any]:
    """Return the schema of fixture files; of events and expectations it says only that they are lists."""
    instant = {
        "type": ["string", "integer"],
        "description": "A span after the start, a time of day, or a date-time.",
    }
    customer = {
        "type": "object",
        "properties": {key: {} for key in CUSTOMER_KEYS},
        "additionalProperties": False,
    }
    listed = {"type": "array", "items": {"type": "object"}}
    values: dict[str, Any] = {
        "fixtures": {"type": "string", "description": "The journey these cases are about."},
        "start": {"type": "string", "description": "Such as 2026-03-02T10:00:00+01:00."},
        "customer": customer,
        "customers": {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
        "name": {"type": "string"},
        "events": listed,
        "expect": listed,
        "until": instant,
        "only": {"type": "boolean"},
        **{key: {} for key in _ANYTHING},
    }
    case = _keys(CASE_KEYS, values, "name", "expect")
    values["cases"] = {"type": "array", "items": case, "minItems": 1}
    return {"$schema": DIALECT, "title": "Fixtures", **_keys(FILE_KEYS, values, "fixtures", "cases")}


def _keys(keys: tuple[str, ...], values: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: values[key] for key in keys},
        "required": list(required),
        "additionalProperties": False,
    }
