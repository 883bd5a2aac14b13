"""Reads the page `/metrics` of a worker: numbers by series, growth between two looks, percentiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from prometheus_client.parser import text_string_to_metric_families

from engine.histogram import quantile
from engine.metrics import Metric

#: A number for each series: its name, and its labels in order of their names.
Samples: TypeAlias = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read_samples(text: str) -> Samples:
    """Read Prometheus' text format into one number a series.

    Raises:
        ValueError: it is not that format.
    """
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def add_up(pages: Iterable[Samples]) -> Samples:
    """Return the series of several workers as if they were one: sums."""
    total: Samples = {}
    for page in pages:
        for key, value in page.items():
            total[key] = total.get(key, 0.0) + value
    return total


def difference(before: Samples, after: Samples) -> Samples:
    """Return by how much each series grew; one that fell, as after a restart, began again from nothing."""
    return {
        key: value - (earlier if (earlier := before.get(key, 0.0)) <= value else 0.0)
        for key, value in after.items()
    }


def by_label(samples: Samples, metric: Metric, label: str) -> dict[str, float]:
    """Return a counter or gauge summed by one of its labels."""
    totals: dict[str, float] = {}
    for (name, pairs), value in samples.items():
        if name == metric.name:
            key = dict(pairs).get(label, "")
            totals[key] = totals.get(key, 0.0) + value
    return totals


def total(samples: Samples, metric: Metric) -> float:
    """Return a counter or gauge summed over its labels."""
    return sum(value for (name, _), value in samples.items() if name == metric.name)


def percentiles_ms(samples: Samples, metric: Metric, **labels: str) -> dict[str, float | None]:
    """Return p50, p99 and p99.9 of a latency histogram in ms; None where nothing was measured."""
    counts = _counts(samples, metric, labels)
    found: dict[str, float | None] = {}
    for name, share in (("50", 0.5), ("99", 0.99), ("99.9", 0.999)):
        value = quantile(counts, metric.bounds, share)
        found[name] = None if value is None else round(value * 1000, 3)
    return found


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
