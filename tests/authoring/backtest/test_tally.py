"""What a backtest counts, and how it is told."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from engine.actions import Decision, Outcome, Reason
from engine.authoring.backtest.diff import compare, in_order, merge
from engine.authoring.backtest.page import page
from engine.authoring.backtest.plots import REST, ranked, stacked_days
from engine.authoring.backtest.result import (
    BacktestResult,
    RunFigures,
    collisions_of,
    journey_figures,
    rows_by_day,
    rows_by_segment,
)
from engine.authoring.backtest.tally import MAX_SAMPLES, Cell, Got, Tally, Watcher
from engine.features.profile import Contact
from engine.features.state import CustomerState
from engine.rules.context import MachineSettings, RowContext
from engine.rules.ruleset import RuleSet
from engine.rules.scope import Vocabulary
from engine.rules.times.units import Cap

DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS


def suppressed(guard: str, **values: int) -> Decision:
    """Return a decision of journey a that a guard stopped a message."""
    return Decision(
        id="d",
        customer_id="c",
        journey="a",
        version=1,
        step="steps[0]",
        outcome=Outcome.SUPPRESSED,
        reason=Reason(text="", guard=guard, values=dict(values)),
        event_id="e",
        event_type="order.placed",
        time=NOW_MS,
    )


@pytest.fixture
def watcher() -> Watcher:
    """Somebody who looks on from a day before now, under caps of two windows."""
    vocabulary = Vocabulary(features={}, columns={}, segments={}, channels=frozenset())
    settings = MachineSettings(global_caps=(Cap(2, DAY_MS), Cap(3, 7 * DAY_MS)))
    return Watcher(RuleSet([], vocabulary), settings, NOW_MS - DAY_MS, [""])


def context(now_ms: int, *contacts: Contact) -> RowContext:
    """Return a timer's row of a customer with contacts."""
    state = CustomerState("c")
    state.note().contacts = list(contacts)
    return RowContext(
        state=state, event=None, code=255, now_ms=now_ms, reached_ms=now_ms, values={}, segment_after="new"
    )


def test_a_collision_names_whose_contacts_counted(watcher: Watcher) -> None:
    """Only contacts within the window of the cap that stopped the message are blamed, never its own."""
    now_s = NOW_MS // 1000
    contacts = (
        Contact(now_s - 8 * 86_400, "long-ago", "email"),
        Contact(now_s - 3 * 86_400, "b", "email"),
        Contact(now_s - 3_600, "c", "email"),
        Contact(now_s - 60, "a", "email"),
    )
    watcher(context(NOW_MS, *contacts), [], [suppressed("global_cap", contacts=2, cap=2)])
    assert dict(watcher.tally.collisions) == {("a", "global_cap", "c"): 1}
    watcher(context(NOW_MS, *contacts), [], [suppressed("global_cap", contacts=3, cap=3)])
    assert watcher.tally.collisions["a", "global_cap", "b"] == 1
    watcher(context(NOW_MS, *contacts), [], [suppressed("consent")])
    assert watcher.tally.collisions.total() == 3


def test_what_lies_before_the_period_is_not_counted(watcher: Watcher) -> None:
    """Rows before the start build state only."""
    watcher(context(NOW_MS - DAY_MS - 1), [], [suppressed("consent")])
    assert not watcher.tally.cells
    watcher(context(NOW_MS - DAY_MS), [], [suppressed("consent")])
    assert watcher.tally.cells == {Cell("a", "suppressed", "consent", "steps[0]", 19_999, "new"): 1}


def test_differences_add_up_over_partitions() -> None:
    """Compared together or part by part, the counts and the samples are the same."""
    got = Got("a", "steps[0]", "email", "t")
    ours = {f"c{number}" for number in range(100)}
    theirs = {f"c{number}" for number in range(60, 130)}
    whole = compare({got: ours}, {got: theirs})
    parts = compare(
        {got: {each for each in ours if int(each[1:]) % 2}}, {got: {e for e in theirs if int(e[1:]) % 2}}
    )
    more = compare(
        {got: {each for each in ours if not int(each[1:]) % 2}},
        {got: {each for each in theirs if not int(each[1:]) % 2}},
    )
    merge(parts, more)
    assert parts == whole
    found = whole[got]
    assert (found.newly, found.no_longer, found.both) == (60, 30, 40)
    assert len(found.newly_sample) == MAX_SAMPLES
    assert set(found.newly_sample) <= ours - theirs
    assert in_order(compare({got: ours}, {got: ours})) == []


def tally() -> Tally:
    """Return counts with names that want to be escaped, and more journeys than there are colours."""
    found = Tally(customers=5, events=50, counted=20, rows=60)
    for number in range(12):
        name = f"journey-{number}"
        found.cells[Cell(name, "entered", "", "entry", 20_000, "new")] = number + 3
        found.cells[Cell(name, "sent", "email/<t>", "steps[0]", 20_000 + number % 3, "new")] = number + 1
    found.cells[Cell("journey-1", "suppressed", "consent", "steps[0]", 20_000, "")] = 7
    found.cells[Cell("journey-1", "exited", "exit", "steps[1]", 20_000, "")] = 2
    found.cells[Cell("journey-1", "converted", "treated", "goal", 20_000, "")] = 3
    found.values["journey-1", "treated"] = 99.5
    found.collisions["journey-1", "global_cap", "journey-2"] = 4
    found.waiting["journey-1", "steps[1]"] = 6
    found.segments["new"] = 5
    found.people["journey-1", "entered"] = 4
    return found


def result() -> BacktestResult:
    """Return a result of those counts."""
    counts = tally()
    got = Got("journey-1", "steps[0]", "email", "<t>")
    run = RunFigures(
        events=50, counted=20, rows=60, customers=5, invalid=0, duplicates=0, late=0,
        seconds=1.0, reading_s=0.1, workers=1
    )  # fmt: skip
    return BacktestResult(
        rules="a <b>",
        log="l.jsonl",
        begins="2024-09-01T00:00:00Z",
        since="2024-10-04T00:00:00Z",
        until="2024-10-06T12:00:00Z",
        model=0,
        run=run,
        journeys=journey_figures(counts, ["idle"]),
        collisions=collisions_of(counts),
        days=rows_by_day(counts),
        segments=rows_by_segment(counts),
        population={"new": 5},
        compared_with="live",
        before=journey_figures(Tally(), ["journey-1"]),
        differences=in_order(compare({got: {"c<1>"}}, {})),
        notes=["a note"],
    )


def test_figures_sum_the_cells() -> None:
    """Each journey's figures are the sums of what was counted; one that did nothing is there, too."""
    found = {each.journey: each for each in result().journeys}
    one = found["journey-1"]
    assert (one.entered, one.customers, one.sent, one.suppressed) == (4, 4, 2, {"consent": 7})
    assert (one.exited, one.waiting) == ({"exit": 2}, {"steps[1]": 6})
    assert (one.conversions["treated"].count, one.conversions["treated"].value) == (3, 99.5)
    assert (one.sends[0].channel, one.sends[0].template) == ("email", "<t>")
    assert found["idle"].sent == 0
    assert sum(row.sent for row in result().days) == sum(each.sent for each in found.values())
    assert {row.segment for row in result().segments} == {"new", "(none)"}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.loads += [name for name, _ in attrs if name in {"src", "href"}]
        if tag not in {"meta", "rect", "line", "li", "p", "tr", "td", "th"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"meta", "rect", "line", "li", "p", "tr", "td", "th"}:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing() -> None:
    """One well-formed file without scripts or addresses; names from rules and logs are text, not markup."""
    text = page(result())
    tags = _Tags()
    tags.feed(text)
    assert tags.open == []
    assert "script" not in tags.seen
    assert (tags.loads, "http" in text, "url(" in text) == ([], False, False)
    assert "<b>" not in re.sub(r"<b>[^<]*</b>", "", text)
    for said in (
        "a &lt;b&gt;",
        "c&lt;1&gt;",
        "&lt;t&gt;",
        "Lift comes from holdouts only",
        "a note",
        REST,
        "99.50",
    ):
        assert said in text


def test_a_result_of_nothing_is_a_page_too() -> None:
    """A period in which nothing happened is shown as that."""
    empty = msgspec.structs.replace(
        result(), journeys=[], collisions=[], days=[], segments=[], differences=[], before=[]
    )
    assert "Nobody would get anything new" in page(empty)


def test_plots_keep_their_sums() -> None:
    """Parts of a bar stand on each other; the axis holds the highest; small series become one."""
    totals = {f"s{number}": number for number in range(12)}
    names = ranked(totals)
    assert names[0] == "s11"
    assert (len(names), names[-1]) == (9, REST)
    drawn = stacked_days(["2024-10-04"], {"a": [3], "b": [5]}, {"a": "#111", "b": "#222"}, "x")
    parts = [
        (float(y), float(tall))
        for y, tall in re.findall(r'y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', drawn)
    ]
    assert parts[0][0] == pytest.approx(parts[1][0] + parts[1][1], abs=0.2)
    assert parts[1][1] / parts[0][1] == pytest.approx(5 / 3, abs=0.01)
