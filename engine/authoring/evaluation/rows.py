"""The rows an evaluation is about: what was known at each, what the model said, what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.hazard import FEATURE_COUNT
from engine.features.churn.purchases import DAY_S
from engine.features.churn.scoring import Risk

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows in time order whose horizon has passed, arrays of (rows,) unless noted.

    Args:
        customers: customer keys, uint64.
        time_s: when they were scored, int64 seconds since the epoch.
        features: (rows, 26) float32; (0, 26) when they were not kept.
        is_purchase: which rows are purchases.
        recency_d: days since the last purchase, float32.
        risk: what the model said at the time: probability of no purchase within the horizon, float32.
        mbg: what MBG/NBD alone said, float32.
        gone: whether no purchase followed within the horizon.
        segments: code of the customer's segment when they were scored, 0 = none, uint8.
    """

    customers: npt.NDArray[np.uint64]
    time_s: npt.NDArray[np.int64]
    features: npt.NDArray[np.float32]
    is_purchase: Bools
    recency_d: npt.NDArray[np.float32]
    risk: npt.NDArray[np.float32]
    mbg: npt.NDArray[np.float32]
    gone: Bools
    segments: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_s)

    def of(self, chosen: Bools) -> Rows:
        """Return the rows a mask selects."""
        features = self.features[chosen] if len(self.features) else self.features
        return Rows(
            self.customers[chosen],
            self.time_s[chosen],
            features,
            self.is_purchase[chosen],
            self.recency_d[chosen],
            self.risk[chosen],
            self.mbg[chosen],
            self.gone[chosen],
            self.segments[chosen],
        )


class Recorder:
    """Looks on while a trainer works (`engine.features.churn.watch.Watch`) and keeps the rows.

    Args:
        features: whether the features are kept too: 104 bytes a row.
    """

    def __init__(self, *, features: bool) -> None:
        self._features = features
        self._waiting: dict[int, tuple[TrainingBlock, Risk]] = {}
        self._done: list[Rows] = []
        self.seen = 0

    def scored(self, day: int, rows: TrainingBlock, risk: Risk) -> None:
        """See `Watch`."""
        self.seen += len(rows)
        self._waiting[day] = (rows, risk)

    def judged(self, day: int, gone: Bools) -> None:
        """See `Watch`."""
        rows, risk = self._waiting.pop(day)
        empty = np.empty((0, FEATURE_COUNT), np.float32)
        self._done.append(
            Rows(
                rows.customers,
                rows.time_s.astype(np.int64),
                rows.features if self._features else empty,
                rows.is_purchase,
                np.expm1(rows.features[:, 0]),
                risk.blended.astype(np.float32),
                risk.mbg.astype(np.float32),
                gone,
                rows.segments,
            )
        )

    def rows(self) -> Rows:
        """Return all rows that were judged, in time order."""
        return _joined(self._done)


def _joined(parts: Sequence[Rows]) -> Rows:
    names = Rows.__dataclass_fields__
    if not parts:
        none = TrainingBlock.empty()
        numbers, flags = np.empty(0, np.float32), np.empty(0, np.bool_)
        times = np.empty(0, np.int64)
        return Rows(
            none.customers, times, none.features, flags, numbers, numbers, numbers, flags, none.segments
        )
    return Rows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def days_of(time_s: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return days since the epoch."""
    return time_s // DAY_S
