"""MBG/NBD, a four-parameter probability model of buying, on sufficient statistics.

A customer buys at a Gamma(r, alpha)-distributed rate and, after every purchase (the first one
included), leaves for good with a Beta(a, b)-distributed probability. Source: Batislam, Denizel,
Filiztekin, "Empirical validation and comparison of models for customer base analysis" (2007).
Statistics per customer: repeat purchases x, time of the last one t_x and of observation T, both since
the first purchase, in days. No labels are needed.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.special import expit, gammaln, psi

Floats = npt.NDArray[np.float64]

PENALIZERS: Final = (0.0002, 0.001, 0.01, 0.1)
"""Tried in turn. The first is too small to bias a fit with months of data (CDNOW's log-loss moves by .0001)
and keeps one on the first weeks, which hardly tell the parameters apart, from running off to infinity."""
MAX_ITERATIONS: Final = 200
MIN_CUSTOMERS: Final = 50
MIN_REPEAT_BUYERS: Final = 10
TIME_UNIT_D: Final = 30.0
"""Times are fitted in this unit, so that all four parameters are of the order of one."""
_LOG_BOUND: Final = 12.0
_ONE = np.array(1.0)


class MbgParameters(msgspec.Struct, frozen=True):
    """Parameters of MBG/NBD, times in days.

    Args:
        r: shape of the distribution of purchase rates.
        alpha: its scale, days.
        a: first parameter of the distribution of drop-out probabilities.
        b: second one.
    """

    r: float
    alpha: float
    a: float
    b: float


def log_likelihood(parameters: MbgParameters, repeats: Floats, last_d: Floats, age_d: Floats) -> Floats:
    """Log-likelihood of each customer's history.

    Args:
        parameters: of the model.
        repeats: repeat purchases, (rows,).
        last_d: days from first to last purchase, (rows,).
        age_d: days from first purchase to now, (rows,).

    Returns:
        (rows,) float64.
    """
    r, alpha, a, b = parameters.r, parameters.alpha, parameters.a, parameters.b
    log_age = np.log(alpha + age_d)
    gone = log_odds_gone(parameters, repeats, last_d, age_d)
    buying = gammaln(r + repeats) - gammaln(r) + r * np.log(alpha) - (r + repeats) * log_age
    staying = gammaln(a + b) - gammaln(b) + gammaln(b + repeats + 1) - gammaln(a + b + repeats + 1)
    return np.asarray(buying + staying + np.logaddexp(0.0, gone), np.float64)


def silent_exponents(logs: Floats, shape: Floats, out: Floats) -> None:
    """Compute logarithms of the odds of being gone and of the chance to wait longer than a horizon.

    Whoever is gone buys nothing. Whoever is alive drops out only at a purchase, so the wait for the
    next purchase is a Gamma mixture of exponentials with shape r + x and scale alpha + T.

    Args:
        logs: logarithms of alpha + T, twice, of alpha + t_x, of alpha + T + horizon and of b + x, (5, rows).
        shape: r + x, twice, (2, rows).
        out: takes the log-odds of being gone, less log a, and the log of the chance that one who is alive
            buys nothing, (2, rows).
    """
    np.subtract(logs[:2], logs[2:4], out=out)
    out *= shape
    gone = out[0]
    gone -= logs[4]


def silent_odds(gone: Floats, longer: Floats, a: Floats) -> None:
    """Compute the odds of no purchase within a horizon, given each customer's history.

    With g the odds of being gone and w the chance that one who is alive waits longer than the horizon, they
    are (g + w) / (1 - w).

    Args:
        gone: g / a, (rows,); takes the odds' numerator.
        longer: w, (rows,); takes the odds' denominator.
        a: the model's, ().
    """
    gone *= a
    gone += longer
    np.subtract(_ONE, longer, out=longer)


def log_odds_gone(parameters: MbgParameters, repeats: Floats, last_d: Floats, age_d: Floats) -> Floats:
    """Log-odds of having dropped out at the last purchase, (rows,)."""
    silence = np.log((parameters.alpha + age_d) / (parameters.alpha + last_d))
    odds = (parameters.r + repeats) * silence + np.log(parameters.a / (parameters.b + repeats))
    return np.asarray(odds, np.float64)


def fit(
    repeats: Floats, last_d: Floats, age_d: Floats, start: MbgParameters | None = None
) -> MbgParameters | None:
    """Fit by maximum likelihood; a fit that does not converge is retried with growing penalties.

    The penalty is its coefficient times the squared logs of the parameters (times in units of
    `TIME_UNIT_D`), per customer: it pulls towards one without favouring any.

    Args:
        repeats: repeat purchases, (customers,).
        last_d: days from first to last purchase, (customers,).
        age_d: days from first purchase to now, (customers,).
        start: where to start, or None for the default.

    Returns:
        The parameters, or None when there is too little to learn from or nothing converged: the
        caller keeps the last ones.
    """
    if len(repeats) < MIN_CUSTOMERS or np.count_nonzero(repeats) < MIN_REPEAT_BUYERS:
        return None
    groups, weight = _group(repeats, last_d, age_d)
    # without drop-out (a near 0) the gradient vanishes: a start of its own keeps a fit from staying there
    starts = [np.zeros(4)] if start is None else [_to_logs(start), np.zeros(4)]
    for penalizer in PENALIZERS:
        found = [_climb(x0, groups, weight, penalizer) for x0 in starts]
        best = min((one for one in found if one is not None), key=lambda one: one[0], default=None)
        if best is not None:
            return _from_logs(best[1])
    return None


def _climb(x0: Floats, groups: Floats, weight: Floats, penalizer: float) -> tuple[float, Floats] | None:
    """One run of L-BFGS: the objective and the logs of the parameters, or None when it did not converge."""
    from scipy.optimize import minimize  # noqa: PLC0415 - half a second that only a trainer needs

    result = minimize(
        _objective,
        x0,
        args=(groups, weight, penalizer),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-_LOG_BOUND, _LOG_BOUND)] * 4,
        options={"maxiter": MAX_ITERATIONS},
    )
    inside = bool(np.all(np.abs(result.x) < _LOG_BOUND * 0.99))
    if not (result.success and inside and np.isfinite(result.fun)):
        return None
    return float(result.fun), result.x


def _group(repeats: Floats, last_d: Floats, age_d: Floats) -> tuple[Floats, Floats]:
    """Merge customers with the same history up to a day: (3, groups) x, t_x, T and (groups,) weights."""
    days = np.stack((repeats, np.rint(last_d), np.maximum(np.rint(age_d), np.rint(last_d))))
    key = (days[0] * 2.0**16 + days[1]) * 2.0**16 + days[2]
    _, index, counts = np.unique(key, return_index=True, return_counts=True)
    groups = days[:, index]
    groups[1:] /= TIME_UNIT_D
    return groups, counts / len(repeats)


def _objective(logs: Floats, groups: Floats, weight: Floats, penalizer: float) -> tuple[float, Floats]:
    """Penalised negative mean log-likelihood and its gradient in the logs of the parameters."""
    r, alpha, a, b = np.exp(logs)
    repeats, last, age = groups
    parameters = MbgParameters(r, alpha, a, b)
    value = -float(weight @ log_likelihood(parameters, repeats, last, age))
    gone = expit(log_odds_gone(parameters, repeats, last, age))
    log_age = np.log(alpha + age)
    by_r = psi(r + repeats) - psi(r) + np.log(alpha) - log_age + gone * (log_age - np.log(alpha + last))
    by_alpha = r / alpha - (r + repeats) / (alpha + age)
    by_alpha += gone * (r + repeats) * (1.0 / (alpha + age) - 1.0 / (alpha + last))
    total = psi(a + b) - psi(a + b + repeats + 1)
    by_a = total + gone / a
    by_b = total - psi(b) + psi(b + repeats + 1) - gone / (b + repeats)
    gradient = np.array([weight @ part for part in (by_r, by_alpha, by_a, by_b)]) * np.exp(logs)
    penalty = penalizer * float(logs @ logs)
    return value + penalty, -gradient + 2.0 * penalizer * logs


def _to_logs(parameters: MbgParameters) -> Floats:
    values = [parameters.r, parameters.alpha / TIME_UNIT_D, parameters.a, parameters.b]
    return np.clip(np.log(values), -_LOG_BOUND, _LOG_BOUND)


def _from_logs(logs: Floats) -> MbgParameters:
    r, alpha, a, b = (float(value) for value in np.exp(logs))
    return MbgParameters(r, alpha * TIME_UNIT_D, a, b)
