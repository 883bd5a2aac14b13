"""The trainer's pure core: freezes rows, waits for their labels to mature, learns, judges itself.

Work is done in whole days of stream time, once every partition has passed the day's end. A day's rows
are put in order (time, customer), scored with what was known by then, and queued; rows whose 30 days
have passed are labelled, both classes alike, and learned; rows whose horizon has passed are compared
with what was said about them. So the outcome depends on the rows only, not on how they arrived, were
batched or repeated.

Rows that arrive after their day was done are late: a late purchase still counts for labels not yet
drawn, but its row is not learned. The same holds for a block that is delivered twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.errors import EngineError
from engine.features.churn import mbg
from engine.features.churn.blend import BlendShare
from engine.features.churn.blocks import TrainingBlock, concatenate
from engine.features.churn.evaluation import Quality
from engine.features.churn.history import PurchaseLog, StatisticsLog
from engine.features.churn.labels import came_back
from engine.features.churn.model import LEARNING_RATE, HazardModel
from engine.features.churn.purchases import DAY_S
from engine.features.churn.quality import ACTIONABLE, PURCHASE, QualityLog
from engine.features.churn.sampling import in_order, sample_day
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import HAZARD_DAYS, Progress, Snapshot, check_horizon, shipped_prior
from engine.features.churn.trial import DEFAULT_BOUND, TrialWindow
from engine.features.churn.value import SpendParameters, fit_spend
from engine.features.churn.watch import Watch

MAX_WAITING_ROWS: Final = 20_000_000
"""Rows that may wait for the slowest partition; past it the trainer must stop rather than swap."""
ACTIONABLE_DAYS: Final = 90.0
CONTINUES: Final = np.float32(np.log1p(0.9995 / DAY_S))
"""Recency from which a purchase row continues an occasion: a second; less is the fraction of its own one."""
MBG_REFIT_DAYS: Final = 30
MAX_FIT_CUSTOMERS: Final = 200_000
"""MBG/NBD and gamma-gamma are fitted on at most so many customers, those with the smallest keys (hashes)."""


class TrainerSettings(msgspec.Struct, frozen=True):
    """How the trainer works.

    Args:
        partitions: partitions whose rows it reads; a day is done when all have passed it.
        horizon_days: the risk is that of no purchase in this many days, a multiple of 30.
        learning_rate: of plain SGD.
        rows_per_day: timer rows, and purchase rows, learned per day of stream time; of more, a sample
            fixed by customer and day is taken and purchase rows are weighted to keep the mix.
        mbg_share: share of MBG/NBD in the blend of log-odds at first; then `BlendShare` follows the labels.
        prior_labels: matured labels after which the prior is no longer blended in.
        evaluate_from_s: rows before this are not judged, seconds since the epoch.
    """

    partitions: int
    horizon_days: int = 90
    learning_rate: float = LEARNING_RATE
    rows_per_day: int = 250
    mbg_share: float = 0.4
    prior_labels: int = 20_000
    evaluate_from_s: int = 0


class TrainerReport(msgspec.Struct, frozen=True):
    """What the trainer is doing, for metrics and for a person watching.

    Args:
        labels_came_back: matured and learned labels of rows followed by a purchase within 30 days.
        labels_gone: matured and learned labels of the others.
        waiting_rows: rows that wait for the slowest partition to pass their day.
        queued_labels: sampled rows waiting for their 30 days.
        queued_risks: scored rows waiting for the horizon.
        late_rows: rows that came after their day was done, repeats included.
        done_until_s: end of the last day done, seconds since the epoch; 0 before the first.
        mbg_fitted: fits of MBG/NBD that converged.
        mbg_failed: fits that did not, or had too little to learn from.
        quality: by group, over all judged rows.
        recent: by group, over the last two to three months of judged rows.
    """

    labels_came_back: int
    labels_gone: int
    waiting_rows: int
    queued_labels: int
    queued_risks: int
    late_rows: int
    done_until_s: int
    mbg_fitted: int
    mbg_failed: int
    quality: dict[str, Quality]
    recent: dict[str, Quality]


@dataclass(frozen=True, slots=True)
class ScoredDay:
    """What was said about one day's rows, kept until the horizon has passed, all (rows,)."""

    customers: npt.NDArray[np.uint64]
    time_s: npt.NDArray[np.uint32]
    risk: npt.NDArray[np.float32]
    hazard: npt.NDArray[np.float32]
    mbg: npt.NDArray[np.float32]
    group: npt.NDArray[np.uint8]
    segments: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SampledDay:
    """One day's sampled rows, kept until 30 days have passed; weights (rows,) float64."""

    rows: TrainingBlock
    weights: npt.NDArray[np.float64]


class TrainerCore:
    """Learns from training blocks and publishes snapshots; no clock, no I/O, one writer.

    Args:
        settings: how to work.
        prior: where to start; by default the prior that ships with the engine.
        watch: looks on, or None.

    Attributes:
        segment_names: name of each segment by its code, for the passport; not part of the state.

    Raises:
        EngineError: the horizon is no multiple of 30 days.
    """

    def __init__(
        self, settings: TrainerSettings, prior: Snapshot | None = None, watch: Watch | None = None
    ) -> None:
        check_horizon(settings.horizon_days)
        self.settings = settings
        self.watch = watch
        self.prior = shipped_prior() if prior is None else prior
        self.model = HazardModel(settings.learning_rate)
        self.mbg = self.prior.mbg
        self.spend: SpendParameters | None = self.prior.spend
        self.passed_s: dict[int, int] = {}
        self.waiting: list[TrainingBlock] = []
        self.next_day = -1
        self.purchases = PurchaseLog()
        self.statistics = StatisticsLog()
        self.sampled: dict[int, SampledDay] = {}
        self.scored: dict[int, ScoredDay] = {}
        self.blend = BlendShare(settings.mbg_share, settings.horizon_days)
        self.quality = QualityLog()
        self.trials = TrialWindow()
        self.engine_version = version("engage")
        self.river_version = version("river")
        self.segment_names: Sequence[str] = ()
        self.version = 0
        self.labels = [0, 0]
        self.late_rows = 0
        self.mbg_fits = [0, 0]
        self.last_fit_day = -1

    # -- input ---------------------------------------------------------------------------------

    def add_block(self, partition: int, block: TrainingBlock) -> None:
        """Take in the rows a worker published; `advance` does the work on them.

        Args:
            partition: where they came from, 0 … partitions - 1.
            block: the rows, in any order.

        Raises:
            EngineError: the partition does not exist, or too many rows wait for a slow one.
        """
        self._check_partition(partition)
        if len(block) == 0:
            return
        # a purchase that only continues an occasion opens no row and answers no label
        continues = block.is_purchase & (block.features[:, 0] > CONTINUES)
        if continues.any():
            block = block.take(~continues)
        late = block.time_s < max(self.next_day, 0) * DAY_S
        if late.any():
            self.late_rows += int(late.sum())
            bought = late & block.is_purchase
            self.purchases.add(block.customers[bought], block.time_s[bought])
            block = block.take(~late)
        if self.waiting_rows + len(block) > MAX_WAITING_ROWS:
            slowest = min(range(self.settings.partitions), key=lambda p: self.passed_s.get(p, -1))
            raise EngineError(f"more than {MAX_WAITING_ROWS} training rows wait for partition {slowest}")
        self.waiting.append(block)

    def advance(self, partition: int, stream_time_s: int) -> int:
        """Note how far a partition has come, and work off every day that all have passed.

        Args:
            partition: 0 … partitions - 1.
            stream_time_s: everything up to here has been added, seconds since the epoch; a step back is
                ignored.

        Returns:
            How many days were worked off; after a non-zero answer a new `snapshot` is due.

        Raises:
            EngineError: the partition does not exist.
        """
        self._check_partition(partition)
        self.passed_s[partition] = max(stream_time_s, self.passed_s.get(partition, 0))
        if len(self.passed_s) < self.settings.partitions:
            return 0
        end_day = min(self.passed_s.values()) // DAY_S
        if self.next_day < 0:
            if not self.waiting:
                return 0
            self.next_day = int(min(block.time_s.min() for block in self.waiting)) // DAY_S
        done = max(end_day - self.next_day, 0)
        if done:
            self._work_off(end_day)
        return done

    def _check_partition(self, partition: int) -> None:
        if not 0 <= partition < self.settings.partitions:
            raise EngineError(f"training partition {partition}, expected 0 … {self.settings.partitions - 1}")

    # -- a day's work --------------------------------------------------------------------------

    def _work_off(self, end_day: int) -> None:
        rows = concatenate(self.waiting)
        order = np.argsort(rows.time_s, kind="stable")
        rows = rows.take(order)
        bounds = np.arange(self.next_day, end_day + 1, dtype=np.int64) * DAY_S
        cuts = np.searchsorted(rows.time_s, bounds)
        start = self.next_day
        for day in range(start, end_day):
            low, high = cuts[day - start], cuts[day - start + 1]
            self._do_day(day, in_order(rows.take(np.arange(low, high))))
        rest = rows.take(np.arange(cuts[-1], len(rows)))
        self.waiting = [rest] if len(rest) else []

    def _do_day(self, day: int, rows: TrainingBlock) -> None:
        self.next_day = day + 1
        self.purchases.add(rows.customers[rows.is_purchase], rows.time_s[rows.is_purchase])
        if len(rows):
            self._score_day(day, rows)
            sampled, weights = sample_day(rows, day, self.settings.rows_per_day)
            self.sampled[day] = SampledDay(sampled, weights)
        self._learn_day(day - HAZARD_DAYS)
        self._judge_day(day - self.settings.horizon_days)
        self.purchases.forget_before((day - self.settings.horizon_days) * DAY_S)
        if self.last_fit_day < 0:
            self.last_fit_day = day
        elif day - self.last_fit_day >= MBG_REFIT_DAYS:
            self._fit_mbg(day)

    def _score_day(self, day: int, rows: TrainingBlock) -> None:
        risk = Scorer(self._passport()).score_rows(rows.features)
        actionable = rows.features[:, 0] <= np.float32(np.log1p(ACTIONABLE_DAYS))
        self.scored[day] = ScoredDay(
            rows.customers,
            rows.time_s,
            risk.blended.astype(np.float32),
            risk.hazard.astype(np.float32),
            risk.mbg.astype(np.float32),
            (actionable * ACTIONABLE + rows.is_purchase * PURCHASE).astype(np.uint8),
            rows.segments,
        )
        self.statistics.add(rows.customers, rows.time_s, rows.features)
        if self.watch is not None:
            self.watch.scored(day, rows, risk)

    def _learn_day(self, day: int) -> None:
        """Label and learn the rows of a day whose 30 days have passed for all of them."""
        due = self.sampled.pop(day, None)
        if due is None:
            return
        rows = due.rows
        buyers, bought_s = self.purchases.between(day * DAY_S, (day + HAZARD_DAYS + 1) * DAY_S)
        back = came_back(rows.customers, rows.time_s, buyers, bought_s, HAZARD_DAYS * DAY_S)
        self.trials.add(day + HAZARD_DAYS, rows, back, due.weights, self._passport())
        self.model.learn(rows.features, back, due.weights)
        returned = int(back.sum())
        self.labels[0] += returned
        self.labels[1] += len(back) - returned

    def _judge_day(self, day: int) -> None:
        """Compare what was said about a day's rows with what came."""
        due = self.scored.pop(day, None)
        if due is None:
            return
        judged = due.time_s >= self.settings.evaluate_from_s
        horizon_s = self.settings.horizon_days * DAY_S
        buyers, bought_s = self.purchases.between(day * DAY_S, (day + 1) * DAY_S + horizon_s)
        gone = ~came_back(due.customers, due.time_s, buyers, bought_s, horizon_s)
        if self.watch is not None:
            self.watch.judged(day, gone)
        mbg_risk = due.mbg.astype(np.float64)
        self.blend.learn(day, due.hazard.astype(np.float64), mbg_risk, gone)
        self.quality.add(
            day,
            due.risk[judged].astype(np.float64),
            mbg_risk[judged],
            gone[judged],
            due.group[judged],
            due.segments[judged],
        )

    def _fit_mbg(self, day: int) -> None:
        self.last_fit_day = day
        histories = self.statistics.as_of(float((day + 1) * DAY_S))
        repeats, last_d, age_d = (values[:MAX_FIT_CUSTOMERS] for values in histories)
        fitted = mbg.fit(repeats, last_d, age_d, self.mbg)
        self.mbg_fits[fitted is None] += 1
        if fitted is not None:
            self.mbg = fitted
        count, amount = (values[:MAX_FIT_CUSTOMERS] for values in self.statistics.amounts())
        self.spend = fit_spend(count, amount) or self.spend

    # -- output --------------------------------------------------------------------------------

    @property
    def waiting_rows(self) -> int:
        """Rows that wait for the slowest partition; a consumer pauses when this grows."""
        return sum(len(block) for block in self.waiting)

    def _passport(self, validation: dict[str, Quality] | None = None) -> Snapshot:
        settings = self.settings
        share = max(0.0, 1.0 - sum(self.labels) / settings.prior_labels) if settings.prior_labels else 0.0
        return Snapshot(
            version=self.version,
            cut_off_s=max(self.next_day, 0) * DAY_S,
            horizon_days=settings.horizon_days,
            hazard=self.model.parameters(),
            mbg=self.mbg,
            prior=self.prior.hazard if share > 0.0 else None,
            prior_share=share,
            mbg_share=self.blend.share,
            spend=self.spend,
            labels_came_back=self.labels[0],
            labels_gone=self.labels[1],
            engine_version=self.engine_version,
            river_version=self.river_version,
            validation=validation or {},
        )

    def snapshot(self, live: Snapshot | None = None, bound: float = DEFAULT_BOUND) -> Snapshot:
        """Publish what has been learned so far, with a new version number.

        Args:
            live: what workers score with now; the passport says how the new one does against it. One of
                another horizon is none.
            bound: how much worse the new one may be to go live, nats.
        """
        self.version += 1
        made = msgspec.structs.replace(
            self._passport(self.quality.total()),
            recent=self.quality.recent(),
            segments=self.quality.segments(self.segment_names),
            recent_segments=self.quality.recent_segments(self.segment_names),
            progress=self.progress(),
        )
        if live is not None and live.horizon_days != made.horizon_days:
            live = None
        return msgspec.structs.replace(made, trial=self.trials.judge(made, live, bound))

    def progress(self) -> Progress:
        """Say how far the trainer is, for the passport."""
        return Progress(
            waiting_rows=self.waiting_rows,
            queued_labels=sum(len(day.rows) for day in self.sampled.values()),
            queued_risks=sum(len(day.customers) for day in self.scored.values()),
            late_rows=self.late_rows,
            mbg_fitted=self.mbg_fits[0],
            mbg_failed=self.mbg_fits[1],
        )

    def report(self) -> TrainerReport:
        """Say how far the trainer is and how good the model has been."""
        return TrainerReport(
            labels_came_back=self.labels[0],
            labels_gone=self.labels[1],
            waiting_rows=self.waiting_rows,
            queued_labels=sum(len(day.rows) for day in self.sampled.values()),
            queued_risks=sum(len(day.customers) for day in self.scored.values()),
            late_rows=self.late_rows,
            done_until_s=max(self.next_day, 0) * DAY_S,
            mbg_fitted=self.mbg_fits[0],
            mbg_failed=self.mbg_fits[1],
            quality=self.quality.total(),
            recent=self.quality.recent(),
        )
