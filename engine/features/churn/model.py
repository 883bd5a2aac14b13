"""The learner: River's `StandardScaler | LogisticRegression(SGD)` on the 30-day purchase hazard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from river import linear_model, optim, preprocessing

from engine.features.churn.hazard import HAZARD_FEATURES
from engine.features.churn.snapshot import HazardParameters

Floats = npt.NDArray[np.float64]

LEARNING_RATE: Final = 0.001


class HazardModel:
    """Learns the probability of a purchase within 30 days, one matured label at a time.

    Args:
        learning_rate: of plain SGD, per unit of row weight.
        start: parameters to go on from, or None to start at zero.
    """

    __slots__ = ("_regression", "_rows", "_scaler")

    def __init__(self, learning_rate: float = LEARNING_RATE, start: HazardParameters | None = None) -> None:
        self._rows = 0
        self._scaler: Any = preprocessing.StandardScaler()
        self._regression: Any = linear_model.LogisticRegression(
            optimizer=optim.SGD(learning_rate), intercept_lr=learning_rate, l2=0.0
        )
        # River builds its weight table on the first learned row; warm up so that the table exists.
        self._regression.learn_one(dict.fromkeys(HAZARD_FEATURES, 0.0), False, 0.0)
        self._regression.intercept = 0.0
        if start is not None:
            self._restore(start)

    def _restore(self, start: HazardParameters) -> None:
        self._rows = start.rows
        self._scaler = preprocessing.StandardScaler._from_state(  # noqa: SLF001 - River's own way to warm-start
            counts=dict.fromkeys(HAZARD_FEATURES, start.rows),
            means=dict(zip(HAZARD_FEATURES, start.means, strict=True)),
            vars=dict(zip(HAZARD_FEATURES, start.variances, strict=True)),
        )
        for name, weight in zip(HAZARD_FEATURES, start.weights, strict=True):
            self._regression._weights[name] = weight  # noqa: SLF001 - River offers no setter
        self._regression.intercept = start.intercept

    @property
    def pipeline(self) -> Any:
        """The River pipeline itself, sharing this model's parts."""
        return self._scaler | self._regression

    def learn(self, rows: npt.NDArray[np.floating], bought: npt.NDArray[np.bool_], weights: Floats) -> None:
        """Learn matured labels: the scaler from all rows at once, the regression row by row in order.

        Args:
            rows: features frozen at prediction time, (rows, 17).
            bought: whether a purchase followed within 30 days, (rows,).
            weights: of the rows, 0 … 1, (rows,).
        """
        if len(rows) == 0:
            return
        scaled = self._scale(np.asarray(rows, np.float64))
        learn_one = self._regression.learn_one
        for row, label, weight in zip(scaled.tolist(), bought.tolist(), weights.tolist(), strict=True):
            learn_one(dict(zip(HAZARD_FEATURES, row, strict=True)), label, weight)

    def _scale(self, rows: Floats) -> Floats:
        """Update River's scaler with a batch and scale the batch.

        What River's own `learn_many` does, except that a constant feature keeps a variance of exactly
        zero (River's can go below). Source: Chan, Golub, LeVeque, "Updating formulae" (1979).
        """
        before, added = self._rows, len(rows)
        self._rows = total = before + added
        old_means = np.array([self._scaler.means[name] for name in HAZARD_FEATURES])
        old_variances = np.array([self._scaler.vars[name] for name in HAZARD_FEATURES])
        shift = rows.mean(axis=0) - old_means
        constant = (rows == rows[0]).all(axis=0)
        variances = np.where(constant, 0.0, rows.var(axis=0))
        shift = np.where(constant, rows[0] - old_means, shift)
        means = old_means + shift * (added / total)
        pooled = (
            before * old_variances + added * variances + shift * shift * (before * added / total)
        ) / total
        for name, mean, variance in zip(HAZARD_FEATURES, means.tolist(), pooled.tolist(), strict=True):
            self._scaler.counts[name] = total
            self._scaler.means[name] = mean
            self._scaler.vars[name] = variance
        varied = pooled > 0.0
        return np.where(varied, (rows - means) / np.sqrt(np.where(varied, pooled, 1.0)), 0.0)

    def predict(self, row: Sequence[float]) -> float:
        """Return River's own probability of a purchase within 30 days for one row of 17 features."""
        x = dict(zip(HAZARD_FEATURES, row, strict=True))
        return float(self.pipeline.predict_proba_one(x)[True])

    def parameters(self) -> HazardParameters:
        """Read the parameters out of River's objects."""
        weights = self._regression.weights
        return HazardParameters(
            weights=tuple(float(weights.get(name, 0.0)) for name in HAZARD_FEATURES),
            intercept=float(self._regression.intercept),
            means=tuple(float(self._scaler.means.get(name, 0.0)) for name in HAZARD_FEATURES),
            variances=tuple(float(self._scaler.vars.get(name, 0.0)) for name in HAZARD_FEATURES),
            rows=self._rows,
        )
