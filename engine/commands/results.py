"""`engage results`: what journeys brought about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands.base import (
    EXIT_FAILED,
    AsJson,
    check_page,
    command,
    complain,
    console,
    kafka_settings,
    print_json,
)
from engine.commands.rules import running_rules
from engine.rules.text.source import nearest
from engine.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "results")(results)


def results(
    settings: Settings,
    journeys: Annotated[
        list[str] | None, typer.Argument(metavar="[JOURNEY]...", help="Only these journeys.")
    ] = None,
    since: Annotated[
        str, typer.Option("--from", metavar="WHEN", help="Start: 30d before the end, or a date.")
    ] = "30d",
    until: Annotated[str, typer.Option("--to", metavar="WHEN", help="End, a date; default: now.")] = "",
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page with plots.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what journeys brought about: reach, responses, goals beside the holdout, variants, repurchase.

    Reads the decisions and the order, service and engagement events of the period without a group, and writes
    to no server. What is older than the topics keep is not there.
    """
    from engine.authoring.results.page import page  # noqa: PLC0415 - help must be fast
    from engine.authoring.results.plans import plans_of  # noqa: PLC0415
    from engine.commands.results_screen import progress, show  # noqa: PLC0415
    from engine.streams.results import Request, read_results  # noqa: PLC0415
    from engine.streams.wire.registry import open_registry  # noqa: PLC0415

    check_page(html)
    plans = plans_of(running_rules(settings).journeys)
    with progress() as told:
        found = read_results(
            settings,
            kafka_settings(settings),
            Request(since, until, journeys or ()),
            plans,
            told,
            open_registry(settings),
        )
    known = {name for name, _ in plans} | {each.journey for each in found.journeys}
    for name in journeys or ():
        if name not in known:
            hint = nearest(name, known) or f"journeys: {', '.join(sorted(known)) or 'none'}"
            raise complain(f"no journey {name!r}; {hint}", EXIT_FAILED)
    if html is not None:
        html.write_text(page(found), "utf-8")
    if as_json:
        print_json(found)
        return
    show(console(), found)
    if html is not None:
        typer.echo(f"\nreport: {html}")
