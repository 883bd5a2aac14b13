"""`engage model evaluate`: how good the churn model would have been on a log of purchases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine.commands import model
from engine.commands.base import AsJson, check_page, command, console, print_json
from engine.settings import Settings

_COLUMNS = "Columns"


def register(_: typer.Typer) -> None:
    """Add the command to `engage model`."""
    command(model.app, "evaluate")(evaluate)


def _column(flag: str, what: str) -> object:
    return typer.Option(flag, metavar="NAME", help=what, rich_help_panel=_COLUMNS)


def evaluate(  # noqa: PLR0913 - options
    *,
    settings: Settings,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="LOG...", help="Purchases: .csv, .jsonl, .parquet; several are one log."),
    ],
    customer: Annotated[
        str, _column("--customer", "Column of the customer's id; default: found by name.")
    ] = "",
    time: Annotated[str, _column("--time", "Column of the time.")] = "",
    amount: Annotated[str, _column("--amount", "Column of the amount; negative ones are refunds.")] = "",
    kind: Annotated[
        str, _column("--type", "Column of the event type, in a log of more than purchases (docs/events.md).")
    ] = "",
    order: Annotated[str, _column("--id", "Column of the order's id; a repeated one counts once.")] = "",
    time_format: Annotated[
        str,
        typer.Option(
            "--time-format", metavar="FORMAT", help="As in '%d.%m.%Y'; default: ISO 8601, YYYYMMDD, epochs."
        ),
    ] = "",
    time_zone: Annotated[
        str, typer.Option("--time-zone", metavar="ZONE", help="Of times that have none, as in Europe/Berlin.")
    ] = "UTC",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave rows out that cannot be read.")] = False,
    from_day: Annotated[
        int,
        typer.Option("--from-day", min=31, max=3650, help="Rows of earlier days of the log are not judged."),
    ] = 120,
    alone: Annotated[
        bool, typer.Option("--alone", help="Leave LightGBM and BG/NBD out; quick, and needs no extra.")
    ] = False,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune/--no-tune",
            help="Tune LightGBM on a fourth of the customers, whom nobody is judged on; else it gets "
            "what was best"
            " on CDNOW, and all customers are judged.",
        ),
    ] = True,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell how good the churn model would have been on a log of purchases, next to other models.

    The log goes through the pipeline and the trainer that run live, on the replay clock: each customer is
    scored
    at each purchase and weekly, learned from as labels mature, and judged when the horizon has passed.
    LightGBM
    and BG/NBD, refit monthly, get the same rows: pip install 'engage[evaluate]'. Needs no Kafka and no Redis.
    """
    from engine.authoring.evaluation.page import page  # noqa: PLC0415 - help must be fast
    from engine.commands.evaluate_screen import bars, show  # noqa: PLC0415
    from engine.streams.evaluate import job  # noqa: PLC0415
    from engine.streams.evaluate.columns import Wanted  # noqa: PLC0415
    from engine.streams.evaluate.log import read_log  # noqa: PLC0415

    check_page(html)
    wanted = Wanted(customer, time, amount, kind, order, time_format, time_zone)
    request = job.Request(
        label=", ".join(path.name for path in paths), judged_from_day=from_day, alone=alone, tune=tune
    )
    with bars() as screen:
        log = read_log(paths, wanted, skip_bad=skip_bad, progress=screen.begin("reading", 0))
        found = job.evaluate(log, settings, request, screen)
    if html is not None:
        html.write_text(page(found), "utf-8")
    if as_json:
        print_json(found)
        return
    show(console(), found)
    if html is not None:
        typer.echo(f"\nreport: {html}")
