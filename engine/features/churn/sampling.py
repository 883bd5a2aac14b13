"""In which order a day's rows are learned, and which of them when there are too many."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.features.churn.blocks import TrainingBlock

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


def in_order(rows: TrainingBlock) -> TrainingBlock:
    """Sort by time, customer, kind and state of the customer; of repeats keep the one that knows most."""
    keys = (rows.features[:, 3], rows.features[:, 1], rows.is_purchase, rows.customers, rows.time_s)
    rows = rows.take(np.lexsort(keys))
    if len(rows) <= 1:
        return rows
    repeat = (
        (rows.time_s[1:] == rows.time_s[:-1])
        & (rows.customers[1:] == rows.customers[:-1])
        & (rows.is_purchase[1:] == rows.is_purchase[:-1])
    )
    return rows.take(np.concatenate((~repeat, [True])))


def sample_day(
    rows: TrainingBlock, day: int, rows_per_day: int
) -> tuple[TrainingBlock, npt.NDArray[np.float64]]:
    """Take at most `rows_per_day` timer rows and as many purchase rows.

    Which ones is a function of customer and day alone, and changes from day to day. Weights keep the
    mix of the full day: timer rows weigh 1, purchase rows the ratio of the two shares taken (at most 1),
    so a sample changes the pace of learning but not what is learned.

    Args:
        rows: a day's rows in learning order.
        day: days since the epoch.
        rows_per_day: bound on each kind.

    Returns:
        The sampled rows in the same order, and their weights, (rows,) float64.
    """
    timers = np.flatnonzero(~rows.is_purchase)
    bought = np.flatnonzero(rows.is_purchase)
    rank = _mix(rows.customers, day)
    kept_timers = _lowest(timers, rank, rows_per_day)
    kept_bought = _lowest(bought, rank, rows_per_day)
    share_timers = len(kept_timers) / max(len(timers), 1)
    share_bought = len(kept_bought) / max(len(bought), 1)
    weight = min(share_timers / share_bought, 1.0) if len(timers) and len(bought) else 1.0
    kept = np.sort(np.concatenate((kept_timers, kept_bought)))
    return rows.take(kept), np.where(rows.is_purchase[kept], weight, 1.0)


def _lowest(index: npt.NDArray[np.intp], rank: npt.NDArray[np.uint64], bound: int) -> npt.NDArray[np.intp]:
    if len(index) <= bound:
        return index
    return index[np.argsort(rank[index], kind="stable")[:bound]]


def _mix(customers: npt.NDArray[np.uint64], day: int) -> npt.NDArray[np.uint64]:
    """Spread customer keys anew each day (the finaliser of SplitMix64), (rows,) uint64."""
    mixed = customers + np.uint64((day * _GOLDEN) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), np.uint64)
