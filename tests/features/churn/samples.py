"""Made-up purchase histories for the churn tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.features.catalog import NO_SCORE
from engine.features.churn.activity import activity_features
from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.purchases import DAY_S, PurchaseStats, unpack_many, update_purchase
from engine.features.churn.replay import Purchases
from engine.features.churn.sheet import hazard_matrix

START_S = 10_000 * DAY_S


def record_of(history: list[tuple[int, float]]) -> bytes:
    """Fold a customer's (time, amount) list into a record, in the order given."""
    record: bytes | None = None
    for time_s, amount in history:
        record = update_purchase(record, time_s, amount)
    assert record is not None
    return record


def stats_of(histories: list[list[tuple[int, float]]]) -> PurchaseStats:
    """Statistics of several customers, one row each."""
    return unpack_many(b"".join(map(record_of, histories)), np.ones(len(histories), np.bool_))


def random_stats(rows: int, seed: int = 1) -> tuple[PurchaseStats, npt.NDArray[np.float64]]:
    """Random customers and an instant after each one's last purchase."""
    rng = np.random.default_rng(seed)
    histories = []
    for _ in range(rows):
        times = START_S + np.cumsum(rng.integers(DAY_S, 60 * DAY_S, rng.integers(1, 9)))
        histories.append([(int(time_s), float(rng.gamma(2.0, 20.0))) for time_s in times])
    stats = stats_of(histories)
    return stats, stats.last_s + np.floor(rng.exponential(50.0, rows) * DAY_S)


def random_activity(rows: int, seed: int = 1) -> npt.NDArray[np.float64]:
    """What random customers did besides buying, (8, rows); every third did nothing."""
    rng = np.random.default_rng(seed)
    lately, before = rng.poisson(3.0, (3, rows)), rng.poisson(20.0, (3, rows)) + 3
    answers = rng.integers(1, 6, (2, rows))
    columns = np.vstack((before, lately, answers, rng.uniform(0.0, 200.0, rows))).astype(np.float64)
    columns[:6, ::3] = 0.0
    columns[6:8, ::3] = NO_SCORE
    activity = activity_features(columns)
    assert activity is not None
    return activity


def random_log(customers: int, days: int, seed: int = 1) -> Purchases:
    """A shop whose customers buy at rates of their own and leave at some point."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[int, int, float]] = []
    for customer in range(customers):
        gap_d = rng.gamma(2.0, 20.0)
        day = rng.uniform(0.0, days / 2)
        while day < days:
            rows.append((int(START_S + day * DAY_S), customer, float(rng.gamma(2.0, 20.0))))
            if rng.random() < 0.15:
                break
            day += 1.0 + rng.exponential(gap_d)
    rows.sort()
    return Purchases(
        np.array([row[1] for row in rows]),
        np.array([row[0] for row in rows]),
        np.array([row[2] for row in rows]),
    )


def block_of(rows: list[tuple[int, int, bool]]) -> TrainingBlock:
    """A block of (customer, day, is purchase) rows: purchases are first purchases, timers a week old."""
    time_s = np.array([START_S + day * DAY_S for _, day, _ in rows], np.uint32)
    is_purchase = np.array([bought for _, _, bought in rows], np.bool_)
    first_s = time_s - np.where(is_purchase, 0, 7 * DAY_S)
    stats = stats_of([[(int(first), 10.0)] for first in first_s])
    features = hazard_matrix(stats, time_s.astype(np.float64), 0.01).astype(np.float32)
    customers = np.array([c for c, _, _ in rows], np.uint64)
    return TrainingBlock(customers, time_s, features, is_purchase, (customers % 3).astype(np.uint8))
