"""Hazard features of a batch for several instants: one array, a row for each quantity.

On a batch of a hundred customers it is calls of numpy that cost, not numbers, and a call that stretches one
row over several costs what three others do. So all that logarithms are taken of stands together, that of
MBG/NBD too; what meets a row for each step is there for each step; and what no step changes is there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.features.churn.activity import ACTIVITY_COUNT
from engine.features.churn.hazard import (
    FEATURE_COUNT,
    GAP_PRIOR_D,
    MAX_GAP_RATIO,
    MAX_GAP_Z,
    MEASURES,
    PURCHASE_COUNT,
    PURCHASE_FEATURES,
    Basis,
    basis_of_stats,
)
from engine.features.churn.mbg import MbgParameters
from engine.features.churn.purchases import DECAY_DAYS, PurchaseStats

Floats = npt.NDArray[np.float64]

_COUNTS: Final = [PURCHASE_FEATURES.index(f"decayed_count_{days:.0f}") for days in DECAY_DAYS]
_LOG_RATE: Final = PURCHASE_FEATURES.index("log_rate")
_JUST_PURCHASED: Final = PURCHASE_FEATURES.index("just_purchased")
_SPEND: Final = len(DECAY_DAYS)
"""Row of `Basis.decayed`; before it are the counts."""
_EVERYBODY: Final = slice(None)
# As arrays: a Python number would be made one at every call.
_ZERO, _MAX_RATIO, _MAX_Z, _LEAST_Z = (np.array(n) for n in (0.0, MAX_GAP_RATIO, MAX_GAP_Z, -MAX_GAP_Z))


class Layout:
    """Which rows of a sheet are what, for a number of steps and one MBG/NBD.

    Args:
        steps: number of instants the features are wanted at: now, one step ahead, …
        step_d: length of a step, days.
        mbg: MBG/NBD, of which a sheet has what `mbg.silent_exponents` takes.
        horizon_d: how far MBG/NBD looks ahead, days.
    """

    __slots__ = ("_at", "_fade", "_logs", "_moved", "_shifts", "_taken", "shape", "waits", "weighed")

    def __init__(self, steps: int, step_d: float, mbg: MbgParameters, horizon_d: float) -> None:
        ahead_d = [step * step_d for step in range(steps)]
        same = [0.0] * steps
        # Rows made of a measure and a number, by place. From `waits` on they are logarithms in the end: log1p
        # is taken of them all, so those that log is taken of are less one here. From `log_rate` on they
        # have weights.
        taken: dict[str, tuple[str, list[float]]] = {
            "mean_gap_d": ("mean_gap_d", same),
            "gap_sd_d": ("gap_sd_d", same),
            "shape": ("repeats", [mbg.r] * 2),
            "waits": ("tenure_d", [mbg.alpha - 1.0] * 2),
            "last": ("last_d", [mbg.alpha - 1.0]),
            "ahead": ("tenure_d", [mbg.alpha + horizon_d - 1.0]),
            "leaving": ("repeats", [mbg.b - 1.0]),
            "log_rate": ("tenure_d", [days + GAP_PRIOR_D - 1.0 for days in ahead_d]),
            "log_tenure": ("tenure_d", ahead_d),
            "log_recency": ("recency_d", ahead_d),
            "log_repeats": ("repeats", same),
            "log_mean_amount": ("mean_amount", [0.0]),
            "log_last_amount": ("last_amount", [0.0]),
            "log_mean_gap": ("mean_gap_d", [0.0]),
            "log_gap_deviation": ("gap_sd_d", [0.0]),
        }
        sizes = {name: len(shifts) for name, (_, shifts) in taken.items()}
        sizes |= dict.fromkeys(("log_decayed_spend_90", "gap_ratio", "gap_z", "recency_by_repeats"), steps)
        sizes |= {"counts": len(_COUNTS), "one_time_buyer": 1, "global_rate": 1, "just_purchased": 1}
        ends = np.cumsum(list(sizes.values())).tolist()
        self._at = {name: slice(end - sizes[name], end) for name, end in zip(sizes, ends, strict=True)}
        self.shape = self._at["shape"]
        self.waits = slice(self._at["waits"].start, self._at["leaving"].stop)
        self.weighed = slice(self._at["log_rate"].start, None)
        self._logs = slice(self.waits.start, self._at["log_decayed_spend_90"].stop)
        self._taken = np.repeat(
            [MEASURES.index(measure) for measure, _ in taken.values()],
            [len(shifts) for _, shifts in taken.values()],
        )
        self._moved = slice(self.shape.start, self._at["log_recency"].stop)
        shifts = np.array([shift for _, shifts in taken.values() for shift in shifts])
        self._shifts = shifts[self._moved, None]
        self._fade = np.exp(np.array(ahead_d) / -np.array((*DECAY_DAYS, DECAY_DAYS[-1]))[:, None])[:, :, None]

    def fill(self, basis: Basis) -> Sheet:
        """Compute all rows; without activity its rows are left out: they would all be zero."""
        at, measures = self._at, basis.measures
        purchases = at["just_purchased"].stop
        more = 0 if basis.activity is None else ACTIVITY_COUNT
        rows = np.empty((purchases + more, measures.shape[1]))
        measures.take(self._taken, axis=0, out=rows[: len(self._taken)], mode="clip")
        moved = rows[self._moved]
        moved += self._shifts
        np.multiply(basis.decayed[_SPEND], self._fade[_SPEND], out=rows[at["log_decayed_spend_90"]])
        recency, mean_gap_d = rows[at["log_recency"]], rows[at["mean_gap_d"]]
        ratio = np.divide(recency, mean_gap_d, out=rows[at["gap_ratio"]])
        np.minimum(ratio, _MAX_RATIO, out=ratio)
        z = np.subtract(recency, mean_gap_d, out=rows[at["gap_z"]])
        z /= rows[at["gap_sd_d"]]
        np.minimum(z, _MAX_Z, out=z)
        np.maximum(z, _LEAST_Z, out=z)
        logs = rows[self._logs]
        np.log1p(logs, out=logs)
        # silence says more about those who used to buy often
        np.multiply(recency, rows[at["log_repeats"]], out=rows[at["recency_by_repeats"]])
        rows[at["counts"]] = basis.decayed[:_SPEND]
        rows[at["one_time_buyer"]] = basis.repeats == _ZERO
        rows[at["global_rate"]] = basis.global_rate
        rows[at["just_purchased"]] = basis.just_purchased
        if basis.activity is not None:
            # that nothing is bought says nothing of visits: who comes as usual, or less, is taken to go on so
            rows[purchases:] = basis.activity
        return Sheet(self, rows)

    def weights(self, weights: Floats) -> Floats:
        """Return the weights of features as weights of the rows `weighed`, (steps, rows of a sheet)."""
        steps = self._fade.shape[1]
        out = np.zeros((steps, self._at["just_purchased"].stop + ACTIVITY_COUNT))
        for step in range(steps):
            for name, weight in zip(PURCHASE_FEATURES, weights.tolist(), strict=False):
                if name in self._at:
                    out[step, self._row(name, step)] += weight
            out[step, self._at["counts"]] = weights[_COUNTS] * self._fade[:_SPEND, step, 0]
            # the log rate is that of repeats, less what stands in its row
            out[step, self._row("log_rate", step)] *= -1.0
            out[step, self._row("log_repeats", step)] += weights[_LOG_RATE]
        out[1:, self._at["just_purchased"]] = 0.0
        out[:, -ACTIVITY_COUNT:] = weights[PURCHASE_COUNT:]
        return out[:, self.weighed].copy()

    def features(self, rows: Floats, step: int) -> Floats:
        """Read the features off rows of a sheet: (rows, 26)."""
        counts = list(range(len(rows)))[self._at["counts"]]
        order = [self._row(name, step) if name in self._at else counts.pop(0) for name in PURCHASE_FEATURES]
        purchases = rows[order]
        purchases[_LOG_RATE] = rows[self._row("log_repeats", step)] - purchases[_LOG_RATE]
        purchases[_COUNTS] *= self._fade[:_SPEND, step]
        if step:
            purchases[_JUST_PURCHASED] = 0.0
        out = np.zeros((rows.shape[1], FEATURE_COUNT))
        out[:, :PURCHASE_COUNT] = purchases.T
        activity = rows[self._at["just_purchased"].stop :]
        out[:, PURCHASE_COUNT : PURCHASE_COUNT + len(activity)] = activity.T
        return out

    def _row(self, name: str, step: int) -> int:
        """Return where a feature stands; that no step changes stands there once."""
        place = self._at[name]
        start: int = place.start
        return start + min(step, int(place.stop) - start - 1)


class Sheet(msgspec.Struct, frozen=True):
    """What a batch is scored by.

    Args:
        layout: which row is what.
        values: (rows of the layout, customers) float64.
    """

    layout: Layout
    values: Floats

    def features(self, customers: Sequence[int] | slice = _EVERYBODY, step: int = 0) -> Floats:
        """Return feature rows.

        Args:
            customers: whose, by number.
            step: at which instant: 0 = now.

        Returns:
            (customers, 26) float64, columns as in `HAZARD_FEATURES`; zeros for activity that was left out.
        """
        return self.layout.features(self.values[:, customers], step)


@cache
def _now() -> Layout:
    return Layout(1, 1.0, MbgParameters(1.0, 1.0, 1.0, 1.0), 1.0)


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
    return _now().fill(basis_of_stats(stats, now_s, global_rate, activity)).features()
