"""An evaluation on the terminal: bars while it runs, tables when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.authoring.evaluation.page import GROUPS, SEGMENT_HEAD, row_of, segment_rows
from engine.authoring.evaluation.result import Evaluation


class Bars:
    """A bar for each piece of work.

    Args:
        progress: where they are shown.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def begin(self, what: str, total: int) -> Callable[[int], None]:
        """See `engine.streams.evaluate.job.Screen`."""
        task = self._progress.add_task(what, total=total or None)
        return lambda done: self._progress.update(task, completed=done)


@contextmanager
def bars() -> Iterator[Bars]:
    """Show bars on standard error, if somebody looks."""
    columns = (TextColumn("{task.description:<9}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        yield Bars(progress)


def show(out: Console, found: Evaluation) -> None:
    """Show what was found.

    Args:
        out: where.
        found: the evaluation.
    """
    out.print(f"[bold]Churn risk on {found.log}[/bold], {found.begins} to {found.ends}", markup=True)
    out.print(
        f"{found.tested:,} customers judged, of {found.customers:,}; no purchase within "
        f"{found.horizon_days} days; "
        f"{found.scored:,} rows in {found.seconds:.1f} s, {found.rows_per_s:,.0f} rows/s\n",
        style="dim",
    )
    for group, title in GROUPS.items():
        quality = found.models[0].quality[group]
        if not quality.rows:
            continue
        out.print(title, style="bold")
        table = Table(box=None, pad_edge=False)
        heads = ("model", "AUC", "log-loss", "ECE", *(("ours / its",) if group == "all" else ()))
        for number, head in enumerate(heads):
            table.add_column(head, justify="right" if number else "left", no_wrap=True)
        for model in found.models:
            table.add_row(*row_of(model, group)[: len(heads)])
        out.print(table, soft_wrap=False)
        out.print(f"{quality.rows:,} rows, {quality.base_rate:.1%} of them stayed away\n", style="dim")
    rows = segment_rows(found.models[0])
    if rows:
        out.print("Our model by segment", style="bold")
        table = Table(box=None, pad_edge=False)
        for number, head in enumerate(SEGMENT_HEAD):
            table.add_column(head.removeprefix("t:").lower(), justify="right" if number else "left")
        for row in rows:
            table.add_row(*row)
        out.print(table, "")
    for title, words in (
        ("What each was given", [f"{each.name}: {each.given}" for each in found.models]),
        ("About this evaluation", found.notes),
    ):
        out.print(f"[bold]{title}[/bold]", markup=True)
        for each in words:
            out.print(f"  - {each}", style="dim", markup=False)
