"""A backtest on the terminal: bars while it runs, tables when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from engine.authoring.backtest.result import BacktestResult, JourneyFigures
from engine.commands.tables import print_table
from engine.streams.backtest.job import Screen

SAMPLES = 3  # customers named; the report names more


class _Bar:
    """Two bars: reading, then replaying."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID = progress.add_task("reading", total=None)

    def read(self, records: int) -> None:
        """See `Screen`."""
        self._progress.update(self._task, completed=records)

    def begin(self, events: int) -> None:
        """See `Screen`."""
        self._progress.update(self._task, total=max(1, events), completed=events)
        self._task = self._progress.add_task("replaying", total=events)

    def advance(self, events: int) -> None:
        """See `Screen`."""
        self._progress.advance(self._task, events)


@contextmanager
def screen() -> Iterator[Screen]:
    """Show a bar on standard error, if somebody looks."""
    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as progress:
        yield _Bar(progress)


def show(out: Console, result: BacktestResult) -> None:
    """Show a result.

    Args:
        out: where.
        result: what was found.
    """
    out.print(
        f"[bold]Backtest of {result.rules}[/bold], {result.since[:10]} to {result.until[:10]}", markup=True
    )
    run = result.run
    rate = run.events / run.seconds if run.seconds else 0
    out.print(
        f"{run.events:,} events of {run.customers:,} customers from {result.begins[:10]} on ({result.log}), "
        f"{run.counted:,} within the period; {run.seconds:.1f} s, {rate:,.0f} events/s. Nothing was sent.\n",
        style="dim",
    )
    _show_journeys(out, result.journeys)
    _show_guards(out, result.journeys)
    if result.collisions:
        rows = [(each.stopped, each.guard, each.by, f"{each.messages:,}") for each in result.collisions]
        print_table(out, "Cap collisions", ("stopped", "cap", "contacts of", ">messages"), rows)
    if result.compared_with:
        _show_differences(out, result)
    for title, words in (("About this result", result.notes), ("What this cannot say", result.limits)):
        if words:
            out.print(f"[bold]{title}[/bold]", markup=True)
            for each in words:
                out.print(f"  - {each}", style="dim", markup=False)


def _show_journeys(out: Console, journeys: list[JourneyFigures]) -> None:
    head = (
        "journey", ">entries", ">held out", ">sent", ">suppressed", ">deferred", ">left", ">done", ">waiting",
        ">goal",
    )  # fmt: skip
    rows = []
    for each in sorted(journeys, key=lambda each: (-each.sent, -each.entered, each.journey)):
        numbers = (
            each.entered,
            each.held_out,
            each.sent,
            sum(each.suppressed.values()),
            sum(each.deferred.values()),
            sum(each.exited.values()),
            each.completed,
            sum(each.waiting.values()),
            sum(made.count for made in each.conversions.values()),
        )
        rows.append((each.journey, *(f"{number:,}" if number else "·" for number in numbers)))
    used = [at for at in range(len(head)) if at < 4 or any(row[at] != "·" for row in rows)]
    print_table(out, "", [head[at] for at in used], [tuple(row[at] for at in used) for row in rows])
    sends = [
        (each.journey, send.step, send.channel, send.template, f"{send.sent:,}")
        for each in journeys
        for send in each.sends
    ]
    if sends:
        print_table(out, "Messages by step", ("journey", "step", "channel", "template", ">sent"), sends)


def _show_guards(out: Console, journeys: list[JourneyFigures]) -> None:
    rows = [
        (each.journey, what, guard, f"{count:,}")
        for each in journeys
        for what, guards in (
            ("suppressed", each.suppressed),
            ("deferred", each.deferred),
            ("left", each.exited),
        )
        for guard, count in sorted(guards.items(), key=lambda item: -item[1])
    ]
    if rows:
        print_table(out, "What held messages back, who left early", ("journey", "what", "by", ">times"), rows)


def _show_differences(out: Console, result: BacktestResult) -> None:
    title = f"Compared with {result.compared_with}"
    if not result.differences:
        out.print(f"[bold]{title}[/bold]: nobody gets anything else\n", markup=True)
        return
    rows = []
    for each in result.differences:
        what = f"{each.channel} {each.template}".strip() or "enters"
        samples = [f"+ {' '.join(each.newly_sample[:SAMPLES])}"] if each.newly_sample else []
        samples += [f"- {' '.join(each.no_longer_sample[:SAMPLES])}"] if each.no_longer_sample else []
        numbers = (f"+{each.newly:,}", f"-{each.no_longer:,}", f"{each.both:,}")
        rows.append((each.journey, each.step, what, *numbers, "\n".join(samples)))
    head = ("journey", "step", "what", ">newly", ">no longer", ">as before", "samples")
    print_table(out, title, head, rows)
