"""Prequential quality: how good were the risks at the time they were given?

Risks are counted into narrow bins of log-odds, per class, so that AUC, calibration and log-loss of
millions of rows need a few kilobytes and tallies add up.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BIN_WIDTH: Final = 0.01
LOG_ODDS_SPAN: Final = 9.0
BINS: Final = round(2 * LOG_ODDS_SPAN / BIN_WIDTH)
DECILES: Final = 10
BAND_EDGES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0)


class Decile(msgspec.Struct, frozen=True):
    """One tenth of the rows, by risk.

    Args:
        rows: in this tenth.
        predicted: mean risk.
        observed: share that stayed away.
    """

    rows: int
    predicted: float
    observed: float


class Band(msgspec.Struct, frozen=True):
    """The rows whose risk lay between two levels.

    Args:
        low: from this risk.
        high: to below this one.
        rows: judged.
        predicted: mean risk.
        observed: share that stayed away.
    """

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


class Quality(msgspec.Struct, frozen=True):
    """Quality over a set of matured rows; shares and losses are NaN-free: an empty set reads None.

    Args:
        rows: matured rows.
        base_rate: share that made no purchase within the horizon.
        auc: area under the ROC curve, or None with one class only.
        log_loss: of the blended risk, natural logarithm.
        base_log_loss: of always saying the base rate.
        mbg_log_loss: of MBG/NBD alone.
        calibration_error: mean absolute difference of predicted and observed share over the deciles.
        deciles: from lowest to highest risk.
        bands: the same rows by level of risk, `BAND_EDGES`; those without rows are left out.
    """

    rows: int
    base_rate: float | None = None
    auc: float | None = None
    log_loss: float | None = None
    base_log_loss: float | None = None
    mbg_log_loss: float | None = None
    calibration_error: float | None = None
    deciles: tuple[Decile, ...] = ()
    bands: tuple[Band, ...] = ()

    @property
    def drift(self) -> float | None:
        """Share that stayed away less the share foretold; None without rows."""
        if not self.rows:
            return None
        return sum(tenth.rows * (tenth.observed - tenth.predicted) for tenth in self.deciles) / self.rows


class Tally:
    """Adds up matured rows; `summary` reads the quality."""

    __slots__ = ("_counts", "_loss", "_mbg_loss", "_predicted")

    def __init__(self) -> None:
        self._counts = np.zeros((2, BINS), np.int64)
        self._predicted = np.zeros(BINS)
        self._loss = 0.0
        self._mbg_loss = 0.0

    def add(self, risk: Floats, mbg_risk: Floats, gone: npt.NDArray[np.bool_]) -> None:
        """Count rows whose label has matured.

        Args:
            risk: what was said at the time, (rows,) in (0, 1).
            mbg_risk: what MBG/NBD alone said, (rows,) in (0, 1).
            gone: whether no purchase followed, (rows,).
        """
        if len(risk) == 0:
            return
        log_odds = np.log(risk / (1.0 - risk))
        place = np.clip((log_odds + LOG_ODDS_SPAN) / BIN_WIDTH, 0, BINS - 1).astype(np.int64)
        cell = place + BINS * gone
        self._counts += np.bincount(cell, minlength=2 * BINS).reshape(2, BINS)
        self._predicted += np.bincount(place, weights=risk, minlength=BINS)
        self._loss -= float(np.log(np.where(gone, risk, 1.0 - risk)).sum())
        self._mbg_loss -= float(np.log(np.where(gone, mbg_risk, 1.0 - mbg_risk)).sum())

    def merge(self, other: Tally) -> None:
        """Add another tally's rows to this one."""
        self._counts += other._counts
        self._predicted += other._predicted
        self._loss += other._loss
        self._mbg_loss += other._mbg_loss

    def summary(self) -> Quality:
        """Compute the quality of the rows counted so far."""
        back, gone = (int(total) for total in self._counts.sum(axis=1))
        rows = back + gone
        if rows == 0:
            return Quality(0)
        rate = gone / rows
        entropy = sum(-share * float(np.log(share)) for share in (rate, 1.0 - rate) if share > 0.0)
        deciles = self._deciles()
        error = sum(tenth.rows * abs(tenth.predicted - tenth.observed) for tenth in deciles) / rows
        return Quality(
            rows=rows,
            base_rate=rate,
            auc=self._auc(back, gone),
            log_loss=self._loss / rows,
            base_log_loss=entropy,
            mbg_log_loss=self._mbg_loss / rows,
            calibration_error=error,
            deciles=deciles,
            bands=self._bands(),
        )

    def _auc(self, back: int, gone: int) -> float | None:
        if back == 0 or gone == 0:
            return None
        below = np.cumsum(self._counts[0]) - self._counts[0]
        wins = self._counts[1] @ (below + 0.5 * self._counts[0])
        return float(wins) / (back * gone)

    def _deciles(self) -> tuple[Decile, ...]:
        """Cut the bins into tenths of about equal size; a bin is never split."""
        per_bin = self._counts.sum(axis=0)
        middle = np.cumsum(per_bin) - 0.5 * per_bin
        tenth = np.minimum((middle * DECILES / per_bin.sum()).astype(np.int64), DECILES - 1)
        rows = np.bincount(tenth, per_bin, DECILES)
        predicted = np.bincount(tenth, self._predicted, DECILES)
        gone = np.bincount(tenth, self._counts[1], DECILES)
        return tuple(
            Decile(int(rows[i]), float(predicted[i] / rows[i]), float(gone[i] / rows[i]))
            for i in range(DECILES)
            if rows[i] > 0
        )

    def _bands(self) -> tuple[Band, ...]:
        """Cut the bins at the edges of the bands; a bin is never split."""
        inner = np.array(BAND_EDGES[1:-1])
        cuts = np.rint((np.log(inner / (1.0 - inner)) + LOG_ODDS_SPAN) / BIN_WIDTH).astype(np.int64)
        bounds = [0, *cuts.tolist(), BINS]
        found = []
        for place, (first, last) in enumerate(pairwise(bounds)):
            back, gone = (int(total) for total in self._counts[:, first:last].sum(axis=1))
            if rows := back + gone:
                predicted = float(self._predicted[first:last].sum()) / rows
                low, high = BAND_EDGES[place], BAND_EDGES[place + 1]
                found.append(Band(low, high, rows, predicted, gone / rows))
        return tuple(found)

    def to_state(self) -> dict[str, Any]:
        """Return the tally as plain values for msgpack."""
        return {
            "counts": self._counts.astype("<i8").tobytes(),
            "predicted": self._predicted.astype("<f8").tobytes(),
            "loss": self._loss,
            "mbg_loss": self._mbg_loss,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Tally:
        """Restore what `to_state` returned."""
        tally = cls()
        tally._counts = np.frombuffer(state["counts"], "<i8").reshape(2, BINS).astype(np.int64)
        tally._predicted = np.frombuffer(state["predicted"], "<f8").astype(np.float64)
        tally._loss = float(state["loss"])
        tally._mbg_loss = float(state["mbg_loss"])
        return tally
