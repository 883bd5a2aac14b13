"""BG/NBD, the usual batch model of buying, as a reference: fit and probability of no purchase.

A customer buys at a Gamma(r, alpha)-distributed rate and, after every repeat purchase, leaves for good with a
Beta(a, b)-distributed probability. Source: Fader, Hardie, Lee, "Counting your customers the easy way" (2005).
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln

Floats = npt.NDArray[np.float64]

PENALIZERS: Final = (0.0, 0.001, 0.01, 0.1)
_LOG_BOUND: Final = 12.0
_TIME_UNIT_D: Final = 30.0


class BgNbd(msgspec.Struct, frozen=True):
    """Parameters; `alpha` in the unit of the times they were fitted on."""

    r: float
    alpha: float
    a: float
    b: float


def log_likelihood(model: BgNbd, repeats: Floats, last: Floats, age: Floats) -> Floats:
    """Log-likelihood of each customer's history.

    Args:
        model: the parameters.
        repeats: repeat purchases, (rows,).
        last: time from first to last purchase, (rows,).
        age: time from first purchase to now, (rows,).

    Returns:
        (rows,) float64.
    """
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    buying = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha)
    stayed = betaln(a, b + repeats) - betaln(a, b) - (r + repeats) * np.log(alpha + age)
    left = betaln(a + 1.0, b + np.maximum(repeats, 1.0) - 1.0) - betaln(a, b)
    left -= (r + repeats) * np.log(alpha + last)
    return np.asarray(buying + np.where(repeats > 0.0, np.logaddexp(stayed, left), stayed), np.float64)


def fit(repeats: Floats, last: Floats, age: Floats, start: BgNbd | None = None) -> BgNbd | None:
    """Fit by maximum likelihood; one that does not converge is retried with growing penalties.

    Args:
        repeats: repeat purchases, (customers,).
        last: time from first to last purchase, (customers,), days.
        age: time from first purchase to now, (customers,), days.
        start: where to start, or None.

    Returns:
        The parameters, times in days; None when nothing converged.
    """
    if not np.any(repeats):
        return None
    histories, counts = np.unique(
        np.stack((repeats, np.rint(last), np.rint(age))), axis=1, return_counts=True
    )
    x, last_u, age_u = histories[0], histories[1] / _TIME_UNIT_D, histories[2] / _TIME_UNIT_D
    weight = counts / counts.sum()
    starts = [np.zeros(4)]
    if start is not None:
        starts.insert(0, np.log([start.r, start.alpha / _TIME_UNIT_D, start.a, start.b]))

    def loss(logs: Floats, penalizer: float) -> float:
        value = weight @ log_likelihood(BgNbd(*np.exp(logs)), x, last_u, age_u)
        return float(penalizer * (logs @ logs) - value)

    for penalizer in PENALIZERS:
        found = [
            minimize(loss, x0, args=(penalizer,), method="L-BFGS-B", bounds=[(-_LOG_BOUND, _LOG_BOUND)] * 4)
            for x0 in starts
        ]
        good = [one for one in found if one.success and np.all(np.abs(one.x) < _LOG_BOUND * 0.99)]
        if good:
            r, alpha, a, b = np.exp(min(good, key=lambda one: one.fun).x).tolist()
            return BgNbd(r, alpha * _TIME_UNIT_D, a, b)
    return None


def stays_away(model: BgNbd, repeats: Floats, last: Floats, age: Floats, horizon: float) -> Floats:
    """Probability of no purchase within a horizon, (rows,); arguments as for `log_likelihood`."""
    rate = model.r + repeats
    silence = rate * np.log((model.alpha + age) / (model.alpha + last))
    odds = silence + np.log(model.a / (model.b + np.maximum(repeats, 1.0) - 1.0))
    alive = np.where(repeats > 0.0, expit(-odds), 1.0)
    buys = -alive * np.expm1(-rate * np.log1p(horizon / (model.alpha + age)))
    return np.asarray(1.0 - buys, np.float64)
