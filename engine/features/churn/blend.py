"""How much MBG/NBD counts beside the hazard: a mix at first, then what matured rows ask for.

Which of the two is the better one depends on the shop. With few labels, or customers who buy as if by dice,
it is MBG/NBD; with many labels and habits that change, the hazard. The share is one number, so few rows find
it: a Newton step a day on the log-loss of the blend.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]

PRIOR: Final = 100.0
"""What the share at first weighs against matured rows, in units of their evidence."""
HALF_LIFE_DAYS: Final = 90.0
"""After so long what was seen counts half."""
ROW_DAYS: Final = 7.0
"""Time between two rows of a customer who does nothing: all rows of one horizon share one outcome."""


class BlendShare:
    """Follows the share of MBG/NBD in the blend of log-odds.

    Args:
        share: at first, 0 … 1.
        horizon_days: of the risk.
    """

    __slots__ = ("_day", "_evidence", "_row_weight", "share")

    def __init__(self, share: float, horizon_days: int) -> None:
        self.share = share
        self._row_weight = ROW_DAYS / horizon_days
        self._evidence = 0.0
        self._day = -1

    def learn(self, day: int, hazard: Floats, mbg: Floats, gone: npt.NDArray[np.bool_]) -> None:
        """Learn from a day's matured rows; days come in order.

        Args:
            day: of the rows.
            hazard: what the hazard alone said at the time, (rows,) in (0, 1).
            mbg: what MBG/NBD alone said, (rows,) in (0, 1).
            gone: whether no purchase followed, (rows,).
        """
        if len(gone) == 0:
            return
        if self._day >= 0:
            self._evidence *= 0.5 ** ((day - self._day) / HALF_LIFE_DAYS)
        self._day = day
        odds = logit(hazard)
        apart = logit(mbg) - odds
        risk = expit(odds + self.share * apart)
        self._evidence += self._row_weight * float((risk * (1.0 - risk) * apart * apart).sum())
        slope = self._row_weight * float((apart * (gone - risk)).sum())
        self.share = min(max(self.share + slope / (self._evidence + PRIOR), 0.0), 1.0)

    def to_state(self) -> dict[str, Any]:
        """Return it as plain values for msgpack."""
        return {"share": self.share, "evidence": self._evidence, "day": self._day}

    @classmethod
    def from_state(cls, state: dict[str, Any], horizon_days: int) -> BlendShare:
        """Restore what `to_state` returned."""
        blend = cls(float(state["share"]), horizon_days)
        blend._evidence = float(state["evidence"])
        blend._day = int(state["day"])
        return blend
