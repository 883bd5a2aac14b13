"""What the churn model is given: the rate rows are scored with, and the rows it learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.events import EVENT_TYPES, TIMER_CODE
from engine.features.churn.blocks import TrainingBlock, customer_keys
from engine.features.churn.purchases import DAY_S
from engine.features.churn.rate import GlobalRate
from engine.features.churn.sheet import Sheet
from engine.features.state import CustomerState
from engine.pipeline.waves import EventRow, Wave

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

ORDER_PLACED = EVENT_TYPES["order.placed"].code
ERASURE = EVENT_TYPES["erasure.requested"].code


def count_purchases(
    events: Sequence[EventRow], states: Mapping[str, CustomerState], rates: Mapping[int, GlobalRate]
) -> None:
    """Bring the global purchase rates up to the end of the step; only completed days are read from them."""
    buyers: dict[str, bool] = {}  # of those the step has changed; the states are still those before it
    for row in events:
        if row.code == ORDER_PLACED:
            customer_id = row.event.customer_id
            new = not buyers.get(customer_id, bool(states[customer_id].purchases))
            buyers[customer_id] = True
            rates[row.partition].add(row.now_ms // 1000, 1, int(new))
        elif row.code == ERASURE:
            buyers[row.event.customer_id] = False


def rates_of(wave: Wave, rows: Int64s, now_s: Int64s, rates: Mapping[int, GlobalRate]) -> Floats:
    """Return the global purchase rate some rows see, `(rows,)`; within a day it is one number a partition.

    It is that of the row's instant, not of its purchase's: the days before that are known, whatever is late.

    Args:
        wave: the wave.
        rows: numbers of the rows.
        now_s: the instant each of them is worked on at.
        rates: of each partition.
    """
    partitions = [wave.partitions[number] for number in rows.tolist()]
    days = now_s // DAY_S
    if days.min() == days.max():  # nearly always, on the live clock
        day = int(days[0])
        known = {number: rates[number].on(day) for number in set(partitions)}
        return np.array([known[number] for number in partitions])
    by_day: dict[tuple[int, int], float] = {}
    for number, day in set(zip(partitions, days.tolist(), strict=True)):
        by_day[number, day] = rates[number].on(day)
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


@dataclass(frozen=True, slots=True)
class Scored:
    """The rows of a wave that were scored.

    Args:
        rows: `(scored,)` numbers of the rows.
        codes: of each of them.
        time_s: when each of them was scored.
        sheet: what they were scored by.
        chosen: which of them, by place in these arrays, the model learns from.
    """

    rows: Int64s
    codes: Codes
    time_s: Int64s
    sheet: Sheet
    chosen: Sequence[int]


def move_scores(wave: Wave, rows: Int64s, codes: Codes, every_ms: int) -> list[int]:
    """Set the next score timers of those whose timer it was.

    Args:
        wave: the wave.
        rows: numbers of the rows that were scored.
        codes: of each of them.
        every_ms: time between two scores.

    Returns:
        the purchases and score timers among them, by place in `rows`: what the model learns from.
    """
    chosen: list[int] = []
    for at in np.flatnonzero((codes == ORDER_PLACED) | (codes == TIMER_CODE)).tolist():
        if codes[at] == TIMER_CODE:
            number = int(rows[at])
            state, now_ms = wave.states[number], wave.now_ms[number]
            if not 0 < state.next_score_ms <= now_ms:
                continue
            missed = (now_ms - state.next_score_ms) // every_ms
            state.next_score_ms += (missed + 1) * every_ms
        chosen.append(at)
    return chosen


def freeze(
    wave: Wave,
    scored: Scored,
    segments: Codes,
    undone: Sequence[tuple[int, int]],
    training: dict[int, list[TrainingBlock]],
) -> None:
    """Freeze the rows of purchases and score timers as training rows.

    Args:
        wave: the wave.
        scored: its rows that were scored.
        segments: code of each row's segment, of all rows.
        undone: runs of rows that don't count, as first and end.
        training: takes the blocks, by partition.
    """
    out = frozenset(number for first, end in undone for number in range(first, end))
    chosen: dict[int, list[int]] = {}
    for at in scored.chosen:
        number = int(scored.rows[at])
        if number not in out:
            chosen.setdefault(wave.partitions[number], []).append(at)
    for partition, picked in chosen.items():
        block = TrainingBlock(
            customer_keys([wave.states[number].customer_id for number in scored.rows[picked].tolist()]),
            scored.time_s[picked].astype(np.uint32),
            scored.sheet.features(picked).astype(np.float32),
            scored.codes[picked] == ORDER_PLACED,
            segments[scored.rows[picked]],
        )
        training.setdefault(partition, []).append(block)
