"""The River learner."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from river import linear_model, optim, preprocessing

from engine.features.churn.hazard import FEATURE_COUNT, HAZARD_FEATURES
from engine.features.churn.model import HEAD_START, HEAD_START_ROWS, CoolingRate, HazardModel

RNG = np.random.default_rng(3)


def learned(rows: int = 400, learning_rate: float = 0.05) -> tuple[HazardModel, npt.NDArray[np.float64]]:
    """A model that has seen random rows whose first feature decides the label."""
    x = RNG.normal(5.0, 3.0, (rows, FEATURE_COUNT))
    model = HazardModel(learning_rate)
    model.learn(x, x[:, 0] > 5.0, np.ones(rows))
    return model, x


def test_moments_are_those_of_river_row_by_row() -> None:
    """Scaling a batch at once leaves the scaler where learning every row would have left it."""
    model, x = learned()
    scaler = preprocessing.StandardScaler()
    for row in x.tolist():
        scaler.learn_one(dict(zip(HAZARD_FEATURES, row, strict=True)))
    parameters = model.parameters()
    np.testing.assert_allclose(parameters.means, [scaler.means[n] for n in HAZARD_FEATURES], rtol=1e-9)
    np.testing.assert_allclose(parameters.variances, [scaler.vars[n] for n in HAZARD_FEATURES], rtol=1e-9)


def test_weights_are_those_of_river() -> None:
    """The regression is River's own, fed scaled rows in order."""
    model, x = learned()
    rate = CoolingRate(0.05, HEAD_START)
    regression = linear_model.LogisticRegression(optim.SGD(rate), intercept_lr=rate)
    scaled = (x - x.mean(axis=0)) / x.std(axis=0)
    for row, label in zip(scaled.tolist(), (x[:, 0] > 5.0).tolist(), strict=True):
        regression.learn_one(dict(zip(HAZARD_FEATURES, row, strict=True)), label)
    parameters = model.parameters()
    np.testing.assert_allclose(
        parameters.weights, [regression.weights[n] for n in HAZARD_FEATURES], rtol=1e-9
    )
    np.testing.assert_allclose(parameters.intercept, regression.intercept, rtol=1e-9)


def test_the_rate_cools_to_its_floor() -> None:
    """The first row is learned ten times as fast, one in the long run at the floor."""
    rate = CoolingRate(0.001, HEAD_START)
    assert rate.get(0) == 0.01
    assert rate.get(HEAD_START_ROWS) == 0.005
    assert rate.get(10**6) == 0.001


def test_it_learns() -> None:
    """After a few hundred rows the deciding feature separates the classes."""
    model, x = learned()
    low, high = x[0].copy(), x[0].copy()
    low[0], high[0] = -3.0, 13.0
    assert model.predict(low.tolist()) < 0.3
    assert model.predict(high.tolist()) > 0.7


def test_restored_model_goes_on_like_the_original() -> None:
    """The latest and the averaged parameters are the whole state: the copy goes on to the same bits."""
    model, x = learned()
    model.learn(x[:50], x[:50, 2] > 5.0, np.ones(50))
    copy = HazardModel(0.05, model.latest(), model.parameters())
    assert model.latest() != model.parameters() == copy.parameters()
    for one in (model, copy):
        one.learn(x[:50], x[:50, 1] > 5.0, np.full(50, 0.5))
    assert copy.latest() == model.latest()
    assert copy.parameters() == model.parameters()


def test_what_is_served_is_the_average_of_the_weights() -> None:
    """Before the time constant is reached, it is the plain average over all rows, block by block."""
    model, x = learned(100)
    first = np.array(model.latest().weights)
    model.learn(x[:50], x[:50, 1] > 5.0, np.ones(50))
    second = np.array(model.latest().weights)
    np.testing.assert_allclose(model.parameters().weights, (first * 100 + second * 50) / 150, rtol=1e-9)


def test_constant_features_never_yield_nan() -> None:
    """A feature that never varies keeps variance zero and weight zero, whatever its size."""
    model = HazardModel()
    rows = np.full((100, FEATURE_COUNT), 1e12 / 3.0)
    for _ in range(3):
        model.learn(rows, np.arange(100) % 2 == 0, np.ones(100))
    parameters = model.parameters()
    assert set(parameters.variances) == {0.0}
    assert set(parameters.weights) == {0.0}
    assert 0.0 < model.predict(rows[0].tolist()) < 1.0


def test_learning_nothing_changes_nothing() -> None:
    """An empty batch leaves a fresh model fresh."""
    model = HazardModel()
    model.learn(np.empty((0, FEATURE_COUNT)), np.empty(0, np.bool_), np.empty(0))
    assert model.parameters() == HazardModel().parameters()
    assert model.parameters().rows == 0
