"""Switches the pipeline to newer snapshots between batches, and shows what is known of the model."""

from __future__ import annotations

from typing import Final

import structlog

from engine import metrics as table
from engine.features.churn.evaluation import Quality
from engine.features.churn.quality import recency_rule
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import Progress, Snapshot
from engine.metrics import Metrics
from engine.pipeline.core import Pipeline
from engine.settings import Settings
from engine.streams.health import WorkerHealth
from engine.streams.models.topic import ModelBoard, ModelFollower

log = structlog.get_logger(__name__)

_FIGURES: Final = (
    (table.MODEL_AUC, "auc"),
    (table.MODEL_LOG_LOSS, "log_loss"),
    (table.MODEL_BASE_LOG_LOSS, "base_log_loss"),
    (table.MODEL_MBG_LOG_LOSS, "mbg_log_loss"),
    (table.MODEL_CALIBRATION, "calibration_error"),
)


class ModelSwitch:
    """Keeps a worker's scorer, metrics and health current.

    Args:
        settings: all settings.
        follower: reads the model topic.
        pipeline: gets the scorer.
        metrics: told.
        health: told.
    """

    def __init__(
        self,
        settings: Settings,
        follower: ModelFollower,
        pipeline: Pipeline,
        metrics: Metrics,
        health: WorkerHealth,
    ) -> None:
        follow = settings.churn.follow
        self._follow = follow == "yes" or (follow == "auto" and settings.clock == "live")
        self._follower = follower
        self._pipeline = pipeline
        self._metrics = metrics
        self._health = health
        self._horizon_days = settings.churn.horizon_days
        self._seen = self._refused = 0
        self._show_live(pipeline.scorer.snapshot)

    def start(self) -> None:
        """Begin to follow, if told to."""
        if self._follow:
            self._follower.start()

    def stop(self) -> None:
        """Stop following."""
        if self._follow:
            self._follower.stop()

    def switch(self) -> None:
        """Take what is live now, if it is another one and fits."""
        snapshot = self._follower.take()
        if snapshot is not None:
            if snapshot.horizon_days == self._horizon_days:
                self._pipeline.scorer = Scorer(snapshot)
                self._show_live(snapshot)
            else:
                log.warning("model snapshot refused, the live one stays", horizon_days=snapshot.horizon_days)
                self._metrics.add(table.MODEL_REFUSED)
        if self._seen != self._follower.records_total:
            self._seen = self._follower.records_total
            self._show_board(self._follower.board)

    def _show_live(self, snapshot: Snapshot) -> None:
        quality = snapshot.validation.get("all")
        self._health.model = {
            "version": snapshot.version,
            "cut_off_ms": snapshot.cut_off_s * 1000,
            "labels": snapshot.labels,
            "auc": quality.auc if quality else None,
            "log_loss": quality.log_loss if quality else None,
            "base_log_loss": quality.base_log_loss if quality else None,
        }
        metrics = self._metrics
        metrics.set(table.MODEL_VERSION, snapshot.version, "live")
        metrics.set(table.MODEL_LABELS, snapshot.labels_came_back, "came_back")
        metrics.set(table.MODEL_LABELS, snapshot.labels_gone, "gone")
        metrics.set(table.MODEL_AGE, snapshot.cut_off_s)

    def _show_board(self, board: ModelBoard) -> None:
        """Show what the trainer said last, whether or not it went live."""
        metrics, refused = self._metrics, self._follower.refused_total
        metrics.add(table.MODEL_REFUSED, refused - self._refused)
        self._refused = refused
        metrics.set(table.MODEL_FROZEN, int(board.frozen))
        newest = board.newest
        if newest is None:
            return
        metrics.set(table.MODEL_VERSION, newest.version, "newest")
        if newest.trial is not None:
            metrics.set(table.MODEL_TRIAL, int(newest.trial.passed))
        by_segment = {f"segment:{name}": quality for name, quality in newest.recent_segments.items()}
        for group, quality in (newest.recent | by_segment).items():
            for metric, name in _FIGURES:
                value = getattr(quality, name)
                if value is not None:
                    metrics.set(metric, value, group)
        rule = recency_rule(newest.recent)
        if rule is not None:
            metrics.set(table.MODEL_RULE_LOG_LOSS, rule.log_loss)
        _show_deciles(metrics, newest.recent.get("all", Quality(0)))
        if newest.progress is not None:
            _show_progress(metrics, newest.progress)


def _show_deciles(metrics: Metrics, quality: Quality) -> None:
    for number, tenth in enumerate(quality.deciles, 1):
        metrics.set(table.MODEL_DECILE, tenth.predicted, f"{number}", "predicted")
        metrics.set(table.MODEL_DECILE, tenth.observed, f"{number}", "observed")
    if quality.drift is not None:
        metrics.set(table.MODEL_DRIFT, quality.drift)


def _show_progress(metrics: Metrics, progress: Progress) -> None:
    for queue, rows in (
        ("partitions", progress.waiting_rows),
        ("labels", progress.queued_labels),
        ("judgements", progress.queued_risks),
    ):
        metrics.set(table.MODEL_QUEUE, rows, queue)
    metrics.set(table.MODEL_LATE_ROWS, progress.late_rows)
    metrics.set(table.MODEL_FITS, progress.mbg_fitted, "converged")
    metrics.set(table.MODEL_FITS, progress.mbg_failed, "failed")
