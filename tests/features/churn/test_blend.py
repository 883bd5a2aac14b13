"""The share of MBG/NBD in the blend goes where the labels are foretold better."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from engine.features.churn.blend import BlendShare


def feed(blend: BlendShare, truth: str, days: int = 120, rows: int = 400, seed: int = 3) -> None:
    """Let one of the two say the truth, the other the same with noise in its log-odds."""
    rng = np.random.default_rng(seed)
    for day in range(days):
        odds = rng.normal(0.5, 1.5, rows)
        noisy = odds + rng.normal(0.0, 1.5, rows)
        gone = rng.random(rows) < expit(odds)
        pair = (expit(odds), expit(noisy))
        hazard, mbg = pair if truth == "hazard" else pair[::-1]
        blend.learn(day, hazard, mbg, gone)


@pytest.mark.parametrize(("truth", "low", "high"), [("hazard", 0.0, 0.1), ("mbg", 0.9, 1.0)])
def test_the_better_one_gets_the_share(truth: str, low: float, high: float) -> None:
    """Whichever says the truth has nearly all of it after some months."""
    blend = BlendShare(0.4, 90)
    feed(blend, truth)
    assert low <= blend.share <= high


def test_few_rows_move_it_little() -> None:
    """A dozen rows are no evidence."""
    blend = BlendShare(0.4, 90)
    feed(blend, "mbg", days=3, rows=4)
    assert blend.share == pytest.approx(0.4, abs=0.05)


def test_it_follows_a_change() -> None:
    """What was seen long ago counts less and less."""
    blend = BlendShare(0.4, 90)
    feed(blend, "hazard")
    rng = np.random.default_rng(9)
    for day in range(120, 500):
        odds = rng.normal(0.5, 1.5, 400)
        gone = rng.random(400) < expit(odds)
        blend.learn(day, expit(odds + rng.normal(0.0, 1.5, 400)), expit(odds), gone)
    assert blend.share > 0.9


def test_nothing_to_learn_changes_nothing() -> None:
    """Days without rows, and models that agree, leave it where it is."""
    blend = BlendShare(0.4, 90)
    none = np.zeros(0)
    blend.learn(0, none, none, np.zeros(0, np.bool_))
    same = np.full(50, 0.7)
    blend.learn(1, same, same, np.arange(50) % 2 == 0)
    assert blend.share == 0.4


def test_it_goes_on_where_it_stopped() -> None:
    """Written and read back in the middle it comes to the same."""
    whole, first = BlendShare(0.4, 90), BlendShare(0.4, 90)
    feed(whole, "mbg")
    rng_days = 60
    feed(first, "mbg", days=rng_days)
    second = BlendShare.from_state(first.to_state(), 90)
    assert second.to_state() == first.to_state()
    for blend in (first, second):
        blend.learn(rng_days, np.full(9, 0.3), np.full(9, 0.6), np.arange(9) % 2 == 0)
    assert second.share == first.share
