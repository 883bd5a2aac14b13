"""Intervals: equal to what statisticians publish, and right as often as they say."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from engine.authoring.intervals import Sample, mean_difference, share_difference, share_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 30), (7, 30), (30, 30), (812, 10_000)])
def test_shares_are_wilsons(successes: int, trials: int) -> None:
    """The interval of a share is scipy's, also at nothing and at everything."""
    wanted = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    found = share_interval(successes / trials, trials)
    assert found == pytest.approx((wanted.low, wanted.high), abs=1e-6)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0),
        ((0, 10), (0, 10), -0.2775, 0.2775),
    ],
)
def test_differences_are_newcombes(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    """The examples of table II of Newcombe (1998), method 10."""
    found = share_difference(first, second)
    assert found.value == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize("level", [0.95, 0.995])
def test_means_are_welchs(level: float) -> None:
    """The interval of a difference of means is scipy's; a single value has none, equal ones no width."""
    random = np.random.default_rng(7)
    one, other = random.exponential(20, 50), random.exponential(15, 9)
    wanted = stats.ttest_ind(one, other, equal_var=False).confidence_interval(level)
    found = mean_difference(sample(one), sample(other), NormalDist().inv_cdf(0.5 + level / 2))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert mean_difference(sample(one), sample(other[:1])) is None
    assert mean_difference(sample(np.ones(3)), sample(np.zeros(4))) == (1.0, 1.0, 1.0)


def sample(values: np.ndarray) -> Sample:
    """Sum values up."""
    return Sample(len(values), float(values.sum()), float((values**2).sum()))


def test_they_hold_as_often_as_they_say() -> None:
    """Of intervals of shares as rare and of holdouts as small as ours, some 95 % hold the true difference."""
    random = np.random.default_rng(11)
    treated, held_out = random.binomial(900, 0.12, 4_000), random.binomial(100, 0.08, 4_000)
    held = 0
    for one, other in zip(treated.tolist(), held_out.tolist(), strict=True):
        found = share_difference((one, 900), (other, 100))
        held += found.low <= 0.04 <= found.high
    assert 0.94 <= held / 4_000 <= 0.98
