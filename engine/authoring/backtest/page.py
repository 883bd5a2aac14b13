"""A backtest as one HTML page: everything in the file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from engine.authoring.backtest.diff import Difference
from engine.authoring.backtest.plots import REST, bars, colours_of, legend, ranked, stacked_days
from engine.authoring.backtest.result import BacktestResult, JourneyFigures, Row
from engine.authoring.page_parts import MAX_ROWS, document, escaped, html_table

MAX_BARS = 92


def page(result: BacktestResult) -> str:
    """Return the page."""
    colours = _palette(result)
    sections = [
        _head(result),
        _tiles(result.journeys),
        _differences(result),
        _days(result, colours),
        _journeys(result.journeys),
        _guards(result.journeys, colours),
        _collisions(result),
        _segments(result, colours),
        _waiting(result.journeys),
        _words("About this result", result.notes),
        _words("What a backtest cannot say", result.limits),
        _about(result),
    ]
    return document(f"Backtest of {result.rules}", sections)


def _head(result: BacktestResult) -> str:
    against = f" Compared with {escaped(result.compared_with)}." if result.compared_with else ""
    return (
        f"<h1>Backtest of {escaped(result.rules)}</h1>"
        f"<p class=soft>{result.since[:10]} to {result.until[:10]}, replayed from {escaped(result.log)}. "
        f"Nothing was sent.{against}</p>"
    )


def _tiles(journeys: Sequence[JourneyFigures]) -> str:
    sums = (
        ("entries", sum(each.entered for each in journeys)),
        ("messages and tasks", sum(each.sent for each in journeys)),
        ("suppressed", sum(sum(each.suppressed.values()) for each in journeys)),
        ("deferred", sum(sum(each.deferred.values()) for each in journeys)),
        ("held out", sum(each.held_out for each in journeys)),
        ("waiting at the end", sum(sum(each.waiting.values()) for each in journeys)),
    )
    tiles = "".join(f"<div class=tile><b>{number:,}</b><span>{name}</span></div>" for name, number in sums)
    return f'<div class="tiles">{tiles}</div>'


def _differences(result: BacktestResult) -> str:
    if not result.compared_with:
        return ""
    if not result.differences:
        return "<h2>What changes</h2><p>Nobody would get anything new, and nobody would miss anything.</p>"
    rows = [_difference_row(each) for each in result.differences[:MAX_ROWS]]
    head = ("t:Journey", "t:What", "Newly", "No longer", "As before", "t:Samples")
    sums = _sums(result)
    return (
        f"<h2>What changes</h2><p class=soft>Customers who get something under one of the rule sets only; "
        f"within the period.</p>{html_table(head, rows, len(result.differences))}{sums}"
    )


def _difference_row(each: Difference) -> tuple[str, ...]:
    what = f"{each.channel} <b>{escaped(each.template)}</b>" if each.channel else "enters"
    samples = "".join(
        f"<div>{sign} {escaped(', '.join(ids))}</div>"
        for sign, ids in (("+", each.newly_sample), ("−", each.no_longer_sample))
        if ids
    )
    return (
        f"t:{escaped(each.journey)}",
        f"t:{what} <code>{escaped(each.step)}</code>",
        f"<span class=plus>+{each.newly:,}</span>" if each.newly else "",
        f"<span class=minus>−{each.no_longer:,}</span>" if each.no_longer else "",
        f"{each.both:,}",
        f"i:{samples}",
    )


def _sums(result: BacktestResult) -> str:
    """Write messages before and after by journey, where they differ."""
    before = {each.journey: each for each in result.before}
    after = {each.journey: each for each in result.journeys}
    rows = []
    for name in sorted(before.keys() | after.keys()):
        old = before.get(name, JourneyFigures(journey=name))
        new = after.get(name, JourneyFigures(journey=name))
        if (old.entered, old.sent) != (new.entered, new.sent):
            rows.append(
                (
                    f"t:{escaped(name)}",
                    f"{old.entered:,}",
                    f"{new.entered:,}",
                    f"{old.sent:,}",
                    f"{new.sent:,}",
                )
            )
    head = ("t:Journey", "Entries before", "after", "Messages before", "after")
    return f"<p style='margin-top:1rem'></p>{html_table(head, rows, len(rows))}" if rows else ""


def _palette(result: BacktestResult) -> dict[str, str]:
    """Give each of the busiest journeys a colour, the same in every plot."""
    totals: Counter[str] = Counter()
    for row in result.days:
        totals[row.journey] += row.sent + row.entered + row.suppressed + row.deferred + row.held_out
    return colours_of(ranked(totals))


def _days(result: BacktestResult, colours: Mapping[str, str]) -> str:
    days = _bars_of(result.since, result.until)
    wide = (days[1] - days[0]).days if len(days) > 1 else 1
    bars_say = f"<p class=soft>Each bar is {wide} days.</p>" if wide > 1 else ""
    body = []
    for title, what, unit in (
        ("Messages by day", "sent", "messages"),
        ("Entries by day", "entered", "entries"),
        ("Suppressed by day", "suppressed", "messages"),
    ):
        if any(getattr(row, what) for row in result.days):
            series = _by_day(result.days, what, list(colours), days)
            starts = [day.isoformat() for day in days]
            drawn = stacked_days(starts, series, colours, unit)
            body.append(f"<h2>{title}</h2>{bars_say}{legend(colours)}{drawn}")
    return "".join(body)


def _bars_of(since: str, until: str) -> list[dt.date]:
    """Return the first day of each bar; long periods have bars of several days."""
    first, last = dt.date.fromisoformat(since[:10]), dt.date.fromisoformat(until[:10])
    count = (last - first).days + 1
    every = -(-count // MAX_BARS)
    return [first + dt.timedelta(days=at) for at in range(0, count, every)]


def _by_day(
    rows: Iterable[Row], what: str, names: Sequence[str], days: Sequence[dt.date]
) -> dict[str, list[int]]:
    every = (days[1] - days[0]).days if len(days) > 1 else 1
    series = {name: [0] * len(days) for name in names}
    for row in rows:
        at = (dt.date.fromisoformat(row.day) - days[0]).days // every
        name = row.journey if row.journey in series else REST
        if getattr(row, what):
            series[name][min(max(at, 0), len(days) - 1)] += getattr(row, what)
    return series


def _journeys(journeys: Sequence[JourneyFigures]) -> str:
    head = (
        "t:Journey", "Entries", "Customers", "Held out", "Messages", "Reached", "Suppressed", "Deferred",
        "Left early", "Completed", "Waiting", "t:Goal",
    )  # fmt: skip
    rows = []
    for each in sorted(journeys, key=lambda each: (-each.sent, -each.entered, each.journey)):
        numbers = (
            each.entered, each.customers, each.held_out, each.sent, each.reached,
            sum(each.suppressed.values()), sum(each.deferred.values()), sum(each.exited.values()),
            each.completed, sum(each.waiting.values()),
        )  # fmt: skip
        goal = "; ".join(
            f"{arm or 'all'}: {made.count:,}" + (f" worth {made.value:,.2f}" if made.value else "")
            for arm, made in sorted(each.conversions.items())
        )
        cells = [f"{number:,}" if number else "·" for number in numbers]
        rows.append((f"t:{escaped(each.journey)}", *cells, f"t:{escaped(goal)}"))
    sends = [
        (f"t:{escaped(each.journey)}", f"t:<code>{escaped(send.step)}</code>", f"t:{send.channel}",
         f"t:{escaped(send.template)}", f"{send.sent:,}")
        for each in journeys
        for send in each.sends
    ]  # fmt: skip
    by_step = html_table(("t:Journey", "t:Step", "t:Channel", "t:Template", "Messages"), sends, len(sends))
    return f"<h2>Journeys</h2>{html_table(head, rows, len(rows))}<h2>Messages by step</h2>{by_step}"


def _guards(journeys: Sequence[JourneyFigures], colours: Mapping[str, str]) -> str:
    """Draw what held messages back: guard by guard, journey by journey."""
    by_guard: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in journeys:
        for what, guards in (("suppressed", each.suppressed), ("deferred", each.deferred)):
            for guard, count in guards.items():
                by_guard[f"{guard or 'other'} ({what})"][each.journey] += count
        if each.held_out:
            by_guard["holdout (held out)"][each.journey] += each.held_out
    if not by_guard:
        return ""
    ordered = sorted(by_guard.items(), key=lambda item: (-item[1].total(), item[0]))
    drawn = bars([(guard, _stack(counts, list(colours))) for guard, counts in ordered], colours, "times")
    return f"<h2>What held messages back</h2>{legend(colours)}{drawn}"


def _stack(counts: Counter[str], names: Sequence[str]) -> dict[str, int]:
    stack = {name: counts[name] for name in names if name != REST}
    if REST in names:
        stack[REST] = counts.total() - sum(stack.values())
    return stack


def _collisions(result: BacktestResult) -> str:
    if not result.collisions:
        return ""
    rows = [
        (
            f"t:{escaped(each.stopped)}",
            f"t:{escaped(each.guard)}",
            f"t:{escaped(each.by)}",
            f"{each.messages:,}",
        )
        for each in result.collisions[:MAX_ROWS]
    ]
    table = html_table(("t:Stopped", "t:Cap", "t:Contacts of", "Messages"), rows, len(result.collisions))
    return (
        "<h2>Cap collisions</h2><p class=soft>Messages stopped by a cap over several journeys, and whose "
        f"contacts counted. One message may stand in several rows.</p>{table}"
    )


def _segments(result: BacktestResult, colours: Mapping[str, str]) -> str:
    by_segment: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in result.segments:
        by_segment[row.segment][row.journey] += row.sent
    if not any(counts.total() for counts in by_segment.values()):
        return ""
    rows = [
        (f"{name} ({result.population.get(name, 0):,} customers)", _stack(counts, list(colours)))
        for name, counts in sorted(by_segment.items(), key=lambda item: -item[1].total())
    ]
    return (
        "<h2>Messages by segment</h2><p class=soft>The segment at the moment of the message; customers "
        f"as of the end.</p>{legend(colours)}{bars(rows, colours, 'messages')}"
    )


def _waiting(journeys: Sequence[JourneyFigures]) -> str:
    rows = [
        (f"t:{escaped(each.journey)}", f"t:<code>{escaped(step)}</code>", f"{count:,}")
        for each in journeys
        for step, count in each.waiting.items()
    ]
    return (
        f"<h2>Waiting at the end</h2>{html_table(('t:Journey', 't:Step', 'Customers'), rows, len(rows))}"
        if rows
        else ""
    )


def _words(title: str, words: Sequence[str]) -> str:
    items = "".join(f"<li>{escaped(each)}</li>" for each in words)
    return f'<h2>{title}</h2><ul class="notes">{items}</ul>' if words else ""


def _about(result: BacktestResult) -> str:
    run = result.run
    return (
        f"<p class=soft style='margin-top:2rem'>{run.events:,} events of {run.customers:,} customers from "
        f"{result.begins[:10]} on, {run.counted:,} of them within the period; {run.rows:,} rows with timers; "
        f"{run.duplicates:,} repeats, {run.late:,} late, {run.invalid:,} invalid. "
        f"{run.seconds:,.1f} s, {run.workers} process{'es' if run.workers > 1 else ''}.</p>"
    )
