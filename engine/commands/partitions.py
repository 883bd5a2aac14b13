"""`engage partitions check|widen`: is everything worked on; more partitions, with the state moved along."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands.base import EXIT_FAILED, command, complain, kafka_settings
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.streams.widening.widen import Plan

_app = typer.Typer(
    help="Look at the partitions, or have more of them.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the group to the command line."""
    app.add_typer(_app, name="partitions")


@command(_app, "check")
def check(
    settings: Settings,
    within: Annotated[
        int, typer.Option("--within", min=0, help="So many records may be on their way, where senders go on.")
    ] = 0,
) -> None:
    """Say with how many partitions topics and state are, and how much waits to be worked on.

    Read from Kafka and Redis, so it needs no worker. Exit code 1 while something waits.
    """
    from engine.streams.widening.widen import backlog  # noqa: PLC0415

    found = asyncio.run(backlog(settings, kafka_settings(settings)))
    if found.waiting > within:
        raise complain(found.words, EXIT_FAILED)
    done = f"all but {found.waiting} records have" if found.waiting else "everything has"
    typer.echo(f"{found.partitions} partitions, topics and state alike; {done} been worked on")


@command(_app, "widen")
def widen(
    settings: Settings,
    to: Annotated[int, typer.Option("--to", min=2, help="How many there are to be: a multiple of today's.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what stands against it.")
    ] = False,
    send_on: Annotated[
        bool,
        typer.Option("--send-on", help="Send what waits in the old partitions again, to its new ones."),
    ] = False,
) -> None:
    """Give the event topics more partitions and move each customer's state to where Kafka puts them then.

    Senders, workers and the trainer must be stopped, and everything sent worked on. Ended in the middle, the
    same command goes on; until it is done no worker starts. Take a backup of Redis first.
    """
    from engine.streams.widening.widen import widen as run  # noqa: PLC0415

    live = sys.stderr.isatty()

    def progress(what: str, done: int) -> None:
        if live:
            typer.echo(f"\r{done:,} customers {what}   ", nl=False, err=True)

    plan, found = asyncio.run(
        run(settings, kafka_settings(settings), to, dry_run=dry_run, send_on=send_on, on_progress=progress)
    )
    if live:
        typer.echo("", err=True)
    if plan.before == plan.after:
        typer.echo(f"the state lies in {plan.after} partitions already; nothing to do")
        return
    _print(plan)
    for line in plan.obstacles:
        complain(line, EXIT_FAILED)
    if plan.obstacles:
        raise typer.Exit(EXIT_FAILED)
    if found is None:
        typer.echo("nothing stands against it; nothing was changed")
        return
    if send_on:
        typer.echo(f"sent on        {plan.sent_on:,} records that waited in the old partitions")
    typer.echo(
        f"done: {found.customers:,} customers and {found.timers:,} timers are in {plan.after} partitions, "
        "counts and checksums as before; start the workers, then the senders"
    )


def _print(plan: Plan) -> None:
    if plan.resumed:
        typer.echo("a move was begun before: going on with it")
    typer.echo(f"event topics   {plan.topic_partitions} partitions, to be {plan.after}")
    what = f"{plan.totals.customers:,} customers, {plan.totals.timers:,} timers"
    typer.echo(f"state          {what}, in {plan.before} partitions")
    typer.echo(f"to be moved    {plan.moving_customers:,} customers, {plan.moving_timers:,} timers")
