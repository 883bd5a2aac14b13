"""What an evaluation found: figures by model and group of rows, month by month, and what each was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.authoring.evaluation.rows import Rows
from engine.features.churn.evaluation import Quality, Tally
from engine.features.churn.quality import NO_SEGMENT

Floats = npt.NDArray[np.float64]

OURS: Final = "engage"
MBG: Final = "MBG/NBD"
BG: Final = "BG/NBD monthly"
TREES: Final = "LightGBM monthly"
RULE: Final = "recency rule"
BASE: Final = "base rate"
ACTIONABLE_DAYS: Final = 90.0
RISK_BOUND: Final = 1e-6


class Month(msgspec.Struct, frozen=True):
    """Log-loss of one month's rows.

    Args:
        day: first day of the month, days since the log began.
        rows: judged.
        log_loss: of our model.
    """

    day: int
    rows: int
    log_loss: float


class ModelResult(msgspec.Struct, frozen=True):
    """One model.

    Args:
        name: of the model.
        given: what it was given, in a sentence.
        quality: by group of rows: `all`, `actionable`, `purchase`.
        ratio: our log-loss by its log-loss, all rows; below 1 ours is better.
        ratio_margin: half the width of the 95 % interval of `ratio`, customers being independent.
        months: of all rows.
        segments: quality by the segment customers were in when their risk was given.
    """

    name: str
    given: str
    quality: dict[str, Quality]
    ratio: float | None = None
    ratio_margin: float | None = None
    months: list[Month] = []
    segments: dict[str, Quality] = {}


class Evaluation(msgspec.Struct, frozen=True):
    """A whole evaluation.

    Args:
        log: the files.
        customers: in the log.
        tested: customers whose rows are judged.
        purchases: in the log, refunds not counted.
        begins: first day, ISO.
        ends: last day, ISO.
        days: the log spans.
        judged_from_day: rows before this day of the log are learned from, not judged.
        horizon_days: the risk is that of no purchase in this many days.
        models: ours first.
        scored: rows scored.
        seconds: our own model took.
        notes: what a reader should know.
        engine_version: of the package.
    """

    log: str
    customers: int
    tested: int
    purchases: int
    begins: str
    ends: str
    days: int
    judged_from_day: int
    horizon_days: int
    models: list[ModelResult]
    scored: int
    seconds: float
    notes: list[str]
    engine_version: str

    @property
    def rows_per_s(self) -> float:
        """Rows scored, learned and judged in a second by our own model."""
        return self.scored / self.seconds if self.seconds else 0.0


def judge(
    rows: Rows, risks: Mapping[str, tuple[str, Floats]], begins_s: int, segments: Sequence[str] = ()
) -> list[ModelResult]:
    """Compare models on the same rows.

    Args:
        rows: those judged, in time order.
        risks: model to what it was given and what it said, (rows,); ours under `OURS`.
        begins_s: when the log begins, seconds since the epoch.
        segments: names by code; those without rows are left out.
    """
    groups = {
        "all": np.ones(len(rows), np.bool_),
        "actionable": rows.recency_d <= np.float32(ACTIONABLE_DAYS),
        "purchase": rows.is_purchase,
    }
    bounded = {name: np.clip(risk, RISK_BOUND, 1.0 - RISK_BOUND) for name, (_, risk) in risks.items()}
    losses = {name: -np.log(np.where(rows.gone, risk, 1.0 - risk)) for name, risk in bounded.items()}
    found = []
    for name, (given, _) in risks.items():
        quality = {group: _quality(rows, bounded[name], chosen) for group, chosen in groups.items()}
        by_segment = {
            segments[code] or NO_SEGMENT: _quality(rows, bounded[name], rows.segments == code)
            for code in np.unique(rows.segments).tolist()
            if code < len(segments)
        }
        ratio, margin = (None, None) if name == OURS else _ratio(losses[OURS], losses[name], rows.customers)
        months = _months(rows, losses[name], begins_s)
        found.append(ModelResult(name, given, quality, ratio, margin, months, by_segment))
    return found


def _quality(rows: Rows, risk: Floats, chosen: npt.NDArray[np.bool_]) -> Quality:
    tally = Tally()
    tally.add(risk[chosen], rows.mbg[chosen].astype(np.float64), rows.gone[chosen])
    return tally.summary()


def _ratio(
    ours: Floats, theirs: Floats, customers: npt.NDArray[np.uint64]
) -> tuple[float | None, float | None]:
    """Ratio of the mean losses and its margin, by the delta method over customers."""
    if not len(ours) or theirs.sum() == 0.0:
        return None, None
    _, number = np.unique(customers, return_inverse=True)
    ratio = float(ours.sum() / theirs.sum())
    rest = np.bincount(number, ours - ratio * theirs)
    return ratio, float(1.96 * np.sqrt(np.sum(rest * rest)) / theirs.sum())


def _months(rows: Rows, losses: Floats, begins_s: int) -> list[Month]:
    month = (rows.time_s - begins_s) // (30 * 86_400)
    return [
        Month(int(each) * 30, int((month == each).sum()), float(losses[month == each].mean()))
        for each in np.unique(month)
    ]
