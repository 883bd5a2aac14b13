"""`engage top`: workers, live in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from engine.commands.base import command
from engine.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    command(app, "top")(top)


def top(
    settings: Settings,
    workers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[HOST:PORT]...", help="Workers' http.host and http.port; default: this one's."
        ),
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 2.0,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many looks.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines instead of a live screen.")] = False,
) -> None:
    """Watch workers: rates, latency by stage, lag, journeys, worst partitions, and what happened.

    Reads their pages /metrics and /readyz, so it works from wherever those can be reached, as in
    `engage top 10.0.0.7:6066 10.0.0.8:6066`. A worker's HTTP server listens on 127.0.0.1 unless http.host
    says otherwise. Ctrl-C ends it.
    """
    from engine.top.run import show, worker_url  # noqa: PLC0415 - help must be fast

    given = workers or [f"{settings.http.host}:{settings.http.port}"]
    show([worker_url(each) for each in given], every, count, plain=plain)
