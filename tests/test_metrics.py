"""Metrics are one table; counting is per batch; what is scraped is what was counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from engine import metrics
from engine.histogram import quantile
from engine.metrics import LATENCY_BOUNDS_S, METRICS, Metrics


def test_every_metric_is_complete_and_named_by_the_rules() -> None:
    """Names carry the prefix and, for counters, `_total`; each has a meaning, a unit and is listed once."""
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert metric.name.startswith("engage_")
        assert metric.meaning.endswith(".")
        assert metric.unit
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert (metric.kind == "histogram") == bool(metric.bounds)
        assert list(metric.bounds) == sorted(set(metric.bounds))


def test_what_is_scraped_is_what_was_counted() -> None:
    """The text format holds every count, label and bucket, readable by Prometheus' own parser."""
    counted = Metrics()
    counted.add(metrics.EVENTS, 3, "click")
    counted.add(metrics.EVENTS, 2, "click")
    counted.set(metrics.LAG, 7, "3")
    counted.observe(metrics.STAGE_LATENCY, np.array([0.0004, 0.0005, 0.0006, 99.0]), "load")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(counted.render().decode())
        for sample in family.samples
    }
    assert samples["engage_events_total", (("family", "click"),)] == 5
    assert samples["engage_lag_records", (("partition", "3"),)] == 7
    bucket = "engage_stage_seconds_bucket"
    assert samples[bucket, (("le", "0.0005"), ("stage", "load"))] == 2
    assert samples[bucket, (("le", "0.001"), ("stage", "load"))] == 3
    assert samples[bucket, (("le", "+Inf"), ("stage", "load"))] == 4
    assert samples["engage_stage_seconds_count", (("stage", "load"),)] == 4
    assert samples["engage_stage_seconds_sum", (("stage", "load"),)] == pytest.approx(99.0015)


def test_weights_count_like_repeated_values() -> None:
    """A value with weight n is n values."""
    weighted, repeated = Metrics(), Metrics()
    weighted.observe(metrics.ENGINE_LATENCY, np.array([0.002, 0.3]), weights=np.array([5, 2]))
    repeated.observe(metrics.ENGINE_LATENCY, np.repeat([0.002, 0.3], [5, 2]))
    assert (weighted.buckets(metrics.ENGINE_LATENCY) == repeated.buckets(metrics.ENGINE_LATENCY)).all()


@given(
    st.lists(st.floats(0.0001, 9.0), min_size=1, max_size=200),
    st.floats(0.01, 0.99),
)
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    """The estimate is never further off than the bucket that holds the exact quantile."""
    counted = Metrics()
    counted.observe(metrics.ENGINE_LATENCY, values)
    estimate = quantile(counted.buckets(metrics.ENGINE_LATENCY), LATENCY_BOUNDS_S, share)
    exact = sorted(values)[max(0, int(np.ceil(share * len(values) - 1e-9)) - 1)]
    edges = (0.0, *LATENCY_BOUNDS_S)
    bucket = int(np.searchsorted(LATENCY_BOUNDS_S, exact, side="left"))
    assert estimate is not None
    assert edges[bucket] <= estimate <= edges[bucket + 1]


def test_a_quantile_of_nothing_is_nothing() -> None:
    """No value is reported where none was measured."""
    assert quantile(np.zeros(len(LATENCY_BOUNDS_S) + 1, np.int64), LATENCY_BOUNDS_S, 0.5) is None


def test_labels_are_summed_by_name() -> None:
    """A counter can be read whole, by its first labels, and by any one label."""
    counted = Metrics()
    counted.add(metrics.ACTIONS, 2, "welcome", "email")
    counted.add(metrics.ACTIONS, 3, "welcome", "sms")
    counted.add(metrics.ACTIONS, 4, "win-back", "email")
    assert counted.value(metrics.ACTIONS) == 9
    assert counted.value(metrics.ACTIONS, "welcome") == 5
    assert counted.by_label(metrics.ACTIONS, "channel") == {"email": 6, "sms": 3}


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Label values without end do not become memory without end; nothing is lost from the sum."""
    monkeypatch.setattr(metrics, "MAX_SERIES", 3)
    counted = Metrics()
    for index in range(10):
        counted.add(metrics.DEAD_LETTERS, 1, f"reason-{index}")
    assert len(counted.by_label(metrics.DEAD_LETTERS, "reason")) == 4
    assert counted.value(metrics.DEAD_LETTERS) == 10
