"""The 44-byte purchase record."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import StateError
from engine.features.churn.purchases import (
    DAY_S,
    MAX_AMOUNT,
    RECORD_BYTES,
    unpack_many,
    update_purchase,
)
from tests.features.churn.samples import START_S, record_of, stats_of

GAPS_S = st.lists(st.integers(DAY_S, 200 * DAY_S), max_size=20)
AMOUNTS = st.floats(0.0, 1e6)


@given(gaps_s=GAPS_S, data=st.data())
def test_record_equals_brute_force_over_the_list(gaps_s: list[int], data: st.DataObject) -> None:
    """Every statistic equals what the whole list of purchases gives."""
    times = [START_S, *(START_S + sum(gaps_s[: i + 1]) for i in range(len(gaps_s)))]
    amounts = [data.draw(AMOUNTS) for _ in times]
    stats = stats_of([list(zip(times, amounts, strict=True))])
    weights = {days: [math.exp(-(times[-1] - t) / DAY_S / days) for t in times] for days in (7.0, 30.0, 90.0)}
    assert (stats.first_s[0], stats.last_s[0], stats.count[0]) == (times[0], times[-1], len(times))
    assert stats.sum_gap_sq[0] == pytest.approx(sum((gap / DAY_S) ** 2 for gap in gaps_s), rel=1e-9)
    assert stats.sum_amount[0] == pytest.approx(sum(amounts), rel=1e-5)
    assert stats.last_amount[0] == pytest.approx(amounts[-1], rel=1e-6)
    for row, days in enumerate((7.0, 30.0, 90.0)):
        assert stats.decayed[row, 0] == pytest.approx(sum(weights[days]), rel=1e-5)
    spend = sum(w * a for w, a in zip(weights[90.0], amounts, strict=True))
    assert stats.decayed[3, 0] == pytest.approx(spend, rel=1e-5, abs=1e-30)


@given(gaps_s=GAPS_S, late=st.integers(-300, 300))
def test_late_purchase_keeps_all_but_the_gaps_exact(gaps_s: list[int], late: int) -> None:
    """A purchase that arrives late counts at its own time, and no gap statistic turns negative."""
    times = [START_S, *(START_S + sum(gaps_s[: i + 1]) for i in range(len(gaps_s)))]
    late_s = START_S + late * 3 * DAY_S + 11
    if any(abs(late_s - time_s) < DAY_S for time_s in times):
        return
    arrived = stats_of([[(t, 1.0) for t in (*times, late_s)]])
    sorted_ = stats_of([[(t, 1.0) for t in sorted((*times, late_s))]])
    for name in ("first_s", "last_s", "count", "sum_amount"):
        assert getattr(arrived, name)[0] == getattr(sorted_, name)[0]
    np.testing.assert_allclose(arrived.decayed, sorted_.decayed, rtol=1e-5)
    assert arrived.sum_gap_sq[0] >= 0.0
    if len(times) <= 2 or late_s < times[0] or late_s > times[-1]:
        assert arrived.sum_gap_sq[0] == pytest.approx(sorted_.sum_gap_sq[0], rel=1e-9)


def test_purchases_within_a_day_are_one_occasion() -> None:
    """A split order adds its amount but is no returning customer."""
    once = stats_of([[(START_S, 30.0)]])
    split = stats_of([[(START_S, 10.0), (START_S + DAY_S - 1, 15.0), (START_S, 5.0)]])
    for name in ("first_s", "last_s", "count", "sum_gap_sq", "sum_amount", "last_amount"):
        assert getattr(once, name)[0] == getattr(split, name)[0]
    np.testing.assert_array_equal(once.decayed, split.decayed)


@pytest.mark.parametrize("amount", [-5.0, 0.0, 1e12, 1e300])
def test_any_amount_leaves_a_finite_record(amount: float) -> None:
    """Refunds and absurd amounts are clipped, never stored as infinity or less than nothing."""
    record = record_of([(START_S + i * 2 * DAY_S, amount) for i in range(50)])
    stats = unpack_many(record, np.ones(1, np.bool_))
    assert 0.0 <= stats.sum_amount[0] <= 50.01 * MAX_AMOUNT
    assert np.isfinite(stats.decayed).all()


def test_rows_without_a_record_read_as_zeros() -> None:
    """The mask places records in their rows and leaves the others empty."""
    records = [update_purchase(None, START_S + i, 2.0) for i in range(2)]
    stats = unpack_many(b"".join(records), np.array([False, True, False, True]))
    assert stats.count.tolist() == [0.0, 1.0, 0.0, 1.0]
    assert stats.first_s.tolist() == [0.0, START_S, 0.0, START_S + 1]
    assert len(stats) == 4


def test_blob_of_a_wrong_length_is_refused() -> None:
    """A mask and a blob that do not belong together raise instead of shifting rows."""
    with pytest.raises(StateError, match=f"{RECORD_BYTES} bytes for 2 rows"):
        unpack_many(update_purchase(None, START_S, 1.0), np.ones(2, np.bool_))
