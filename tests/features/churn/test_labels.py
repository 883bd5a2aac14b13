"""Labels at maturity."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.features.churn.labels import came_back

EVENTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 200)), max_size=40)


@given(rows=EVENTS, purchases=EVENTS, horizon=st.integers(1, 60))
def test_labels_equal_brute_force(
    rows: list[tuple[int, int]], purchases: list[tuple[int, int]], horizon: int
) -> None:
    """A row came back exactly when its customer has a purchase after it and within the horizon."""
    expected = [any(c == b and t < s <= t + horizon for b, s in purchases) for c, t in rows]
    labels = came_back(*_columns(rows), *_columns(purchases), horizon)
    assert labels.tolist() == expected


def test_horizon_past_the_last_second_of_the_epoch_does_not_wrap() -> None:
    """Times near the end of uint32 are compared without overflow."""
    row = (np.array([1], np.uint64), np.array([2**32 - 10], np.uint32))
    assert not came_back(*row, np.array([1], np.uint64), np.array([5], np.uint32), 2_592_000)[0]


def _columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([c for c, _ in rows], np.uint64), np.array([t for _, t in rows], np.uint32)
