"""BG/NBD against its authors' published figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from engine.authoring.evaluation import bgnbd
from engine.authoring.evaluation.bgnbd import BgNbd

PUBLISHED = BgNbd(r=0.243, alpha=4.414, a=0.793, b=2.426)
"""Fader, Hardie, Lee (2005), table 2; alpha in weeks."""


def sample() -> npt.NDArray[np.float64]:
    """The authors' 2,357 CDNOW customers: repeats, last and age in weeks, (3, customers)."""
    spec = importlib.util.find_spec("lifetimes")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).parent / "datasets" / "cdnow_customers_summary.csv"
    return np.loadtxt(path, delimiter=",", skiprows=1, usecols=(1, 2, 3)).T


def test_likelihood_is_the_published_one() -> None:
    """At the published parameters the log-likelihood is -9582.4."""
    assert bgnbd.log_likelihood(PUBLISHED, *sample()).sum() == pytest.approx(-9582.4, abs=0.1)


def test_fit_finds_the_published_parameters() -> None:
    """The fit lands on the published values; it works in whole days, they in weeks."""
    repeats, last, age = sample()
    found = bgnbd.fit(repeats, last * 7.0, age * 7.0)
    assert found is not None
    assert found.r == pytest.approx(PUBLISHED.r, rel=0.01)
    assert found.alpha / 7.0 == pytest.approx(PUBLISHED.alpha, rel=0.01)
    assert found.a == pytest.approx(PUBLISHED.a, rel=0.02)
    assert found.b == pytest.approx(PUBLISHED.b, rel=0.02)


def test_stays_away() -> None:
    """Nobody is gone before a repeat purchase; silence after many makes a return unlikely."""
    one = np.array([0.0])
    age = np.array([10.0])
    expected = (PUBLISHED.alpha + 10.0) / (PUBLISHED.alpha + 10.0 + 12.0)
    found = bgnbd.stays_away(PUBLISHED, one, one, age, 12.0)
    assert found == pytest.approx(expected**PUBLISHED.r)
    silent = bgnbd.stays_away(PUBLISHED, np.full(2, 20.0), np.array([30.0, 10.0]), np.full(2, 30.0), 12.0)
    assert silent[1] > 0.99
    assert silent[0] < 0.5


def test_no_repeat_buyer_has_no_fit() -> None:
    """Without a repeat purchase there is nothing to fit."""
    assert bgnbd.fit(np.zeros(500), np.zeros(500), np.full(500, 90.0)) is None
