"""`engage explain CUSTOMER [JOURNEY]`: why did, or didn't, this customer get it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from engine.commands.base import (
    EXIT_FAILED,
    AsJson,
    command,
    complain,
    kafka_settings,
    print_json,
    visible,
)
from engine.commands.rules import running_rules
from engine.errors import ConfigError
from engine.rules.text.source import nearest
from engine.rules.times.units import read_duration
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.actions import Decision
    from engine.authoring.explain.checks import Person
    from engine.rules.ruleset import RuleSet
    from engine.streams.explain import Evidence


_COLOURS = {"yes": "green", "no": "red", "open": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "explain")(explain)


def explain(
    settings: Settings,
    customer_id: Annotated[str | None, typer.Argument(metavar="[CUSTOMER]", help="The customer id.")] = None,
    journey: Annotated[str | None, typer.Argument(help="Only this journey.")] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="ID", help="Trace this message instead, by its id.")
    ] = None,
    since: Annotated[str, typer.Option(metavar="DURATION", help="How far to look back.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Say why a customer got a message or did not, value by value, and what would make it fire now.

    Reads the customer's partition of the decision topic and their state in Redis; no worker is disturbed.
    With --action: which event, rule line and version caused a message.
    """
    span_ms = read_duration(since)
    if not span_ms:
        raise ConfigError(f"--since {since!r}: write a whole number with a unit, as in 30d, 12h or 45m")
    if (customer_id is None) == (action is None):
        raise ConfigError("name a customer, or a message with --action ID")
    rules = running_rules(settings)
    if action is not None:
        _explain_message(settings, rules, action, span_ms, as_json=as_json)
    elif customer_id is not None:
        _explain_customer(settings, rules, customer_id, journey, span_ms, as_json=as_json)


def _explain_customer(
    settings: Settings, rules: RuleSet, customer_id: str, journey: str | None, span_ms: int, *, as_json: bool
) -> None:
    from engine.authoring.explain.explanation import Period, explain  # noqa: PLC0415
    from engine.authoring.explain.text import Look, explanation_lines  # noqa: PLC0415
    from engine.features.churn.explanation import risk_lines  # noqa: PLC0415
    from engine.streams.wiring import machine_settings  # noqa: PLC0415

    found = _evidence(settings, customer_id, span_ms)
    known = {each.name for each in rules.journeys} | {each.journey for each in found.decisions}
    if journey is not None and journey not in known:
        hint = nearest(journey, known) or f"journeys: {', '.join(sorted(known)) or 'none'}"
        raise complain(f"no journey {journey!r}; {hint}", EXIT_FAILED)
    explained = explain(
        rules,
        machine_settings(settings),
        _person(found),
        found.decisions,
        Period(found.view.now_ms - span_ms, found.reaches_ms),
        [journey] if journey is not None else [],
    )
    if as_json:
        print_json(msgspec.structs.replace(explained, risk=found.view.risk))
        return
    _print(explanation_lines(explained, Look(alone=journey is not None)))
    if journey is None and found.view.risk is not None:
        head, *rest = risk_lines(found.view.risk)
        _print([("", ""), (head, "head"), *((line, "") for line in rest)])


def _evidence(settings: Settings, customer_id: str, span_ms: int) -> Evidence:
    from engine.streams.explain import near_customer, read_evidence  # noqa: PLC0415

    kafka = kafka_settings(settings)
    found = asyncio.run(read_evidence(settings, kafka, customer_id, span_ms))
    if found is None:
        hint = near_customer(settings, kafka, customer_id)
        text = f"the store knows no customer {customer_id!r} (never seen, or erased: then nothing is shown)"
        raise complain(f"{text}; {hint}" if hint else text, EXIT_FAILED)
    return found


def _person(found: Evidence) -> Person:
    from engine.authoring.explain.checks import Person  # noqa: PLC0415
    from engine.rules.context import CustomerValues  # noqa: PLC0415

    view = found.view
    values = {feature.name: feature.value for feature in view.features}
    return Person(view.customer_id, found.profile, CustomerValues(values, found.profile), view.now_ms)


def _explain_message(
    settings: Settings, rules: RuleSet, action_id: str, span_ms: int, *, as_json: bool
) -> None:
    from engine.authoring.explain.explanation import trace  # noqa: PLC0415
    from engine.authoring.explain.text import origin_lines  # noqa: PLC0415
    from engine.streams.explain import find_message  # noqa: PLC0415

    now_ms = time.time_ns() // 1_000_000
    fired, hint = find_message(settings, kafka_settings(settings), action_id, now_ms, span_ms)
    if fired is None:
        text = f"no message {action_id!r} among the decisions looked at; --since looks further back"
        raise complain(f"{text}; {hint}" if hint else text, EXIT_FAILED)
    origin = trace(fired, _of_customer(settings, fired, span_ms), rules)
    if as_json:
        print_json(origin)
    else:
        _print(origin_lines(origin))


def _of_customer(settings: Settings, fired: Decision, span_ms: int) -> tuple[Decision, ...]:
    """Return the customer's decisions; nothing is shown of one who has been erased since."""
    from engine.streams.explain import read_evidence  # noqa: PLC0415

    found = asyncio.run(read_evidence(settings, kafka_settings(settings), fired.customer_id, span_ms))
    if found is None or all(each.id != fired.id for each in found.decisions):
        raise complain("the customer of this message has been erased: nothing is shown", EXIT_FAILED)
    return found.decisions


def _print(lines: list[tuple[str, str]]) -> None:
    for text, style in lines:
        typer.secho(visible(text), bold=style == "head", dim=style == "dim", fg=_COLOURS.get(style))
