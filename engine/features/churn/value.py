"""How many purchases to expect of a customer, and how much money: MBG/NBD and gamma-gamma.

MBG/NBD says how often a customer will buy (`mbg.py`). Gamma-gamma says for how much: what a customer pays
varies by Gamma(p, nu) around a level of their own, and nu varies by Gamma(q, v) over customers. It draws the
mean of few purchases towards that of all customers. Source: Fader, Hardie, "The Gamma-Gamma model of monetary
value" (2013). Neither needs labels.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import expit, gammaln, hyp2f1, psi

from engine.features.churn.mbg import MbgParameters, log_odds_gone

Floats = npt.NDArray[np.float64]

VALUE_DAYS: Final = 90
"""Horizon of the expected orders and spend, whatever the churn horizon is."""
MIN_PAYING: Final = 50
PENALIZERS: Final = (0.00002, 0.001, 0.05)
MAX_ITERATIONS: Final = 200
_LOG_BOUND: Final = 10.0
_NEAR_ONE: Final = 1e-5


class SpendParameters(msgspec.Struct, frozen=True):
    """Parameters of gamma-gamma.

    Args:
        p: shape of the amounts of one customer.
        q: shape of the distribution of levels, above 1.
        v: its scale, money.
    """

    p: float
    q: float
    v: float


def expected_orders(
    parameters: MbgParameters, repeats: Floats, last_d: Floats, age_d: Floats, horizon_d: float
) -> Floats:
    """Expected purchases within the horizon, given each customer's history.

    Args:
        parameters: of MBG/NBD.
        repeats: repeat purchases x, (rows,).
        last_d: days from first to last purchase, (rows,).
        age_d: days from first purchase to now, (rows,).
        horizon_d: days ahead.

    Returns:
        (rows,) float64, not negative. Source: Wagner, Hoppe, "Erratum on the MBG/NBD model" (2008).
    """
    a, b = parameters.a, parameters.b
    if abs(a - 1.0) < _NEAR_ONE:  # the formula has a hole there that the expectation has not
        a = 1.0 + _NEAR_ONE
    shape, scale = parameters.r + repeats, parameters.alpha + age_d
    alive = expit(-log_odds_gone(parameters, repeats, last_d, age_d))
    passed = horizon_d / (scale + horizon_d)
    left = hyp2f1(shape, b + repeats + 1.0, a + b + repeats, passed)
    staying = 1.0 - left * np.exp(shape * np.log1p(-passed))
    expected: Floats = np.maximum(alive * staying * (a + b + repeats) / (a - 1.0), 0.0)
    return expected


def expected_amount(parameters: SpendParameters, count: Floats, mean_amount: Floats) -> Floats:
    """Expected amount of a customer's next purchase.

    Args:
        parameters: of gamma-gamma.
        count: purchases so far, (rows,).
        mean_amount: their mean amount, (rows,).

    Returns:
        (rows,) float64 in the deployment's currency: the customer's own mean, drawn towards everybody's.
    """
    p, q, v = parameters.p, parameters.q, parameters.v
    return np.asarray(p * (v + count * mean_amount) / (p * count + q - 1.0), np.float64)


def fit_spend(count: Floats, mean_amount: Floats) -> SpendParameters | None:
    """Fit gamma-gamma by maximum likelihood; one that does not converge is retried with growing penalties.

    Args:
        count: purchases of each customer, (customers,).
        mean_amount: their mean amount, (customers,); customers who paid nothing are left out.

    Returns:
        The parameters, or None when too few have paid or nothing converged: the caller keeps the last ones.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - half a second that only a trainer needs

    paying = (mean_amount > 0.0) & (count > 0.0)
    if np.count_nonzero(paying) < MIN_PAYING:
        return None
    count, mean = count[paying], mean_amount[paying]
    unit = float(np.exp(np.mean(np.log(mean))))
    for penalizer in PENALIZERS:
        found = minimize(
            _objective,
            np.zeros(3),
            args=(count, mean / unit, penalizer),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-_LOG_BOUND, _LOG_BOUND)] * 3,
            options={"maxiter": MAX_ITERATIONS},
        )
        if found.success and np.isfinite(found.fun) and np.all(np.abs(found.x) < _LOG_BOUND * 0.99):
            p, above_one, v = (float(value) for value in np.exp(found.x))
            return SpendParameters(p, 1.0 + above_one, v * unit)
    return None


def _objective(logs: Floats, count: Floats, mean: Floats, penalizer: float) -> tuple[float, Floats]:
    """Penalised negative mean log-likelihood and its gradient in the logs of p, q - 1 and v."""
    p, above_one, v = np.exp(logs)
    q = above_one + 1.0
    shape, total = p * count, v + count * mean
    log_total = np.log(total)
    value = gammaln(shape + q) - gammaln(shape) - gammaln(q) + q * np.log(v)
    value += (shape - 1.0) * np.log(mean) + shape * np.log(count) - (shape + q) * log_total
    both = psi(shape + q)
    by_p = count * (both - psi(shape) + np.log(mean) + np.log(count) - log_total)
    by_q = both - psi(q) + np.log(v) - log_total
    by_v = q / v - (shape + q) / total
    gradient = np.array([by_p.mean() * p, by_q.mean() * above_one, by_v.mean() * v])
    return float(-value.mean() + penalizer * logs @ logs), -gradient + 2.0 * penalizer * logs
