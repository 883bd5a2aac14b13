"""Quality figures."""

from __future__ import annotations

import numpy as np
import pytest

from engine.features.churn.evaluation import Tally
from engine.features.churn.quality import ACTIONABLE, NO_SEGMENT, QualityLog

RNG = np.random.default_rng(5)


def test_figures_equal_exact_ones() -> None:
    """AUC, log-loss and calibration from bins agree with those from the full list of rows."""
    risk = np.clip(RNG.beta(4.0, 2.0, 4_000), 1e-3, 1 - 1e-3)
    gone = RNG.random(4_000) < risk
    tally = Tally()
    for part in np.array_split(np.arange(4_000), 7):
        tally.add(risk[part], np.full(len(part), 0.5), gone[part])
    quality = tally.summary()
    exact_auc = (risk[gone][:, None] > risk[~gone][None, :]).mean()
    loss = -np.where(gone, np.log(risk), np.log(1 - risk)).mean()
    assert (quality.rows, quality.base_rate) == (4_000, gone.mean())
    assert quality.auc == pytest.approx(exact_auc, abs=1e-3)
    assert quality.log_loss == pytest.approx(loss, rel=1e-12)
    assert quality.mbg_log_loss == pytest.approx(np.log(2.0))
    base = gone.mean()
    assert quality.base_log_loss == pytest.approx(-base * np.log(base) - (1 - base) * np.log(1 - base))
    assert quality.calibration_error is not None
    assert quality.calibration_error < 0.04
    assert sum(tenth.rows for tenth in quality.deciles) == 4_000
    assert len(quality.deciles) == 10


def test_one_class_or_no_rows_have_defined_figures() -> None:
    """An empty tally reads None, a single class has no AUC and no warning."""
    assert Tally().summary().log_loss is None
    tally = Tally()
    tally.add(np.full(5, 0.9), np.full(5, 0.9), np.ones(5, np.bool_))
    quality = tally.summary()
    assert (quality.auc, quality.base_log_loss) == (None, 0.0)
    assert quality.log_loss == pytest.approx(-np.log(0.9))


def test_tallies_add_up() -> None:
    """Two tallies merged equal one over all rows."""
    risk, gone = RNG.uniform(0.1, 0.9, 100), RNG.random(100) < 0.5
    whole, left, right = Tally(), Tally(), Tally()
    whole.add(risk, risk, gone)
    left.add(risk[:40], risk[:40], gone[:40])
    right.add(risk[40:], risk[40:], gone[40:])
    left.merge(right)
    assert left.summary().auc == whole.summary().auc
    assert left.summary().log_loss == pytest.approx(whole.summary().log_loss, rel=1e-12)


def test_log_keeps_groups_and_forgets_old_months() -> None:
    """Totals keep everything, the recent view only its last buckets; both survive a round trip."""
    log = QualityLog()
    for day in range(0, 300, 10):
        flags, codes = np.array([0, ACTIONABLE], np.uint8), np.array([0, day // 150 + 1], np.uint8)
        log.add(day, np.array([0.8, 0.4]), np.array([0.7, 0.5]), np.array([True, False]), flags, codes)
    again = QualityLog.from_state(log.to_state())
    for one in (log, again):
        assert (one.total()["all"].rows, one.total()["actionable"].rows) == (60, 30)
        assert one.recent()["all"].rows == 18
        by_segment = {name: quality.rows for name, quality in one.segments(("", "loyal")).items()}
        assert by_segment == {NO_SEGMENT: 30, "loyal": 15, "segment 2": 15}
        assert set(one.recent_segments(())) == {NO_SEGMENT, "segment 2"}
    assert again.total() == log.total()
