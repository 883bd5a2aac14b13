"""The trainer's log of its own quality: by group of rows, in total and lately."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.features.churn.evaluation import Quality, Tally

Floats = npt.NDArray[np.float64]

ACTIONABLE: Final = 1
PURCHASE: Final = 2
GROUPS: Final = {"all": 0, "actionable": ACTIONABLE, "purchase": PURCHASE}
"""Name of each group of rows and the flag its rows carry: a marketer can still act (last purchase at
most 90 days ago); the row is a purchase."""
NO_SEGMENT: Final = "no segment"
_SEGMENT: Final = "segment:"
BUCKET_DAYS: Final = 30
RECENT_BUCKETS: Final = 3
ENOUGH_ROWS: Final = 2_000
"""Judged risks, of customers one can still act on, before anybody should act on the score."""
FAR_OFF: Final = 0.1
"""Mean difference of risks and shares that stayed away: beyond it a risk is not to be taken at its word."""


class RecencyRule(msgspec.Struct, frozen=True):
    """How a rule would have done that only looks whether the last purchase is more than 90 days ago.

    Args:
        auc: of telling those two sides apart; None where all did the same.
        log_loss: of saying on each side the share that stayed away there, known with hindsight.
    """

    auc: float | None
    log_loss: float


def recency_rule(groups: Mapping[str, Quality]) -> RecencyRule | None:
    """Work the rule out of the shares on its two sides: rows one can still act on, and the others.

    Args:
        groups: quality by group of rows, as `GROUPS`.

    Returns:
        The rule on all rows, or None before any was judged.
    """
    every, recent = groups.get("all"), groups.get("actionable")
    if every is None or not every.rows or every.base_rate is None:
        return None
    gone = every.rows * every.base_rate
    recent_rows, recent_gone = 0, 0.0
    if recent is not None and recent.base_rate is not None:
        recent_rows, recent_gone = recent.rows, recent.rows * recent.base_rate
    sides = ((recent_rows, recent_gone), (every.rows - recent_rows, gone - recent_gone))
    lost = sum(rows * _entropy(of / rows) for rows, of in sides if rows)
    back = every.rows - gone
    auc = None
    if gone and back:
        silent_rows, silent_gone = sides[1]
        auc = 0.5 * (1 + silent_gone / gone - (silent_rows - silent_gone) / back)
    return RecencyRule(auc, lost / every.rows)


def fit_to_act(recent: Mapping[str, Quality], all_time: Mapping[str, Quality]) -> str:
    """Say whether the risks are good enough to act on, by what has been judged of rows one can still act on.

    Args:
        recent: quality of the last months by group of rows, as `GROUPS`; counts if it has enough rows.
        all_time: the same of all time.
    """
    found = recent.get("actionable", Quality(0))
    if found.rows < ENOUGH_ROWS:
        found = all_time.get("actionable", Quality(0))
    if found.rows < ENOUGH_ROWS:
        return (
            f"not yet: {found.rows:,} risks of customers one can still act on have been judged, wait for "
            f"{ENOUGH_ROWS:,}"
        )
    loss, base, error = found.log_loss, found.base_log_loss, found.calibration_error
    if loss is not None and base is not None and loss >= base:
        return f"no: log-loss {loss:.3f} is no better than the base rate's {base:.3f}"
    if error is not None and error > FAR_OFF:
        return f"only to sort by: the shares that stayed away differ from the risks by {error:.0%} on average"
    return f"yes: {found.rows:,} risks of customers one can still act on were judged, and hold"


def _entropy(share: float) -> float:
    return -sum(each * math.log(each) for each in (share, 1.0 - share) if each > 0.0)


class QualityLog:
    """Tallies by group of rows and by segment: one in total, one per 30 days for the last three.

    There are at most as many segments as codes, and of those only the ones in use take room.
    """

    __slots__ = ("_recent", "_total")

    def __init__(self) -> None:
        self._total: dict[str, Tally] = {}
        self._recent: dict[int, dict[str, Tally]] = {}

    def add(
        self,
        day: int,
        risk: Floats,
        mbg_risk: Floats,
        gone: npt.NDArray[np.bool_],
        flags: npt.NDArray[np.uint8],
        segments: npt.NDArray[np.uint8],
    ) -> None:
        """Count a day's matured rows, (rows,) each; see `Tally.add`, `GROUPS`, `TrainingBlock`."""
        if len(risk) == 0:
            return
        bucket = self._recent.setdefault(day // BUCKET_DAYS, {})
        chosen = {name: (flags & flag) == flag for name, flag in GROUPS.items()}
        chosen |= {f"{_SEGMENT}{code}": segments == code for code in np.unique(segments)}
        for name, rows in chosen.items():
            for tallies in (bucket, self._total):
                tallies.setdefault(name, Tally()).add(risk[rows], mbg_risk[rows], gone[rows])
        for old in sorted(self._recent)[:-RECENT_BUCKETS]:
            del self._recent[old]

    def total(self) -> dict[str, Quality]:
        """Return the quality by group over all judged rows."""
        return _of_groups(self._total)

    def recent(self) -> dict[str, Quality]:
        """Return the quality by group over the last buckets."""
        return _of_groups(self._merged())

    def segments(self, names: Sequence[str]) -> dict[str, Quality]:
        """Return the quality by segment over all judged rows.

        Args:
            names: of the segments, by code; one that has none goes by its code.
        """
        return _of_segments(self._total, names)

    def recent_segments(self, names: Sequence[str]) -> dict[str, Quality]:
        """Return the same over the last buckets."""
        return _of_segments(self._merged(), names)

    def _merged(self) -> dict[str, Tally]:
        merged: dict[str, Tally] = {}
        for bucket in self._recent.values():
            for name, tally in bucket.items():
                merged.setdefault(name, Tally()).merge(tally)
        return merged

    def to_state(self) -> dict[str, Any]:
        """Return the log as plain values for msgpack."""
        return {
            "total": {name: tally.to_state() for name, tally in sorted(self._total.items())},
            "recent": {
                str(number): {name: tally.to_state() for name, tally in sorted(bucket.items())}
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


def _of_groups(tallies: dict[str, Tally]) -> dict[str, Quality]:
    return {name: tallies[name].summary() if name in tallies else Quality(0) for name in GROUPS}


def _of_segments(tallies: dict[str, Tally], names: Sequence[str]) -> dict[str, Quality]:
    found = {}
    for key, tally in tallies.items():
        if key.startswith(_SEGMENT):
            code = int(key.removeprefix(_SEGMENT))
            name = names[code] if code < len(names) else ""
            found[name or (f"segment {code}" if code else NO_SEGMENT)] = tally.summary()
    return dict(sorted(found.items()))
