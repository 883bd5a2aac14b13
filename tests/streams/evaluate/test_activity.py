"""What other events are worth to the churn model: much where they tell, nothing lost where they do not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from engine.features.churn.purchases import DAY_S
from engine.settings import Settings
from engine.streams.evaluate.job import trainer_settings
from engine.streams.evaluate.log import PurchaseLog
from engine.streams.evaluate.run import run_log
from tests.features.churn.samples import START_S
from tests.features.churn.shops import active_shop, orders_alone

DAYS = 480
FROM_S, TO_S = START_S + 120 * DAY_S, START_S + (DAYS - 95) * DAY_S


def log_loss(log: PurchaseLog) -> tuple[float, int]:
    """Run a log the way live events go; the loss of the rows judged, and how many there are."""
    rows = run_log(log, Settings(), trainer_settings(Settings()), features=False).rows
    rows = rows.of((rows.time_s >= FROM_S) & (rows.time_s < TO_S))
    risk = rows.risk.astype(np.float64)
    return float(-np.log(np.where(rows.gone, risk, 1.0 - risk)).mean()), len(rows)


@pytest.mark.parametrize(("telling", "low", "high"), [(True, 0.9, 0.988), (False, 0.998, 1.002)])
def test_activity_helps_where_it_tells_and_costs_nothing_where_not(
    *, telling: bool, low: float, high: float
) -> None:
    """Activity that falls before customers leave lowers the log-loss; in vain it leaves it as it was."""
    log = active_shop(400, DAYS, telling=telling)
    (found, rows), (alone, same_rows) = log_loss(log), log_loss(orders_alone(log))
    assert rows == same_rows
    sys.stdout.write(f"\n{rows} rows: {found:.4f} with activity, {alone:.4f} without: {found / alone:.4f}\n")
    assert low < found / alone < high
