"""The JSON Schemas for editors: they take what ships, know every key, and refuse what is no key."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from engine.authoring.fixtures.parse import CASE_KEYS, FILE_KEYS
from engine.docs import SCHEMAS, schema_text
from engine.resources import shipped
from engine.rules.load import journey_files, yaml_files
from engine.rules.parsing.entry import ENTRY_KEYS, ENTRY_KINDS
from engine.rules.parsing.guards import GUARD_KEYS
from engine.rules.parsing.parse import JOURNEY_KEYS
from engine.rules.parsing.steps import STEP_KEYS
from engine.rules.parsing.waits import AWAIT_KEYS, UNTIL_KEYS
from tests.rules.journeys import ASK, DRIP, SERVICE, TRIGGER

FOLDER = Path(__file__).parents[2] / "schemas"
JOURNEYS = journey_files([shipped("journeys"), shipped("cookbook")])
FIXTURES = [
    path for folder in ("journeys", "cookbook") for path in sorted(shipped(folder).glob("*.test.yaml"))
]
TEMPLATES = yaml_files([shipped("templates")])
EVERYTHING = """
journey: all
entry: {on: {schedule: "0 9 * * MON", zone: customer, segment: new}}
goal: {on: order.placed, within: 30d, value: event.amount}
guards:
  consent: marketing
  contact: care
  cap: 1 per 7d
  send_window: ["MON-FRI 09:00-18:00"]
  priority: 60
  exclusion_group: retention
  entry_cap: 1000 per 1d
  holdout: 10%
steps:
  - wait: {until: "09:00", trait: trial_ends, before: 3d}
  - wait_until: {on: [order.placed, cart.removed], timeout: 1h}
    then: [exit]
  - wait_until: {any_of: [{on: order.placed, where: event.amount > 1}], until: {until: "09:00", weekday: MON}}
  - branch: [{when: customer.churn_risk > 0.8, steps: [{run: offer}]}]
    else: [{set: {trait: a, to: 1}}]
  - split: [{name: a, weight: 50%, steps: [exit]}, {name: b, weight: 50%, steps: [exit]}]
sequences:
  offer:
    - send: email
      template: t
      table: {on: [customer.segment], give: [coupon], rows: [[new, A], [any, B]]}
silence: {W0402: because}
"""


def validator(name: str) -> Any:
    """Return a validator of one schema, which is itself valid."""
    schema = SCHEMAS[name]()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def problems(name: str, text: str) -> list[str]:
    """Return what a schema finds wrong with a file."""
    document = json.loads(json.dumps(YAML(typ="safe", pure=True).load(io.StringIO(text)), default=str))
    return [error.message for error in validator(name).iter_errors(document)]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *(("journey", path) for path in JOURNEYS),
        *(("template", path) for path in TEMPLATES),
        *(("fixtures", path) for path in FIXTURES),
        ("policy", shipped("policy.yaml")),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_shipped_files_fit_their_schema(name: str, path: Path) -> None:
    """An editor shows no red line in a shipped file."""
    assert problems(name, path.read_text("utf-8")) == []


@pytest.mark.parametrize("text", [ASK, DRIP.replace("REENTRY", "after 30d"), SERVICE, TRIGGER, EVERYTHING])
def test_every_form_of_the_language_fits(text: str) -> None:
    """Whatever the language allows, the schema takes."""
    assert problems("journey", text) == []


@pytest.mark.parametrize(
    "text",
    [
        TRIGGER + "colour: red\n",
        TRIGGER.replace("order.placed", "order.plced"),
        TRIGGER.replace("send: email", "sned: email"),
        DRIP.replace("REENTRY", "sometimes"),
        DRIP.replace("REENTRY", "never").replace("wait: 3d", "wait: 3"),
    ],
)
def test_what_the_language_refuses_is_red(text: str) -> None:
    """Unknown keys, events, words and bare numbers are shown while one types."""
    assert problems("journey", text)


def test_the_schema_knows_each_key_of_the_parser() -> None:
    """Every key the parser reads is offered by the editor at its place."""
    schema = SCHEMAS["journey"]()
    definitions = schema["$defs"]
    assert tuple(schema["properties"]) == JOURNEY_KEYS
    assert tuple(definitions["entry"]["properties"]) == ENTRY_KEYS
    assert tuple(definitions["guards"]["properties"]) == GUARD_KEYS
    assert tuple(definitions["until"]["properties"]) == UNTIL_KEYS
    assert tuple(definitions["wait_until"]["properties"]) == AWAIT_KEYS
    triggers = definitions["entry"]["properties"]["on"]["anyOf"][1:]
    assert [tuple(each["properties"]) for each in triggers] == list(ENTRY_KINDS.values())
    steps = definitions["steps"]["items"]["anyOf"][1:]
    assert [tuple(each["properties"]) for each in steps] == list(STEP_KEYS.values())
    fixtures = SCHEMAS["fixtures"]()["properties"]
    assert tuple(fixtures) == FILE_KEYS
    assert tuple(fixtures["cases"]["items"]["properties"]) == CASE_KEYS


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_the_files_are_up_to_date(name: str) -> None:
    """The schemas under schemas/ are what the code makes; `make docs` writes them."""
    assert (FOLDER / f"{name}.schema.json").read_text("utf-8") == schema_text(name)
