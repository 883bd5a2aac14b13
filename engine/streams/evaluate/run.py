"""A log through the product's own pipeline and trainer, day by day, on the replay clock.

Every purchase is an event; the weekly timers are the customers' own. The rows the pipeline freezes go to the
trainer core, which scores them before it knows anything of the day, learns from a row when its 30 days have
passed and judges it when the horizon has.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.authoring.backtest.replay import Replay, Slice
from engine.authoring.evaluation.rows import Recorder, Rows
from engine.events import EVENT_TYPES, Event, OrderEvent
from engine.features.churn.replay import Purchases
from engine.features.churn.snapshot import Snapshot
from engine.features.churn.snapshot import shipped_prior as prior_of
from engine.features.churn.trainer import TrainerCore, TrainerReport, TrainerSettings
from engine.pipeline.waves import EventRow
from engine.settings import Settings
from engine.streams.backtest.run import RuleFiles, pipeline_of
from engine.streams.evaluate.log import PURCHASE, REFUND, PurchaseLog, is_refund

DAY_MS: Final = 86_400_000
_PARTITION: Final = 0
_CODES: Final = {name: kind.code for name, kind in EVENT_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a run.

    Args:
        rows: those judged.
        report: the trainer's own, at the end.
        snapshot: what was learned.
        scored: rows scored, judged or not.
        seconds: time it took, reading and judging excluded.
        segments: names of the segments by code.
    """

    rows: Rows
    report: TrainerReport
    snapshot: Snapshot
    scored: int
    seconds: float
    segments: Sequence[str]


def run_log(
    log: PurchaseLog,
    settings: Settings,
    trainer: TrainerSettings,
    *,
    features: bool,
    progress: Callable[[int], None] = lambda _: None,
) -> Run:
    """Run a log.

    Args:
        log: in time order, with at least one row.
        settings: of the deployment; without its journeys.
        trainer: how the trainer works, for one partition.
        features: whether the rows keep their features, for other models.
        progress: told how many days have been worked off.
    """
    quiet = pipeline_of(RuleFiles("no journeys", ()), settings, prior_of(trainer.horizon_days))
    replay = Replay(quiet, (_PARTITION,), learn=True)
    recorder = Recorder(features=features)
    core = TrainerCore(trainer, prior_of(trainer.horizon_days), recorder)
    began = time.perf_counter()
    with _rare_collections():
        for number, (events, end_ms) in enumerate(_days(log), 1):
            outcome = replay.step(Slice(events, end_ms - 1))
            for block in outcome.training.get(_PARTITION, ()):
                core.add_block(_PARTITION, block)
            core.advance(_PARTITION, end_ms // 1000)
            progress(number)
    seconds = time.perf_counter() - began
    rows = recorder.rows()
    return Run(rows, core.report(), core.snapshot(), recorder.seen, seconds, quiet.segments.names)


def from_purchases(purchases: Purchases) -> PurchaseLog:
    """Make a log of purchases at hand; customers are called by their numbers."""
    names, customers = np.unique(purchases.customers, return_inverse=True)
    return PurchaseLog(
        [str(name) for name in names.tolist()],
        customers.astype(np.int64),
        purchases.time_s * 1000,
        purchases.amount,
    )


def days_in(log: PurchaseLog) -> int:
    """Return how many days a log spans, the first and the last included."""
    return int(log.time_ms[-1] // DAY_MS - log.time_ms[0] // DAY_MS) + 1


def _days(log: PurchaseLog) -> Iterator[tuple[Sequence[EventRow], int]]:
    """Yield the events of each day, and the instant it ends."""
    first = int(log.time_ms[0]) // DAY_MS
    count = days_in(log)
    cuts = np.searchsorted(log.time_ms, np.arange(first, first + count + 1) * DAY_MS).tolist()
    for at in range(count):
        rows = range(cuts[at], cuts[at + 1])
        yield [_row(log, number) for number in rows], (first + at + 1) * DAY_MS


def _row(log: PurchaseLog, number: int) -> EventRow:
    time_ms = int(log.time_ms[number])
    event = log.other.get(number) or _order(log, number, time_ms)
    return EventRow(_PARTITION, event, _CODES[event.type], time_ms, number)


def _order(log: PurchaseLog, number: int, time_ms: int) -> Event:
    amount = float(log.amount[number])
    return OrderEvent(
        id=str(number),
        type=REFUND if is_refund(amount) else PURCHASE,
        customer_id=log.names[log.customers[number]],
        time=time_ms,
        order_id=str(number),
        amount=abs(amount),
    )


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for cycles seldom: there are none, and states are many objects."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
