"""`engage customer show ID`: everything the engine knows of a customer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.commands.base import EXIT_FAILED, AsJson, command, complain, kafka_settings, print_json, visible
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.features.churn.explanation import RiskExplanation
    from engine.streams.customer import CustomerView, FeatureValue

_app = typer.Typer(help="Look at one customer.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_app, name="customer")


@command(_app, "pseudonym")
def pseudonym(
    settings: Settings,
    customer_id: Annotated[str, typer.Argument(metavar="ID", help="The customer id.")],
) -> None:
    """Say what the logs call a customer, with the settings log.customer_ids and log.pseudonym_key."""
    from engine.streams.logs import pseudonym as named  # noqa: PLC0415 - help must be fast

    typer.echo(named(settings.log, customer_id))


@command(_app, "show")
def show(
    settings: Settings,
    customer_id: Annotated[str, typer.Argument(metavar="ID", help="The customer id.")],
    everything: Annotated[bool, typer.Option("--all", help="Every feature, in every window.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show segment, churn risk, features with meaning, journeys under way, contacts and timers.

    Read from Redis as it is now; the worker that owns the customer is not disturbed.
    """
    from engine.streams.customer import read_customer  # noqa: PLC0415

    found = asyncio.run(read_customer(settings, kafka_settings(settings), customer_id))
    if found is None:
        raise complain(f"no customer {customer_id!r} in the store", EXIT_FAILED)
    if as_json:
        print_json(found)
    else:
        _print(found, everything=everything)


def _print(view: CustomerView, *, everything: bool) -> None:
    typer.secho(visible(view.customer_id), bold=True)
    facts = {
        "first seen": _moment(view.first_seen_ms),
        "signed up": _moment(view.signup_ms),
        "segment": view.segment or "none yet",
        # 0 says that there was no order yet, and so no purchase to wait for
        "churn risk": f"{view.churn_risk:.2f} (model {view.churn_model})" if view.churn_risk else "-",
        "next timer": _moment(view.due_ms),
        "stored": f"{view.state_bytes} bytes, partition {view.partition}",
    }
    for name, text in facts.items():
        typer.echo(f"  {name:<12} {text}")
    if view.risk is not None:
        _print_risk(view.risk)
    _print_profile(view.profile)
    shown = [feature for feature in view.features if everything or _is_telling(feature)]
    rest = "" if everything else "; --all shows every window and those at their default"
    _heading(f"features ({len(shown)} of {len(view.features)}{rest})")
    width = max((len(feature.name) for feature in shown), default=0)
    for feature in shown:
        typer.echo(f"  {feature.name:<{width}}  {_value(feature):>12}  ", nl=False)
        typer.secho(feature.meaning, dim=True)


def _print_risk(risk: RiskExplanation) -> None:
    from engine.features.churn.explanation import risk_lines  # noqa: PLC0415

    head, *rest = risk_lines(risk)
    _heading(head)
    for line in rest:
        typer.echo(line)


def _is_telling(feature: FeatureValue) -> bool:
    """Leave out what is at its default, and most of the windows: they tell the same story."""
    return (
        not feature.is_default and feature.window in {"", "30d", "lifetime"} and "_days_" not in feature.name
    )


def _print_profile(profile: dict[str, Any]) -> None:
    for name in ("time_zone", "locale", "last_channel"):
        if profile[name]:
            typer.echo(visible(f"  {name.replace('_', ' '):<12} {profile[name]}"))
    consents = {
        name: f"{'given' if at_s > 0 else 'withdrawn'} {_moment(abs(at_s) * 1000)}"
        for name, at_s in profile["consents"].items()
    }
    _print_pairs("consents", consents)
    _print_pairs("suppressed channels", profile["suppressed"])
    _print_pairs("traits", {name: _text(value) for name, value in profile["traits"].items()})
    inquiries = {
        name: f"opened {_moment(item['opened_ms'])}, {'answered' if item['replied'] else 'not answered yet'}"
        for name, item in profile["inquiries"].items()
    }
    _print_pairs("open inquiries", inquiries)
    positions = {
        _run(item): (
            f"entered {_moment(item['entered_ms'])}, step {item['pc']}, "
            + (f"goes on {_moment(item['due_ms'])}" if item["due_ms"] else "waits for an event")
        )
        for item in profile["positions"]
    }
    _print_pairs("journeys under way", positions)
    goals = {
        _run(item): f"until {_moment(item['until_ms'])}"
        + (", gets nothing, to compare with" if item["held_out"] else "")
        for item in profile["goals"]
    }
    _print_pairs("goals not reached yet", goals)
    if profile["contacts"]:
        _heading("contacts")
        for item in profile["contacts"]:
            when = _moment(item["time_s"] * 1000)
            typer.echo(f"  {when}  {item['channel']:<8} {item['kind']:<12} {item['journey']}")


def _run(item: dict[str, Any]) -> str:
    """Name a run; those of one journey side by side by their keys."""
    return " ".join(
        [item["journey"], f"v{item['version']}", *([item["instance"]] if item["instance"] else [])]
    )


def _print_pairs(heading: str, pairs: dict[str, Any]) -> None:
    if pairs:
        _heading(heading)
        for name, value in pairs.items():
            typer.echo(visible(f"  {name:<24} {value}"))


def _heading(text: str) -> None:
    typer.secho(f"\n{text}", bold=True)


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") if time_ms else "-"


def _value(feature: FeatureValue) -> str:
    if isinstance(feature.value, float):
        return f"{feature.value:,.2f}".rstrip("0").rstrip(".")
    return _text(feature.value)


def _text(value: object) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)
