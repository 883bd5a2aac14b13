"""What the churn model is given: the rate rows are scored with, and the rows it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.events import EVENT_TYPES
from engine.features.churn.blocks import TrainingBlock, customer_keys
from engine.features.churn.purchases import DAY_S
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.waves import EventRow, Row

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

ORDER_PLACED = EVENT_TYPES["order.placed"].code


def count_purchases(
    events: Sequence[EventRow], states: Mapping[str, CustomerState], rates: Mapping[int, GlobalRate]
) -> None:
    """Bring the global purchase rates up to the end of the step; only completed days are read from them."""
    first_time = set()
    for partition, event, code, now_ms, _ in events:
        if code == ORDER_PLACED:
            customer_id = event.customer_id
            new = not states[customer_id].purchases and customer_id not in first_time
            if new:
                first_time.add(customer_id)
            rates[partition].add(now_ms // 1000, 1, int(new))


def rates_of(partitions: list[int], now_s: Int64s, rates: Mapping[int, GlobalRate]) -> Floats:
    """Return the global purchase rate each row sees, (rows,); within a day it is one number a partition."""
    known: dict[tuple[int, int], float] = {}
    out = []
    for partition, day in zip(partitions, (now_s // DAY_S).tolist(), strict=True):
        rate = known.get((partition, day))
        if rate is None:
            rate = known[partition, day] = float(rates[partition].at([day * DAY_S])[0])
        out.append(rate)
    return np.array(out)


def scored_at_s(row: Row) -> int:
    """Return the second a row is scored at: a purchase at its own time, else the row's instant."""
    if row.code == ORDER_PLACED and row.event is not None:
        return min(row.event.time, row.now_ms) // 1000
    return row.now_ms // 1000


def freeze(
    buyers: list[Row],
    time_s: Int64s,
    features: Floats,
    training: dict[int, list[TrainingBlock]],
    every_ms: int,
) -> None:
    """Freeze the rows of purchases and score timers as training rows; set the next timers `every_ms` on."""
    chosen: dict[int, list[int]] = {}
    for number, row in enumerate(buyers):
        state = row.state
        if row.event is None:
            if not 0 < state.next_score_ms <= row.now_ms:
                continue
            missed = (row.now_ms - state.next_score_ms) // every_ms
            state.next_score_ms += (missed + 1) * every_ms
        elif row.code != ORDER_PLACED:
            continue
        chosen.setdefault(row.partition, []).append(number)
    for partition, numbers in chosen.items():
        block = TrainingBlock(
            customer_keys([buyers[number].state.customer_id for number in numbers]),
            time_s[numbers].astype(np.uint32),
            features[numbers].astype(np.float32),
            np.array([buyers[number].event is not None for number in numbers], np.bool_),
        )
        training.setdefault(partition, []).append(block)
