"""The result of a backtest: figures for people and programs, and what they cannot say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec

from engine.authoring.backtest.diff import Difference
from engine.authoring.backtest.tally import (
    DAY_MS,
    DEFERRED,
    ENTERED,
    HELD_OUT,
    SENT,
    SUPPRESSED,
    Cell,
    Tally,
)
from engine.rules.times.period import iso

LIMITS = tuple(
    """\
This says what would have been sent, never what would have been earned: customers behaved as they did \
under what they really got. Lift comes from holdouts only.
Opens, clicks and answers in the log belong to messages really sent; whoever gets a new message here never \
answers it.
Everything happens at event time. A worker on the live clock sees events when they arrive, so a late one may \
have counted differently there.
""".splitlines()
)


class SendFigures(msgspec.Struct, kw_only=True):
    """One send step.

    Args:
        step: its path.
        channel: the channel.
        template: the template.
        sent: messages.
    """

    step: str
    channel: str
    template: str
    sent: int


class Conversions(msgspec.Struct, kw_only=True):
    """Goal events of one arm.

    Args:
        count: how many.
        value: their sum, in the goal's own unit.
    """

    count: int = 0
    value: float = 0.0


class JourneyFigures(msgspec.Struct, kw_only=True):
    """One journey within the period.

    Args:
        journey: its name.
        entered: entries.
        customers: distinct customers who entered.
        reached: distinct customers who got at least one message.
        held_out: entries into the holdout.
        completed: runs that went through every step.
        exited: runs ended early, by guard.
        sent: messages and tasks.
        sends: the same by step.
        suppressed: messages held back for good, by guard.
        deferred: messages put off, by guard.
        conversions: goal events, by arm.
        waiting: customers inside at the end, by step.
    """

    journey: str
    entered: int = 0
    customers: int = 0
    reached: int = 0
    held_out: int = 0
    completed: int = 0
    exited: dict[str, int] = {}
    sent: int = 0
    sends: list[SendFigures] = []
    suppressed: dict[str, int] = {}
    deferred: dict[str, int] = {}
    conversions: dict[str, Conversions] = {}
    waiting: dict[str, int] = {}


class Collision(msgspec.Struct, kw_only=True):
    """Messages of one journey stopped by a cap that another journey's contacts had filled, at least in part.

    Args:
        stopped: the journey whose message was stopped.
        guard: the cap.
        by: the journey whose contacts counted.
        messages: how many.
    """

    stopped: str
    guard: str
    by: str
    messages: int


class Row(msgspec.Struct, kw_only=True):
    """What happened in one journey on one day, or in one segment.

    Args:
        journey: the journey.
        day: date, UTC; empty when this is about a segment.
        segment: the customer's segment at that moment; empty when this is about a day.
        entered: entries.
        sent: messages.
        suppressed: messages held back for good.
        deferred: messages put off.
        held_out: entries into the holdout.
    """

    journey: str
    day: str = ""
    segment: str = ""
    entered: int = 0
    sent: int = 0
    suppressed: int = 0
    deferred: int = 0
    held_out: int = 0


class RunFigures(msgspec.Struct, kw_only=True):
    """How the backtest itself went.

    Args:
        events: events replayed.
        counted: of them within the period.
        rows: rows worked on, timers included.
        customers: distinct customers.
        invalid: records that are no valid event.
        duplicates: repeats.
        late: events older than the stream time.
        seconds: how long the replay took, both rule sets included.
        reading_s: how long reading and indexing the log took.
        workers: processes.
    """

    events: int
    counted: int
    rows: int
    customers: int
    invalid: int
    duplicates: int
    late: int
    seconds: float
    reading_s: float
    workers: int


class BacktestResult(msgspec.Struct, kw_only=True):
    """Everything a backtest found.

    Args:
        rules: what was replayed, in words.
        log: what was read, in words.
        begins: when the log begins, ISO 8601.
        since: start of the period.
        until: end of the period.
        model: version of the churn model.
        run: how it went.
        journeys: by name.
        collisions: the most first.
        days: by journey and day.
        segments: by journey and segment.
        population: customers by segment at the end.
        compared_with: what the differences are against; empty without a comparison.
        before: the journeys under the other rule set.
        differences: who newly gets or no longer gets what.
        notes: what to know about this very result.
        limits: what no backtest can say.
    """

    rules: str
    log: str
    begins: str
    since: str
    until: str
    model: int
    run: RunFigures
    journeys: list[JourneyFigures]
    collisions: list[Collision]
    days: list[Row]
    segments: list[Row]
    population: dict[str, int]
    compared_with: str = ""
    before: list[JourneyFigures] = []
    differences: list[Difference] = []
    notes: list[str] = []
    limits: tuple[str, ...] = LIMITS


def journey_figures(tally: Tally, names: Iterable[str]) -> list[JourneyFigures]:
    """Sum the counts of each journey.

    Args:
        tally: the counts.
        names: journeys of the rule set; one that did nothing is told, too.
    """
    found = {
        name: JourneyFigures(journey=name) for name in sorted({*names, *(it.journey for it in tally.cells)})
    }
    sends: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for cell, count in tally.cells.items():
        each = found[cell.journey]
        match cell.what:
            case "sent":
                each.sent += count
                sends[cell.journey, cell.step, cell.detail] += count
            case "suppressed" | "deferred" | "exited":
                guards = getattr(each, cell.what)
                guards[cell.detail] = guards.get(cell.detail, 0) + count
            case "converted":
                arm = each.conversions.setdefault(cell.detail, Conversions())
                arm.count += count
            case _:
                setattr(each, cell.what, getattr(each, cell.what) + count)
    for (journey, step, what), count in sorted(sends.items()):
        channel, _, template = what.partition("/")
        found[journey].sends.append(SendFigures(step=step, channel=channel, template=template, sent=count))
    for (journey, arm_name), value in tally.values.items():
        found[journey].conversions[arm_name].value = value
    for (journey, step), count in sorted(tally.waiting.items()):
        found.setdefault(journey, JourneyFigures(journey=journey)).waiting[step] = count
    for (journey, what), count in tally.people.items():
        setattr(found[journey], "customers" if what == ENTERED else "reached", count)
    return list(found.values())


def collisions_of(tally: Tally) -> list[Collision]:
    """Return the cap collisions, the most first."""
    return [
        Collision(stopped=stopped, guard=guard, by=by, messages=count)
        for (stopped, guard, by), count in sorted(
            tally.collisions.items(), key=lambda item: (-item[1], item[0])
        )
    ]


_SHOWN = frozenset({ENTERED, SENT, SUPPRESSED, DEFERRED, HELD_OUT})


def rows_by_day(tally: Tally) -> list[Row]:
    """Return what happened by journey and day."""
    return _rows(tally, lambda cell: Row(journey=cell.journey, day=_day(cell.day)))


def rows_by_segment(tally: Tally) -> list[Row]:
    """Return what happened by journey and segment."""
    return _rows(tally, lambda cell: Row(journey=cell.journey, segment=cell.segment or "(none)"))


def _rows(tally: Tally, empty: Callable[[Cell], Row]) -> list[Row]:
    rows: dict[tuple[str, str, str], Row] = {}
    for cell, count in tally.cells.items():
        if cell.what in _SHOWN:
            row = empty(cell)
            row = rows.setdefault((row.journey, row.day, row.segment), row)
            setattr(row, cell.what, getattr(row, cell.what) + count)
    return [rows[key] for key in sorted(rows)]


def _day(number: int) -> str:
    return iso(number * DAY_MS)[:10]
