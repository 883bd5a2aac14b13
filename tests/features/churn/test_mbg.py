"""MBG/NBD against simulation."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import check_grad

from engine.features.churn import mbg
from engine.features.churn.hazard import Basis
from engine.features.churn.mbg import MbgParameters
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import shipped_prior

Floats = npt.NDArray[np.float64]
TRUTH = MbgParameters(r=0.8, alpha=40.0, a=0.9, b=2.5)
HORIZON_D = 90.0


def simulate(customers: int, seed: int = 7) -> tuple[Floats, Floats, Floats, Floats]:
    """Simulate buyers of known parameters: x, t_x, T and whether they bought within the horizon after T."""
    rng = np.random.default_rng(seed)
    rate = rng.gamma(TRUTH.r, 1.0 / TRUTH.alpha, customers)
    leaves = rng.beta(TRUTH.a, TRUTH.b, customers)
    age = rng.uniform(60.0, 400.0, customers)
    repeats, last, returned = np.zeros(customers), np.zeros(customers), np.zeros(customers)
    at = np.zeros(customers)
    alive = rng.random(customers) >= leaves
    while alive.any():
        at = at + rng.exponential(1.0, customers) / rate
        seen = alive & (at <= age)
        repeats += seen
        last = np.where(seen, at, last)
        returned = np.where(alive & (at > age) & (at <= age + HORIZON_D), 1.0, returned)
        alive &= (at <= age) & (rng.random(customers) >= leaves)
    return repeats, last, age, returned


def silent(repeats: Floats, last_d: Floats, age_d: Floats, horizon_d: float) -> Floats:
    """Say what the scorer says of such customers by MBG/NBD alone: no purchase within the horizon."""
    rows = len(repeats)
    gap_d = np.full(rows, 90.0)
    measures = np.stack((age_d, age_d - last_d, last_d, repeats, gap_d, gap_d, gap_d, gap_d))
    snapshot = msgspec.structs.replace(shipped_prior(), mbg=TRUTH, mbg_share=1.0, horizon_days=int(horizon_d))
    return Scorer(snapshot).score_basis(Basis(measures, np.zeros((4, rows)), 0.01, np.zeros(rows)))


def test_probability_matches_simulated_buyers() -> None:
    """In groups of predicted probability, that share of simulated customers comes back."""
    repeats, last, age, returned = simulate(60_000)
    predicted = 1.0 - silent(repeats, last, age, HORIZON_D)
    order = np.argsort(predicted)
    for group in np.array_split(order, 10):
        error = np.sqrt(predicted[group].mean() / len(group)) + 1e-4
        assert returned[group].mean() == pytest.approx(predicted[group].mean(), abs=4 * error)


def test_fit_recovers_the_parameters() -> None:
    """Maximum likelihood on simulated buyers lands on the truth and beats it in likelihood."""
    repeats, last, age, _ = simulate(20_000)
    fitted = mbg.fit(repeats, last, age)
    assert fitted is not None
    for name in ("r", "alpha", "a", "b"):
        assert getattr(fitted, name) == pytest.approx(getattr(TRUTH, name), rel=0.35)
    ours = mbg.log_likelihood(fitted, repeats, last, age).sum()
    assert ours >= mbg.log_likelihood(TRUTH, repeats, last, age).sum() - 1.0


def test_fit_leaves_a_start_without_drop_out() -> None:
    """Parameters that once said "nobody leaves" do not hold the next fits there."""
    repeats, last, age, _ = simulate(5_000)
    fresh = mbg.fit(repeats, last, age)
    stuck = mbg.fit(repeats, last, age, MbgParameters(r=0.4, alpha=63.0, a=1e-5, b=5.24))
    assert fresh is not None
    assert stuck is not None
    assert stuck.a == pytest.approx(fresh.a, rel=0.05)


def test_gradient_equals_differences() -> None:
    """The analytic gradient is that of the objective, penalty included."""
    groups, weight = mbg._group(*simulate(2_000)[:3])
    for logs in (np.zeros(4), np.array([0.3, -0.5, -1.0, 1.2])):
        error = check_grad(
            lambda x: mbg._objective(x, groups, weight, 0.01)[0],
            lambda x: mbg._objective(x, groups, weight, 0.01)[1],
            logs,
        )
        assert error < 1e-5


@pytest.mark.parametrize("customers", [0, 1, 20])
def test_too_few_customers_fit_nothing(customers: int) -> None:
    """Too little to learn from is said, not guessed."""
    assert mbg.fit(np.ones(customers), np.ones(customers), np.full(customers, 5.0)) is None


def test_no_repeat_buyer_fits_nothing() -> None:
    """Without a single repeat purchase the caller keeps its parameters."""
    assert mbg.fit(np.zeros(500), np.zeros(500), np.linspace(1.0, 300.0, 500)) is None


def test_identical_customers_give_finite_parameters_or_none() -> None:
    """A log without any variation neither crashes nor yields infinities."""
    fitted = mbg.fit(np.full(200, 5.0), np.full(200, 50.0), np.full(200, 50.0))
    if fitted is not None:
        assert np.isfinite([fitted.r, fitted.alpha, fitted.a, fitted.b]).all()


def test_longer_silence_and_horizon_move_the_probability_as_they_must() -> None:
    """Silence lowers the probability of a purchase, a longer horizon raises it."""
    ages = np.linspace(30.0, 500.0, 50)
    five, thirty = np.full(50, 5.0), np.full(50, 30.0)
    near, far = (1.0 - silent(five, thirty, ages, horizon_d) for horizon_d in (30.0, 90.0))
    assert (np.diff(near) < 0.0).all()
    assert (near < far).all()
    assert ((near > 0.0) & (far < 1.0)).all()
