"""Results as one HTML page: everything in the file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.authoring.page_parts import document, escaped, html_table
from engine.authoring.results.plot import effects
from engine.authoring.results.result import Comparison, JourneyResult, Results, StepResult
from engine.authoring.results.words import (
    Ranged,
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

_CAME = ("delivered", "opened", "clicked", "responded", "bounced", "unsubscribed")


def page(results: Results) -> str:
    """Return the page."""
    sections = [
        "<h1>What journeys brought about</h1>",
        f"<p class=soft>{results.since[:16]} to {results.until[:16]} UTC.</p>",
        _tiles(results),
        _lift(results.journeys),
        _together(results.together),
        _splits(results.journeys),
        _journeys(results.journeys),
        _messages(results.journeys),
        _held(results.journeys),
        _service(results),
        _words("About these figures", results.notes),
        _words("What they cannot say", results.limits),
    ]
    return document(f"Results {results.since[:10]} to {results.until[:10]}", sections)


def _tiles(results: Results) -> str:
    tiles = "".join(
        f"<div class=tile><b>{escaped(number)}</b><span>{escaped(what)}</span></div>"
        for number, what in headline(results)
    )
    return f'<div class="tiles">{tiles}</div>'


def _lift(journeys: Sequence[JourneyResult]) -> str:
    with_goal = [each for each in journeys if each.lift is not None]
    if not with_goal:
        return ""
    rows = []
    for each in with_goal:
        assert each.lift is not None
        arms = {arm.name: arm for arm in each.lift.arms}
        effect = each.lift.effects[0] if each.lift.effects else None
        cells = [
            cell
            for name in ("treated", "holdout")
            for cell in (
                (f"{arms[name].customers:,}", _ranged(say_share(arms[name]))) if name in arms else ("·", "·")
            )
        ]
        rows.append(
            (
                f"t:{escaped(each.journey)}<br><span class=soft>{escaped(each.goal)}</span>",
                *cells,
                _ranged(say_points(effect)) if effect else "·",
                _ranged(say_value(effect)) if effect else "",
                f"t:{escaped(say_lift(each))}",
            )
        )
    head = (
        "t:Journey", "Treated", "Reached the goal", "Held out", "Reached the goal", "Points more",
        "Value more", "t:So",
    )  # fmt: skip
    drawn = effects(
        [(each.journey, each.lift.effects[0]) for each in with_goal if each.lift and each.lift.effects]
    )
    waiting = sum(each.undecided for each in with_goal)
    more = f" {waiting:,} customers whose time is not over are left out." if waiting else ""
    return (
        "<h2>Did it help? Treated customers beside the holdout</h2>"
        "<p class=soft>Each customer once, by the first entry of the period. Whoever entered counts, also "
        f"those whom a guard let get nothing. Below each figure, where it lies 19 times in 20.{more}</p>"
        f"{drawn}{html_table(head, rows, len(rows))}"
    )


def _together(together: Comparison | None) -> str:
    if together is None:
        return ""
    return (
        "<h2>All journeys together, beside the control group</h2><p class=soft>Who ordered between the first "
        f"entry into any journey and the end of the period, and for how much.</p>{_arms(together)}"
    )


def _splits(journeys: Iterable[JourneyResult]) -> str:
    parts = []
    for each in journeys:
        for split, comparison in each.splits.items():
            parts.append(f"<h2>{escaped(each.journey)}: variants of <code>{escaped(split)}</code></h2>")
            parts.append(_arms(comparison))
    return "".join(parts)


def _arms(comparison: Comparison) -> str:
    rows = [
        (
            f"t:{escaped(arm.name)}",
            f"{arm.customers:,}",
            f"{arm.converted:,}",
            _ranged(say_share(arm)),
            f"{arm.value:,.2f}",
        )
        for arm in comparison.arms
    ]
    head = ("t:Arm", "Customers", "Reached the goal", "Share", "Value each")
    drawn = effects([(f"{each.arm} − {each.than}", each) for each in comparison.effects])
    said = "".join(f"<p>{escaped(say_effect(each))}.</p>" for each in comparison.effects)
    return f"{html_table(head, rows, len(rows))}{drawn}{said}"


def _journeys(journeys: Sequence[JourneyResult]) -> str:
    head = ("t:Journey", "Entries", "Held out", "Customers reached", "Messages", "Suppressed", "Deferred")
    rows = []
    for each in journeys:
        numbers = (
            each.entered, each.held_out, each.reached, each.sent,
            sum(each.suppressed.values()), sum(each.deferred.values()),
        )  # fmt: skip
        rows.append((f"t:{escaped(each.journey)}", *(f"{number:,}" if number else "·" for number in numbers)))
    return f"<h2>Journeys</h2>{html_table(head, rows, len(rows))}"


def _messages(journeys: Iterable[JourneyResult]) -> str:
    steps = [(each.journey, step) for each in journeys for step in each.steps]
    came = [name for name in _CAME if any(getattr(step, name) for _, step in steps)]
    rows = [_message(journey, step, came) for journey, step in steps]
    head = ("t:Journey", "t:Message", "Sent", "Customers", *(name.capitalize() for name in came))
    return f"<h2>What became of the messages</h2>{html_table(head, rows, len(rows))}" if rows else ""


def _message(journey: str, step: StepResult, came: Iterable[str]) -> tuple[str, ...]:
    counts = [getattr(step, name) for name in came]
    what = f"{step.channel} <b>{escaped(step.template)}</b> " if step.channel else ""
    return (
        f"t:{escaped(journey)} <span class=soft>v{step.version}</span>",
        f"t:{what}<code class=soft>{escaped(step.step)}</code>",
        f"{step.sent:,}",
        f"{step.customers:,}",
        *(
            f"{count:,} <span class=soft>{say_rate(count, step.sent)}</span>" if count else "·"
            for count in counts
        ),
    )


def _held(journeys: Iterable[JourneyResult]) -> str:
    rows = [
        (f"t:{escaped(each.journey)}", f"t:{what}", f"t:{escaped(guard or 'other')}", f"{count:,}")
        for each in journeys
        for what, guards in (("suppressed", each.suppressed), ("deferred", each.deferred))
        for guard, count in sorted(guards.items(), key=lambda item: -item[1])
    ]
    head = ("t:Journey", "t:What", "t:Guard", "Times")
    return f"<h2>What was held back</h2>{html_table(head, rows, len(rows))}" if rows else ""


def _service(results: Results) -> str:
    replies = results.responses
    if not replies.opened:
        return ""
    row = (
        f"{replies.opened:,}", f"{replies.answered:,}", say_wait(replies.p50_s), say_wait(replies.p90_s),
        answered_in_time(replies), f"{replies.late:,}",
    )  # fmt: skip
    head = (
        "Opened",
        "Answered",
        "Half within",
        "Nine in ten within",
        "Answered in 5 min",
        "Unanswered, later than that",
    )
    return f"<h2>Inquiries</h2>{html_table(head, [row], 1)}"


def _words(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{escaped(each)}</li>" for each in lines)
    return f'<h2>{title}</h2><ul class="notes">{items}</ul>'


def _ranged(figure: Ranged | None) -> str:
    """Write a figure with its interval below it."""
    return f"{figure.value}<br><span class=soft>{figure.interval}</span>" if figure else ""
