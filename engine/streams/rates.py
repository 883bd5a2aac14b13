"""Rates and latencies of the last seconds, for a screen that has no Prometheus behind it."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

from engine import metrics as table
from engine.histogram import quantile
from engine.metrics import LATENCY_BOUNDS_S, Metrics

WINDOW_S = 10.0
SAMPLE_EVERY_S = 0.5
_MAX_SAMPLES = int(WINDOW_S / SAMPLE_EVERY_S) + 2


class RecentRates:
    """Rates and latencies over the last seconds, from snapshots of the totals.

    Args:
        metrics: the totals.
    """

    __slots__ = ("_metrics", "_samples")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._samples: deque[tuple[float, float, npt.NDArray[np.int64]]] = deque(maxlen=_MAX_SAMPLES)

    def sample(self, now_s: float) -> None:
        """Take a snapshot; call it every `SAMPLE_EVERY_S`."""
        events = self._metrics.value(table.EVENTS)
        self._samples.append((now_s, events, self._metrics.buckets(table.ENGINE_LATENCY)))

    def read(self, now_s: float) -> tuple[float, dict[str, float | None]]:
        """Return events per second and the latency percentiles in ms of the last `WINDOW_S`."""
        events = self._metrics.value(table.EVENTS)
        buckets = self._metrics.buckets(table.ENGINE_LATENCY)
        recent = [sample for sample in self._samples if now_s - sample[0] <= WINDOW_S]
        if not recent:
            return 0.0, {"p50": None, "p99": None}
        then_s, events_then, buckets_then = recent[0]
        passed_s = max(now_s - then_s, 1e-3)
        seen = buckets - buckets_then
        latency = {
            name: None
            if (found := quantile(seen, LATENCY_BOUNDS_S, share)) is None
            else round(found * 1000, 3)
            for name, share in (("p50", 0.5), ("p99", 0.99))
        }
        return round((events - events_then) / passed_s, 1), latency
