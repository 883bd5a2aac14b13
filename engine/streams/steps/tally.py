"""Counts what the worker does into the metrics: once a step, never once an event."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from engine import metrics as table
from engine.actions import Outcome as Verdict
from engine.events import TYPE_BY_CODE, DeadLetterReason
from engine.metrics import Metrics
from engine.pipeline.core import Outcome
from engine.streams.batch import Batch
from engine.streams.steps.intake import Step
from engine.streams.steps.partitions import OwnedPartition
from engine.streams.store.contract import PartitionFenced, StateRolledBack

NS_PER_S = 1e9


class Tally:
    """The worker's bookkeeping for metrics.

    Args:
        metrics: where the counts go.

    Attributes:
        spans: begin and end of the last stages, for traces; None = nobody wants them.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # at 0 from the start: Prometheus sees no increase in what appears at 1
        for reason in DeadLetterReason:
            metrics.add(table.DEAD_LETTERS, 0, reason)
        self.received_ns = 0
        self.spans: dict[str, tuple[int, int]] | None = None
        self._segments_told: set[str] = set()

    def begin(self, batch: Batch) -> None:
        """A batch begins; latencies are counted from when it was received."""
        self.received_ns = batch.received_ns

    def end(self, records: int) -> None:
        """A batch is done."""
        if records:
            self._metrics.add(table.BATCHES)
            self._metrics.observe_one(table.BATCH_RECORDS, records)
            self._metrics.observe_one(
                table.STAGE_LATENCY, (time.perf_counter_ns() - self.received_ns) / NS_PER_S, "total"
            )

    def stage(self, name: str, started_ns: int) -> int:
        """A stage ended; return the instant, so that the next one starts from it."""
        now_ns = time.perf_counter_ns()
        self._metrics.observe_one(table.STAGE_LATENCY, (now_ns - started_ns) / NS_PER_S, name)
        if self.spans is not None:
            self.spans[name] = (started_ns, now_ns)
        return now_ns

    def produced(self, step: Step, outcome: Outcome, received_ns: int, now_ms: int | None) -> None:
        """Actions were acknowledged by Kafka at the wall clock's `now_ms`; None on the replay clock."""
        if not outcome.actions:
            return
        latency_s = (time.perf_counter_ns() - received_ns) / NS_PER_S
        self._metrics.observe_one(table.ACTION_LATENCY, latency_s, times=len(outcome.actions))
        if now_ms is None:
            return
        causes = Counter(action.event_id for action in outcome.actions)
        for row in step.events:
            if times := causes.get(row.event.id):
                appended_ms = row.origin.timestamp()[1]
                self._metrics.observe_one(table.END_TO_END, (now_ms - appended_ms) / 1000, times=times)

    def fresh(self, step: Step, outcome: Outcome, now_ms: int, owned: Mapping[int, OwnedPartition]) -> None:
        """A step is durable at the wall clock's `now_ms`; its oldest record tells the age of all events."""
        if step.answers_s:
            self._metrics.observe(table.INQUIRY_ANSWER, step.answers_s)
        for late_ms in outcome.outbox.escalations_late_ms:
            self._metrics.observe_one(table.ESCALATION_LATE, late_ms / 1000)
        if step.events:
            records = step.oldest.values() or (step.events[0].origin,)  # one alone, after a failure
            appended_ms = min(record.timestamp()[1] for record in records)
            self._metrics.observe_one(table.FRESHNESS, (now_ms - appended_ms) / 1000, times=len(step.events))
        for (topic, number), record in step.newest.items():
            if (partition := owned.get(number)) is not None:
                partition.durable_ms[topic] = record.timestamp()[1]

    def step(
        self, step: Step, outcome: Outcome, received_ns: int, owned: Mapping[int, OwnedPartition]
    ) -> None:
        """A step is durable."""
        metrics = self._metrics
        if step.events:
            latency_s = (time.perf_counter_ns() - received_ns) / NS_PER_S
            metrics.observe_one(table.ENGINE_LATENCY, latency_s, times=len(step.events))
            for code, count in Counter(row.code for row in step.events).items():
                metrics.add(table.EVENTS, count, TYPE_BY_CODE[code].family)
        metrics.add(table.DUPLICATES, step.duplicates)
        metrics.add(table.LATE_EVENTS, step.late)
        metrics.add(table.TIMERS, outcome.timers_fired)
        metrics.add(table.ERASURES, len(outcome.erased))
        for letter in step.dead:
            metrics.add(table.DEAD_LETTERS, 1, letter.reason)
        for action in outcome.actions:
            metrics.add(table.ACTIONS, 1, action.journey, action.channel)
        for decision in outcome.decisions:
            metrics.add(table.DECISIONS, 1, decision.journey, decision.outcome)
            if decision.outcome is Verdict.SUPPRESSED:
                metrics.add(table.SUPPRESSED, 1, decision.reason.guard)
            elif decision.outcome is Verdict.DEFERRED:
                metrics.add(table.DEFERRED, 1, decision.reason.guard)
        for blocks in outcome.training.values():
            metrics.add(table.TRAINING_ROWS, sum(map(len, blocks)))
        metrics.set(table.CACHED, sum(len(partition.states) for partition in owned.values()))
        metrics.set(table.TIMERS_LOADED, sum(len(partition.timers) for partition in owned.values()))
        if outcome.segment_changes or outcome.erased:
            self._segments(owned)

    def owned(self, owned: Mapping[int, OwnedPartition]) -> None:
        """The owned partitions changed."""
        self._segments(owned)

    def rebalanced(self) -> None:
        """Kafka gave partitions or took some away, however many at once."""
        self._metrics.add(table.REBALANCES)

    def cache(self, wanted: int, missed: int) -> None:
        """States were looked up."""
        self._metrics.add(table.CACHE_HITS, wanted - missed)
        self._metrics.add(table.CACHE_MISSES, missed)

    def retried(self, step: str) -> None:
        """A server did not answer."""
        self._metrics.add(table.RETRIES, 1, step)

    def refused_records(self, count: int) -> None:
        """Kafka refused records of ours for good."""
        self._metrics.add(table.PRODUCE_ERRORS, count)

    def recovered(self, count: int) -> None:
        """What earlier owners of partitions had left was sent."""
        self._metrics.add(table.OUTBOXES, count)

    def failed_batch(self) -> None:
        """A batch is worked on record by record."""
        self._metrics.add(table.HANDLER_ERRORS)

    def refused(self, error: PartitionFenced | StateRolledBack) -> None:
        """The store refused a write or a read."""
        metric = table.FENCED if isinstance(error, PartitionFenced) else table.ROLLED_BACK
        self._metrics.add(metric, len(error.partitions))

    def _segments(self, owned: Mapping[int, OwnedPartition]) -> None:
        totals: Counter[str] = Counter()
        for partition in owned.values():
            totals.update(partition.segments)
        self._segments_told.update(totals)
        for name in self._segments_told:  # those of partitions that went to another worker, too: now 0
            self._metrics.set(table.SEGMENT_CUSTOMERS, totals[name], name)
        self._metrics.set(table.CUSTOMERS, sum(totals.values()))
