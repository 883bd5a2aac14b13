"""The worker's own figures are read off its metrics as they grew during a run."""

from __future__ import annotations

import numpy as np
import pytest

from engine import metrics
from engine.metrics import Metrics
from engine.top.scrape import read_samples
from loadtest.figures import engine_figures


def test_only_what_happened_during_the_run_counts() -> None:
    """Values from before the run are left out; stages are told per event."""
    counted = Metrics()
    counted.observe(metrics.ACTION_LATENCY, [5.0] * 100)
    counted.observe(metrics.BATCH_RECORDS, 7)
    before = read_samples(counted.render().decode())
    counted.observe(metrics.ACTION_LATENCY, np.full(1000, 0.0022))
    counted.observe(metrics.BATCH_RECORDS, [100, 300])
    counted.observe(metrics.STAGE_LATENCY, [0.002, 0.006], "load")
    figures = engine_figures(before, read_samples(counted.render().decode()))
    assert figures["batch_records_mean"] == 200
    action_ms = figures["action_ms"]
    assert isinstance(action_ms, dict)
    assert 2 <= action_ms["50"] <= 3
    assert action_ms["99"] <= 3
    stages = figures["stages"]
    assert isinstance(stages, dict)
    assert stages["load"]["us_per_event"] == pytest.approx(20)
    assert stages["commit"]["50"] is None
