"""Replay a purchase log through the product's own classes: `python -m engine.features.churn.replay`.

Purchases and weekly per-customer timers are turned into feature rows exactly as a worker does, fed to
`TrainerCore` block by block, and judged prequentially.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.errors import EngineError
from engine.features.churn.blocks import TrainingBlock, customer_keys
from engine.features.churn.evaluation import Quality
from engine.features.churn.purchases import DAY_S, unpack_many, update_purchase
from engine.features.churn.rate import GlobalRate
from engine.features.churn.sheet import hazard_matrix
from engine.features.churn.snapshot import Snapshot
from engine.features.churn.trainer import TrainerCore, TrainerReport, TrainerSettings

TIMER_DAYS: Final = 7
WARM_UP_DAYS: Final = 120
CHOICE_SHARE: Final = 4
"""Customers with index % 4 = 0 may be used for choices; the others are only ever tested on."""


@dataclass(frozen=True, slots=True)
class Purchases:
    """A purchase log in time order: customer index (rows,) int64, time (rows,) int64 s, amount (rows,)."""

    customers: npt.NDArray[np.int64]
    time_s: npt.NDArray[np.int64]
    amount: npt.NDArray[np.float64]

    def of(self, chosen: npt.NDArray[np.bool_]) -> Purchases:
        """Return the purchases a mask selects."""
        return Purchases(self.customers[chosen], self.time_s[chosen], self.amount[chosen])


def load_cdnow() -> Purchases:
    """Read the CDNOW log that ships inside the package `lifetimes`, without importing that package.

    Returns:
        69,659 purchases of 23,570 customers, 1997-01-01 to 1998-06-30, times at midnight UTC.

    Raises:
        EngineError: the package is not installed.
    """
    spec = find_spec("lifetimes")
    if spec is None or spec.origin is None:
        raise EngineError("package lifetimes is not installed; it carries the CDNOW log")
    path = Path(spec.origin).parent / "datasets" / "CDNOW_master.txt"
    raw = np.loadtxt(path, skiprows=1)
    days, place = np.unique(raw[:, 1].astype(np.int64), return_inverse=True)
    seconds = [int(datetime.strptime(str(day), "%Y%m%d").replace(tzinfo=UTC).timestamp()) for day in days]
    time_s = np.array(seconds, np.int64)[place]
    order = np.argsort(time_s, kind="stable")
    customers = raw[:, 0].astype(np.int64) - 1
    return Purchases(customers[order], time_s[order], raw[order, 3])


def training_blocks(purchases: Purchases) -> Iterator[tuple[int, TrainingBlock]]:
    """Turn a log into a day's block of rows after the other, as one partition's worker would.

    Args:
        purchases: in time order.

    Yields:
        The end of the day, seconds since the epoch, and the day's purchase and weekly timer rows.
    """
    names, index = np.unique(purchases.customers, return_inverse=True)
    keys = customer_keys([str(name) for name in names])
    records: list[bytes] = [b""] * len(names)
    timers: dict[int, list[int]] = {}
    rate = GlobalRate()
    first_day, last_day = int(purchases.time_s[0]) // DAY_S, int(purchases.time_s[-1]) // DAY_S
    cuts = np.searchsorted(purchases.time_s, np.arange(first_day, last_day + 2) * DAY_S)
    for day in range(first_day, last_day + 1):
        who: list[int] = []
        when: list[int] = []
        blobs: list[bytes] = []
        # a timer is due at the second of the week the customer first bought in
        due = timers.pop(day, [])
        timers.setdefault(day + TIMER_DAYS, []).extend(due)
        for customer in due:
            who.append(customer)
            when.append(day * DAY_S)
            blobs.append(records[customer])
        for row in range(cuts[day - first_day], cuts[day - first_day + 1]):
            customer, time_s = int(index[row]), int(purchases.time_s[row])
            old = records[customer]
            rate.add(time_s, 1, 0 if old else 1)
            if not old:
                timers.setdefault(day + TIMER_DAYS, []).append(customer)
            records[customer] = update_purchase(old or None, time_s, float(purchases.amount[row]))
            who.append(customer)
            when.append(time_s)
            blobs.append(records[customer])
        times = np.array(when, np.uint32)
        stats = unpack_many(b"".join(blobs), np.ones(len(who), np.bool_))
        features = hazard_matrix(stats, times.astype(np.float64), rate.at(times))
        is_purchase = np.arange(len(who)) >= len(due)
        yield (
            (day + 1) * DAY_S,
            TrainingBlock(
                keys[np.array(who, np.int64)],
                times,
                features.astype(np.float32),
                is_purchase,
                np.zeros(len(who), np.uint8),
            ),
        )


def run(purchases: Purchases, settings: TrainerSettings, prior: Snapshot | None = None) -> TrainerCore:
    """Replay a log through a trainer and return it."""
    core = TrainerCore(settings, prior)
    for end_s, block in training_blocks(purchases):
        core.add_block(0, block)
        core.advance(0, end_s)
    return core


def render(report: TrainerReport) -> str:
    """Write the quality figures of a report as a small table."""
    lines = [f"{'rows':<12}{'count':>9}{'base':>7}{'AUC':>8}{'log-loss':>10}{'base':>8}{'MBG':>8}{'ECE':>7}"]
    for name, quality in report.quality.items():
        lines.append(f"{name:<12}{quality.rows:>9}" + _figures(quality))
    lines.append(
        f"labels: {report.labels_came_back} came back, {report.labels_gone} did not; "
        f"MBG/NBD fits: {report.mbg_fitted} of {report.mbg_fitted + report.mbg_failed}"
    )
    return "\n".join(lines)


def _figures(quality: Quality) -> str:
    values = (
        (quality.base_rate, 7, 3),
        (quality.auc, 8, 4),
        (quality.log_loss, 10, 4),
        (quality.base_log_loss, 8, 4),
        (quality.mbg_log_loss, 8, 4),
        (quality.calibration_error, 7, 3),
    )
    return "".join(f"{'-':>{w}}" if value is None else f"{value:>{w}.{p}f}" for value, w, p in values)


def main(arguments: list[str] | None = None) -> int:
    """Replay CDNOW and print the quality on days past the first 120."""
    parser = argparse.ArgumentParser(prog="python -m engine.features.churn.replay", description=__doc__)
    parser.add_argument("--choose", action="store_true", help="use the customers that choices may be made on")
    parser.add_argument("--horizon-days", type=int, default=90)
    parser.add_argument("--rows-per-day", type=int, default=TrainerSettings(1).rows_per_day)
    parser.add_argument("--learning-rate", type=float, default=TrainerSettings(1).learning_rate)
    parser.add_argument("--mbg-share", type=float, default=TrainerSettings(1).mbg_share)
    parser.add_argument("--no-prior", action="store_true", help="never blend the shipped prior in")
    parser.add_argument("--from-day", type=int, default=WARM_UP_DAYS, help="first day judged")
    options = parser.parse_args(arguments)
    log = load_cdnow()
    log = log.of((log.customers % CHOICE_SHARE == 0) == options.choose)
    settings = TrainerSettings(
        partitions=1,
        horizon_days=options.horizon_days,
        learning_rate=options.learning_rate,
        rows_per_day=options.rows_per_day,
        mbg_share=options.mbg_share,
        prior_labels=0 if options.no_prior else TrainerSettings(1).prior_labels,
        evaluate_from_s=int(log.time_s[0]) + options.from_day * DAY_S,
    )
    sys.stdout.write(render(run(log, settings).report()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
