"""Expected orders and spend: the formulas, the fit, and what a worker is told."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, roots_jacobi

from engine.features.churn import value_replay
from engine.features.churn.mbg import MbgParameters, log_odds_gone
from engine.features.churn.replay import run
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import decode_snapshot, encode_snapshot, shipped_prior
from engine.features.churn.trainer import TrainerSettings
from engine.features.churn.value import (
    MIN_PAYING,
    SpendParameters,
    expected_amount,
    expected_orders,
    fit_spend,
)
from tests.features.churn.samples import random_log, random_stats

POSITIVE = st.floats(0.05, 20.0)


@given(
    r=POSITIVE,
    alpha=st.floats(1.0, 300.0),
    a=POSITIVE,
    b=POSITIVE,
    x=st.integers(0, 60),
    idle=st.floats(0.0, 400.0),
)
def test_expected_orders_are_those_of_the_model(
    r: float, alpha: float, a: float, b: float, x: int, idle: float
) -> None:
    """The closed form equals the integral over rates and drop-out chances."""
    parameters = MbgParameters(r, alpha, a, b)
    last, age = np.array([7.0 * x]), np.array([7.0 * x + idle])
    repeats = np.array([float(x)])
    nodes, weights = roots_jacobi(80, b + x, a - 1.0)
    leaves = (1.0 + nodes) / 2.0
    bought = (1.0 - (1.0 + leaves * 90.0 / (alpha + age)) ** -(r + x)) / leaves
    alive = expit(-log_odds_gone(parameters, repeats, last, age))[0]
    expected = alive * (weights @ bought) / weights.sum()
    found = expected_orders(parameters, repeats, last, age, 90.0)[0]
    # the closed form divides by a - 1
    assert found == pytest.approx(expected, rel=1e-6 + 1e-9 / max(abs(a - 1.0), 1e-5), abs=1e-12)


def test_fit_recovers_levels_and_their_spread() -> None:
    """From amounts drawn from the model the fit finds its parameters again; few payers give none."""
    rng = np.random.default_rng(5)
    true = SpendParameters(p=6.0, q=4.0, v=15.0)
    nu = rng.gamma(true.q, 1.0 / true.v, 20_000)
    count = rng.integers(1, 12, 20_000).astype(float)
    mean = rng.gamma(true.p * count, 1.0 / nu) / count
    found = fit_spend(count, mean)
    assert found is not None
    np.testing.assert_allclose([found.p, found.q, found.v], [true.p, true.q, true.v], rtol=0.1)
    assert fit_spend(count[: MIN_PAYING - 1], mean[: MIN_PAYING - 1]) is None
    assert fit_spend(count, np.zeros(20_000)) is None


@pytest.mark.parametrize("amount", [1e-9, 20.0, 1e12])
def test_equal_amounts_of_any_size_fit_or_fit_nothing(amount: float) -> None:
    """Where everybody pays the same there is no spread to fit; what comes out is finite all the same."""
    found = fit_spend(np.full(100, 3.0), np.full(100, amount))
    if found is not None:
        assert expected_amount(found, np.ones(1), np.array([amount]))[0] == pytest.approx(amount, rel=0.2)


def test_a_mean_of_few_purchases_is_drawn_towards_all() -> None:
    """The expected amount lies between the customer's mean and that of all, the nearer the more purchases."""
    parameters = SpendParameters(p=6.0, q=4.0, v=15.0)
    everybody = parameters.p * parameters.v / (parameters.q - 1.0)
    few, many = expected_amount(parameters, np.array([1.0, 50.0]), np.array([100.0, 100.0]))
    assert everybody < few < many < 100.0


def test_a_worker_is_told_at_least_the_chance_of_an_order() -> None:
    """Expected orders are not below the chance of one, fall with silence, and are the same in any batch."""
    snapshot = msgspec.structs.replace(shipped_prior(), spend=SpendParameters(6.0, 4.0, 15.0))
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot
    stats, now_s = random_stats(200)
    scorer = Scorer(snapshot)
    orders, spend = scorer.expect(stats, now_s, 0.01)
    assert (orders >= (1.0 - scorer.score(stats, now_s, 0.01)) - 1e-12).all()
    assert (spend > 0.0).all()
    later, _ = scorer.expect(stats, now_s + 200 * 86_400, 0.01)
    assert (later < orders).all()
    far = Scorer(msgspec.structs.replace(snapshot, horizon_days=180))
    np.testing.assert_array_equal(far.expect(stats, now_s, 0.01)[0], orders)
    alone = type(stats)(stats.columns[:, :1])
    assert scorer.expect(alone, now_s[:1], 0.01)[0][0] == orders[0]


def test_without_a_fit_the_own_mean_counts() -> None:
    """Before enough customers have paid, an order is worth what the customer's own were."""
    stats, now_s = random_stats(20)
    orders, spend = Scorer(shipped_prior()).expect(stats, now_s, 0.01)
    np.testing.assert_allclose(spend, orders * stats.sum_amount / stats.count, rtol=1e-9)


def test_the_trainer_fits_spend_with_the_rest() -> None:
    """A snapshot of a shop with payers carries gamma-gamma parameters that say about what they pay."""
    log = random_log(customers=120, days=120)
    spend = run(log, TrainerSettings(1)).snapshot().spend
    assert spend is not None
    assert spend.p * spend.v / (spend.q - 1.0) == pytest.approx(float(log.amount.mean()), rel=0.2)


def test_the_replay_holds_every_method_to_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluation runs from the log to its table, and ours is nearer than going on at the own rate."""
    monkeypatch.setattr(value_replay, "FIRST_DAY", 100)
    monkeypatch.setattr(value_replay, "LAST_DAY", 130)
    lines = value_replay.table(random_log(customers=300, days=230)).splitlines()
    errors = {line[:30].strip(): float(line[30:].split()[1]) for line in lines[1:]}
    assert len(errors) == 6
    assert errors["orders, engage"] < errors["orders, own rate"]
