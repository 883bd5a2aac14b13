"""What customers will buy, for the rules that ask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.features.churn.purchases import PurchaseStats
from engine.features.churn.scoring import Scorer
from engine.features.registry import FeatureSpace

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

ORDERS = "expected_orders_90d"
SPEND = "expected_spend_90d"


def fill_value(
    space: FeatureSpace,
    matrix: Floats,
    scorer: Scorer,
    rows: Int64s,
    stats: PurchaseStats,
    now_s: Int64s,
    rates: Floats,
    activity: Floats | None,
) -> None:
    """Write the expected orders and spend of some rows; where no rule needs either, nothing is computed.

    Args:
        space: says which columns there are.
        matrix: takes the values; who has never bought keeps 0.
        scorer: the churn model.
        rows: numbers of the rows of customers who have bought.
        stats: their purchases, (rows,).
        now_s: when each of them is scored.
        rates: the global purchase rate each of them sees.
        activity: what else they did (`activity_of`).
    """
    if ORDERS not in space.index and SPEND not in space.index:
        return
    for name, values in zip(
        (ORDERS, SPEND), scorer.expect(stats, now_s.astype(np.float64), rates, activity), strict=True
    ):
        if name in space.index:
            matrix[rows, space.index[name]] = values
