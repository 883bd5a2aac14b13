"""Churn risk of a whole batch from a snapshot, without River: one vector product.

The scaler is folded into the weights, the hazard is chained over the state rolled forward
0, 30, 60 … days, and the result is averaged with MBG/NBD in log-odds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import expit

from engine.features.churn.hazard import (
    Basis,
    Floats,
    basis_of_features,
    basis_of_stats,
    feature_columns,
)
from engine.features.churn.mbg import log_odds_silent
from engine.features.churn.purchases import PurchaseStats
from engine.features.churn.snapshot import HazardParameters, Snapshot, check_snapshot
from engine.features.churn.value import VALUE_DAYS, expected_amount, expected_orders

MAX_LOG_ODDS: Final = 13.8
"""Risks stay within 1e-6 of 0 and 1, so that log-loss stays finite."""
MAX_STEP_LOG_ODDS: Final = 50.0
"""Bound on one step's log-odds; twelve steps of it still fit a float."""
_LEAST, _MOST = np.array(-MAX_LOG_ODDS), np.array(MAX_LOG_ODDS)
_LEAST_STEP, _MOST_STEP = np.array(-MAX_STEP_LOG_ODDS), np.array(MAX_STEP_LOG_ODDS)
_ZERO = np.array(0.0)
_HARDLY: Final = 1e-9
"""Below this chance of a purchase, who buys all the same is taken to buy once."""


def fold(parameters: HazardParameters) -> tuple[Floats, float]:
    """Fold the scaler into the weights.

    Args:
        parameters: of the hazard model.

    Returns:
        (26,) weights on raw features and the intercept. A feature that never varied weighs nothing,
        as in River.
    """
    deviation = np.sqrt(np.array(parameters.variances))
    varied = deviation > 0.0
    weights = np.where(varied, np.array(parameters.weights) / np.where(varied, deviation, 1.0), 0.0)
    return weights, parameters.intercept - float(weights @ np.array(parameters.means))


@dataclass(frozen=True, slots=True)
class Risk:
    """Probability of no purchase within the horizon, by model, each (rows,) float64.

    Args:
        blended: what the engine acts on.
        hazard: the chained hazard alone.
        mbg: MBG/NBD alone.
    """

    blended: Floats
    hazard: Floats
    mbg: Floats


class Scorer:
    """Scores batches with one snapshot.

    Args:
        snapshot: the model; checked again here.

    Raises:
        EngineError: the snapshot does not fit this engine's features.
    """

    __slots__ = ("_hazard_share", "_intercept", "_mbg_share", "_steps", "_weights", "snapshot")

    def __init__(self, snapshot: Snapshot) -> None:
        check_snapshot(snapshot)
        self.snapshot = snapshot
        self._steps = snapshot.horizon_days // snapshot.hazard_days
        self._mbg_share = np.array(snapshot.mbg_share)
        self._hazard_share = np.array(1.0 - snapshot.mbg_share)
        self._weights, self._intercept = fold(snapshot.hazard)
        if snapshot.prior is not None and snapshot.prior_share > 0.0:
            share = snapshot.prior_share
            weights, intercept = fold(snapshot.prior)
            self._weights = (1.0 - share) * self._weights + share * weights
            self._intercept = (1.0 - share) * self._intercept + share * intercept

    def score(
        self,
        stats: PurchaseStats,
        now_s: Floats | float,
        global_rate: Floats | float,
        activity: Floats | None = None,
    ) -> Floats:
        """Score customers as they stand now.

        Args:
            stats: purchase statistics, (rows,).
            now_s: the instant of each row, (rows,) or one for all, seconds since the epoch.
            global_rate: purchases per known customer and day, (rows,) or one for all.
            activity: as from `activity_of`, (8, rows) or None.

        Returns:
            (rows,) float64 in (0, 1): the probability of no purchase within the horizon. NaN for a
            customer who has never bought: there is nothing to lose yet.
        """
        return self.score_with_features(stats, now_s, global_rate, activity)[0]

    def score_with_features(
        self,
        stats: PurchaseStats,
        now_s: Floats | float,
        global_rate: Floats | float,
        activity: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Score customers, and return the features they were scored by.

        Args:
            stats: as for `score`.
            now_s: as for `score`.
            global_rate: as for `score`.
            activity: as for `score`.

        Returns:
            (rows,) risks as from `score`, and features as of now, (18, rows) or with activity (26, rows);
            `feature_rows` makes rows of them.
        """
        basis = basis_of_stats(stats, now_s, global_rate, activity)
        columns = self._columns(basis)
        risk = self._blend(*self._log_odds(basis, columns))
        risk[stats.count == _ZERO] = np.nan
        return risk, columns[:, 0]

    def score_rows(self, features: npt.NDArray[np.floating]) -> Risk:
        """Score frozen feature rows, (rows, 26), model by model."""
        basis = basis_of_features(features)
        hazard, mbg = self._log_odds(basis, self._columns(basis))
        return Risk(self._blend(hazard, mbg), _to_risk(hazard), _to_risk(mbg))

    def score_basis(self, basis: Basis) -> Floats:
        """Score rows given by what their features are made of, (rows,)."""
        return self._blend(*self._log_odds(basis, self._columns(basis)))

    def expect(
        self,
        stats: PurchaseStats,
        now_s: Floats | float,
        global_rate: Floats | float,
        activity: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Say what customers will buy within the next 90 days, whatever the churn horizon is.

        The chance of a purchase is that of the blended risk; how many then follow is MBG/NBD's to say, how
        much each is worth gamma-gamma's.

        Args:
            stats: as for `score`.
            now_s: as for `score`.
            global_rate: as for `score`.
            activity: as for `score`.

        Returns:
            Expected purchases and spend, (rows,) float64 each; 0 for a customer who has never bought.
        """
        if self.snapshot.horizon_days != VALUE_DAYS:
            near = msgspec.structs.replace(self.snapshot, horizon_days=VALUE_DAYS)
            return Scorer(near).expect(stats, now_s, global_rate, activity)
        basis = basis_of_stats(stats, now_s, global_rate, activity)
        hazard, mbg = self._log_odds(basis, self._columns(basis))
        last_d = np.maximum(basis.tenure_d - basis.recency_d, 0.0)
        orders = expected_orders(self.snapshot.mbg, basis.repeats, last_d, basis.tenure_d, VALUE_DAYS)
        buys = expit(-mbg)
        orders = np.where(buys > _HARDLY, orders / np.maximum(buys, _HARDLY), 1.0)
        orders = np.maximum(orders, 1.0) * (1.0 - self._blend(hazard, mbg))
        orders[stats.count == 0.0] = 0.0
        amount = basis.mean_amount
        if self.snapshot.spend is not None:
            amount = expected_amount(self.snapshot.spend, basis.repeats + 1.0, amount)
        return orders, orders * amount

    def _blend(self, hazard: Floats, mbg: Floats) -> Floats:
        return _to_risk(hazard * self._hazard_share + mbg * self._mbg_share)

    def _columns(self, basis: Basis) -> Floats:
        """Features now and after each step of the chain, (18 or 26, steps, rows)."""
        return feature_columns(basis, self._steps, float(self.snapshot.hazard_days))

    def _log_odds(self, basis: Basis, columns: Floats) -> tuple[Floats, Floats]:
        """Log-odds of no purchase within the horizon by the chained hazard and by MBG/NBD."""
        snapshot = self.snapshot
        # Row by row, not BLAS: its order of adding depends on the batch's size, and a risk must not.
        odds = np.einsum("f,fsr->sr", self._weights[: len(columns)], columns)
        odds += self._intercept
        np.minimum(odds, _MOST_STEP, out=odds)
        np.maximum(odds, _LEAST_STEP, out=odds)
        # 1 / product of 1 - h = product of 1 + exp(odds); kept less one, so that small hazards stay exact
        np.log1p(np.exp(odds, out=odds), out=odds)
        returning = odds[0]
        for step in odds[1:]:
            returning += step
        np.log(np.expm1(returning, out=returning), out=returning)
        silent = log_odds_silent(
            snapshot.mbg,
            basis.repeats,
            np.maximum(basis.tenure_d - basis.recency_d, _ZERO),
            basis.tenure_d,
            float(snapshot.horizon_days),
        )
        return np.negative(returning, out=returning), silent


def _to_risk(log_odds: Floats) -> Floats:
    np.minimum(np.maximum(log_odds, _LEAST), _MOST, out=log_odds)
    return np.asarray(expit(log_odds), np.float64)
