"""The worker's side of published rules: switches the pipeline between batches, and says what it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from engine import metrics as table
from engine.metrics import Metrics
from engine.pipeline.core import Pipeline
from engine.rules.ruleset import RuleSet
from engine.streams.health import WorkerHealth
from engine.streams.rules.follower import RuleFollower
from engine.streams.rules.loader import LoadedRules

log = structlog.get_logger(__name__)


class RuleSwitch:
    """Takes over what the follower has ready.

    Args:
        follower: None when the rules come from files.
        pipeline: runs them.
        metrics: told which version runs.
        health: told when another one should.
        forget: makes the states in memory forget what the rules before said of their journeys.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        follower: RuleFollower | None,
        pipeline: Pipeline,
        metrics: Metrics,
        health: WorkerHealth,
        forget: Callable[[], None],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._follower = follower
        self._pipeline = pipeline
        self._metrics = metrics
        self._health = health
        self._forget = forget
        self._now_ms = now_ms
        self._version = pipeline.rules.release.version
        self.on_switch: Callable[[], object] = lambda: None
        self._show()

    def switch(self) -> None:
        """Go on with what is ready, if anything is; between two steps only."""
        follower = self._follower
        if follower is None:
            return
        loaded = follower.take()
        if loaded is not None:
            self._go_over(loaded)
        if follower.problem != self._health.rules_error or loaded is not None:
            self._show()

    def _go_over(self, loaded: LoadedRules) -> None:
        before = self._pipeline.rules
        self._pipeline.switch(loaded.pipeline)
        if _inquiries_differ(before, loaded.pipeline.rules):
            self._forget()
        self._version = loaded.version
        delay_s = max(0, self._now_ms() - loaded.time_ms) / 1000
        self._metrics.set(table.RULES_DELAY, delay_s)
        self._metrics.set(table.RULES_NEW, loaded.new)
        self._metrics.set(table.RULES_COMPILED, loaded.compiled)
        log.info(
            "rules switched",
            version=loaded.version,
            share=self._pipeline.rules.release.share,
            new=loaded.new,
            compiled=loaded.compiled,
            delay_s=delay_s,
        )
        self.on_switch()

    def _show(self) -> None:
        follower = self._follower
        problem = follower.problem if follower is not None else ""
        self._health.rules_error = problem
        rules = self._pipeline.rules
        self._health.rules = {
            "version": self._version,
            "wanted": follower.wanted if follower is not None else 0,
            "share": rules.release.share,
            "paused": sorted(rules.release.paused),
            "journeys": len(rules.journeys),
        }
        self._metrics.set(table.JOURNEYS, len(rules.journeys))
        self._metrics.set(table.RULES_VERSION, self._version)
        self._metrics.set(table.RULES_WANTED, follower.wanted if follower is not None else 0)
        self._metrics.set(table.RULES_FAILED, 1 if problem else 0)


def _inquiries_differ(before: RuleSet, after: RuleSet) -> bool:
    """Whether open inquiries may have another deadline now."""

    def judged(rules: RuleSet) -> list[tuple[str, int, int]]:
        journeys = [rules.journeys[index] for index in rules.unanswered]
        return [(each.name, each.version, each.for_ms) for each in journeys]

    old, new = judged(before), judged(after)
    return old != new or (bool(new) and before.release != after.release)
