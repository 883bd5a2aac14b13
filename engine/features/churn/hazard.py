"""The features of the 30-day purchase hazard, for many customers and several instants at once.

Eighteen are of purchases; those of other activity follow (`activity`).

`Basis` holds the quantities a row's features are made of; they can be read from purchase statistics
(workers) or recovered from a frozen feature row (trainer), and rolled forward in time on the
assumption that nothing is bought (`sheet`).
"""

from __future__ import annotations

from typing import Final

import msgspec
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
    "tenure_d",
    "recency_d",
    "last_d",
    "repeats",
    "mean_amount",
    "last_amount",
    "mean_gap_d",
    "gap_sd_d",
)
"""Rows of `Basis.measures`."""
MEASURE_COUNT: Final = len(MEASURES)
(
    _TENURE_D,
    _RECENCY_D,
    _LAST_D,
    _REPEAT_COUNT,
    _MEAN_PAID,
    _LAST_PAID,
    _MEAN_GAP_D,
    _GAP_SD_D,
) = range(MEASURE_COUNT)
_LOGS: Final = {
    _TENURE_D: _TENURE,
    _RECENCY_D: _RECENCY,
    _REPEAT_COUNT: _REPEATS,
    _MEAN_PAID: _MEAN_AMOUNT,
    _LAST_PAID: _LAST_AMOUNT,
    _MEAN_GAP_D: _MEAN_GAP,
    _GAP_SD_D: _GAP_SD,
}
"""Measures, and the features that are the log1p of them."""

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


class Basis(msgspec.Struct, frozen=True):
    """What the features of rows are made of, in float64; times in days.

    Args:
        measures: (8, rows), as in `MEASURES`.
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
        return self._measure(_RECENCY_D)

    @property
    def repeats(self) -> Floats:
        """Purchases after the first, (rows,)."""
        return self._measure(_REPEAT_COUNT)

    @property
    def tenure_d(self) -> Floats:
        """Days since the first purchase, (rows,)."""
        return self._measure(_TENURE_D)

    @property
    def last_d(self) -> Floats:
        """Days from the first purchase to the last, (rows,)."""
        return self._measure(_LAST_D)

    @property
    def mean_amount(self) -> Floats:
        """Mean amount of a purchase, (rows,)."""
        return self._measure(_MEAN_PAID)

    @property
    def last_amount(self) -> Floats:
        """Amount of the last purchase, (rows,)."""
        return self._measure(_LAST_PAID)

    @property
    def mean_gap_d(self) -> Floats:
        """Mean gap between purchases, shrunk towards `GAP_PRIOR_D`, (rows,)."""
        return self._measure(_MEAN_GAP_D)

    @property
    def gap_sd_d(self) -> Floats:
        """Standard deviation of the gaps, shrunk likewise, (rows,)."""
        return self._measure(_GAP_SD_D)

    def _measure(self, row: int) -> Floats:
        values: Floats = self.measures[row]
        return values


_FADE_PER_DAY: Final = -1.0 / np.array((*DECAY_DAYS, DECAY_DAYS[-1]))[:, None]


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
    # a call of numpy costs what a hundred numbers do, and twice that where rows are stretched to fit
    first_s, last_s, count, sum_gap_sq = stats.columns[:4]
    count = np.maximum(count, _ONE)
    latest_s = np.maximum(now_s, last_s)
    measures = np.empty((MEASURE_COUNT, len(count)))
    tenure_d = np.subtract(latest_s, first_s, out=measures[_TENURE_D])
    recency_d = np.subtract(latest_s, last_s, out=measures[_RECENCY_D])
    just_purchased = recency_d < _JUST_PURCHASED_S
    both_d = measures[: _RECENCY_D + 1]
    both_d /= _DAY_S
    last_d = np.subtract(tenure_d, recency_d, out=measures[_LAST_D])
    repeats = np.subtract(count, _ONE, out=measures[_REPEAT_COUNT])
    measures[_MEAN_PAID : _LAST_PAID + 1] = stats.amounts
    mean_amount = measures[_MEAN_PAID]
    mean_amount /= count
    mean_gap_d = np.add(last_d, _PRIOR_D, out=measures[_MEAN_GAP_D])
    mean_gap_d /= count
    # squares about the mean, shrunk; rounding may take them below none
    gap_sd_d = np.multiply(last_d, last_d, out=measures[_GAP_SD_D])
    gap_sd_d /= np.maximum(repeats, _ONE)
    np.subtract(sum_gap_sq, gap_sd_d, out=gap_sd_d)
    gap_sd_d += _PRIOR_SQ
    np.maximum(gap_sd_d, _PRIOR_SQ, out=gap_sd_d)
    gap_sd_d /= count
    np.sqrt(gap_sd_d, out=gap_sd_d)
    decayed = recency_d * _FADE_PER_DAY
    np.exp(decayed, out=decayed)
    decayed *= stats.decayed
    return Basis(measures, decayed, global_rate, just_purchased, activity)


def basis_of_features(features: npt.NDArray[np.floating]) -> Basis:
    """Recover the basis from frozen feature rows.

    Args:
        features: rows as `hazard_matrix` made them, (rows, 26).

    Returns:
        The basis, exact up to the precision the rows were kept in.
    """
    columns = np.ascontiguousarray(features.T, np.float64)
    activity = columns[PURCHASE_COUNT:]
    measures = np.empty((MEASURE_COUNT, len(features)))
    measures[list(_LOGS)] = np.expm1(columns[list(_LOGS.values())])
    np.rint(measures[_REPEAT_COUNT], out=measures[_REPEAT_COUNT])
    np.maximum(measures[_TENURE_D] - measures[_RECENCY_D], _ZERO, out=measures[_LAST_D])
    return Basis(
        measures=measures,
        decayed=np.concatenate((columns[_COUNT_7:_SPEND_90], np.expm1(columns[_SPEND_90 : _SPEND_90 + 1]))),
        global_rate=columns[_GLOBAL_RATE],
        just_purchased=columns[_JUST],
        activity=activity if activity.any() else None,
    )
