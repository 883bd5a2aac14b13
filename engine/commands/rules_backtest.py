"""`engage rules backtest` and `engage rules diff`: what a change would have done, before it does anything."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from engine.commands import rules
from engine.commands.base import (
    EXIT_FAILED,
    AsJson,
    check_page,
    command,
    console,
    kafka_settings,
    print_json,
)
from engine.errors import RuleErrors
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.authoring.rules_diff import JourneyDiff
    from engine.streams.backtest.run import RuleFiles

MAX_WORKERS = 64
_LIVE = "live"


def register(_: typer.Typer) -> None:
    """Add the commands to `engage rules`."""
    command(rules.app, "backtest")(backtest)
    command(rules.app, "diff")(diff)


def backtest(  # noqa: PLR0913 - options
    *,
    settings: Settings,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files or folders; their journeys take the place of the live ones of the same name. Default:"
            " the live journeys as they are."
        ),
    ] = None,
    since: Annotated[
        str, typer.Option("--from", metavar="WHEN", help="Start: 30d before the end, or a date.")
    ] = "30d",
    until: Annotated[
        str, typer.Option("--to", metavar="WHEN", help="End, a date; default: the last event of the log.")
    ] = "",
    log: Annotated[
        list[Path] | None,
        typer.Option(
            "--log",
            metavar="FILE",
            help="Replay files instead of the topics: .jsonl, .avro, .parquet; may be repeated.",
        ),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--diff", metavar="live|PATH", help="Show who would get what differently from these journeys."
        ),
    ] = "",
    alone: Annotated[bool, typer.Option("--alone", help="Leave the other live journeys out.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, max=MAX_WORKERS, help="Processes to share the partitions."),
    ] = 1,
    as_json: AsJson = False,
) -> None:
    """Replay the retained events and tell what these journeys would have sent; nothing is sent.

    Reads the event topics without a group, or files, and writes to no server. What lies before --from builds
    the customers' states. Exit code 1 when a journey is wrong.
    """
    from engine.authoring.backtest.page import page  # noqa: PLC0415 - help must be fast
    from engine.commands.backtest_screen import screen, show  # noqa: PLC0415
    from engine.streams.backtest import job as backtest_job  # noqa: PLC0415

    check_page(html)
    request = backtest_job.Request(
        paths=tuple(paths or ()),
        alone=alone,
        logs=tuple(log or ()),
        since=since,
        until=until,
        diff=against,
        workers=min(workers, os.cpu_count() or 1),
    )
    try:
        with screen() as bar:
            result = backtest_job.backtest(settings, kafka_settings(settings), request, bar)
    except RuleErrors as error:
        raise _wrong(error, as_json=as_json) from None
    if html is not None:
        html.write_text(page(result), "utf-8")
    if as_json:
        print_json(result)
        return
    show(console(), result)
    if html is not None:
        typer.echo(f"\nreport: {html}")


def _wrong(error: RuleErrors, *, as_json: bool) -> typer.Exit:
    """Show what is wrong with rules; return the exit to raise."""
    if as_json:
        keys = ("code", "message", "file", "line", "column", "hint")
        print_json({"errors": [{key: getattr(each, key) for key in keys} for each in error.errors]})
    else:
        rules.print_problems(error.errors)
    return typer.Exit(EXIT_FAILED)


def diff(
    settings: Settings,
    before: Annotated[str, typer.Argument(metavar="BEFORE", help="A file or folder, or `live`.")],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="A file or folder, or `live`.")],
    as_json: AsJson = False,
) -> None:
    """Tell how two rule sets differ: journeys added, removed, changed, and what in them.

    Layout and comments make no difference. Compared with `live`, the journeys of AFTER take the place of
    those of the same name, as when they are published. `live` is what workers run by the settings: the live
    version, or with rules.source = "files" the files of rules.paths. Exit code 1 when they differ, as `diff`
    does.
    """
    from engine.authoring.rules_diff import diff_rules  # noqa: PLC0415 - help must be fast
    from engine.streams.backtest.run import overlay  # noqa: PLC0415

    try:
        old, new = _rules(settings, before), _rules(settings, after)
        if before == _LIVE:
            new = overlay(old, new, settings)
        found = diff_rules(old.sources, new.sources)
    except RuleErrors as error:
        raise _wrong(error, as_json=as_json) from None
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print_diff(found)
    if found:
        raise typer.Exit(EXIT_FAILED)


def _rules(settings: Settings, which: str) -> RuleFiles:
    from engine.streams.backtest.job import live_rules  # noqa: PLC0415
    from engine.streams.backtest.run import read_rules  # noqa: PLC0415

    return (
        live_rules(settings, kafka_settings(settings)) if which == _LIVE else read_rules([Path(which)], which)
    )


def _print_diff(found: list[JourneyDiff]) -> None:
    if not found:
        typer.echo("no difference")
    colours = {"added": "green", "removed": "red", "changed": "yellow"}
    for each in found:
        typer.secho(f"{each.kind} {each.journey}", fg=colours[each.kind], bold=True)
        for change in each.changes:
            typer.echo(f"  {change.where}: {change.before} → {change.after}")
