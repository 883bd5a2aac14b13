"""The feature rows of the hazard model."""

from __future__ import annotations

import math

import numpy as np

from engine.features.churn.hazard import (
    FEATURE_COUNT,
    HAZARD_FEATURES,
    PURCHASE_COUNT,
    PURCHASE_FEATURES,
    basis_of_features,
    basis_of_stats,
)
from engine.features.churn.mbg import MbgParameters
from engine.features.churn.purchases import DAY_S, unpack_many
from engine.features.churn.sheet import Layout, hazard_matrix
from tests.features.churn.samples import START_S, random_activity, random_stats, stats_of

LAYOUT = Layout(3, 30.0, MbgParameters(r=0.8, alpha=40.0, a=0.9, b=2.5), 90.0)


def test_features_equal_their_definition() -> None:
    """A worked example: three purchases 10 and 30 days apart, seen 20 days later."""
    days, amounts = (0, 10, 40), (10.0, 20.0, 60.0)
    stats = stats_of([[(START_S + d * DAY_S, a) for d, a in zip(days, amounts, strict=True)]])
    row = hazard_matrix(stats, float(START_S + 60 * DAY_S), 0.02)[0]
    mean_gap, gap_sd = (40 + 90) / 3, math.sqrt((2 * 10.0**2 + 90.0**2) / 3)
    expected = {
        "log_recency": math.log1p(20),
        "log_repeats": math.log1p(2),
        "log_tenure": math.log1p(60),
        "log_mean_amount": math.log1p(30),
        "log_last_amount": math.log1p(60),
        "log_mean_gap": math.log1p(mean_gap),
        "log_gap_deviation": math.log1p(gap_sd),
        "gap_ratio": 20 / mean_gap,
        "gap_z": (20 - mean_gap) / gap_sd,
        "decayed_count_7": sum(math.exp(-(60 - d) / 7) for d in days),
        "decayed_count_30": sum(math.exp(-(60 - d) / 30) for d in days),
        "decayed_count_90": sum(math.exp(-(60 - d) / 90) for d in days),
        "log_decayed_spend_90": math.log1p(
            sum(a * math.exp(-(60 - d) / 90) for d, a in zip(days, amounts, strict=True))
        ),
        "one_time_buyer": 0.0,
        "global_rate": 0.02,
        "log_rate": math.log(3 / 150),
        "just_purchased": 0.0,
        "recency_by_repeats": math.log1p(20) * math.log(3),
    }
    assert tuple(expected) == PURCHASE_FEATURES
    np.testing.assert_allclose(row[:PURCHASE_COUNT], list(expected.values()), rtol=1e-6)
    assert not row[PURCHASE_COUNT:].any()


def test_rolling_forward_equals_waiting() -> None:
    """The columns two steps ahead are those 60 days later without a purchase, with habits as they were."""
    stats, now_s = random_stats(50)
    activity = random_activity(50)
    sheet = LAYOUT.fill(basis_of_stats(stats, now_s, 0.01, activity))
    later = hazard_matrix(stats, now_s + 60 * DAY_S, 0.01, activity)
    np.testing.assert_allclose(sheet.features(step=2), later, rtol=1e-9, atol=1e-12)


def test_frozen_rows_roll_forward_like_live_ones() -> None:
    """A float32 row holds all that is needed to evaluate it 30 days on."""
    stats, now_s = random_stats(50)
    activity = random_activity(50)
    live = LAYOUT.fill(basis_of_stats(stats, now_s, 0.01, activity))
    frozen = hazard_matrix(stats, now_s, 0.01, activity).astype(np.float32)
    again = LAYOUT.fill(basis_of_features(frozen))
    for step in range(3):
        np.testing.assert_allclose(again.features(step=step), live.features(step=step), rtol=1e-4, atol=1e-4)


def test_clock_that_jumps_back_reads_as_the_purchase_itself() -> None:
    """An instant before the last purchase gives the row of that purchase."""
    stats, _ = random_stats(5)
    before = hazard_matrix(stats, stats.last_s - 5 * DAY_S, 0.01)
    np.testing.assert_array_equal(before, hazard_matrix(stats, stats.last_s, 0.01))


def test_purchase_rows_are_flagged_for_an_hour() -> None:
    """The flag is set at the purchase and gone an hour later."""
    stats = stats_of([[(START_S, 1.0)]] * 3)
    rows = hazard_matrix(stats, START_S + np.array([0.0, 3599.0, 3600.0]), 0.01)
    assert rows[:, HAZARD_FEATURES.index("just_purchased")].tolist() == [1.0, 1.0, 0.0]


def test_rows_without_purchases_are_finite() -> None:
    """A customer who never bought breaks no batch."""
    stats = unpack_many(b"", np.zeros(4, np.bool_))
    rows = hazard_matrix(stats, float(START_S), 0.0)
    assert rows.shape == (4, FEATURE_COUNT)
    assert np.isfinite(rows).all()
