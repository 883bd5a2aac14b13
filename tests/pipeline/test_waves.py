"""Waves: customers in order, as many rows at once as may be."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from engine.events import EVENT_TYPES, TIMER_CODE, ClickEvent, Event, ProfileEvent
from engine.features.state import CustomerState
from engine.pipeline.ordered import Ahead, OrderedWaves
from engine.pipeline.waves import EventRow, Waves

DAY_MS = 86_400_000


def click(customer_id: str, now_ms: int, name: str = "e") -> EventRow:
    """Return a row that changes no profile."""
    event: Event = ClickEvent(id=name, type="page.viewed", customer_id=customer_id, time=now_ms)
    return EventRow(0, event, EVENT_TYPES["page.viewed"].code, now_ms, 0)


def consent(customer_id: str, now_ms: int, name: str = "m") -> EventRow:
    """Return a row that changes the profile."""
    event: Event = ProfileEvent(
        id=name, type="consent.granted", customer_id=customer_id, time=now_ms, purpose="marketing"
    )
    return EventRow(0, event, EVENT_TYPES["consent.granted"].code, now_ms, 0)


def run(
    events: list[EventRow],
    due: dict[str, int],
    until_ms: int,
    *,
    replay: bool = True,
    every_ms: int = 0,
) -> list[list[tuple[str, int, int]]]:
    """Run waves; a timer row sets the next timer `every_ms` later, or none; what came too early goes back."""
    states = {name: CustomerState(name) for name in {row.event.customer_id for row in events} | set(due)}
    for name, due_ms in due.items():
        states[name].due_ms = due_ms
    waves = Waves(events, dict.fromkeys(due, 0), states, {0: until_ms}, replay=replay)
    seen = []
    for wave in waves:
        rows, go_on = list(zip(wave.states, wave.events, wave.codes, wave.now_ms, strict=True)), 0
        done: list[tuple[str, int, int]] = []
        for number, (state, event, code, now_ms) in enumerate(rows):
            if number < go_on:
                continue
            done.append((state.customer_id, code, now_ms))
            if event is None:
                state.due_ms = now_ms + every_ms if every_ms else 0
            go_on = end = number + 1
            while end < len(rows) and rows[end][0] is state:
                end += 1
            if go_on < end and 0 < state.due_ms <= rows[go_on][3]:
                waves.put_back(wave, go_on, end)
                go_on = end
        seen.append(done)
    return seen


def test_rows_of_one_instant_share_a_wave() -> None:
    """On the live clock a customer's clicks of one batch are one wave."""
    assert len(run([click("a", 5), click("a", 5), click("b", 5), click("a", 5)], {}, 5, replay=False)) == 1


def test_erasure_begins_a_wave() -> None:
    """Nothing of a customer comes before an erasure in the same wave."""
    event: Event = ProfileEvent(id="x", type="erasure.requested", customer_id="a", time=5)
    erasure = EventRow(0, event, EVENT_TYPES["erasure.requested"].code, 5, 0)
    waves = run([click("a", 5), erasure, consent("a", 5), click("b", 5)], {}, 5, replay=False)
    assert [[name for name, _, _ in wave] for wave in waves] == [["a", "b"], ["a", "a"]]


def test_timers_come_between_events_on_the_replay_clock() -> None:
    """A weekly timer fires at its own instants between two events of its customer."""
    waves = run(
        [click("a", 10 * DAY_MS), click("a", 30 * DAY_MS)],
        {"a": 7 * DAY_MS},
        30 * DAY_MS,
        every_ms=7 * DAY_MS,
    )
    days = [(code == TIMER_CODE, now_ms // DAY_MS) for wave in waves for _, code, now_ms in wave]
    assert days == [(True, 7), (False, 10), (True, 14), (True, 21), (True, 28), (False, 30)]


def test_late_timer_fires_once_at_the_wall_clock() -> None:
    """On the live clock a timer that is due fires now, before the customer's events."""
    waves = run([click("a", 100)], {"a": 40}, 100, replay=False)
    assert waves == [[("a", TIMER_CODE, 100)], [("a", 0, 100)]]


def test_a_timer_at_any_minute_parts_the_rows_of_different_minutes() -> None:
    """Where a row can create a timer at a whole minute, none may lie between the rows of a wave."""
    minute_ms = 60_000
    for apart, expected in ((False, [4]), (True, [2, 1, 1])):
        state = CustomerState("a")
        rows = [
            click("a", at_ms) for at_ms in (minute_ms + 1, 2 * minute_ms - 1, 2 * minute_ms, 3 * minute_ms)
        ]
        waves = OrderedWaves(rows, {}, {"a": state}, {0: DAY_MS}, ahead=Ahead(DAY_MS, by_minutes=apart))
        assert [len(wave) for wave in waves] == expected


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=60),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_each_customer_keeps_its_order(
    moves: list[tuple[str, int, bool]], replay: bool, chance: random.Random
) -> None:
    """Whatever is cut into waves and whatever goes back, each row comes once, a customer's rows in order."""
    now_ms, events = 10, []
    for number, (name, step_ms, mutates) in enumerate(moves):
        now_ms += step_ms if replay else 0
        events.append((consent if mutates else click)(name, now_ms, str(number)))
    states = {name: CustomerState(name) for name in "abc"}
    waves = Waves(events, {}, states, {0: now_ms}, replay=replay)
    seen = []
    for wave in waves:
        begun, gone = set(), set()
        for number, state in enumerate(wave.states):
            name, event = state.customer_id, wave.events[number]
            later = number and wave.now_ms[number - 1] < wave.now_ms[number]
            if name in begun and name not in gone and later and chance.random() < 0.3:
                gone.add(name)
                end = number + sum(each is state for each in wave.states[number:])
                waves.put_back(wave, number, end)
            begun.add(name)
            if name not in gone and event is not None:
                seen.append(event.id)
    assert sorted(seen, key=int) == [row.event.id for row in events]
    for name in "abc":
        mine = [row.event.id for row in events if row.event.customer_id == name]
        assert [one for one in seen if one in set(mine)] == mine
