"""A rate counts as sustained only when lag does not grow; the search ends at the highest such rate."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.generator import Sent
from loadtest.search import LagSample, Trial, best, judge, search


def _samples(rate: float, done_rate: float, seconds: int = 30, start_lag: int = 0) -> list[LagSample]:
    return [
        LagSample(float(second), int(rate * second), int(done_rate * second) - start_lag)
        for second in range(1, seconds + 1)
    ]


def test_steady_lag_is_sustained_and_growing_lag_is_not() -> None:
    """What counts is growth, not size: a constant backlog is fine, a slowly growing one is not."""
    assert judge(_samples(1000, 1000, start_lag=500), 1000, 30, "").sustained
    trial = judge(_samples(1000, 950), 1000, 30, "")
    assert not trial.sustained
    assert trial.growth == pytest.approx(0.05, abs=0.002)
    assert "lag grew by 5.0%" in trial.why


def test_lag_of_the_first_third_does_not_count() -> None:
    """A slow start that is made good is forgiven."""
    samples = [
        LagSample(float(second), 1000 * second, 1000 * second - (4000 if second < 8 else 100))
        for second in range(1, 31)
    ]
    assert judge(samples, 1000, 30, "").sustained


def test_a_late_or_failing_generator_voids_the_run() -> None:
    """A run whose generator fell behind by more than one percent, or lost records, is not reported."""
    assert Sent(100, 3, 0, 5.0, 0.5).fault(60) == ""
    assert "fell 0.70 s behind" in Sent(100, 3, 0, 5.0, 0.7).fault(60)
    assert "did not acknowledge 2" in Sent(100, 3, 2, 5.0, 0.0).fault(60)
    assert not judge(_samples(1000, 1000), 1000, 30, "the generator fell behind").sustained


def test_too_few_looks_prove_nothing() -> None:
    """Without enough samples a rate is not called sustained."""
    assert not judge(_samples(1000, 1000, seconds=3), 1000, 3, "").sustained


@given(st.floats(1_000, 190_000))
def test_the_search_finds_the_limit(limit: float) -> None:
    """Whatever the machine can do, the search ends within its resolution of it, from below."""

    def attempt(rate: float) -> Trial:
        return Trial(rate, 60, sustained=rate <= limit, growth=0.0)

    trials = search(attempt, 30_000, 200_000, lambda: True)
    assert 0.9 * limit <= best(trials) <= limit
    assert len(trials) < 20


def test_the_search_stops_when_time_is_up() -> None:
    """The search is bounded in time and then answers with what it has."""
    left = iter([True, True, False])

    def attempt(rate: float) -> Trial:
        return Trial(rate, 60, sustained=True, growth=0.0)

    trials = search(attempt, 10_000, 200_000, lambda: next(left))
    assert best(trials) == 20_000
