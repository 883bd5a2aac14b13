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
MEASURES: Final = (
    "recency_d",
    "repeats",
    "tenure_d",
    "mean_amount",
    "last_amount",
    "mean_gap_d",
    "gap_sd_d",
)
"""The first features are the log1p of these, in this order."""
MEASURE_COUNT: Final = len(MEASURES)

GAP_PRIOR_D: Final = 90.0
"""Gaps are shrunk towards this with the weight of one observation; fixed, so features never change with H."""
MAX_GAP_RATIO: Final = 10.0
MAX_GAP_Z: Final = 5.0
JUST_PURCHASED_S: Final = 3_600
"""A row this close to the last purchase counts as a purchase row."""
# As arrays: numpy would make one of a Python number at every call, a quarter of what a call costs on a batch.
_ZERO, _ONE, _DAY_S = (np.array(value, np.float64) for value in (0.0, 1.0, DAY_S))
_JUST_PURCHASED_S = np.array(JUST_PURCHASED_S, np.float64)
_PRIOR_D, _PRIOR_SQ = np.array(GAP_PRIOR_D), np.array(GAP_PRIOR_D**2)
_LEAST_Z, _MOST = np.array(-MAX_GAP_Z), np.array((MAX_GAP_RATIO, MAX_GAP_Z))[:, None, None]


@dataclass(frozen=True, slots=True)
class Basis:
    """What the features of rows are made of, in float64; times in days.

    Args:
        measures: what the first seven features are the log1p of, (7, rows), as in `MEASURES`
        decayed: purchases and amounts as in `PurchaseStats`, decayed to now, (4, rows).
        global_rate: purchases per known customer and day, 30-day average; (rows,) or one for all.
        just_purchased: 1 on a purchase row, (rows,).
        activity: as from `activity_of`, (8, rows); None = no customer did or said anything.
    """

    measures: Floats
    decayed: Floats
    global_rate: Floats | float
    just_purchased: Floats | npt.NDArray[np.bool_]
    activity: Floats | None = None

    @property
    def recency_d(self) -> Floats:
        """Days since the last purchase, (rows,)."""
        return self._measure(_RECENCY)

    @property
    def repeats(self) -> Floats:
        """Purchases after the first, (rows,)."""
        return self._measure(_REPEATS)

    @property
    def tenure_d(self) -> Floats:
        """Days since the first purchase, (rows,)."""
        return self._measure(_TENURE)

    @property
    def mean_amount(self) -> Floats:
        """Mean amount of a purchase, (rows,)."""
        return self._measure(_MEAN_AMOUNT)

    @property
    def last_amount(self) -> Floats:
        """Amount of the last purchase, (rows,)."""
        return self._measure(_LAST_AMOUNT)

    @property
    def mean_gap_d(self) -> Floats:
        """Mean gap between purchases, shrunk towards `GAP_PRIOR_D`, (rows,)."""
        return self._measure(_MEAN_GAP)

    @property
    def gap_sd_d(self) -> Floats:
        """Standard deviation of the gaps, shrunk likewise, (rows,)."""
        return self._measure(_GAP_SD)

    def _measure(self, row: int) -> Floats:
        values: Floats = self.measures[row]
        return values


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
    count = np.maximum(stats.count, _ONE)
    recency_s = np.maximum(now_s - stats.last_s, _ZERO)
    span_d = (stats.last_s - stats.first_s) / _DAY_S
    measures = np.empty((MEASURE_COUNT, len(count)))
    recency_d, repeats, tenure_d, mean_amount, last_amount, mean_gap_d, gap_sd_d = measures
    np.divide(recency_s, _DAY_S, out=recency_d)
    np.subtract(count, _ONE, out=repeats)
    np.add(recency_d, span_d, out=tenure_d)
    np.divide(stats.sum_amount, count, out=mean_amount)
    last_amount[:] = stats.last_amount
    np.add(span_d, _PRIOR_D, out=mean_gap_d)
    # squares about the mean, shrunk; rounding may take them below none
    np.divide(span_d * span_d, np.maximum(repeats, _ONE), out=gap_sd_d)
    np.subtract(stats.sum_gap_sq + _PRIOR_SQ, gap_sd_d, out=gap_sd_d)
    np.maximum(gap_sd_d, _PRIOR_SQ, out=gap_sd_d)
    measures[_MEAN_GAP:] /= count
    np.sqrt(gap_sd_d, out=gap_sd_d)
    decayed = np.exp(recency_d * _FADE_PER_DAY)
    decayed *= stats.decayed
    return Basis(
        measures=measures,
        decayed=decayed,
        global_rate=global_rate,
        just_purchased=recency_s < _JUST_PURCHASED_S,
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
    measures = np.expm1(columns[:MEASURE_COUNT])
    np.rint(measures[_REPEATS], out=measures[_REPEATS])
    return Basis(
        measures=measures,
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
    ahead_d, fade = _ahead(steps, step_d)
    count = PURCHASE_COUNT if basis.activity is None else FEATURE_COUNT
    out = np.empty((count, steps, basis.measures.shape[1]))
    logs = out[:MEASURE_COUNT]
    logs[:] = basis.measures[:, None, :]
    logs[_RECENCY : _TENURE + 1 : _TENURE - _RECENCY] += ahead_d
    recency, z, rate = logs[_RECENCY], out[_Z], out[_RATE]
    mean_gap_d = basis.mean_gap_d
    np.divide(recency, mean_gap_d, out=out[_RATIO])
    np.subtract(recency, mean_gap_d, out=z)
    z /= basis.gap_sd_d
    gaps = out[_RATIO : _Z + 1]
    np.minimum(gaps, _MOST, out=gaps)
    np.maximum(z, _LEAST_Z, out=z)
    np.add(logs[_TENURE], _PRIOR_D, out=rate)
    np.log1p(logs, out=logs)
    np.multiply(basis.decayed[:, None, :], fade, out=out[_COUNT_7 : _SPEND_90 + 1])
    spend = out[_SPEND_90]
    np.log1p(spend, out=spend)
    out[_ONE_TIME] = basis.repeats == _ZERO
    out[_GLOBAL_RATE] = basis.global_rate
    np.log(rate, out=rate)
    np.subtract(out[_REPEATS], rate, out=rate)
    out[_JUST] = 0.0
    out[_JUST, 0] = basis.just_purchased
    # silence says more about those who used to buy often
    np.multiply(recency, out[_REPEATS], out=out[_RECENCY_BY_REPEATS])
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
