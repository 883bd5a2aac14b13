"""Why is this customer's risk what it is? Each quantity's part in the log-odds, against a typical customer.

The risk is no sum: hazards are chained and averaged with MBG/NBD. So a quantity's part is its Shapley value:
what changes in the log-odds when it is set from the typical customer's to this one's, averaged over all
orders in which the quantities could be set. The parts add up exactly to the difference of the two log-odds.
Source: Shapley, "A value for n-person games" (1953). Typical is the mean of what the model learned from.
"""

from __future__ import annotations

from itertools import product
from math import exp, factorial
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.features.churn.evaluation import Band, Quality
from engine.features.churn.hazard import Basis, basis_of_features, basis_of_stats
from engine.features.churn.purchases import PurchaseStats
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import Snapshot

Floats = npt.NDArray[np.float64]

MIN_BAND_ROWS: Final = 100
"""A band says what share truly left only if it has been judged on so many rows."""
_UNIMPORTANT: Final = 0.05
_SPEND: Final = 3

_PARTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("time since the last order", ("recency_d", "just_purchased")),
    ("number of orders", ("count",)),
    ("time since the first order", ("tenure_d",)),
    ("usual time between orders", ("mean_gap_d", "gap_sd_d")),
    ("orders of the last weeks", ("decayed_counts",)),
    ("amounts spent", ("mean_amount_log", "last_amount_log", "decayed_spend")),
    ("orders in the whole shop", ("global_rate",)),
)
"""What a marketer calls it, and the quantities of `Basis` that are set together."""


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
    """

    risk: float
    typical_risk: float
    horizon_days: int
    model: int
    contributions: tuple[Contribution, ...]
    band: Band | None


def explain_risk(
    snapshot: Snapshot, stats: PurchaseStats, now_s: float, global_rate: float
) -> RiskExplanation:
    """Take the risk of one customer apart.

    Args:
        snapshot: the model.
        stats: purchases of one customer, (1,).
        now_s: the instant, seconds since the epoch.
        global_rate: purchases per known customer and day.
    """
    own = basis_of_stats(stats, np.array([now_s]), np.array([global_rate]))
    typical = _typical(snapshot)
    chosen = np.array(list(product((False, True), repeat=len(_PARTS))))
    risks = Scorer(snapshot).score_basis(_mixed(own, typical, chosen))
    log_odds = np.log(risks / (1.0 - risks))
    values, usual = _texts(own), _texts(typical)
    parts = [
        Contribution(what, values[at], usual[at], _shapley(log_odds, chosen, at))
        for at, (what, _) in enumerate(_PARTS)
    ]
    parts.sort(key=lambda part: -abs(part.log_odds))
    risk = float(risks[-1])
    return RiskExplanation(
        risk=risk,
        typical_risk=float(risks[0]),
        horizon_days=snapshot.horizon_days,
        model=snapshot.version,
        contributions=tuple(parts),
        band=_band(snapshot, risk),
    )


def _typical(snapshot: Snapshot) -> Basis:
    """Return the mean of what the model learned from, as one row."""
    learned = snapshot.hazard if snapshot.hazard.rows or snapshot.prior is None else snapshot.prior
    return basis_of_features(np.array([learned.means]))


def _mixed(own: Basis, typical: Basis, chosen: npt.NDArray[np.bool_]) -> Basis:
    """Rows that take the parts chosen from one basis and the others from the other, (rows, parts) bool."""
    takes = {name: chosen[:, at] for at, (_, names) in enumerate(_PARTS) for name in names}

    def mix(name: str) -> Floats:
        values: Floats = np.where(takes[name], getattr(own, name), getattr(typical, name))
        return values

    lately = np.where(takes["decayed_counts"], own.decayed, typical.decayed)
    lately[_SPEND] = np.where(takes["decayed_spend"], own.decayed[_SPEND], typical.decayed[_SPEND])
    recency_d = mix("recency_d")
    return Basis(
        recency_d=recency_d,
        # nobody bought last before they bought first
        tenure_d=np.maximum(mix("tenure_d"), recency_d),
        count=mix("count"),
        mean_amount_log=mix("mean_amount_log"),
        last_amount_log=mix("last_amount_log"),
        mean_gap_d=mix("mean_gap_d"),
        gap_sd_d=mix("gap_sd_d"),
        decayed=lately,
        global_rate=mix("global_rate"),
        just_purchased=mix("just_purchased"),
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
    """Say each part's value in words, as in `_PARTS`."""
    amount = float(np.expm1(basis.mean_amount_log[0]))
    rate = float(np.asarray(basis.global_rate).ravel()[0])
    count = int(basis.count[0])
    return (
        _days(basis.recency_d[0]),
        f"{count} order{'s' if count != 1 else ''}",
        _days(basis.tenure_d[0]),
        _days(basis.mean_gap_d[0]),
        f"{float(basis.decayed[1, 0]):.1f} lately",
        f"{amount:,.2f} an order",
        f"{rate * 30:.2f} a customer in 30 days",
    )


def _days(days: float) -> str:
    whole = round(float(days))
    return f"{whole:,} day{'s' if whole != 1 else ''}"


def _band(snapshot: Snapshot, risk: float) -> Band | None:
    """Return the judged band of a risk: of the last months if they suffice, else of the whole time."""
    for validation in (snapshot.recent, snapshot.validation):
        quality = validation.get("all", Quality(0))
        for band in quality.bands:
            if band.low <= risk < band.high and band.rows >= MIN_BAND_ROWS:
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
        lines.append(
            "  how many of those with such a risk truly stay away is not known yet: no labels matured"
        )
    return lines
