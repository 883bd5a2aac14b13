"""Why is this customer's risk what it is? Each quantity's part in the log-odds, against a typical customer.

The risk is no sum: hazards are chained and averaged with MBG/NBD. So a quantity's part is its Shapley value:
what changes in the log-odds when it is set from the typical customer's to this one's, averaged over all
orders in which the quantities could be set. The parts add up exactly to the difference of the two log-odds.
Source: Shapley, "A value for n-person games" (1953). Typical is the mean of what the model learned from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import exp, factorial
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.features.churn.activity import ACTIVITY_COUNT, CHANGES, CSAT, CSAT_CENTRE, HABITS, NPS, NPS_CENTRE
from engine.features.churn.evaluation import Band, Quality
from engine.features.churn.hazard import (
    MEASURES,
    PURCHASE_COUNT,
    Basis,
    basis_of_features,
    basis_of_stats,
)
from engine.features.churn.purchases import PurchaseStats
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import HazardParameters, Snapshot

Floats = npt.NDArray[np.float64]

MIN_BAND_ROWS: Final = 100
"""A band says what share truly left only if it has been judged on so many rows."""
_UNIMPORTANT: Final = 0.05
_SPEND: Final = 3

_PURCHASES: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("time since the last order", ("recency_d", "just_purchased")),
    ("times ordered", ("repeats",)),
    ("time since the first order", ("tenure_d",)),
    ("usual time between orders", ("mean_gap_d", "gap_sd_d")),
    ("orders of the last weeks", ("decayed_counts",)),
    ("amounts spent", ("mean_amount", "last_amount", "decayed_spend")),
    ("orders in the whole shop", ("global_rate",)),
)
"""What a marketer calls it, and the quantities of `Basis` that are set together."""
_ACTIVITY: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    *(
        (what, (HABITS.start + kind, CHANGES.start + kind))
        for kind, what in enumerate(("visits", "messages opened", "inquiries"))
    ),
    ("last satisfaction answer (CSAT)", (CSAT,)),
    ("last recommendation answer (NPS)", (NPS,)),
)
"""The same for the rows of `Basis.activity`."""


class Contribution(msgspec.Struct, frozen=True):
    """The part one quantity has in a risk.

    Args:
        what: in a marketer's words.
        value: this customer's, as text.
        typical: a typical customer's, as text.
        log_odds: what it adds to the log-odds of leaving; below 0 it lowers the risk.
    """

    what: str
    value: str
    typical: str
    log_odds: float

    @property
    def odds_ratio(self) -> float:
        """By what the odds of leaving are multiplied."""
        return exp(self.log_odds)

    @property
    def matters(self) -> bool:
        """Whether it moves the odds by more than a twentieth."""
        return abs(self.log_odds) > _UNIMPORTANT


class RiskExplanation(msgspec.Struct, frozen=True):
    """A customer's churn risk, taken apart.

    Args:
        risk: probability of no purchase within the horizon.
        typical_risk: of the typical customer, where the contributions begin.
        horizon_days: the horizon.
        model: version of the model; 0 is the one that ships.
        contributions: largest first; they add up to the difference of the two risks' log-odds.
        band: the band of risks this one falls in, judged on matured labels; None before there are enough.
        judged: how many risks of that band have been judged so far.
    """

    risk: float
    typical_risk: float
    horizon_days: int
    model: int
    contributions: tuple[Contribution, ...]
    band: Band | None
    judged: int


def explain_risk(
    snapshot: Snapshot,
    stats: PurchaseStats,
    now_s: float,
    global_rate: float,
    activity: Floats | None = None,
) -> RiskExplanation:
    """Take the risk of one customer apart.

    Args:
        snapshot: the model.
        stats: purchases of one customer, (1,).
        now_s: the instant, seconds since the epoch.
        global_rate: purchases per known customer and day.
        activity: what else the customer did (`activity.activity_of`), (8, 1) or None.
    """
    own = basis_of_stats(stats, np.array([now_s]), np.array([global_rate]), activity)
    learned = _learned(snapshot)
    typical = basis_of_features(np.array([learned.means]))
    varied = np.array(learned.variances[PURCHASE_COUNT:]) > 0.0
    kinds = [(what, rows) for what, rows in _ACTIVITY if varied[list(rows)].any()]
    names = [*(what for what, _ in _PURCHASES), *(what for what, _ in kinds)]
    chosen = np.array(list(product((False, True), repeat=len(names))))
    mixed = _mixed(own, typical, chosen, [rows for _, rows in kinds])
    risks = Scorer(snapshot).score_basis(mixed)
    log_odds = np.log(risks / (1.0 - risks))
    values, usual = (
        (*_texts(each), *(_activity_text(_activity(each)[:, 0], rows) for _, rows in kinds))
        for each in (own, typical)
    )
    parts = [
        Contribution(what, values[at], usual[at], _shapley(log_odds, chosen, at))
        for at, what in enumerate(names)
    ]
    parts.sort(key=lambda part: -abs(part.log_odds))
    risk = float(risks[-1])
    return RiskExplanation(
        risk=risk,
        typical_risk=float(risks[0]),
        horizon_days=snapshot.horizon_days,
        model=snapshot.version,
        contributions=tuple(parts),
        band=_band(snapshot, risk, MIN_BAND_ROWS),
        judged=0 if (most := _band(snapshot, risk, 1)) is None else most.rows,
    )


def _learned(snapshot: Snapshot) -> HazardParameters:
    """Return what has learned something; a typical customer is the mean of what it learned from."""
    return snapshot.hazard if snapshot.hazard.rows or snapshot.prior is None else snapshot.prior


def _activity(basis: Basis) -> Floats:
    return np.zeros((ACTIVITY_COUNT, 1)) if basis.activity is None else basis.activity


def _mixed(
    own: Basis, typical: Basis, chosen: npt.NDArray[np.bool_], kinds: Sequence[tuple[int, ...]]
) -> Basis:
    """Rows that take the parts chosen from one basis and the others from the other.

    Args:
        own: one row.
        typical: one row.
        chosen: which parts are taken from the first, (rows, parts) bool.
        kinds: rows of `Basis.activity` of each part beyond those of purchases; others weigh nothing.
    """
    takes = {name: chosen[:, at] for at, (_, names) in enumerate(_PURCHASES) for name in names}

    def mix(name: str) -> Floats:
        values: Floats = np.where(takes[name], getattr(own, name), getattr(typical, name))
        return values

    lately = np.where(takes["decayed_counts"], own.decayed, typical.decayed)
    lately[_SPEND] = np.where(takes["decayed_spend"], own.decayed[_SPEND], typical.decayed[_SPEND])
    activity = np.zeros((ACTIVITY_COUNT, len(chosen)))
    for at, rows in enumerate(kinds, len(_PURCHASES)):
        for row in rows:
            activity[row] = np.where(chosen[:, at], _activity(own)[row], _activity(typical)[row])
    measures = {name: mix(name) for name in MEASURES if name != "last_d"}
    # nobody bought last before they bought first
    measures["tenure_d"] = np.maximum(measures["tenure_d"], measures["recency_d"])
    measures["last_d"] = measures["tenure_d"] - measures["recency_d"]
    return Basis(
        measures=np.stack([measures[name] for name in MEASURES]),
        decayed=lately,
        global_rate=mix("global_rate"),
        just_purchased=mix("just_purchased"),
        activity=activity if kinds else None,
    )


def _shapley(log_odds: Floats, chosen: npt.NDArray[np.bool_], part: int) -> float:
    """Return the mean change by setting a part, over all orders; rows of `chosen` count in binary."""
    count = chosen.shape[1]
    without = np.flatnonzero(~chosen[:, part])
    change = log_odds[without + (1 << (count - 1 - part))] - log_odds[without]
    before = chosen[without].sum(axis=1)
    weights = np.array([factorial(k) * factorial(count - 1 - k) / factorial(count) for k in range(count)])
    return float(weights[before] @ change)


def _texts(basis: Basis) -> tuple[str, ...]:
    """Say each part's value in words, as in `_PURCHASES`."""
    amount = float(basis.mean_amount[0])
    rate = float(np.asarray(basis.global_rate).ravel()[0])
    count = int(basis.repeats[0]) + 1
    return (
        _days(basis.recency_d[0]),
        "once" if count == 1 else f"{count} times",
        _days(basis.tenure_d[0]),
        _days(basis.mean_gap_d[0]),
        f"{float(basis.decayed[1, 0]):.1f} lately",
        f"{amount:,.2f} an order",
        f"{rate * 30:.2f} a customer in 30 days",
    )


def _activity_text(activity: Floats, rows: tuple[int, ...]) -> str:
    """Say one part of `_ACTIVITY` in words; `activity` is (8,)."""
    if len(rows) == 1:
        # a typical customer's is a mean with those who never answered
        centre = CSAT_CENTRE if rows[0] == CSAT else NPS_CENTRE
        answer = float(activity[rows[0]])
        return "no answer" if answer == 0.0 else f"{answer + centre:.1f}"
    habit, change = (float(activity[row]) for row in rows)
    return f"{np.expm1(habit + change):.1f} in the last 7 days, usually {np.expm1(habit):.1f} a week"


def _days(days: float) -> str:
    whole = round(float(days))
    return f"{whole:,} day{'s' if whole != 1 else ''}"


def _band(snapshot: Snapshot, risk: float, least: int) -> Band | None:
    """Return the judged band of a risk: of the last months if it has enough rows there, else of all time."""
    for validation in (snapshot.recent, snapshot.validation):
        quality = validation.get("all", Quality(0))
        for band in quality.bands:
            if band.low <= risk < band.high and band.rows >= least:
                return band
    return None


def risk_lines(explained: RiskExplanation) -> list[str]:
    """Say a risk and what raises and lowers it, for a person."""
    head = f"churn risk {explained.risk:.2f}: no order within {explained.horizon_days} days"
    lines = [f"{head} (model {explained.model}; a typical customer {explained.typical_risk:.2f})"]
    for part in explained.contributions:
        if part.matters:
            verb = "raises it" if part.log_odds > 0 else "lowers it"
            lines.append(
                f"  {verb} {part.log_odds:+.2f} (odds × {part.odds_ratio:.2f})  {part.what}: {part.value},"
                f" typically {part.typical}"
            )
    if explained.band is not None:
        band = explained.band
        lines.append(
            f"  of those once given {band.low:.0%} to {band.high:.0%},"
            f" {band.observed:.0%} truly stayed away ({band.rows:,} judged)"
        )
    else:
        judged = f"{explained.judged:,} have been judged" if explained.judged else "none has been judged"
        lines.append(
            f"  how many of those with such a risk truly stay away is not known yet: {judged}, it takes"
            f" {MIN_BAND_ROWS}"
        )
    return lines
