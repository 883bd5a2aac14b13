"""The trainer's log of its own quality: by group of rows, in total and lately."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from engine.features.churn.evaluation import Quality, Tally

Floats = npt.NDArray[np.float64]

ACTIONABLE: Final = 1
PURCHASE: Final = 2
GROUPS: Final = {"all": 0, "actionable": ACTIONABLE, "purchase": PURCHASE}
"""Name of each group of rows and the flag its rows carry: a marketer can still act (last purchase at
most 90 days ago); the row is a purchase."""
BUCKET_DAYS: Final = 30
RECENT_BUCKETS: Final = 3


class QualityLog:
    """Tallies by group: one in total, one per 30 days for the last three."""

    __slots__ = ("_recent", "_total")

    def __init__(self) -> None:
        self._total = {name: Tally() for name in GROUPS}
        self._recent: dict[int, dict[str, Tally]] = {}

    def add(
        self,
        day: int,
        risk: Floats,
        mbg_risk: Floats,
        gone: npt.NDArray[np.bool_],
        flags: npt.NDArray[np.uint8],
    ) -> None:
        """Count a day's matured rows, (rows,) each; see `Tally.add` and `GROUPS`."""
        if len(risk) == 0:
            return
        bucket = self._recent.setdefault(day // BUCKET_DAYS, {name: Tally() for name in GROUPS})
        for name, flag in GROUPS.items():
            chosen = (flags & flag) == flag
            bucket[name].add(risk[chosen], mbg_risk[chosen], gone[chosen])
            self._total[name].add(risk[chosen], mbg_risk[chosen], gone[chosen])
        for old in sorted(self._recent)[:-RECENT_BUCKETS]:
            del self._recent[old]

    def total(self) -> dict[str, Quality]:
        """Return the quality by group over all judged rows."""
        return {name: tally.summary() for name, tally in self._total.items()}

    def recent(self) -> dict[str, Quality]:
        """Return the quality by group over the last buckets."""
        merged = {name: Tally() for name in GROUPS}
        for bucket in self._recent.values():
            for name, tally in bucket.items():
                merged[name].merge(tally)
        return {name: tally.summary() for name, tally in merged.items()}

    def to_state(self) -> dict[str, Any]:
        """Return the log as plain values for msgpack."""
        return {
            "total": {name: tally.to_state() for name, tally in self._total.items()},
            "recent": {
                str(number): {name: tally.to_state() for name, tally in bucket.items()}
                for number, bucket in self._recent.items()
            },
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> QualityLog:
        """Restore what `to_state` returned."""
        log = cls()
        log._total = {name: Tally.from_state(tally) for name, tally in state["total"].items()}
        log._recent = {
            int(number): {name: Tally.from_state(tally) for name, tally in bucket.items()}
            for number, bucket in state["recent"].items()
        }
        return log
