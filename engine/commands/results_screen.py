"""Results on the terminal: a count while it reads, tables when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from engine.authoring.results.result import Comparison, JourneyResult, Results
from engine.authoring.results.words import (
    answered_in_time,
    headline,
    say_effect,
    say_lift,
    say_points,
    say_rate,
    say_share,
    say_value,
    say_wait,
)
from engine.commands.tables import print_table

_CAME = ("delivered", "opened", "clicked", "responded", "bounced", "unsubscribed")


@contextmanager
def progress() -> Iterator[Callable[[int], None]]:
    """Show how many records were read on standard error, if somebody looks."""
    errors = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.completed:,} records read"), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda records: bar.update(task, completed=records)


def show(out: Console, found: Results) -> None:
    """Show results.

    Args:
        out: where.
        found: what happened.
    """
    out.print(f"[bold]What journeys brought about[/bold], {found.since[:16]} to {found.until[:16]} UTC\n")
    figures = headline(found)
    width = max(len(number) for number, _ in figures)
    for number, what in figures:
        out.print(f"{number:>{width}}  {what}", markup=False)
    out.print()
    _show_journeys(out, found.journeys)
    _show_lift(out, found.journeys)
    if found.together is not None:
        _show_arms(out, "All journeys together: who ordered after the first entry", found.together)
    _show_splits(out, found.journeys)
    _show_messages(out, found.journeys)
    _show_held(out, found.journeys)
    replies = found.responses
    if replies.opened:
        head = (">opened", ">answered", ">half within", ">9 in 10 within", ">in 5 min", ">unanswered, late")
        row = (
            f"{replies.opened:,}", f"{replies.answered:,}", say_wait(replies.p50_s), say_wait(replies.p90_s),
            answered_in_time(replies), f"{replies.late:,}",
        )  # fmt: skip
        print_table(out, "Inquiries", head, [row])
    for title, words in (("About these figures", found.notes), ("What they cannot say", found.limits)):
        if words:
            out.print(f"[bold]{title}[/bold]", markup=True)
            for each in words:
                out.print(f"  - {each}", style="dim", markup=False)


def _show_journeys(out: Console, journeys: Sequence[JourneyResult]) -> None:
    head = ("journey", ">entries", ">held out", ">reached", ">messages", ">suppressed", ">deferred")
    rows = []
    for each in journeys:
        numbers = (
            each.entered, each.held_out, each.reached, each.sent,
            sum(each.suppressed.values()), sum(each.deferred.values()),
        )  # fmt: skip
        rows.append((each.journey, *(f"{number:,}" if number else "·" for number in numbers)))
    print_table(out, "Journeys", head, rows)


def _show_lift(out: Console, journeys: Sequence[JourneyResult]) -> None:
    rows = []
    for each in journeys:
        if each.lift is None:
            continue
        arms = {arm.name: arm for arm in each.lift.arms}
        shares = [str(say_share(arms[name])) if name in arms else "·" for name in ("treated", "holdout")]
        counts = [f"{arms[name].customers:,}" if name in arms else "·" for name in ("treated", "holdout")]
        effect = each.lift.effects[0] if each.lift.effects else None
        rows.append(
            (
                each.journey,
                *(cell for pair in zip(counts, shares, strict=True) for cell in pair),
                str(say_points(effect)) if effect else "·",
                say_lift(each),
            )
        )
    if rows:
        head = ("journey", ">treated", ">goal reached", ">held out", ">goal reached", ">points more", "so")
        print_table(out, "Did it help? Each customer's first entry, time for the goal over", head, rows)
    worth = [
        (each.journey, str(said))
        for each in journeys
        if each.lift is not None
        for effect in each.lift.effects
        if (said := say_value(effect)) is not None
    ]
    if worth:
        print_table(out, "Value for each customer, treated less holdout", ("journey", ">more"), worth)


def _show_splits(out: Console, journeys: Sequence[JourneyResult]) -> None:
    for each in journeys:
        for split, comparison in each.splits.items():
            _show_arms(out, f"{each.journey}: variants of {split}", comparison)


def _show_arms(out: Console, title: str, comparison: Comparison) -> None:
    out.print(title, style="bold", markup=False)
    rows = [
        (arm.name, f"{arm.customers:,}", str(say_share(arm)), f"{arm.value:,.2f}") for arm in comparison.arms
    ]
    print_table(out, "", ("arm", ">customers", ">goal reached", ">value each"), rows)
    for effect in comparison.effects:
        out.print(f"  {say_effect(effect)}", style="dim", markup=False)
    out.print()


def _show_messages(out: Console, journeys: Sequence[JourneyResult]) -> None:
    rows = []
    for each in journeys:
        for step in each.steps:
            came = [getattr(step, name) for name in _CAME]
            cells = [f"{count:,} {say_rate(count, step.sent)}" if count else "·" for count in came]
            what = f"{step.channel} {step.template}".strip() or f"{step.step} v{step.version}"
            rows.append((each.journey, what, f"{step.sent:,}", *cells))
    if rows:
        used = [at for at in range(3 + len(_CAME)) if at < 3 or any(row[at] != "·" for row in rows)]
        head = ("journey", "message", ">sent", *(f">{name}" for name in _CAME))
        shown = [tuple(row[at] for at in used) for row in rows]
        print_table(out, "What became of the messages", [head[at] for at in used], shown)


def _show_held(out: Console, journeys: Sequence[JourneyResult]) -> None:
    rows = [
        (each.journey, what, guard or "other", f"{count:,}")
        for each in journeys
        for what, guards in (("suppressed", each.suppressed), ("deferred", each.deferred))
        for guard, count in sorted(guards.items(), key=lambda item: -item[1])
    ]
    if rows:
        print_table(out, "What was held back", ("journey", "what", "guard", ">times"), rows)
