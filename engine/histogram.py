"""Counts by bucket, and the quantiles that can be read off them."""

from __future__ import annotations

import bisect

import numpy as np
import numpy.typing as npt


class Histogram:
    """Bucket counts and the sum of one series."""

    __slots__ = ("bounds", "counts", "edges", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.edges = bounds
        self.bounds = np.asarray(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.total = 0.0

    def observe_one(self, value: float, times: int) -> None:
        """Record one value; a tenth of the cost of an array of one."""
        self.counts[bisect.bisect_left(self.edges, value)] += times
        self.total += value * times

    def observe(self, values: npt.NDArray[np.float64], weights: npt.NDArray[np.int64] | None) -> None:
        """Record many, each as often as its weight says."""
        buckets = np.searchsorted(self.bounds, values, side="left")
        self.counts += np.bincount(buckets, weights, len(self.counts)).astype(np.int64)
        self.total += float(values.sum() if weights is None else values @ weights)


def quantile(counts: npt.NDArray[np.int64], bounds: tuple[float, ...], share: float) -> float | None:
    """Read a quantile from bucket counts, straight between the bounds of its bucket.

    Args:
        counts: one count per bound and one beyond the last, (bounds + 1,).
        bounds: upper bucket bounds.
        share: 0 to 1.

    Returns:
        The value, the last bound when it lies beyond it, or None when nothing was counted.
    """
    total = int(counts.sum())
    if total == 0:
        return None
    cumulative = np.cumsum(counts)
    rank = share * total
    bucket = int(np.searchsorted(cumulative, rank, side="left"))
    if bucket >= len(bounds):
        return float(bounds[-1])
    low = bounds[bucket - 1] if bucket else 0.0
    before = int(cumulative[bucket - 1]) if bucket else 0
    inside = int(counts[bucket])
    part = (rank - before) / inside if inside else 0.0
    return float(low + (bounds[bucket] - low) * part)
