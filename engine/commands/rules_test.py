"""`engage rules test`: runs the fixtures beside journeys."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.commands import rules
from engine.commands.base import EXIT_FAILED, AsJson, command, complain, console, print_json
from engine.errors import RuleErrors
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.authoring.fixtures.coverage import Coverage
    from engine.authoring.fixtures.run import CaseResult, Report

_COLOURS = {"ok": "green", "missing": "bold red", "unexpected": "bold red", "different": "bold red"}


def register(_: typer.Typer) -> None:
    """Add the command to `engage rules`."""
    command(rules.app, "test")(run_cases)


def run_cases(
    settings: Settings,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Journeys, fixtures or folders; default: rules.paths of the settings."),
    ] = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="Show which steps, branches, exits and guards were tested.")
    ] = False,
    min_coverage: Annotated[
        float | None,
        typer.Option(
            "--min-coverage", min=0, max=100, metavar="PERCENT", help="Fail if a journey has less coverage."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the cases in NAME.test.yaml beside each journey, with a simulated clock. Nothing is sent.

    A case that fails shows its timeline, expected and got side by side. docs/testing-journeys.md says how to
    write cases. Exit code 0 when all pass, 1 when not.
    """
    report = run(settings, paths or [])
    low = [each for each in report.coverage if min_coverage is not None and each.percent < min_coverage]
    if as_json:
        from engine.authoring.fixtures import show as fixtures_show  # noqa: PLC0415 - help must be fast

        found = fixtures_show.as_json(report, with_coverage=coverage or min_coverage is not None)
        print_json(found)
    else:
        _show(report)
        if coverage or low:
            _show_coverage(report.coverage if coverage else low)
        for each in low:
            complain(
                f"coverage of {each.journey} is {each.percent:.0f} %, not {min_coverage:g} %", EXIT_FAILED
            )
    if not report.results or not report.passed or low:  # a wrong path must not pass for a good test
        raise typer.Exit(EXIT_FAILED)


def run(settings: Settings, paths: list[Path]) -> Report:
    """Run the fixtures of paths, or of all journeys of the settings when there are none.

    Raises:
        ConfigError: a file is not there.
        RuleErrors: segments or features are wrong.
    """
    from engine.authoring.fixtures.run import run_fixtures  # noqa: PLC0415 - help must be fast
    from engine.streams.bench import bench_of  # noqa: PLC0415

    try:
        bench = bench_of(settings)
    except RuleErrors as error:
        from engine.authoring.fixtures.run import Report  # noqa: PLC0415

        return Report(errors=error.errors)
    return run_fixtures(paths or bench.shared, bench)


def _show(report: Report) -> None:
    from engine.authoring.fixtures.show import summary  # noqa: PLC0415
    from engine.rules.text.render import render_errors  # noqa: PLC0415

    for result in report.results:
        if not result.passed:
            _show_case(result)
    if report.errors:
        sources: dict[str, str] = {}
        for file in {error.file for error in report.errors}:
            with contextlib.suppress(OSError):
                sources[file] = Path(file).read_text("utf-8", "replace")
        typer.echo(render_errors(report.errors, sources))
    for file in report.without:
        typer.secho(f"{file}: no fixtures", dim=True)
    typer.secho(summary(report), fg="green" if report.passed and report.results else "red", bold=True)


def _show_case(result: CaseResult) -> None:
    from engine.authoring.fixtures.show import plain_lines, title  # noqa: PLC0415

    typer.secho(title(result), fg="red", bold=True)
    screen = console()
    if screen.is_terminal:
        _show_table(result)
    else:
        for line in plain_lines(result):
            typer.echo(line)
    typer.echo()


def _show_table(result: CaseResult) -> None:
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 - rich takes its time
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    from engine.authoring.fixtures.show import HEADINGS, rows_of  # noqa: PLC0415

    table = Table(*HEADINGS, box=SIMPLE_HEAD, pad_edge=False)
    for cells, verdict in rows_of(result):
        style = _COLOURS.get(verdict, "" if cells[3] else "dim")
        table.add_row(*(Text(cell, style=style) for cell in cells))
    Console(highlight=False).print(table)


def _show_coverage(chosen: Sequence[Coverage]) -> None:
    from engine.authoring.fixtures.show import coverage_lines  # noqa: PLC0415

    for line in coverage_lines(chosen):
        typer.echo(line)
