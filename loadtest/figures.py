"""Figures out of the worker's own metrics: what happened between two looks at /metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from prometheus_client.parser import text_string_to_metric_families

from engine.metrics import (
    ACTION_LATENCY,
    BATCH_RECORDS,
    ENGINE_LATENCY,
    STAGE_LATENCY,
    STAGES,
    Metric,
    quantile,
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read_samples(text: str) -> Samples:
    """Read Prometheus' text format into one number a series."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def read_all(pages: Iterable[str]) -> Samples:
    """Read the pages of several workers as if they were one: sums by series."""
    total: Samples = {}
    for page in pages:
        for key, value in read_samples(page).items():
            total[key] = total.get(key, 0.0) + value
    return total


def difference(before: Samples, after: Samples) -> Samples:
    """Return by how much each series grew."""
    return {key: value - before.get(key, 0.0) for key, value in after.items()}


def _counts(samples: Samples, metric: Metric, labels: Mapping[str, str]) -> npt.NDArray[np.int64]:
    edges = [*(f"{bound:g}" for bound in metric.bounds), "+Inf"]
    # Prometheus' parser writes bounds as floats; ours are compared as numbers.
    by_edge: dict[float, float] = {}
    for (name, pairs), value in samples.items():
        given = dict(pairs)
        if name == f"{metric.name}_bucket" and all(given.get(key) == label for key, label in labels.items()):
            by_edge[float(given["le"])] = value
    cumulative = [by_edge.get(float(edge), 0.0) for edge in edges]
    counts = np.asarray(cumulative, np.int64)
    counts[1:] -= counts[:-1].copy()
    return counts


def percentiles_ms(samples: Samples, metric: Metric, **labels: str) -> dict[str, float | None]:
    """Return p50, p99 and p99.9 of a latency histogram in ms; None where nothing was measured."""
    counts = _counts(samples, metric, labels)
    found: dict[str, float | None] = {}
    for name, share in (("50", 0.5), ("99", 0.99), ("99.9", 0.999)):
        value = quantile(counts, metric.bounds, share)
        found[name] = None if value is None else round(value * 1000, 3)
    return found


def engine_figures(before: Samples, after: Samples) -> dict[str, object]:
    """Return the worker's own view of a run: time in the engine, time by stage, batch size.

    Args:
        before: its metrics at the start.
        after: its metrics at the end.

    Returns:
        Plain data for the report.
    """
    grown = difference(before, after)
    batches = grown.get((f"{BATCH_RECORDS.name}_count", ()), 0.0)
    records = grown.get((f"{BATCH_RECORDS.name}_sum", ()), 0.0)
    stages = {}
    for stage in STAGES:
        key = (("stage", stage),)
        spent_s = grown.get((f"{STAGE_LATENCY.name}_sum", key), 0.0)
        stages[stage] = {
            "us_per_event": round(spent_s * 1e6 / records, 3) if records else None,
            **percentiles_ms(grown, STAGE_LATENCY, stage=stage),
        }
    return {
        "action_ms": percentiles_ms(grown, ACTION_LATENCY),
        "event_ms": percentiles_ms(grown, ENGINE_LATENCY),
        "stages": stages,
        "batch_records_mean": round(records / batches, 1) if batches else None,
    }
