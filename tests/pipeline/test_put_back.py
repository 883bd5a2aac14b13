"""Rows that went into a wave too early leave no trace: all at once is what one row at a time is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.events import EVENT_TYPES, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.core import Outcome, Pipeline, Work
from engine.pipeline.waves import EventRow, Wave, Waves
from engine.rules.load import compile_sources
from engine.rules.ruleset import RuleSet
from engine.settings import DecisionSettings, Settings
from engine.streams.steps.intake import MAX_STEP_SPAN_MS
from engine.streams.wiring import pipeline_of
from tests.fuzz.world import DAY_MS, START_MS, definitions, vocabulary
from tests.rules.driver import event

History = list[tuple[int, str, tuple[str, dict[str, object]], int]]

MINUTE_MS = 60_000
CUSTOMERS = ("a", "b")
GUARDS = 'guards: {quiet_hours: "22:00-09:00"}\n'
JOURNEYS = {
    "short": "entry: {on: cart.added, reentry: after 1h}\nexit: [{on: order.placed}]\n"
    "steps: [{wait: 10m}, {send: push, template: short}, {wait: 3h}, {send: sms, template: short}]",
    "open": "entry: {on: {unanswered: inquiry, for: 5m}}\nsteps: [{send: agent, template: open}]",
    "night": f"entry: {{on: product.viewed, reentry: always}}\n{GUARDS}"
    "steps: [{send: email, template: night}]",
    "segment": f"entry: {{on: {{segment_entered: churn_risk}}, reentry: always}}\n{GUARDS}"
    "steps: [{send: email, template: segment}, {wait: 1m}, {send: email, template: segment-2}]",
    "away": "entry: {on: {absent: order.placed, for: 2d}, reentry: always}\n"
    "steps: [{wait_until: {on: page.viewed, timeout: 20m}, then: [{send: email, template: away}]}]",
    "count": "entry: {on: {count: page.viewed, at_least: 2, within: 1h}, reentry: always}\n"
    "steps: [{wait: 30m}, {send: push, template: count}]",
    "cron": 'entry: {on: {schedule: "*/30 9-12 * * *", zone: customer, segment: new}, reentry: always}\n'
    "steps: [{send: push, template: cron}]",
    "date": 'entry: {on: {date: birthday, yearly: true, at: "09:00"}, reentry: always}\n'
    "steps: [{send: push, template: date}]",
    "level": f"entry: {{on: {{rises: customer.page_views_1h, above: 1}}, reentry: always}}\n{GUARDS}"
    "steps: [{send: push, template: level}]",
    "goal": "entry: {on: order.placed, reentry: always}\ngoal: {on: page.viewed, within: 1h}\n"
    "steps: [{send: push, template: goal}]",
}
KINDS = st.sampled_from(
    [
        *[("page.viewed", {})] * 3,
        *[("cart.added", {})] * 2,
        ("product.viewed", {}),
        ("order.placed", {"amount": 20.0}),
        ("order.placed", {"amount": 3_000.0}),
        ("inquiry.opened", {"inquiry_id": "q1"}),
        ("inquiry.replied", {"inquiry_id": "q1"}),
        ("customer.signed_up", {}),
        ("profile.updated", {"traits": {"birthday": "2000-10-10"}, "time_zone": "Asia/Shanghai"}),
    ]
)
GAPS = st.one_of(
    st.sampled_from([0, 1, MINUTE_MS, 5 * MINUTE_MS, 90 * DAY_MS]),
    st.integers(0, 2 * MINUTE_MS),
    st.integers(0, 2 * 3_600_000),
    st.integers(0, 3 * DAY_MS),
)
LATE = st.sampled_from([0, 0, 0, 0, MINUTE_MS, 3_600_000, 2 * DAY_MS])
HISTORIES = st.lists(st.tuples(GAPS, st.sampled_from(CUSTOMERS), KINDS, LATE), min_size=2, max_size=60)


def compiled() -> RuleSet:
    """Compile the journeys, one for every way in which a row can set a timer, to the columns they need."""
    found = definitions()
    files = [
        (f"{name}.yaml", f"journey: {name}\ntransactional: false\n{text}\n".encode())
        for name, text in JOURNEYS.items()
    ]
    loaded = compile_sources(files, vocabulary(found))
    return RuleSet(loaded.journeys, vocabulary(found, loaded))


@dataclass(slots=True)
class World:
    """The pipeline on the replay clock, with what it told of each customer."""

    pipeline: Pipeline
    states: dict[str, CustomerState] = field(default_factory=lambda: {n: CustomerState(n) for n in CUSTOMERS})
    rates: dict[int, GlobalRate] = field(default_factory=lambda: {0: GlobalRate()})
    told: dict[str, list[object]] = field(default_factory=lambda: {name: [] for name in CUSTOMERS})
    learned: list[tuple[int, int, bool, bytes]] = field(default_factory=list)
    timers: int = 0

    def step(self, rows: list[EventRow], until_ms: int, timers: dict[str, int]) -> None:
        """Work on some rows and timers."""
        outcome: Outcome = self.pipeline.process(
            Work(rows, timers, self.states, {0: until_ms}, self.rates, replay=True)
        )
        self.timers += outcome.timers_fired
        for kind in (outcome.actions, outcome.segment_changes):
            for each in kind:
                self.told[each.customer_id].append(each)
        for decision in outcome.decisions:
            self.told[decision.customer_id].append(decision)
        for block in outcome.training.get(0, ()):
            rows_of = zip(block.customers, block.time_s, block.is_purchase, block.features, strict=True)
            self.learned += [(int(a), int(b), bool(c), np.asarray(d).tobytes()) for a, b, c, d in rows_of]

    def due(self, until_ms: int) -> dict[str, int]:
        """Return who has a timer due."""
        return {name: 0 for name, each in self.states.items() if 0 < each.due_ms <= until_ms}

    def one_by_one(self, rows: list[EventRow], until_ms: int) -> None:
        """Work on the rows, each timer and each event as a step of its own."""
        for row in [*rows, None]:
            last_ms = until_ms if row is None else row.now_ms
            while names := self.due(last_ms):
                name = min(names, key=lambda each: (self.states[each].due_ms, each))
                self.step([], self.states[name].due_ms, {name: 0})
            if row is not None:
                self.step([row], row.now_ms, {})

    def in_pieces(self, rows: list[EventRow], until_ms: int, sizes: list[int]) -> None:
        """Work on the rows in steps of these sizes, over and over, none longer than a step may be."""
        clock_ms, turn = rows[0].now_ms, 0
        while clock_ms < until_ms:
            latest_ms = min(clock_ms + MAX_STEP_SPAN_MS, until_ms)
            taken = [row for row in rows[: sizes[turn % len(sizes)]] if row.now_ms <= latest_ms]
            clock_ms = taken[-1].now_ms if taken else latest_ms
            self.step(taken, clock_ms, self.due(clock_ms))
            rows, turn = rows[len(taken) :], turn + 1

    def result(self) -> tuple[object, ...]:
        """Return all there is to compare."""
        told = {name: sorted(map(repr, each)) for name, each in self.told.items()}
        stored = {name: state.pack() for name, state in self.states.items()}
        return told, stored, sorted(self.learned), self.timers


def rows_of(history: History) -> list[EventRow]:
    """Return a history as rows; the late ones carry an earlier time."""
    now_ms, rows = START_MS, []
    for number, (gap_ms, name, (kind, fields), late_ms) in enumerate(history):
        now_ms += gap_ms
        made = event(kind, now_ms - late_ms, name, id=f"e{number}", **fields)
        rows.append(EventRow(0, made, EVENT_TYPES[kind].code, now_ms, event_key(made)))
    return rows


def world(rules: RuleSet) -> World:
    """Return a world of unknown customers."""
    quiet = Settings(clock="replay", decisions=DecisionSettings(not_matched_sample=0.0))
    return World(pipeline_of(quiet, definitions(), rules))


RULES = compiled()
NOTHING: dict[str, object] = {}
BUSY = [(20 * MINUTE_MS, "a", (kind, NOTHING), 0) for kind in ("cart.added", *["page.viewed"] * 2)] * 12


@settings(max_examples=60, deadline=None)
@given(HISTORIES, st.lists(st.integers(1, 60), min_size=1, max_size=4))
@example(BUSY, [36])
def test_all_at_once_is_one_row_at_a_time(history: History, sizes: list[int]) -> None:
    """Short waits, deadlines, deferrals, thresholds, late events: the same is told, stored and learned."""
    rows = rows_of(history)
    end_ms = rows[-1].now_ms + 40 * DAY_MS
    slow, quick = world(RULES), world(RULES)
    slow.one_by_one(rows, end_ms)
    quick.in_pieces(rows, end_ms, sizes)
    assert quick.result() == slow.result()


def test_rows_are_put_back_where_a_timer_comes_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way back is gone in the example above, and far fewer waves are needed than there are rows."""
    put_back = Waves.put_back
    back: list[int] = []

    def counting(self: Waves, wave: Wave, first: int, end: int) -> None:
        back.append(end - first)
        put_back(self, wave, first, end)

    monkeypatch.setattr(Waves, "put_back", counting)
    rows = rows_of(BUSY)
    quick = world(RULES)
    quick.step(rows, rows[-1].now_ms, {})
    assert sum(back) > 5


def test_rows_without_timers_between_them_share_a_wave() -> None:
    """A customer who just looks around for a day is worked off in a few waves, however the day is cut."""
    looks = [(10 * MINUTE_MS, "a", ("search.performed", NOTHING), 0)] * 144
    rows = rows_of(looks)
    quick = world(RULES)
    outcome = quick.pipeline.process(
        Work(rows, {}, quick.states, {0: rows[-1].now_ms}, quick.rates, replay=True)
    )
    assert outcome.waves < 8
