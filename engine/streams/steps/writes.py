"""From an outcome to one transaction a partition."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from engine.features.state import CustomerState, pack
from engine.pipeline.core import Outcome
from engine.streams.steps.intake import Step
from engine.streams.steps.partitions import (
    CLOCK_FIELD,
    LEDGER_FIELD,
    LIVE,
    RATE_FIELD,
    REACHED_FIELD,
    SEGMENTS_FIELD,
    Mark,
    OwnedPartition,
)
from engine.streams.store.contract import PartitionWrite


def lay_out(
    step: Step,
    outcome: Outcome,
    states: Mapping[str, CustomerState],
    owned: Mapping[int, OwnedPartition],
    marks: Mapping[int, Mark],
) -> list[PartitionWrite]:
    """Lay out everything a step makes durable.

    Args:
        step: offsets, ids and stream time.
        outcome: touched states and segment changes.
        states: the states themselves.
        owned: the partitions; their segment counts follow the outcome.
        marks: what the partitions were before the step.

    Returns:
        One write for each partition that the step touched.
    """
    packed: dict[int, dict[bytes, bytes | None]] = {number: {} for number in owned}
    timers: dict[int, dict[bytes, int | None]] = {number: {} for number in owned}
    erased = outcome.erased
    for name, number in outcome.touched.items():
        key = name.encode()
        if name in erased:
            packed[number][key] = timers[number][key] = None
        else:
            state = states[name]
            packed[number][key] = pack(state)
            timers[number][key] = state.due_ms or None
    numbers = {number for _, number in step.offsets} | set(outcome.touched.values()) | set(step.clock_ms)
    return [
        PartitionWrite(
            partition=number,
            epoch=owned[number].epoch,
            states=packed[number],
            timers=timers[number],
            offsets={topic: offset for (topic, part), offset in step.offsets.items() if part == number},
            clock_ms=step.clock_ms.get(number),
            fields=_fields(owned[number], outcome, marks[number]),
            ids=np.array(step.ids.get(number, ()), "<u8").tobytes(),
            rotate_ids=number in step.rotate,
        )
        for number in sorted(numbers & set(owned))
    ]


def _fields(owned: OwnedPartition, outcome: Outcome, stored: Mark) -> dict[str, bytes]:
    """Return the partition's small values that changed."""
    number = owned.number
    fields: dict[str, bytes] = {}
    changes = [change for change in outcome.segment_changes if outcome.touched[change.customer_id] == number]
    if owned.count_segments(changes, [name for part, name in outcome.erased_from if part == number]):
        fields[SEGMENTS_FIELD] = msgspec.json.encode(owned.segments)
    rate = owned.rate.to_bytes()
    if rate != stored.rate:
        fields[RATE_FIELD] = rate
    ledger = owned.ledger.to_bytes()
    if ledger != stored.ledger:
        fields[LEDGER_FIELD] = ledger
    if owned.unmarked:
        fields[CLOCK_FIELD] = LIVE
    if owned.reached_ms:
        fields[REACHED_FIELD] = b"%d" % owned.reached_ms
    return fields
