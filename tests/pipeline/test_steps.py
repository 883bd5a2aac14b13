"""Waits, branches, splits and tables in the pipeline: how rows are cut into steps changes nothing."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.actions import Action, Decision
from engine.events import EVENT_TYPES, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.core import Pipeline, Work
from engine.pipeline.walk import Walk
from engine.pipeline.waves import EventRow
from engine.rules.ruleset import RuleSet
from engine.settings import Settings
from engine.streams.wiring import pipeline_of
from tests.fuzz.world import DAY_MS, START_MS, compile_text, definitions, random_event, vocabulary

EVERY_STEP = Path(__file__).parents[1] / "rules" / "golden" / "every_step.yaml"
CUSTOMERS = ("a", "顾客", "c", "d")
TYPES = (
    "order.placed",
    "order.cancelled",
    "cart.added",
    "cart.removed",
    "message.opened",
    "profile.updated",
    "consent.granted",
)
Told = dict[str, list[Action | Decision]]


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    """A journey of every kind of step, compiled to just the columns it needs."""
    found = definitions()
    return compile_text(EVERY_STEP.read_bytes(), found, vocabulary(found))


def history(seed: int, rows: int = 300) -> list[EventRow]:
    """Return random events of a few customers, in order."""
    rng = random.Random(seed)
    now_ms, found = START_MS, []
    for _ in range(rows):
        now_ms += rng.choice((1, 1_000, 30_000, 60_000, 3_600_000, DAY_MS))
        event = random_event(rng, rng.choice(TYPES), rng.choice(CUSTOMERS), now_ms)
        found.append(EventRow(0, event, EVENT_TYPES[event.type].code, now_ms, event_key(event)))
    return found


def run(rules: RuleSet, rows: Sequence[EventRow], sizes: Sequence[int]) -> tuple[Told, dict[str, bytes]]:
    """Work on the rows in steps of these sizes, over and over; then on all timers of a year."""
    pipeline: Pipeline = pipeline_of(Settings(clock="replay"), definitions(), rules)
    states = {name: CustomerState(name) for name in CUSTOMERS}
    told: Told = {name: [] for name in CUSTOMERS}
    rates = {0: GlobalRate()}
    left = list(rows)
    turn = 0
    while left or turn >= 0:
        taken, left = left[: sizes[turn % len(sizes)]], left[sizes[turn % len(sizes)] :]
        until_ms = taken[-1].now_ms if taken else rows[-1].now_ms + 366 * DAY_MS
        timers = {name: 0 for name, state in states.items() if 0 < state.due_ms <= until_ms}
        work = Work(
            events=taken, timers=timers, states=states, until_ms={0: until_ms}, rates=rates, replay=True
        )
        outcome = pipeline.process(work)
        for action in outcome.actions:
            told[action.customer_id].append(action)
        for decision in outcome.decisions:
            told[decision.customer_id].append(decision)
        turn = turn + 1 if taken else -1
    return told, {name: state.pack() for name, state in states.items()}


@pytest.mark.parametrize("seed", range(4))
def test_how_rows_are_cut_into_steps_changes_nothing(rules: RuleSet, seed: int) -> None:
    """One row at a time, a few, or all at once: the same actions, decisions and state, to the byte."""
    rows = history(seed)
    one_told, one_states = run(rules, rows, [1])
    assert sum(isinstance(each, Action) for told in one_told.values() for each in told) > 3
    for sizes in ([7, 1, 30], [len(rows)]):
        told, states = run(rules, rows, sizes)
        assert states == one_states
        for name in CUSTOMERS:
            assert _of(told[name], Action) == _of(one_told[name], Action)
            assert _of(told[name], Decision) == _of(one_told[name], Decision)


def test_rows_that_are_passed_over_would_have_done_nothing(
    rules: RuleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journeys decide the same when they are asked at every row, not only where one reacts."""
    expected = [run(rules, history(seed), [50]) for seed in range(4)]
    monkeypatch.setattr(Walk, "_concerns", lambda *_: True)
    for seed, (told, states) in enumerate(expected):
        asked, asked_states = run(rules, history(seed), [50])
        assert asked == told
        assert asked_states == states


def _of(told: list[Action | Decision], kind: type) -> list[Action | Decision]:
    return [each for each in told if isinstance(each, kind)]


def test_every_kind_of_step_was_met(rules: RuleSet) -> None:
    """The histories lead through waits, all arms, both variants, sequences and out for want of a date."""
    paths, guards = set(), set()
    for seed in range(4):
        told, _ = run(rules, history(seed), [50])
        for each in (each for of in told.values() for each in of if isinstance(each, Decision)):
            paths.add(each.step)
            guards.add(each.reason.guard)
    assert {
        "steps[1].then[1].run.offer[0]",
        "steps[1].otherwise[0].branch[0][0]",
        "steps[1].otherwise[0].else[0].split.a",
        "steps[1].otherwise[0].else[0].split.b",
        "steps[1].otherwise[0].else[0].split.a[0].run.offer[0]",
        "steps[3]",
    } <= paths, sorted(paths)
    assert {"trait", "exit"} <= guards
