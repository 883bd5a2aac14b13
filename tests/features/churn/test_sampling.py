"""Which rows are learned."""

from __future__ import annotations

import numpy as np

from engine.features.churn.sampling import sample_day
from tests.features.churn.samples import block_of


def test_small_days_are_learned_whole() -> None:
    """Below the bound nothing is left out and all weigh one."""
    rows = block_of([(c, 0, c % 3 == 0) for c in range(30)])
    kept, weights = sample_day(rows, 10, 100)
    assert kept.customers.tolist() == list(range(30))
    assert set(weights) == {1.0}


def test_sample_keeps_the_mix_and_the_order() -> None:
    """Purchase rows are all kept and weigh the share of timer rows that was taken."""
    rows = block_of([(c, 0, c % 10 == 0) for c in range(1_000)])
    kept, weights = sample_day(rows, 10, 90)
    assert kept.is_purchase.sum() == 90
    assert (~kept.is_purchase).sum() == 90
    assert (np.diff(kept.customers.astype(int)) > 0).all()
    np.testing.assert_allclose(weights[kept.is_purchase], (90 / 900) / (90 / 100))
    assert set(weights[~kept.is_purchase]) == {1.0}


def test_sample_changes_from_day_to_day_and_with_nothing_else() -> None:
    """Which customers are taken is a function of customer and day."""
    rows = block_of([(c, 0, False) for c in range(200)])
    first, _ = sample_day(rows, 10, 50)
    again, _ = sample_day(rows.take(np.arange(200)[::-1]), 10, 50)
    other, _ = sample_day(rows, 11, 50)
    assert set(first.customers.tolist()) == set(again.customers.tolist())
    assert set(first.customers.tolist()) != set(other.customers.tolist())
