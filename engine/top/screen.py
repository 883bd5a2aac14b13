"""What `engage top` looks like: a live screen for terminals, plain lines for everything else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from engine.top.figures import SILENT, Count, TopView

_BARS = "▁▂▃▄▅▆▇█"
_ROWS, _FEW_ROWS = 8, 3
_WIDE, _TALL = 120, 40
_FRAME_LINES = 10  # header, the head of the workers' table, the frame of the last panel
_STAGE_ORDER = ("total", "rules", "produce", "commit", "decode", "load")  # what matters most first
_MISSING = "–"
_STATE_WIDTH, _LEAST_STATE = 60, 12
_FIGURES_WIDTH = 50  # of a worker: five columns and what lies between
_NOBODY = "no worker answers"
_LEAST_HELD_S = 1.0  # deadlines that wait less wait for a batch only


def sparkline(values: Sequence[float], width: int) -> str:
    """Draw the last values as bars from 0 to the highest of them.

    Args:
        values: oldest first.
        width: characters.
    """
    shown = values[-width:]
    high = max(shown, default=0.0)
    if high <= 0:
        return _BARS[0] * len(shown)
    return "".join(_BARS[min(int(value / high * len(_BARS)), len(_BARS) - 1)] for value in shown)


class Screen:
    """The live screen.

    Args:
        view: what to show.
        said_at: tells the time of day of a moment on the monotonic clock.
    """

    def __init__(self, view: TopView, said_at: Callable[[float], dt.datetime]) -> None:
        self._view, self._said_at = view, said_at

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the screen."""
        view = self._view
        height = options.height or console.height
        wide = options.max_width >= _WIDE
        rows = _ROWS if wide or height >= _TALL else _FEW_ROWS
        contents = {
            "Stages, ms": _stages(view, rows),
            "Actions": _counts(view.journeys[:rows]),
            "Held back": _counts(view.held_back[:rows]),
            "Worst partitions": _worst(view, rows),
        }
        panels = [_panel(title, content, rows) for title, content in contents.items()]
        lines = [panels] if wide else [panels[:2], panels[2:]]
        left = height - _FRAME_LINES - len(view.workers) - len(lines) * (rows + 2)
        grid = Table.grid(expand=True)
        for _ in lines[0]:
            grid.add_column(ratio=1)
        for line in lines:
            grid.add_row(*line)
        happened = max(left, 1)
        yield Group(_header(view, options.max_width), _workers(view, options.max_width), grid)
        yield _panel("What happened", self._notices(happened), happened)

    def _notices(self, most: int) -> RenderableType:
        lines = [f"{self._said_at(at_s):%H:%M:%S}  {text}" for at_s, text in self._view.notices[:most]]
        return Text("\n".join(lines) or "nothing yet", no_wrap=True, overflow="ellipsis")


def plain_line(view: TopView) -> str:
    """Say the most important figures in a line, for a file or a pipe, and why a worker is not ready."""
    others = [f"{worker.name}: {worker.state}" for worker in view.workers if worker.state != "ready"]
    parts = [f"{len(view.workers) - len(others)} of {len(view.workers)} workers ready"]
    if not _silent(view):
        parts += (
            f"{view.events_per_s:,.0f} events/s",
            f"{view.actions_per_s:,.1f} actions/s",
            f"p50 {_ms(view.p50_ms)} p99 {_ms(view.p99_ms)} ms",
            _behind(view),
        )
        if view.dead_letters:
            parts.append(f"{view.dead_letters:,} dead letters")
    return " | ".join((*parts, *others))


def _header(view: TopView, width: int) -> RenderableType:
    bars = max((width - 60) // 2, 10)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{view.events_per_s:>9,.0f}", "bold cyan").append(" events/s  ")
    text.append(sparkline(view.events_history, bars), "cyan")
    text.append("   p99 ").append(_ms(view.p99_ms), "bold magenta").append(" ms  ")
    text.append(sparkline(view.p99_history, bars), "magenta")
    second = Text(no_wrap=True, overflow="ellipsis")
    second.append(f"{view.actions_per_s:>9,.1f}", "bold green").append(" actions/s   ")
    second.append(f"p50 {_ms(view.p50_ms)} ms   ")
    if _silent(view):
        second.append(_NOBODY)
    else:
        style = "bold red" if view.partitions < view.all_partitions else "" if view.lag else "dim"
        second.append(_behind(view), style)
    return Panel(Group(text, second), title="engage top", title_align="left", box=box.ROUNDED)


def _behind(view: TopView) -> str:
    """Say how much waits, and where: of partitions without an owner nobody knows."""
    text = f"{view.lag:,} behind in {view.partitions} of {view.all_partitions}"
    if view.held_s < _LEAST_HELD_S:
        return f"{text} partitions owned"
    return f"{text}, deadlines held {view.held_s:.0f} s"


def _silent(view: TopView) -> bool:
    """Tell whether no worker answers: then zeros would say what nobody knows."""
    return all(worker.state == SILENT for worker in view.workers)


def _workers(view: TopView, width: int) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    name = min(max(len(each.name) for each in view.workers), 24)
    most = max(_LEAST_STATE, min(_STATE_WIDTH, width - name - _FIGURES_WIDTH))
    table.add_column("Worker", no_wrap=True, min_width=name)
    table.add_column("State", no_wrap=True, overflow="ellipsis", max_width=most)
    for head in ("Owns", "Events/s", "p50 ms", "p99 ms", "Behind"):
        table.add_column(head, justify="right", no_wrap=True, min_width=len(head))
    for worker in view.workers:
        state = Text(worker.state, style="green" if worker.state == "ready" else "bold red")
        if worker.state == SILENT:  # nobody knows
            table.add_row(worker.name, state, *(_MISSING,) * 5)
            continue
        table.add_row(
            worker.name,
            state,
            f"{worker.partitions}",
            f"{worker.events_per_s:,.0f}",
            _ms(worker.p50_ms),
            _ms(worker.p99_ms),
            f"{worker.lag:,}",
        )
    return table


def _stages(view: TopView, most: int) -> RenderableType:
    found = {stage: (stage, _ms(p50_ms), _ms(p99_ms)) for stage, p50_ms, p99_ms in view.stages}
    return _grid([found[stage] for stage in _STAGE_ORDER[: most - 1]], ("", "p50", "p99"))


def _counts(counts: Sequence[Count]) -> RenderableType:
    return _grid([(each.name, f"{each.per_s:,.1f}/s", f"{each.total:,.0f}") for each in counts])


def _worst(view: TopView, most: int) -> RenderableType:
    rows = [(name, f"{lag:,}", f"{age_s:,.1f} s") for name, lag, age_s in view.worst[: most - 1]]
    return (
        _grid(rows, ("partition", "behind", "age"))
        if rows
        else Text(_NOBODY if _silent(view) else "none is behind", style="dim")
    )


def _grid(rows: Sequence[tuple[str, str, str]], head: tuple[str, str, str] | None = None) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    for _ in range(2):
        grid.add_column(justify="right", no_wrap=True)
    if head is not None:
        grid.add_row(*head, style="dim")
    for row in rows:
        grid.add_row(*row)
    return grid


def _panel(title: str, content: RenderableType, lines: int) -> Panel:
    return Panel(content, title=title, title_align="left", box=box.ROUNDED, height=lines + 2)


def _ms(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.1f}"
