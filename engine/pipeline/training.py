"""What the churn model is given: the rate rows are scored with, and the rows it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from engine.events import EVENT_TYPES, TIMER_CODE
from engine.features.churn.blocks import TrainingBlock, customer_keys
from engine.features.churn.purchases import DAY_S
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.waves import EventRow, Wave

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

ORDER_PLACED = EVENT_TYPES["order.placed"].code


def count_purchases(
    events: Sequence[EventRow], states: Mapping[str, CustomerState], rates: Mapping[int, GlobalRate]
) -> None:
    """Bring the global purchase rates up to the end of the step; only completed days are read from them."""
    first_time = set()
    for row in events:
        if row.code == ORDER_PLACED:
            customer_id = row.event.customer_id
            new = not states[customer_id].purchases and customer_id not in first_time
            if new:
                first_time.add(customer_id)
            rates[row.partition].add(row.now_ms // 1000, 1, int(new))


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


def scored_at_s(wave: Wave, rows: Sequence[int]) -> Int64s:
    """Return the second each row is scored at: a purchase at its own time, else the row's instant."""
    instants_ms = []
    for number in rows:
        now_ms, event = wave.now_ms[number], wave.events[number]
        if wave.codes[number] == ORDER_PLACED and event is not None:
            now_ms = min(event.time, now_ms)
        instants_ms.append(now_ms)
    return np.array(instants_ms, np.int64) // 1000


def freeze(
    wave: Wave,
    buyers: Sequence[int],
    time_s: Int64s,
    features: Floats,
    training: dict[int, list[TrainingBlock]],
    every_ms: int,
) -> None:
    """Freeze the rows of purchases and score timers as training rows; set the next timers `every_ms` on.

    Args:
        wave: the rows.
        buyers: numbers of the rows that were scored.
        time_s: when each of them was scored.
        features: of each of them.
        training: takes the blocks, by partition.
        every_ms: time between two scores.
    """
    chosen: dict[int, list[int]] = {}
    for at, number in enumerate(buyers):
        code = wave.codes[number]
        if code == TIMER_CODE:
            state, now_ms = wave.states[number], wave.now_ms[number]
            if not 0 < state.next_score_ms <= now_ms:
                continue
            missed = (now_ms - state.next_score_ms) // every_ms
            state.next_score_ms += (missed + 1) * every_ms
        elif code != ORDER_PLACED:
            continue
        chosen.setdefault(wave.partitions[number], []).append(at)
    for partition, rows in chosen.items():
        block = TrainingBlock(
            customer_keys([wave.states[buyers[at]].customer_id for at in rows]),
            time_s[rows].astype(np.uint32),
            features[rows].astype(np.float32),
            np.array([wave.codes[buyers[at]] == ORDER_PLACED for at in rows], np.bool_),
        )
        training.setdefault(partition, []).append(block)
