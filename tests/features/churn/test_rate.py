"""The global purchase rate of a partition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StateError
from engine.features.churn.purchases import DAY_S
from engine.features.churn.rate import GlobalRate

FIRST_DAY = 9_000
EVENTS = st.lists(st.tuples(st.integers(0, 25), st.booleans()), min_size=1, max_size=60)


def brute_force(events: list[tuple[int, bool]], day: int) -> float:
    """Purchases of the 30 whole days before, per customer known by then and day."""
    known = sum(new for at, new in events if at < day)
    bought = sum(1 for at, _ in events if day - 30 <= at < day)
    span = min(30, day - events[0][0])
    return bought / (known * span) if known and span > 0 else 0.0


@given(steps=EVENTS)
def test_rate_equals_brute_force(steps: list[tuple[int, bool]]) -> None:
    """The ring of days gives what the whole log gives, at the end of the log and during its last days."""
    events: list[tuple[int, bool]] = []
    rate, day = GlobalRate(), FIRST_DAY
    for step, new in steps:
        day += step
        events.append((day, new))
        rate.add(day * DAY_S + 5, 1, int(new))
    for seen in range(day - 5, day + 3):
        if seen > events[0][0]:
            assert rate.at([seen * DAY_S + 99])[0] == pytest.approx(brute_force(events, seen), rel=1e-12)


def test_rate_does_not_depend_on_how_the_log_is_cut() -> None:
    """What has been added for today changes nothing that today's rows see."""
    rate = GlobalRate()
    rate.add(FIRST_DAY * DAY_S, 5, 5)
    before = rate.at([(FIRST_DAY + 1) * DAY_S])
    rate.add((FIRST_DAY + 1) * DAY_S + 10, 7, 3)
    assert rate.at([(FIRST_DAY + 1) * DAY_S]) == before == 1.0


def test_silence_of_a_year_reads_as_zero() -> None:
    """Old days leave the window when time moves on, however far."""
    rate = GlobalRate()
    rate.add(FIRST_DAY * DAY_S, 5, 5)
    assert rate.at([(FIRST_DAY + 400) * DAY_S])[0] == 0.0
    rate.add((FIRST_DAY + 400) * DAY_S, 1, 0)
    assert rate.at([(FIRST_DAY + 401) * DAY_S])[0] == pytest.approx(1 / (5 * 30))


def test_late_purchase_is_seen_by_the_days_after_it() -> None:
    """What arrives late for an earlier day counts from then on, also when the rate was asked before."""
    rate = GlobalRate()
    rate.add(FIRST_DAY * DAY_S, 2, 2)
    rate.add((FIRST_DAY + 2) * DAY_S, 1, 0)
    assert rate.at([(FIRST_DAY + 2) * DAY_S])[0] == 2 / (2 * 2)
    rate.add((FIRST_DAY + 1) * DAY_S, 4, 0)
    assert rate.at([(FIRST_DAY + 2) * DAY_S])[0] == 6 / (2 * 2)


@given(steps=EVENTS, known=st.lists(st.integers(0, 30), min_size=2, max_size=4))
def test_the_parts_of_a_rate_see_about_the_same(steps: list[tuple[int, bool]], known: list[int]) -> None:
    """Divided by customers, the parts' counts add up to the whole but for what rounding takes."""
    rate, day = GlobalRate(), FIRST_DAY
    for days, new in steps:
        day += days
        rate.add(day * DAY_S, 1, int(new))
    parts = rate.split(known)
    assert abs(sum(part._known for part in parts) - rate._known) <= len(parts)
    bought = sum(count for part in parts for count, _ in part._days.values())
    assert abs(bought - sum(count for count, _ in rate._days.values())) <= len(parts)
    for part, share in zip(parts, known, strict=True):
        assert GlobalRate.from_bytes(part.to_bytes()).to_bytes() == part.to_bytes()
        assert share or not sum(known) or not part._known


def test_half_the_customers_see_the_same_rate() -> None:
    """Forty customers who buy every day: each half of them sees what all saw."""
    rate = GlobalRate()
    for day in range(60):
        rate.add((FIRST_DAY + day) * DAY_S, 40, 40 if day == 0 else 0)
    for part in rate.split([20, 20]):
        assert part.on(FIRST_DAY + 60) == rate.on(FIRST_DAY + 60) == 1.0


def test_bytes_round_trip() -> None:
    """A restored rate answers and goes on like the original; other bytes are refused."""
    rate = GlobalRate()
    for day in range(70):
        rate.add((FIRST_DAY + day) * DAY_S, day % 5, day % 2)
    again = GlobalRate.from_bytes(stored := rate.to_bytes())
    instants = np.arange(FIRST_DAY + 35, FIRST_DAY + 72) * DAY_S
    np.testing.assert_array_equal(again.at(instants), rate.at(instants))
    assert again.to_bytes() == rate.to_bytes()
    again.add((FIRST_DAY + 70) * DAY_S, 3, 1)
    rate.add((FIRST_DAY + 70) * DAY_S, 3, 1)
    assert again.to_bytes() == rate.to_bytes() != stored
    with pytest.raises(StateError, match="3 bytes"):
        GlobalRate.from_bytes(b"abc")
