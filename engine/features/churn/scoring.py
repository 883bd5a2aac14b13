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

from engine.features.churn import mbg
from engine.features.churn.activity import ACTIVITY_COUNT
from engine.features.churn.hazard import Basis, Floats, basis_of_features, basis_of_stats
from engine.features.churn.purchases import PurchaseStats
from engine.features.churn.sheet import Layout, Sheet
from engine.features.churn.snapshot import HazardParameters, Snapshot, check_snapshot
from engine.features.churn.value import VALUE_DAYS, expected_amount, expected_orders

MAX_LOG_ODDS: Final = 13.8
"""Risks stay within 1e-6 of 0 and 1, so that log-loss stays finite."""
MAX_CHAIN_LOG_ODDS: Final = 600.0
"""Bound on the sum of all steps' log-odds, and on those of being gone, so that the odds fit a float."""
_LEAST, _MOST = np.array(-MAX_LOG_ODDS), np.array(MAX_LOG_ODDS)
_TINY: Final = np.array(1e-22)
"""Odds below this count as this."""
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

    __slots__ = (
        "_a", "_hazard_share", "_intercept", "_layout", "_mbg_share", "_most", "_steps", "_weights",
        "snapshot",
    )  # fmt: skip

    def __init__(self, snapshot: Snapshot) -> None:
        check_snapshot(snapshot)
        self.snapshot = snapshot
        self._steps = snapshot.horizon_days // snapshot.hazard_days
        self._layout = Layout(
            self._steps, float(snapshot.hazard_days), snapshot.mbg, float(snapshot.horizon_days)
        )
        self._mbg_share = np.array(snapshot.mbg_share)
        self._hazard_share = np.array(1.0 - snapshot.mbg_share)
        self._most = np.array(MAX_CHAIN_LOG_ODDS / self._steps)
        self._a = np.array(snapshot.mbg.a)
        weights, intercept = fold(snapshot.hazard)
        if snapshot.prior is not None and snapshot.prior_share > 0.0:
            share = snapshot.prior_share
            prior_weights, prior_intercept = fold(snapshot.prior)
            weights = (1.0 - share) * weights + share * prior_weights
            intercept = (1.0 - share) * intercept + share * prior_intercept
        active = self._layout.weights(weights)
        alone = active[:, : active.shape[1] - ACTIVITY_COUNT].copy()
        self._weights = {active.shape[1]: active, alone.shape[1]: alone}
        self._intercept = np.array(intercept)

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
    ) -> tuple[Floats, Sheet]:
        """Score customers, and return the features they were scored by.

        Args:
            stats: as for `score`.
            now_s: as for `score`.
            global_rate: as for `score`.
            activity: as for `score`.

        Returns:
            (rows,) risks as from `score`, and the sheet that features can be read off.
        """
        sheet = self._layout.fill(basis_of_stats(stats, now_s, global_rate, activity))
        risk = self._blend(*self._log_odds(sheet))
        if np.count_nonzero(stats.count) < len(risk):
            risk[stats.count == 0.0] = np.nan
        return risk, sheet

    def score_rows(self, features: npt.NDArray[np.floating]) -> Risk:
        """Score frozen feature rows, (rows, 26), model by model."""
        returns, silent = self._log_odds(self._layout.fill(basis_of_features(features)))
        return Risk(self._blend(returns, silent), _to_risk(-returns), _to_risk(silent))

    def score_basis(self, basis: Basis) -> Floats:
        """Score rows given by what their features are made of, (rows,)."""
        return self._blend(*self._log_odds(self._layout.fill(basis)))

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
        returns, silent = self._log_odds(self._layout.fill(basis))
        orders = expected_orders(self.snapshot.mbg, basis.repeats, basis.last_d, basis.tenure_d, VALUE_DAYS)
        buys = expit(-silent)
        orders = np.where(buys > _HARDLY, orders / np.maximum(buys, _HARDLY), 1.0)
        orders = np.maximum(orders, 1.0) * (1.0 - self._blend(returns, silent))
        orders[stats.count == 0.0] = 0.0
        amount = basis.mean_amount
        if self.snapshot.spend is not None:
            amount = expected_amount(self.snapshot.spend, basis.repeats + 1.0, amount)
        return orders, orders * amount

    def _blend(self, returns: Floats, silent: Floats) -> Floats:
        blended = silent * self._mbg_share
        # subtracted: the hazard's are those of a purchase
        blended -= returns * self._hazard_share
        return _to_risk(blended)

    def _log_odds(self, sheet: Sheet) -> tuple[Floats, Floats]:
        """Log-odds of a purchase within the horizon by the chained hazard, and of none by MBG/NBD."""
        values, layout = sheet.values, sheet.layout
        # the odds' numerator and denominator by MBG/NBD, then the odds of a purchase in each step
        odds = np.empty((2 + self._steps, values.shape[1]))
        steps = odds[2:]
        # Row by row, not BLAS: its order of adding depends on the batch's size, and a risk must not.
        weighed = values[layout.weighed]
        weights = self._weights[len(weighed)]
        if values.shape[1] > 1:
            np.einsum("sf,fr->sr", weights, weighed, out=steps)
        else:  # einsum adds those of a single customer in another order
            steps[:] = np.einsum("sf,fr->sr", weights, np.repeat(weighed, 2, axis=1))[:, :1]
        steps += self._intercept
        mbg.silent_exponents(values[layout.waits], values[layout.shape], odds[:2])
        np.minimum(odds, self._most, out=odds)
        np.exp(odds, out=odds)
        # product of 1 + odds, less one: kept so, that small hazards stay exact
        returning = odds[2]
        for step in odds[3:]:
            both = returning * step
            returning += step
            returning += both
        silent, otherwise = odds[0], odds[1]
        mbg.silent_odds(silent, otherwise, self._a)
        logs = odds[:3]
        np.maximum(logs, _TINY, out=logs)
        np.log(logs, out=logs)
        silent -= otherwise
        return returning, silent


def _to_risk(log_odds: Floats) -> Floats:
    np.minimum(log_odds, _MOST, out=log_odds)
    np.maximum(log_odds, _LEAST, out=log_odds)
    return np.asarray(expit(log_odds, out=log_odds), np.float64)
