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
Codes = npt.NDArray[np.uint8]

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


def rates_of(wave: Wave, rows: Int64s, now_s: Int64s, rates: Mapping[int, GlobalRate]) -> Floats:
    """Return the global purchase rate some rows see, `(rows,)`; within a day it is one number a partition.

    Args:
        wave: the wave.
        rows: numbers of the rows.
        now_s: when each of them is scored.
        rates: of each partition.
    """
    partitions = [wave.partitions[number] for number in rows.tolist()]
    days = now_s // DAY_S
    if days.min() == days.max():  # nearly always, on the live clock
        day_s = [int(days[0]) * DAY_S]
        known = {number: float(rates[number].at(day_s)[0]) for number in set(partitions)}
        return np.array([known[number] for number in partitions])
    by_day: dict[tuple[int, int], float] = {}
    for number, day in set(zip(partitions, days.tolist(), strict=True)):
        by_day[number, day] = float(rates[number].at([day * DAY_S])[0])
    return np.array([by_day[each] for each in zip(partitions, days.tolist(), strict=True)])


def scored_at_s(wave: Wave, rows: Int64s, codes: Codes, now_ms: Int64s) -> Int64s:
    """Return the second some rows are scored at: a purchase at its own time, else the row's instant.

    Args:
        wave: the wave.
        rows: numbers of the rows.
        codes: of each of them.
        now_ms: of each of them.
    """
    at_s = now_ms // 1000
    for at in np.flatnonzero(codes == ORDER_PLACED).tolist():
        event = wave.events[rows[at]]
        if event is not None:
            at_s[at] = min(event.time // 1000, at_s[at])
    return at_s


def freeze(
    wave: Wave,
    rows: Int64s,
    codes: Codes,
    time_s: Int64s,
    features: Floats,
    training: dict[int, list[TrainingBlock]] | None,
    every_ms: int,
) -> None:
    """Freeze the rows of purchases and score timers as training rows; set the next timers `every_ms` on.

    Args:
        wave: the wave.
        rows: numbers of the rows that were scored.
        codes: of each of them.
        time_s: when each of them was scored.
        features: of each of them.
        training: takes the blocks, by partition; None = nobody learns from them, only the timers are set.
        every_ms: time between two scores.
    """
    chosen: dict[int, list[int]] = {}
    for at in np.flatnonzero((codes == ORDER_PLACED) | (codes == TIMER_CODE)).tolist():
        number = int(rows[at])
        if codes[at] == TIMER_CODE:
            state, now_ms = wave.states[number], wave.now_ms[number]
            if not 0 < state.next_score_ms <= now_ms:
                continue
            missed = (now_ms - state.next_score_ms) // every_ms
            state.next_score_ms += (missed + 1) * every_ms
        chosen.setdefault(wave.partitions[number], []).append(at)
    if training is None:
        return
    for partition, picked in chosen.items():
        block = TrainingBlock(
            customer_keys([wave.states[number].customer_id for number in rows[picked].tolist()]),
            time_s[picked].astype(np.uint32),
            features[picked].astype(np.float32),
            codes[picked] == ORDER_PLACED,
        )
        training.setdefault(partition, []).append(block)
