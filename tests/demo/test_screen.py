"""Laws of what the demo shows; the golden files hold what a person sees."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from engine.demo.cdnow import START_MS
from engine.demo.screen import Screen, action_line, plain_line, share_done, summary
from engine.demo.view import Arm, Phase, Status, View
from tests.demo.samples import running_view

GOLDEN = Path(__file__).with_name("golden")


def starting_view() -> View:
    """Return the moment before anything has happened."""
    return View(
        phase=Phase.STARTING,
        elapsed_s=0.4,
        status=Status(obstacles=["waiting for partitions"]),
        feed=None,
        actions={},
        decisions={},
        shown=(),
        kept_back=(),
        first_action_s=None,
        model=None,
    )


def draw(view: View, width: int, height: int) -> str:
    """Return the screen as text."""
    out = StringIO()
    Console(file=out, width=width, height=height, color_system=None, force_terminal=False).print(Screen(view))
    return out.getvalue()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (110, 40)])
def test_screen_looks_as_recorded(width: int, height: int) -> None:
    """The screen is the one in the golden file; to renew it, look at the new one and copy it there."""
    assert draw(running_view(), width, height) == (GOLDEN / f"screen-{width}x{height}.txt").read_text("utf-8")


@pytest.mark.parametrize("height", [24, 30, 36, 50])
@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("view", [starting_view(), running_view()], ids=["starting", "running"])
def test_screen_fits_the_terminal(view: View, width: int, height: int) -> None:
    """No line is wider and no screen taller than the terminal; one line stays free for the cursor."""
    lines = draw(view, width, height).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width


def test_large_screen_has_a_row_for_each_journey() -> None:
    """Twelve journeys show by name on a large terminal; a thirteenth makes the least busy two `others`."""
    view = running_view()
    names = set(view.by_journey())
    assert len(names) == 12
    assert all(name in draw(view, 110, 40) for name in names)
    more = draw(replace(view, actions={**view.actions, ("late", "email"): 3}), 110, 40)
    assert {name for name in names if name not in more} == {"high-value-anniversary"}
    assert re.search(r"others +15 ", more)


def test_held_back_counts_guards_and_deferrals() -> None:
    """Suppressions and the holdout count by guard over all journeys, deferrals in one figure; most first."""
    held = running_view().held_back()
    assert held["consent"] == 3_122
    assert held["holdout"] == 831
    assert held["policy"] == 390
    assert held["deferred"] == 2_210
    assert list(held.values()) == sorted(held.values(), reverse=True)


def test_goals_compare_the_arms_of_a_journey() -> None:
    """Each arm's goals are held against its own entries; a journey without a goal has none."""
    goals = running_view().goals()
    assert set(goals) == {"win-back", "churn-early-warning", "tier-up"}
    treated, held_out = goals["win-back"]
    assert (treated.entered, treated.reached) == (4_511, 171)
    assert (held_out.entered, held_out.reached) == (502, 20)
    assert goals["tier-up"][1].share == 0.0
    assert Arm(0, 0).share is None


def test_summary_looks_as_recorded() -> None:
    """The summary is the one in the golden file."""
    view = replace(running_view(), phase=Phase.DONE)
    assert summary(view) + "\n" == (GOLDEN / "summary.txt").read_text("utf-8")


def test_summary_of_nothing_says_so() -> None:
    """A demo without a single action or label still ends with sentences that are true."""
    text = summary(starting_view())
    assert "0 actions" in text
    assert "no labels have matured" in text


def test_plain_lines_carry_the_figures_and_the_reason() -> None:
    """Without a terminal every line stands alone with its figures, and an action has its reason."""
    view = running_view()
    assert plain_line(view) == (
        "1997-07-20  64% | 243,511 events (6,812/s) | p50 4.2 p99 12.8 ms | 24,881 customers | 54,617 actions"
        " | churn AUC 0.791"
    )
    assert action_line(view.shown[0]) == (
        "1997-07-20 12:30 win-back -> email win-back-first (customer 00042): "
        "no order for 90 days and churn risk 0.71 >= 0.60"
    )


def test_share_done_counts_what_was_refused() -> None:
    """Events that were repeats or dead letters are done, too; without a feeder's report nothing is."""
    view = running_view()
    status = Status(events_total=381_860, duplicates=4, dead_letters={"field_missing": 5}, clock_ms=START_MS)
    assert share_done(replace(view, status=status)) == 1.0
    assert share_done(starting_view()) == 0.0
