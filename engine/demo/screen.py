"""What the demo looks like: a live screen for terminals, plain lines for everything else."""

from __future__ import annotations

import datetime as dt

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.actions import Action, Decision
from engine.demo.cdnow import END_MS, START_MS
from engine.demo.view import Arm, Phase, View

TITLE = "Engage · 18 months of a record shop, replayed"
SEGMENTS = ("high_value", "potential", "new", "regular", "churn_risk")
_FIGURE_ROWS = 6
_JOURNEY_ROWS = 12  # of a tall and wide terminal, beneath the table's head
_TALL, _WIDE = 36, 100
_HEADER_LINES = 5
_KEPT_BACK_LINES = 4
_MIN_ACTIONS = 2
_TALL_ENOUGH = 14  # lines below the figures that leave room for what was held back
_MISSING = "–"


def instant(time_ms: int) -> str:
    """Write an instant of the engine's for people: date and minute, UTC."""
    return f"{dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC):%Y-%m-%d %H:%M}"


def day(time_ms: int) -> str:
    """Write the date of an instant."""
    return f"{dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC):%Y-%m-%d}"


def simulated_ms(view: View) -> int:
    """Return the simulated time a view shows, within the log."""
    return min(max(view.status.clock_ms, START_MS), END_MS)


def share_done(view: View) -> float:
    """Return how much of the log the worker has dealt with, 0 to 1."""
    if view.feed is None or not view.feed.total:
        return 0.0
    return min(view.status.settled / view.feed.total, 1.0)


class Screen:
    """The live screen; it takes the size it is given: journeys and goals in full on a tall and wide terminal.

    Args:
        view: what to show.
    """

    def __init__(self, view: View) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the screen."""
        view = self._view
        height = options.height or console.height
        is_large = height >= _TALL and options.max_width >= _WIDE
        figure_lines = _JOURNEY_ROWS + 3 if is_large else _FIGURE_ROWS + 2
        left = height - _HEADER_LINES - figure_lines - 1
        with_kept_back = left >= _TALL_ENOUGH
        if with_kept_back:
            left -= _KEPT_BACK_LINES + 2
        actions = max((left - 2) // 2, _MIN_ACTIONS)
        yield Group(
            _header(view),
            _large_figures(view) if is_large else _figures(view),
            _panel(_action_list(view.shown[:actions]), "What it did, and why", 2 * actions),
        )
        if with_kept_back:
            kept_back = _kept_back_list(view.kept_back[: _KEPT_BACK_LINES // 2])
            yield _panel(kept_back, "What it held back, and why", _KEPT_BACK_LINES)


def _panel(content: RenderableType, title: str, lines: int, color: str = "none", right: int = 1) -> Panel:
    return Panel(
        content,
        title=title,
        title_align="left",
        border_style=color,
        box=box.ROUNDED,
        height=lines + 2,
        padding=(0, right, 0, 1),
    )


def _header(view: View) -> RenderableType:
    status, latency = view.status, view.status.latency_ms
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True, justify="right")
    done = share_done(view)
    bar.add_row(
        Text(day(simulated_ms(view)), style="bold yellow"),
        ProgressBar(total=1.0, completed=done),
        f"{done:4.0%}  {view.elapsed_s:3.0f} s",
    )
    first = Text(no_wrap=True, overflow="ellipsis")
    first.append(f"{status.events_per_s:,.0f}", "bold cyan").append(" events/s   ")
    first.append("latency p50 ").append(_ms(latency.p50), "bold cyan")
    first.append(" p99 ").append(_ms(latency.p99), "bold cyan").append(" ms   ")
    first.append(f"{view.actions_total:,}", "bold green").append(" actions")
    second = Text(no_wrap=True, overflow="ellipsis")
    second.append(f"{status.events_total:,} events   {status.customers:,} customers   ")
    second.append(f"{status.timers:,} timers   {status.lag:,} behind", "dim")
    if view.phase is Phase.STARTING:
        waits = "; ".join(status.obstacles) or "broker, store, worker, trainer, feeder"
        second = Text(f"starting: {waits}", style="dim", no_wrap=True, overflow="ellipsis")
    return Panel(Group(bar, first, second), title=TITLE, title_align="left", box=box.ROUNDED)


def _ms(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.1f}"


def _figures(view: View) -> RenderableType:
    """Draw the figures in six rows, for a small terminal: of the journeys those that act most."""
    panels = Table.grid(expand=True)
    contents = (
        ("Segments", "magenta", _segment_rows(view)),
        ("Actions", "green", _count_rows(view.by_journey())),
        ("Held back", "yellow", _count_rows(view.held_back())),
        ("Churn model", "blue", _model_rows(view)),
    )
    for _ in contents:
        panels.add_column(ratio=1)
    # right at the border: on a narrow terminal every column counts
    panels.add_row(*(_panel(_pairs(rows), title, _FIGURE_ROWS, color, 0) for title, color, rows in contents))
    return panels


def _large_figures(view: View) -> RenderableType:
    """Draw the figures with a row for each of up to twelve journeys, and their goals."""
    lines = _JOURNEY_ROWS + 1
    panels = Table.grid(expand=True)
    for ratio in (12, 7, 7):
        panels.add_column(ratio=ratio)
    panels.add_row(
        _panel(_journeys(view), "Journeys", lines, "green"),
        _panel(_pairs(_count_rows(view.held_back(), lines)), "Held back", lines, "yellow"),
        Group(
            _panel(_pairs(_segment_rows(view)[: len(SEGMENTS)]), "Segments", len(SEGMENTS), "magenta"),
            _panel(_pairs(_model_rows(view)), "Churn model", lines - len(SEGMENTS) - 2, "blue"),
        ),
    )
    return panels


def _journeys(view: View) -> RenderableType:
    """List the journeys by actions; of those with a goal, which share of each arm has reached it."""
    table = Table.grid(expand=True, padding=(0, 0, 0, 1))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for _ in range(3):
        table.add_column(no_wrap=True, justify="right")
    table.add_row("", "actions", "goal", "holdout", style="dim")
    goals = {_words(name): arms for name, arms in view.goals().items()}
    for name, figure in _count_rows(view.by_journey(), _JOURNEY_ROWS):
        arms = goals.get(name)
        table.add_row(name, figure, *(("", "") if arms is None else (_share(arm) for arm in arms)))
    return table


def _share(arm: Arm) -> str:
    return _MISSING if arm.share is None else f"{arm.share:.1%}"


def _pairs(rows: list[tuple[str, str]]) -> Table:
    table = Table.grid(expand=True, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(no_wrap=True, justify="right")
    for name, figure in rows:
        table.add_row(name, figure)
    return table


def _segment_rows(view: View) -> list[tuple[str, str]]:
    counts = view.status.segments
    names = [*SEGMENTS, *sorted(set(counts) - set(SEGMENTS))]
    return [(_words(name), f"{counts.get(name, 0):,}") for name in names]


def _count_rows(counts: dict[str, int], most: int = _FIGURE_ROWS) -> list[tuple[str, str]]:
    rows = [(_words(name), f"{count:,}") for name, count in counts.items()]
    if len(rows) > most:
        rest = sum(list(counts.values())[most - 1 :])
        rows = [*rows[: most - 1], ("others", f"{rest:,}")]
    return rows or [("none yet", "")]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _model_rows(view: View) -> list[tuple[str, str]]:
    model = view.model
    if model is None:
        return [("no snapshot yet", ""), ("the shipped prior", ""), ("is scoring", "")]
    quality = model.validation.get("all")
    rows = [("labels", f"{model.labels:,}"), ("snapshot", str(model.version))]
    if quality is not None:
        rows += [
            ("AUC", _figure(quality.auc)),
            ("log-loss", _figure(quality.log_loss)),
            (" base", _figure(quality.base_log_loss)),
            (" MBG/NBD", _figure(quality.mbg_log_loss)),
        ]
    return rows


def _figure(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.3f}"


def _action_list(actions: tuple[Action, ...]) -> Text:
    text = Text(overflow="ellipsis", no_wrap=True)
    for action in actions:
        text.append(f"{instant(action.time)}  ", "dim")
        text.append(action.journey, "bold green").append(" → ")
        text.append(action.channel, "bold").append(f"  {action.template}")
        text.append(f"  customer {action.customer_id}\n", "dim")
        text.append(f"  {action.reason.text}\n", "default")
    if not actions:
        text.append("nothing yet", "dim")
    return text


def _kept_back_list(decisions: tuple[Decision, ...]) -> Text:
    text = Text(overflow="ellipsis", no_wrap=True)
    for decision in decisions:
        text.append(f"{instant(decision.time)}  ", "dim")
        text.append(decision.journey, "bold yellow").append(f"  {decision.outcome.value.replace('_', ' ')}")
        text.append(f" by {decision.reason.guard}" if decision.reason.guard else "")
        text.append(f"  customer {decision.customer_id}\n", "dim")
        text.append(f"  {decision.reason.text}\n")
    if not decisions:
        text.append("nothing yet", "dim")
    return text


def plain_line(view: View) -> str:
    """Return one line that says how far the demo is."""
    status, latency = view.status, view.status.latency_ms
    parts = [
        f"{day(simulated_ms(view))} {share_done(view):4.0%}",
        f"{status.events_total:,} events ({status.events_per_s:,.0f}/s)",
        f"p50 {_ms(latency.p50)} p99 {_ms(latency.p99)} ms",
        f"{status.customers:,} customers",
        f"{view.actions_total:,} actions",
    ]
    quality = view.model.validation.get("all") if view.model else None
    if quality is not None and quality.auc is not None:
        parts.append(f"churn AUC {quality.auc:.3f}")
    return " | ".join(parts)


def action_line(action: Action) -> str:
    """Return one line about an action, its reason included."""
    where = f"{action.journey} -> {action.channel} {action.template}"
    return f"{instant(action.time)} {where} (customer {action.customer_id}): {action.reason.text}"


def summary(view: View) -> str:
    """Return what is left on the terminal at the end: the figures of the whole run."""
    status, lines = view.status, []
    lines.append(
        f"{status.events_total:,} events of {status.customers:,} customers, "
        f"{day(START_MS)} to {day(simulated_ms(view))}, in {view.elapsed_s:.0f} s"
    )
    if view.first_action_s is not None:
        lines.append(f"first action after {view.first_action_s:.1f} s")
    lines.append(f"{view.actions_total:,} actions:")
    for (journey, channel), count in sorted(view.actions.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"  {count:>9,}  {journey} -> {channel}")
    held = view.held_back()
    if held:
        lines.append("held back:")
        lines.extend(f"  {count:>9,}  {_words(name)}" for name, count in held.items())
    lines.extend(_goal_lines(view))
    lines.append("segments:")
    lines.extend(f"  {figure:>9}  {name}" for name, figure in _segment_rows(view))
    lines.append(_model_sentence(view))
    if status.dead_letters:
        refused = ", ".join(f"{count} {reason}" for reason, count in sorted(status.dead_letters.items()))
        lines.append(f"dead letters: {refused}")
    return "\n".join(lines)


def _goal_lines(view: View) -> list[str]:
    goals = view.goals()
    if not goals:
        return []
    lines = [
        "goals reached by those treated and by the holdout (a replay can't react: chance tells them apart):"
    ]
    for journey, (treated, held_out) in goals.items():
        entered = f"{treated.entered:,} and {held_out.entered:,} entered"
        lines.append(f"  {_share(treated):>9} {_share(held_out):>9}  {journey} ({entered})")
    return lines


def _model_sentence(view: View) -> str:
    model = view.model
    quality = model.validation.get("all") if model else None
    if model is None or quality is None:
        return "churn model: no labels have matured; the shipped prior was scoring"
    return (
        f"churn model: {model.labels:,} matured labels, AUC {_figure(quality.auc)}, "
        f"log-loss {_figure(quality.log_loss)} (base rate {_figure(quality.base_log_loss)})"
    )
