"""Timers in memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.streams.steps.timers import TimerQueue

NAMES = st.sampled_from(["a", "b", "c", "李", "e"])
CHANGES = st.lists(st.tuples(NAMES, st.none() | st.integers(1, 50)), max_size=60)


@given(CHANGES, st.integers(0, 60), st.integers(1, 60))
def test_due_is_what_a_dictionary_would_say(
    changes: list[tuple[str, int | None]], until_ms: int, horizon_ms: int
) -> None:
    """Whatever was set, moved and removed, due timers come earliest first, once for each customer."""
    timers, model = TimerQueue(), dict[str, int]()
    timers.extend([], horizon_ms)
    for name, due_ms in changes:
        timers.move(name, due_ms or 0)
        if due_ms is None:
            model.pop(name, None)
        else:
            model[name] = due_ms
    until_ms = min(until_ms, horizon_ms)
    expected = sorted((due, name) for name, due in model.items() if due <= until_ms)
    for _ in range(2):  # asking does not take out
        assert timers.due(until_ms, 100) == [(name, due) for due, name in expected]
    within = [due for due in model.values() if due <= horizon_ms]
    assert timers.next_due_ms() == min(within, default=None)


def test_limit_takes_the_earliest() -> None:
    """With more due than the limit, the earliest go first and the rest stays due."""
    timers = TimerQueue()
    timers.extend([("a", 3), ("b", 1), ("c", 2)], 10)
    assert timers.due(10, 2) == [("b", 1), ("c", 2)]
    timers.move("b", 0)
    timers.move("c", 0)
    assert timers.due(10, 2) == [("a", 3)]


def test_timer_beyond_the_horizon_is_left_to_the_store() -> None:
    """Memory holds no timer past the horizon; loading brings it back."""
    timers = TimerQueue()
    timers.extend([], 100)
    timers.move("a", 500)
    assert timers.next_due_ms() is None
    assert timers.needs_load(101)
    timers.extend([("a", 500)], 600)
    assert timers.due(600, 10) == [("a", 500)]
