"""The page on the live model."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from engine.authoring.evaluation.plots import interval
from engine.authoring.evaluation.report import report_of, report_page
from engine.features.churn.evaluation import Decile, Quality, Tally
from engine.features.churn.snapshot import shipped_prior


def test_page_says_what_was_predicted_and_what_came() -> None:
    """Figures, tenths with intervals and drift are on the page; it loads nothing."""
    random = np.random.default_rng(1)
    ever, lately = Tally(), Tally()
    for tally, shift in ((ever, 0.0), (lately, 0.1)):
        risk = random.uniform(0.1, 0.8, 4_000)
        tally.add(risk, risk, random.random(4_000) < risk + shift)
    snapshot = msgspec.structs.replace(
        shipped_prior(),
        version=3,
        validation={"all": ever.summary()},
        recent={"all": lately.summary()},
        segments={"<vip>": ever.summary(), "new": Quality(0)},
        recent_segments={"<vip>": lately.summary()},
    )
    report = report_of(snapshot, snapshot.cut_off_s + 43_200.0)
    assert report.age_days == 0.5
    assert report.drift is not None
    assert report.drift.base_rate == pytest.approx(0.1, abs=0.03)
    assert report.drift.bias == pytest.approx(-0.1, abs=0.03)
    page = report_page(report)
    assert all(text in page for text in ("version 3", "95 % interval", "Drift", "never acted on", "<svg"))
    assert page.count("&lt;vip&gt;") == 3  # all time, last months, plot
    bands = page[page.index("Risk bands") : page.index("By segment")]
    for quality in (report.model.validation["all"], report.model.recent["all"]):
        assert len(quality.bands) == 4
        for band in quality.bands:
            assert f"{band.low:.0%} to {band.high:.0%}" in bands
            assert f">{band.observed:.1%}<" in bands
    assert "By segment" in page
    assert ">new<" not in page
    assert "None has been judged yet" in page  # of the groups without rows
    assert "src=" not in page


def test_the_recency_rule_stands_beside_the_model() -> None:
    """Its AUC and log-loss are those of the two shares, worked out from the groups by hand here."""
    near, every = Tally(), Tally()
    for tally in (near, every):
        tally.add(np.full(10, 0.3), np.full(10, 0.3), np.arange(10) < 2)  # bought lately: 2 of 10 stay away
    every.add(np.full(30, 0.9), np.full(30, 0.9), np.arange(30) < 27)  # silent: 27 of 30
    snapshot = msgspec.structs.replace(
        shipped_prior(), validation={"all": every.summary(), "actionable": near.summary()}
    )
    rule = report_of(snapshot, 2e9).recency_rule
    assert rule is not None
    scores = np.repeat([0.2, 0.9], [10, 30])
    gone = np.concatenate((np.arange(10) < 2, np.arange(30) < 27))
    pairs = scores[gone][:, None] - scores[~gone]
    assert rule.auc == pytest.approx(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
    assert rule.log_loss == pytest.approx(-np.log(np.where(gone, scores, 1 - scores)).mean())
    assert f"log-loss {rule.log_loss:.4f}" in report_page(report_of(snapshot, 2e9))


def test_prior_has_a_page_too() -> None:
    """Before anything was learned the page says so."""
    report = report_of(shipped_prior(), 2e9)
    assert report.drift is None
    assert report.recency_rule is None
    assert "None has been judged yet" in report_page(report)
    assert "By segment" not in report_page(report)
    assert "Risk bands" not in report_page(report)


def test_interval_is_wilsons() -> None:
    """Eight of ten: 49 % to 94 %."""
    low, high = interval(Decile(10, 0.5, 0.8))
    assert low == pytest.approx(0.490, abs=1e-3)
    assert high == pytest.approx(0.943, abs=1e-3)
