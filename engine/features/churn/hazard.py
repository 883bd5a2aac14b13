"""The features of the 30-day purchase hazard, for many customers and several instants at once.

Eighteen are of purchases; those of other activity follow (`activity`).

`Basis` holds the quantities a row's features are made of; they can be read from purchase statistics
(workers) or recovered from a frozen feature row (trainer), and rolled forward in time on the
assumption that nothing is bought. The chained hazard needs each row 0, 30, 60 … days ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.features.churn.activity import ACTIVITY_FEATURES
from engine.features.churn.purchases import DAY_S, DECAY_DAYS, PurchaseStats

Floats = npt.NDArray[np.float64]

PURCHASE_FEATURES: Final = (
    "log_recency",
    "log_repeats",
    "log_tenure",
    "log_mean_amount",
    "log_last_amount",
    "log_mean_gap",
    "log_gap_deviation",
    "gap_ratio",
    "gap_z",
    "decayed_count_7",
    "decayed_count_30",
    "decayed_count_90",
    "log_decayed_spend_90",
    "one_time_buyer",
    "global_rate",
    "log_rate",
    "just_purchased",
    "recency_by_repeats",
)
PURCHASE_COUNT: Final = len(PURCHASE_FEATURES)
HAZARD_FEATURES: Final = (*PURCHASE_FEATURES, *ACTIVITY_FEATURES)
FEATURE_COUNT: Final = len(HAZARD_FEATURES)
(
    _RECENCY,
    _REPEATS,
    _TENURE,
    _MEAN_AMOUNT,
    _LAST_AMOUNT,
    _MEAN_GAP,
    _GAP_SD,
    _RATIO,
    _Z,
    _COUNT_7,
    _COUNT_30,
    _COUNT_90,
    _SPEND_90,
    _ONE_TIME,
    _GLOBAL_RATE,
    _RATE,
    _JUST,
    _RECENCY_BY_REPEATS,
) = range(PURCHASE_COUNT)

GAP_PRIOR_D: Final = 90.0
"""Gaps are shrunk towards this with the weight of one observation; fixed, so features never change with H."""
MAX_GAP_RATIO: Final = 10.0
MAX_GAP_Z: Final = 5.0
JUST_PURCHASED_S: Final = 3_600
"""A row this close to the last purchase counts as a purchase row."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What the features of rows are made of, all (rows,) float64, times in days.

    Args:
        recency_d: days since the last purchase.
        tenure_d: days since the first purchase.
        count: purchases so far, at least 1.
        mean_amount_log: log1p of the mean amount.
        last_amount_log: log1p of the last amount.
        mean_gap_d: mean gap shrunk towards `GAP_PRIOR_D`.
        gap_sd_d: standard deviation of the gaps, shrunk likewise.
        decayed: purchases and amounts as in `PurchaseStats`, decayed to now, (4, rows).
        global_rate: purchases per known customer and day, 30-day average; (rows,) or one for all.
        just_purchased: 1 on a purchase row.
        activity: as from `activity_of`, (8, rows); None = no customer did or said anything.
    """

    recency_d: Floats
    tenure_d: Floats
    count: Floats
    mean_amount_log: Floats
    last_amount_log: Floats
    mean_gap_d: Floats
    gap_sd_d: Floats
    decayed: Floats
    global_rate: Floats | float
    just_purchased: Floats
    activity: Floats | None = None


_FADE_PER_DAY: Final = -1.0 / np.array((*DECAY_DAYS, DECAY_DAYS[-1]))[:, None]


@cache
def _ahead(steps: int, step_d: float) -> tuple[Floats, Floats]:
    """Days ahead (steps, 1), and what is left of decayed sums by then (4, steps, 1)."""
    ahead_d = np.arange(steps, dtype=np.float64)[:, None] * step_d
    return ahead_d, np.exp(ahead_d * _FADE_PER_DAY[:, :, None])


def basis_of_stats(
    stats: PurchaseStats,
    now_s: Floats | float,
    global_rate: Floats | float,
    activity: Floats | None = None,
) -> Basis:
    """Bring purchase statistics forward to `now`.

    Args:
        stats: statistics of (rows,) customers.
        now_s: the instant of each row, (rows,) or one for all, seconds since the epoch; an instant
            before the last purchase (a clock that jumped back) counts as the purchase itself.
        global_rate: purchases per known customer and day, (rows,) or one for all.
        activity: as from `activity_of`, (8, rows) or None.

    Returns:
        The basis; a row without purchases reads as one purchase of nothing at the epoch.
    """
    count = np.maximum(stats.count, 1.0)
    recency_s = np.maximum(now_s - stats.last_s, 0.0)
    recency_d = recency_s / DAY_S
    span_d = (stats.last_s - stats.first_s) / DAY_S
    gaps = count - 1.0
    spread = np.maximum(stats.sum_gap_sq - span_d * span_d / np.maximum(gaps, 1.0), 0.0)
    decayed = np.exp(recency_d * _FADE_PER_DAY)
    decayed *= stats.decayed
    return Basis(
        recency_d=recency_d,
        tenure_d=recency_d + span_d,
        count=count,
        mean_amount_log=np.log1p(stats.sum_amount / count),
        last_amount_log=np.log1p(stats.last_amount),
        mean_gap_d=(span_d + GAP_PRIOR_D) / count,
        gap_sd_d=np.sqrt((spread + GAP_PRIOR_D**2) / count),
        decayed=decayed,
        global_rate=global_rate,
        just_purchased=(recency_s < JUST_PURCHASED_S).astype(np.float64),
        activity=activity,
    )


def basis_of_features(features: npt.NDArray[np.floating]) -> Basis:
    """Recover the basis from frozen feature rows.

    Args:
        features: rows as `hazard_matrix` made them, (rows, 26).

    Returns:
        The basis, exact up to the precision the rows were kept in.
    """
    columns = np.ascontiguousarray(features.T, np.float64)
    activity = columns[PURCHASE_COUNT:]
    return Basis(
        recency_d=np.expm1(columns[_RECENCY]),
        tenure_d=np.expm1(columns[_TENURE]),
        count=np.rint(np.expm1(columns[_REPEATS])) + 1.0,
        mean_amount_log=columns[_MEAN_AMOUNT],
        last_amount_log=columns[_LAST_AMOUNT],
        mean_gap_d=np.expm1(columns[_MEAN_GAP]),
        gap_sd_d=np.expm1(columns[_GAP_SD]),
        decayed=np.concatenate((columns[_COUNT_7:_SPEND_90], np.expm1(columns[_SPEND_90 : _SPEND_90 + 1]))),
        global_rate=columns[_GLOBAL_RATE],
        just_purchased=columns[_JUST],
        activity=activity if activity.any() else None,
    )


def feature_columns(basis: Basis, steps: int = 1, step_d: float = 30.0) -> Floats:
    """Compute the features now and after each further step without a purchase.

    Without activity its columns are left out: they would all be zero.

    Args:
        basis: the rows.
        steps: number of instants: now, one step ahead, …
        step_d: length of a step, days.

    Returns:
        (18, steps, rows) float64, with activity (26, steps, rows).
    """
    rows = len(basis.count)
    ahead_d, fade = _ahead(steps, step_d)
    count = PURCHASE_COUNT if basis.activity is None else FEATURE_COUNT
    out = np.empty((count, steps, rows))
    recency_d = basis.recency_d + ahead_d
    tenure_d = basis.tenure_d + ahead_d
    np.log1p(recency_d, out=out[_RECENCY])
    out[_REPEATS] = log_count = np.log(basis.count)
    np.log1p(tenure_d, out=out[_TENURE])
    out[_MEAN_AMOUNT] = basis.mean_amount_log
    out[_LAST_AMOUNT] = basis.last_amount_log
    out[_MEAN_GAP] = np.log1p(basis.mean_gap_d)
    out[_GAP_SD] = np.log1p(basis.gap_sd_d)
    np.divide(recency_d, basis.mean_gap_d, out=out[_RATIO])
    np.minimum(out[_RATIO], MAX_GAP_RATIO, out=out[_RATIO])
    np.subtract(recency_d, basis.mean_gap_d, out=out[_Z])
    out[_Z] /= basis.gap_sd_d
    np.minimum(out[_Z], MAX_GAP_Z, out=out[_Z])
    np.maximum(out[_Z], -MAX_GAP_Z, out=out[_Z])
    np.multiply(basis.decayed[:, None, :], fade, out=out[_COUNT_7 : _SPEND_90 + 1])
    np.log1p(out[_SPEND_90], out=out[_SPEND_90])
    out[_ONE_TIME] = basis.count == 1.0
    out[_GLOBAL_RATE] = basis.global_rate
    np.log(tenure_d + GAP_PRIOR_D, out=out[_RATE])
    np.subtract(log_count, out[_RATE], out=out[_RATE])
    out[_JUST, 0] = basis.just_purchased
    out[_JUST, 1:] = 0.0
    # silence says more about those who used to buy often
    np.multiply(out[_RECENCY], log_count, out=out[_RECENCY_BY_REPEATS])
    if basis.activity is not None:
        # that nothing is bought says nothing of visits: who comes as usual, or less, is taken to go on so
        out[PURCHASE_COUNT:] = basis.activity[:, None, :]
    return out


def feature_rows(columns: Floats) -> Floats:
    """Return features as rows, with zeros for activity that was left out.

    Args:
        columns: as from `feature_columns`, of one instant: (18, rows) or (26, rows).

    Returns:
        (rows, 26) float64, columns as in `HAZARD_FEATURES`.
    """
    rows = np.zeros((columns.shape[1], FEATURE_COUNT))
    rows[:, : len(columns)] = columns.T
    return rows


def hazard_matrix(
    stats: PurchaseStats,
    now_s: Floats | float,
    global_rate: Floats | float,
    activity: Floats | None = None,
) -> Floats:
    """Compute the feature rows that are published for training and scored.

    Args:
        stats: statistics of (rows,) customers.
        now_s: the instant of each row, (rows,) or one for all, seconds since the epoch.
        global_rate: purchases per known customer and day, (rows,) or one for all.
        activity: as from `activity_of`, (8, rows) or None.

    Returns:
        (rows, 26) float64, columns as in `HAZARD_FEATURES`.
    """
    return feature_rows(feature_columns(basis_of_stats(stats, now_s, global_rate, activity))[:, 0])
