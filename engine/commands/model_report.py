"""`engage model report`: how good the live churn model has been."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from engine.commands import model
from engine.commands.base import AsJson, check_page, command, kafka_settings, print_json
from engine.settings import Settings


def register(_: typer.Typer) -> None:
    """Add the command to `engage model`."""
    command(model.app, "report")(report)


def report(
    settings: Settings,
    html: Annotated[Path, typer.Option("--html", metavar="FILE", help="Where to write the page.")] = Path(
        "churn-model.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Write a page on the live model: labels, AUC, log-loss, calibration with intervals, drift, what waits.

    Everything is of what was said at the time, judged when the horizon had passed. With --json the same for
    programs, and no page.
    """
    from engine.authoring.evaluation.report import report_of, report_page  # noqa: PLC0415
    from engine.features.churn.snapshot import shipped_prior  # noqa: PLC0415
    from engine.streams.models.topic import read_models  # noqa: PLC0415

    check_page(html)
    board = read_models(kafka_settings(settings), settings.topics.models, settings.kafka.timeout_ms / 1000)
    found = report_of(board.live or shipped_prior(settings.churn.horizon_days), time.time())
    if as_json:
        print_json(found)
        return
    html.write_text(report_page(found), "utf-8")
    typer.echo(f"report: {html}")
