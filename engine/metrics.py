"""Every metric: name, kind, unit, meaning and labels in one table, and the counters behind it.

The engine counts once per batch: `add` takes a count, `observe` an array. prometheus_client is used for what
leaves the process (the text format); its own counters cost microseconds per event and have no bulk observe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)

from engine.histogram import Histogram

Labels = tuple[str, ...]

MAX_SERIES = 10_000
OVERFLOW = "other"

# Half a millisecond to ten seconds; narrow steps up to 50 ms, so that a p99 read from them means something.
_NARROW_MS = (0.5, 1, 1.5, 2, 3, 4, 5, 6.5, 8, 10, 12.5, 15, 20, 25, 30, 40, 50)
_WIDE_MS = (75, 100, 150, 250, 500, 1000, 2500, 5000, 10_000)
LATENCY_BOUNDS_S = tuple(ms / 1000 for ms in (*_NARROW_MS, *_WIDE_MS))
ANSWER_BOUNDS_S = (30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0)
LATE_BOUNDS_S = (0.1, 1.0, *ANSWER_BOUNDS_S)
SIZE_BOUNDS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table.

    Args:
        name: as scraped, unit last; counters end in `_total`.
        kind: `counter` only grows, `gauge` is a reading, `histogram` counts by bucket.
        unit: of the value.
        meaning: one sentence for the person on call.
        labels: label names, in the order values are given.
        bounds: upper bucket bounds of a histogram.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


def _counter(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"engage_{name}_total", "counter", unit, meaning, labels)


def _gauge(name: str, unit: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"engage_{name}", "gauge", unit, meaning, labels)


def _latency(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(f"engage_{name}_seconds", "histogram", "seconds", meaning, labels, LATENCY_BOUNDS_S)


EVENTS = _counter("events", "events", "Events worked on, duplicates and dead letters not included.", "family")
DUPLICATES = _counter("duplicates", "events", "Events dropped because their id was seen before.")
DEAD_LETTERS = _counter("dead_letters", "records", "Records sent to the dead letters.", "reason")
LATE_EVENTS = _counter(
    "late_events", "events", "Replay clock: events older than the partition's stream time."
)
TIMERS = _counter("timers", "timers", "Customer timers that came due and were worked on.")
BATCHES = _counter("batches", "batches", "Batches committed.")
ACTIONS = _counter("actions", "actions", "Actions acknowledged by Kafka.", "journey", "channel")
DECISIONS = _counter("decisions", "decisions", "Decisions written.", "journey", "outcome")
SUPPRESSED = _counter("suppressed", "decisions", "Triggers a guard suppressed.", "guard")
DEFERRED = _counter("deferred", "decisions", "Triggers a guard deferred.", "guard")
ERASURES = _counter("erasures", "customers", "Customers whose state was erased on request.")
TRAINING_ROWS = _counter("training_rows", "rows", "Rows published for the churn model's trainer.")
CACHE_HITS = _counter("cache_hits", "customers", "Customer states found in the worker's cache.")
CACHE_MISSES = _counter("cache_misses", "customers", "Customer states read from Redis.")
RETRIES = _counter("retries", "attempts", "Steps tried again because a server did not answer.", "step")
HANDLER_ERRORS = _counter(
    "handler_errors", "batches", "Batches that failed and were retried record by record."
)
FENCED = _counter("fenced", "partitions", "Writes refused because another worker owns the partition.")
ROLLED_BACK = _counter("rolled_back", "partitions", "Times Redis was found restored from an older moment.")
REBALANCES = _counter("rebalances", "rebalances", "Changes of this worker's partitions.")
OUTBOXES = _counter(
    "outboxes_recovered", "partitions", "Times a partition's last actions were sent for an earlier worker."
)
PRODUCE_ERRORS = _counter("produce_errors", "records", "Records Kafka did not acknowledge at first.")

PARTITIONS = _gauge("partitions", "partitions", "Partitions this worker owns.")
EVENT_PARTITIONS = _gauge(
    "event_partitions", "partitions", "Partitions each event topic has, whoever owns them."
)
LAG = _gauge(
    "lag_records", "records", "Records of a partition, over all topics, not durable yet.", "partition"
)
LAG_AGE = _gauge(
    "lag_seconds",
    "seconds",
    "Live clock: for how long records of a partition wait at most, 0 when none does; its worst topic.",
    "partition",
)
STALLED = _gauge(
    "stalled_seconds",
    "seconds",
    "For how long nothing was committed although records wait and servers answer.",
)
TIMERS_LATE = _gauge(
    "timers_late_seconds", "seconds", "Live clock: for how long the earliest timer has been due."
)
DEADLINES_HELD = _gauge(
    "deadlines_held_seconds",
    "seconds",
    "Live clock: for how long deadlines wait for what came before them to be read, at most.",
)
REDIS_MEMORY = _gauge("redis_memory_bytes", "bytes", "Memory Redis uses; of a cluster, one node.")
REDIS_MAX_MEMORY = _gauge("redis_max_memory_bytes", "bytes", "Bound on that; 0 = none.")
REDIS_PERSISTENT = _gauge(
    "redis_persistent", "0 or 1", "Whether Redis keeps an append-only file and its last write went well."
)
REDIS_EVICTED = _gauge("redis_evicted_keys", "keys", "Keys Redis has thrown away since its start.")
CLOCK = _gauge("clock_timestamp_seconds", "seconds", "The engine's clock; on the replay clock, event time.")
CUSTOMERS = _gauge("customers", "customers", "Customers known in this worker's partitions.")
SEGMENT_CUSTOMERS = _gauge(
    "segment_customers", "customers", "Customers by segment last announced.", "segment"
)
CACHED = _gauge("cache_customers", "customers", "Customer states in the worker's cache.")
TIMERS_LOADED = _gauge("timers_loaded", "timers", "Timers in memory, due within the horizon.")
JOURNEYS = _gauge("journeys", "journeys", "Active journeys.")
RULES_VERSION = _gauge(
    "rules_version", "version", "Published version of the rules this worker runs; 0 = from files."
)
RULES_FINGERPRINT = _gauge(
    "rules_fingerprint",
    "number",
    "Of the files and settings a worker decides by, as at its start; workers that differ decide differently.",
)
RULES_WANTED = _gauge("rules_wanted_version", "version", "Published version that should be live.")
RULES_FAILED = _gauge("rules_failed", "0 or 1", "Whether the live version could not be loaded.")
RULES_DELAY = _gauge("rules_delay_seconds", "seconds", "Last switch: published to live on this worker.")
RULES_NEW = _gauge("rules_new", "journeys", "Journeys that were new at the last switch.")
RULES_COMPILED = _gauge("rules_compiled", "journeys", "Of them, compiled here: they had not come compiled.")
READY = _gauge("ready", "0 or 1", "Whether the worker is ready.")
MODEL_LABELS = _gauge(
    "model_labels", "labels", "Matured labels the live churn model has learned from.", "label"
)
MODEL_VERSION = _gauge(
    "model_version", "version", "Churn model: `live` scores here, `newest` is the trainer's last.", "which"
)
MODEL_FROZEN = _gauge("model_frozen", "0 or 1", "Whether operators hold the churn model still.")
MODEL_TRIAL = _gauge("model_trial_passed", "0 or 1", "Whether the newest snapshot passed its trial.")
MODEL_REFUSED = _counter(
    "model_refused", "snapshots", "Snapshots that do not fit this worker; it keeps its own."
)
MODEL_AUC = _gauge(
    "model_auc_ratio",
    "ratio",
    "AUC of the risks given at the time, on the labels of the last two to three months; "
    "of a group of rows or of `segment:NAME`.",
    "rows",
)
MODEL_LOG_LOSS = _gauge("model_log_loss", "nats", "Log-loss of the same.", "rows")
MODEL_BASE_LOG_LOSS = _gauge(
    "model_base_log_loss", "nats", "Log-loss of always giving the base rate.", "rows"
)
MODEL_MBG_LOG_LOSS = _gauge("model_mbg_log_loss", "nats", "Log-loss of MBG/NBD alone.", "rows")
MODEL_RULE_LOG_LOSS = _gauge(
    "model_rule_log_loss",
    "nats",
    "Log-loss, all rows, of a rule that only asks whether the last purchase is more than 90 days ago.",
)
MODEL_CALIBRATION = _gauge(
    "model_calibration_error_ratio",
    "ratio",
    "Mean distance of given and true share over the deciles.",
    "rows",
)
MODEL_DECILE = _gauge(
    "model_decile_ratio",
    "ratio",
    "Share foretold and observed to stay away, by tenth of risk.",
    "decile",
    "share",
)
MODEL_DRIFT = _gauge(
    "model_drift_ratio", "ratio", "Share that stayed away less the share foretold; shown, never acted on."
)
MODEL_QUEUE = _gauge(
    "model_queue_rows",
    "rows",
    "Rows that wait for slower `partitions`, for `labels` of 30 days, for `judgements` after the horizon.",
    "queue",
)
MODEL_LATE_ROWS = _gauge(
    "model_late_rows", "rows", "Training rows that came after their day was done, repeats included."
)
MODEL_FITS = _gauge("model_mbg_fits", "fits", "Monthly fits of MBG/NBD so far.", "outcome")
MODEL_AGE = _gauge("model_cutoff_timestamp_seconds", "seconds", "Training cut-off of the live churn model.")

STAGE_LATENCY = _latency("stage", "Time of a batch in each stage.", "stage")
ENGINE_LATENCY = _latency("event", "Per event: record received to batch committed.")
ACTION_LATENCY = _latency("action", "Per action: cause received to action acknowledged by Kafka.")
END_TO_END = _latency("end_to_end", "Live clock, per action: cause appended in Kafka to action acknowledged.")
FRESHNESS = _latency(
    "freshness", "Live clock, per event: appended in Kafka to durable, as the oldest of its step."
)
REDIS_PING = _latency("redis_ping", "Round trip of a PING, once a second.")
INQUIRY_ANSWER = Metric(
    "engage_inquiry_answer_seconds",
    "histogram",
    "seconds",
    "Live clock, per inquiry: opened to its first reply or, without one, resolved.",
    (),
    ANSWER_BOUNDS_S,
)
ESCALATION_LATE = Metric(
    "engage_escalation_late_seconds",
    "histogram",
    "seconds",
    "Live clock, per inquiry left unanswered: its deadline to the decision, at a timer or at an event.",
    (),
    LATE_BOUNDS_S,
)
BATCH_RECORDS = Metric("engage_batch_records", "histogram", "records", "Records in a batch.", (), SIZE_BOUNDS)

STAGES = ("decode", "load", "rules", "produce", "commit", "total")
METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


class Metrics:
    """The metrics of one process. Cheap to count into, read only when scraped; no lock: one writer thread."""

    __slots__ = ("_histograms", "_values", "registry")

    def __init__(self) -> None:
        self._values: dict[Metric, dict[Labels, float]] = {
            metric: {} if metric.labels else {(): 0.0} for metric in METRICS if metric.kind != "histogram"
        }
        self._histograms: dict[Metric, dict[Labels, Histogram]] = {
            metric: {} for metric in METRICS if metric.kind == "histogram"
        }
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def add(self, metric: Metric, count: float = 1, *labels: str) -> None:
        """Count up.

        Args:
            metric: a counter of the table.
            count: how many, not negative.
            labels: one value per label name.
        """
        assert metric.kind == "counter", metric.name
        assert count >= 0, metric.name
        series = self._values[metric]
        key = _bounded(metric, labels, series)
        series[key] = series.get(key, 0.0) + count

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Set a gauge of the table to a reading."""
        assert metric.kind == "gauge", metric.name
        series = self._values[metric]
        series[_bounded(metric, labels, series)] = value

    def replace(self, metric: Metric, values: Mapping[str, float]) -> None:
        """Set all readings of a gauge with one label at once; those of other label values end."""
        assert metric.kind == "gauge", metric.name
        series = self._values[metric]
        series.clear()
        for label, value in values.items():
            series[_bounded(metric, (label,), series)] = value

    def observe(
        self,
        metric: Metric,
        values: npt.ArrayLike,
        *labels: str,
        weights: npt.NDArray[np.int64] | None = None,
    ) -> None:
        """Record one or many values at once.

        Args:
            metric: a histogram of the table.
            values: the values, in the metric's unit; a number or (values,).
            labels: one value per label name.
            weights: how often each value occurred, (values,) int64; once each when None.
        """
        self._histogram(metric, labels).observe(np.atleast_1d(np.asarray(values, np.float64)), weights)

    def observe_one(self, metric: Metric, value: float, *labels: str, times: int = 1) -> None:
        """Record one value, perhaps several times.

        Args:
            metric: a histogram of the table.
            value: in the metric's unit.
            labels: one value per label name.
            times: how often it occurred.
        """
        self._histogram(metric, labels).observe_one(value, times)

    def _histogram(self, metric: Metric, labels: Labels) -> Histogram:
        assert metric.kind == "histogram", metric.name
        series = self._histograms[metric]
        key = _bounded(metric, labels, series)
        histogram = series.get(key)
        if histogram is None:
            histogram = series[key] = Histogram(metric.bounds)
        return histogram

    def value(self, metric: Metric, *labels: str) -> float:
        """Return a counter or gauge, summed over the labels that are not given."""
        found = self._values[metric].items()
        return sum(value for key, value in found if key[: len(labels)] == labels)

    def by_label(self, metric: Metric, label: str) -> dict[str, float]:
        """Return a counter or gauge summed by one of its labels."""
        index = metric.labels.index(label)
        totals: dict[str, float] = {}
        for key, value in self._values[metric].items():
            totals[key[index]] = totals.get(key[index], 0.0) + value
        return totals

    def buckets(self, metric: Metric, *labels: str) -> npt.NDArray[np.int64]:
        """Return the counts of a histogram, one per bound and one beyond the last, (bounds + 1,)."""
        histogram = self._histograms[metric].get(labels)
        return np.zeros(len(metric.bounds) + 1, np.int64) if histogram is None else histogram.counts.copy()

    def render(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Family]:
        """Yield every family; prometheus_client calls it when the registry is scraped."""
        for metric, series in self._values.items():
            maker: Any = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = maker(metric.name, metric.meaning, labels=metric.labels)
            for key, value in series.items():
                family.add_metric(key, value)
            yield family
        for metric, histograms in self._histograms.items():
            yield _histogram_family(metric, histograms)


def _bounded(metric: Metric, labels: Labels, series: Mapping[Labels, object]) -> Labels:
    """Keep the number of series finite: past the bound, new label values count as `other`."""
    assert len(labels) == len(metric.labels), f"{metric.name} takes the labels {metric.labels}"
    if labels in series or len(series) < MAX_SERIES:
        return labels
    return (OVERFLOW,) * len(metric.labels)


def _histogram_family(metric: Metric, histograms: Mapping[Labels, Histogram]) -> HistogramMetricFamily:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    edges = [*(f"{bound:g}" for bound in metric.bounds), "+Inf"]
    for key, histogram in histograms.items():
        cumulative = np.cumsum(histogram.counts)
        family.add_metric(key, list(zip(edges, cumulative.tolist(), strict=True)), histogram.total)
    return family
