"""JSON Schemas of the rule files, for editors: completion, hover texts and red lines while one types.

They are made of the parser's own tables of keys, so that no key is missing. What a schema cannot say (names
of features, types of expressions, what fits together) `engage rules check` says.
"""

from __future__ import annotations

from typing import Any, Final

from engine.events import EVENT_TYPES, PURPOSES
from engine.rules.limits import (
    MAX_ARMS,
    MAX_AWAITED,
    MAX_CAPS,
    MAX_EXITS,
    MAX_NAME_CHARS,
    MAX_PRIORITY,
    MAX_STEPS,
    MAX_TEXT_CHARS,
)
from engine.rules.parsing.branches import ARM_KEYS, VARIANT_KEYS
from engine.rules.parsing.entry import ENTRY_KEYS, ENTRY_KINDS, GOAL_KEYS
from engine.rules.parsing.guards import GUARD_KEYS
from engine.rules.parsing.parse import EXIT_KEYS, EXIT_KINDS, JOURNEY_KEYS
from engine.rules.parsing.steps import SET_KEYS, STEP_KEYS
from engine.rules.parsing.table import TABLE_KEYS
from engine.rules.parsing.waits import AWAIT_KEYS, AWAITED_KEYS, UNTIL_KEYS
from engine.rules.policy_file import POLICY_KEYS, ROW_KEYS
from engine.rules.templates import FIELD_KEYS, FIELD_TYPES, TEMPLATE_KEYS
from engine.rules.times.windows import WEEKDAYS

Schema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_SCALAR: Final[Schema] = {"type": ["string", "number", "boolean"]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _list(of: Schema, most: int) -> Schema:
    return {"type": "array", "items": of, "maxItems": most}


def _either(*options: Schema) -> Schema:
    return {"anyOf": list(options)}


_BASICS: Final[dict[str, Schema]] = {
    "name": {
        "type": "string",
        "pattern": "^[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*$",
        "maxLength": MAX_NAME_CHARS,
        "description": "Lower case letters, digits, - and _.",
    },
    "text": {"type": "string", "maxLength": MAX_TEXT_CHARS},
    "duration": {
        "type": "string",
        "pattern": "^[0-9]{1,9}[smhd]$",
        "description": "A whole number with its unit: 30s, 5m, 2h, 7d.",
    },
    "event": {"enum": sorted(EVENT_TYPES), "description": "An event type (docs/events.md)."},
    "condition": {"type": ["string", "boolean"], "description": "A condition in CEL (docs/journeys.md)."},
    "value": {**_SCALAR, "description": "A constant, or CEL over customer. and entry.event."},
    "cap": {
        "type": "string",
        "pattern": r"^\s*[0-9]{1,6}\s+per\s+[0-9]{1,9}[smhd]\s*$",
        "description": "N per DURATION, as in 1 per 7d.",
    },
    "time": {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}$", "description": 'As in "09:00".'},
    "share": {"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,2})?%$", "description": "As in 10%."},
}
# What stands under a key, wherever in a journey it stands; `where.key` for a key of one place.
_VALUES: Final[dict[str, Schema]] = {
    "journey": _ref("name"),
    "description": _ref("text"),
    "owner": _ref("text"),
    "version": {"type": "integer", "minimum": 1, "description": "Raise it when the steps change."},
    "enabled": {"type": "boolean", "description": "false: nobody enters; who is inside goes on."},
    "transactional": {"type": "boolean", "description": "Passes consent, caps and quiet hours."},
    "journey.entry": _ref("entry"),
    "journey.exit": _list(_ref("exit"), MAX_EXITS),
    "journey.goal": _ref("goal"),
    "journey.guards": _ref("guards"),
    "silence": {"type": "object", "additionalProperties": _ref("text")},
    "sequences": {"type": "object", "additionalProperties": _ref("steps")},
    "on": _ref("event"),
    "where": _ref("condition"),
    "when": _ref("condition"),
    "at_once_where": _ref("condition"),
    "at_once_when": _ref("condition"),
    "per": {"type": "string", "description": "One run for each value of this field of the event."},
    "reentry": {"type": "string", "pattern": r"^\s*(never|always|after\s+[0-9]{1,9}[smhd])\s*$"},
    "for": _ref("duration"),
    "within": _ref("duration"),
    "timeout": _ref("duration"),
    "expires": _ref("duration"),
    "since": {"enum": ["last", "first", "signup"]},
    "absent": _ref("event"),
    "count": _ref("event"),
    "unanswered": {"enum": ["inquiry"]},
    "rises": {"type": "string", "description": "A feature, as customer.churn_risk."},
    "falls": {"type": "string", "description": "A feature, as customer.churn_risk."},
    "above": {"type": "number"},
    "below": {"type": "number"},
    "date": {"type": "string", "description": "The trait that holds the date, YYYY-MM-DD."},
    "at": _ref("time"),
    "at_least": {"type": "integer", "minimum": 2},
    "schedule": {"type": "string", "description": 'Cron: "0 9 * * MON".'},
    "goal.value": _ref("condition"),
    "consent": {"enum": list(PURPOSES), "description": "The purpose asked for."},
    "cap": _either(_ref("cap"), _list(_ref("cap"), MAX_CAPS)),
    "entry_cap": _ref("cap"),
    "quiet_hours": {"type": "string", "pattern": "^[0-9]{2}:[0-9]{2}-[0-9]{2}:[0-9]{2}$"},
    "send_window": _either({"type": "string"}, {"type": "array", "items": {"type": "string"}}),
    "guards.priority": {"type": "integer", "minimum": 0, "maximum": MAX_PRIORITY},
    "send.priority": {"enum": ["normal", "high"]},
    "holdout": _ref("share"),
    "weight": _ref("share"),
    "data": {"type": "object", "additionalProperties": _ref("value")},
    "table": _ref("table"),
    "table.on": _list({"type": "string"}, 8),
    "table.give": _list(_ref("name"), 8),
    "rows": {"type": "array", "items": {"type": "array", "items": _SCALAR}},
    "steps": _ref("steps"),
    "then": _ref("steps"),
    "otherwise": _ref("steps"),
    "else": _ref("steps"),
    "wait": _either(_ref("duration"), _ref("until")),
    "wait_until": _ref("wait_until"),
    "wait_until.on": _either(_ref("event"), _list(_ref("event"), MAX_AWAITED)),
    "wait_until.until": _either({"type": "string"}, _ref("until")),
    "until": _ref("time"),
    "any_of": _list(_ref("awaited"), MAX_AWAITED),
    "weekday": _either({"enum": list(WEEKDAYS)}, {"type": "array", "items": {"enum": list(WEEKDAYS)}}),
    "before": _ref("duration"),
    "yearly": {"type": "boolean"},
    "zone": {"type": "string"},
    "branch": _list(_ref("arm"), MAX_ARMS),
    "split": _list(_ref("variant"), MAX_ARMS),
    "set": _ref("set"),
    "to": _ref("value"),
    "exit.exit": {"type": ["boolean", "null"]},
}


def _keys(where: str, keys: tuple[str, ...], *required: str, **values: Schema) -> Schema:
    """Return the schema of a mapping: its keys, each with what is known of its value."""
    known = {**_VALUES, **values}
    properties = {key: known.get(f"{where}.{key}") or known.get(key) or _ref("name") for key in keys}
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def journey_schema() -> Schema:
    """Return the schema of journey files."""
    triggers = [_keys("trigger", keys, kind) for kind, keys in ENTRY_KINDS.items()]
    by_segment = [_keys("trigger", ENTRY_KINDS[kind], kind) for kind in EXIT_KINDS]
    events = _either(_ref("event"), _list(_ref("event"), MAX_AWAITED))
    steps = [
        _keys(kind, keys, kind, *(["template"] if kind == "send" else [])) for kind, keys in STEP_KEYS.items()
    ]
    return {
        "$schema": DIALECT,
        "title": "Journey",
        "description": "Who enters, what happens step by step, who leaves early, what holds a message back.",
        **_keys("journey", JOURNEY_KEYS, "journey", "entry", "steps"),
        "$defs": {
            **_BASICS,
            "entry": _keys("entry", ENTRY_KEYS, "on", on=_either(events, *triggers)),
            "exit": _keys("exit", EXIT_KEYS, "on", on=_either(_ref("event"), *by_segment)),
            "goal": _keys("goal", GOAL_KEYS, "on", "within"),
            "guards": _keys("guards", GUARD_KEYS),
            "steps": _list(_either({"const": "exit"}, *steps), MAX_STEPS),
            "until": _keys("until", UNTIL_KEYS, "until"),
            "wait_until": _keys("wait_until", AWAIT_KEYS),
            "awaited": _keys("awaited", AWAITED_KEYS, "on"),
            "arm": _keys("arm", ARM_KEYS, "when", "steps"),
            "variant": _keys("variant", VARIANT_KEYS, "name", "weight", "steps"),
            "table": _keys("table", TABLE_KEYS, *TABLE_KEYS),
            "set": _keys("set", SET_KEYS, *SET_KEYS),
        },
    }


def template_schema() -> Schema:
    """Return the schema of template files."""
    text = {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1}
    field = _keys(
        "field",
        FIELD_KEYS,
        "type",
        type={"enum": list(FIELD_TYPES)},
        required={"type": "boolean"},
        meaning=_ref("text"),
    )
    values: dict[str, Schema] = {
        "channels": {"type": "array", "items": _ref("name")},
        "fields": {"type": "object", "additionalProperties": field},
        "texts": {"type": "object", "additionalProperties": text, "minProperties": 1},
    }
    keys = _keys("template", TEMPLATE_KEYS, "template", "texts", **values)
    return {"$schema": DIALECT, "title": "Template", **keys, "$defs": _BASICS}


def policy_schema() -> Schema:
    """Return the schema of the contact policy file."""
    caps = {"type": "object", "additionalProperties": _VALUES["cap"]}
    contacts = {"type": "array", "items": _ref("name")}
    row = _keys("row", ROW_KEYS, "caps", caps=caps, segment=_ref("name"))
    values: dict[str, Schema] = {"policy": {"type": "array", "items": row}, "contacts": contacts}
    return {
        "$schema": DIALECT,
        "title": "Contact policy",
        **_keys("policy_file", POLICY_KEYS, "policy", **values),
        "$defs": _BASICS,
    }
