"""Whether a new snapshot may go live: judged against the live one on the labels that matured last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.hazard import FEATURE_COUNT
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import HAZARD_DAYS, Snapshot, Trial

Floats = npt.NDArray[np.float64]

TRIAL_DAYS: Final = 30
"""The window: rows whose label matured on the last so many days of stream time."""
MIN_TRIAL_ROWS: Final = 1_000
"""With fewer rows chance would decide; then a snapshot passes if it has learned at least as many labels as
the live one: a trainer that lost its state does not replace a model that learned for months."""
DEFAULT_BOUND: Final = 0.005


@dataclass(frozen=True, slots=True)
class TrialDay:
    """Rows whose label matured on one day.

    Args:
        features: frozen when the rows were scored, (rows, 26) float32.
        back: whether a purchase followed within 30 days, (rows,) bool.
        weights: of the rows, (rows,).
        loss: what the trainer lost on them before it learned them, weighted sum in nats.
    """

    features: npt.NDArray[np.float32]
    back: npt.NDArray[np.bool_]
    weights: Floats
    loss: float


class TrialWindow:
    """Keeps the rows that matured last."""

    __slots__ = ("_days",)

    def __init__(self) -> None:
        self._days: dict[int, TrialDay] = {}

    def add(
        self, day: int, rows: TrainingBlock, back: npt.NDArray[np.bool_], weights: Floats, before: Snapshot
    ) -> None:
        """Judge rows whose label has just matured, before anything is learned from them.

        Args:
            day: on which they matured, days since the epoch.
            rows: the rows.
            back: whether a purchase followed within 30 days, (rows,).
            weights: of the rows, (rows,).
            before: the trainer as it stands.
        """
        loss = float(_losses(before, rows.features, back) @ weights)
        self._days[day] = TrialDay(rows.features, back, weights, loss)
        for old in [known for known in self._days if known <= day - TRIAL_DAYS]:
            del self._days[old]

    def judge(self, candidate: Snapshot, live: Snapshot | None, bound: float) -> Trial:
        """Compare a snapshot with the live one.

        Args:
            candidate: the new one.
            live: what workers score with, or None when there is none for the same horizon.
            bound: how much worse the candidate may be, nats.
        """
        days = list(self._days.values())
        rows = sum(len(day.back) for day in days)
        version = -1 if live is None else live.version
        learned_more = live is None or candidate.labels >= live.labels
        if rows == 0:
            return Trial(0, version, None, None, None, bound, passed=learned_more)
        features = np.concatenate([day.features for day in days])
        back = np.concatenate([day.back for day in days])
        weights = np.concatenate([day.weights for day in days])
        total = float(weights.sum())
        before = sum(day.loss for day in days) / total
        own = float(_losses(candidate, features, back) @ weights) / total
        if live is None:
            return Trial(rows, version, before, own, None, bound, passed=True)
        old = float(_losses(live, features, back) @ weights) / total
        passed = max(before, own) <= old + bound if rows >= MIN_TRIAL_ROWS else learned_more
        return Trial(rows, version, before, own, old, bound, passed=passed)

    def to_state(self) -> dict[int, Any]:
        """Return the window as plain values for msgpack."""
        return {
            day: (
                kept.features.astype("<f4").tobytes(),
                kept.back.astype(np.uint8).tobytes(),
                kept.weights.astype("<f8").tobytes(),
                kept.loss,
            )
            for day, kept in sorted(self._days.items())
        }

    @classmethod
    def from_state(cls, state: dict[int, Any]) -> TrialWindow:
        """Restore what `to_state` returned."""
        window = cls()
        for day, (features, back, weights, loss) in state.items():
            window._days[day] = TrialDay(
                np.frombuffer(features, "<f4").reshape(-1, FEATURE_COUNT),
                np.frombuffer(back, np.uint8).astype(np.bool_),
                np.frombuffer(weights, "<f8"),
                float(loss),
            )
        return window


def _losses(snapshot: Snapshot, features: npt.NDArray[np.float32], back: npt.NDArray[np.bool_]) -> Floats:
    """Log-loss of the 30-day risk of each row, (rows,) nats: its labels are the first to mature."""
    near = msgspec.structs.replace(snapshot, horizon_days=HAZARD_DAYS)
    risk = Scorer(near).score_rows(features).blended
    return -np.log(np.where(back, 1.0 - risk, risk))
