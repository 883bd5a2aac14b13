"""The column index: which journeys' comparisons hold for which rows of a batch.

Journeys are grouped by the event type they enter on. Every comparison becomes `sign * column >= threshold`.
Within a group the first comparisons of all journeys are judged as one `(journeys, rows)` array, then the
second ones of those that have two, and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.events import Event
from engine.rules.condition import Comparison, Condition
from engine.rules.journey import Journey

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_ROWS_AT_ONCE = 128  # keeps the (journeys, rows) arrays in the processor's cache
_SPARSE_BELOW = 0.1  # share of pairs left below which the rest is judged pair by pair


@dataclass(frozen=True, slots=True)
class _Slot:
    """The n-th test of each journey that has one: row of the signed columns, and threshold `(n, 1)`."""

    columns: NDArray[np.intp]
    thresholds: Floats


@dataclass(frozen=True, slots=True)
class _Group:
    """The journeys of one event type, those with most tests first.

    Args:
        journeys: index of each in the rule set.
        features: columns of the feature matrix in use.
        event_columns: event columns in use; they follow the features.
        sources: for each signed column its place among features and event columns.
        signs: for each signed column +1 or -1, `(n, 1)`.
        slots: tests by number.
    """

    journeys: NDArray[np.intp]
    features: NDArray[np.intp]
    event_columns: tuple[str, ...]
    sources: NDArray[np.intp]
    signs: Floats
    slots: tuple[_Slot, ...]


class ColumnIndex:
    """Entry candidates by event type.

    Args:
        journeys: the rule set's journeys.
        columns: feature name to its column in the matrix.
    """

    def __init__(self, journeys: Sequence[Journey], columns: Mapping[str, int]) -> None:
        by_code: dict[int, list[int]] = {}
        for index, journey in enumerate(journeys):
            if journey.kind == "event" and journey.enabled:
                by_code.setdefault(journey.code, []).append(index)
        self._groups = {code: _group(found, journeys, columns) for code, found in by_code.items()}
        self.codes = frozenset(by_code)

    def match(
        self, codes: NDArray[np.uint8], matrix: Floats, events: Sequence[Event | None]
    ) -> list[tuple[int, int]]:
        """Return the (row, journey) pairs whose column comparisons all hold, by row, then journey.

        Args:
            codes: `(rows,) uint8`, event types.
            matrix: `(rows, features) float64`.
            events: the event of each row; only those of types with journeys are looked at.
        """
        found: list[tuple[int, int]] = []
        for code, group in self._groups.items():
            of_type = np.flatnonzero(codes == code)
            for start in range(0, len(of_type), _ROWS_AT_ONCE):
                rows = of_type[start : start + _ROWS_AT_ONCE]
                journey, row = _judge(group, rows, matrix, events)
                found.extend(zip(rows[row].tolist(), group.journeys[journey].tolist(), strict=True))
        found.sort()
        return found


def comparisons_of(journey: Journey) -> tuple[Comparison, ...]:
    """Return the column comparisons of a journey's entry."""
    conditions: tuple[Condition | None, ...] = (journey.where, journey.when)
    return tuple(comparison for each in conditions if each is not None for comparison in each.comparisons)


def _group(indices: list[int], journeys: Sequence[Journey], columns: Mapping[str, int]) -> _Group:
    tests = [
        [
            (comparison.column, sign, threshold)
            for comparison in comparisons_of(journeys[index])
            for sign, threshold in comparison.at_least()
        ]
        for index in indices
    ]
    order = sorted(range(len(indices)), key=lambda at: -len(tests[at]))
    used = sorted({(column, sign) for each in tests for column, sign, _ in each})
    signed = {pair: number for number, pair in enumerate(used)}
    features = sorted({column for column, _ in used if column.startswith("customer.")})
    events = sorted({column for column, _ in used if column.startswith("event.")})
    source = {column: number for number, column in enumerate(features + events)}
    slots = []
    for number in range(max((len(each) for each in tests), default=0)):
        having = [tests[at][number] for at in order if len(tests[at]) > number]
        slots.append(
            _Slot(
                np.array([signed[column, sign] for column, sign, _ in having], dtype=np.intp),
                np.array([[threshold] for _, _, threshold in having], dtype=np.float64),
            )
        )
    return _Group(
        journeys=np.array([indices[at] for at in order], dtype=np.intp),
        features=np.array([columns[name.removeprefix("customer.")] for name in features], dtype=np.intp),
        event_columns=tuple(name.removeprefix("event.") for name in events),
        sources=np.array([source[column] for column, _ in used], dtype=np.intp),
        signs=np.array([[float(sign)] for _, sign in used], dtype=np.float64).reshape(-1, 1),
        slots=tuple(slots),
    )


def _judge(
    group: _Group, rows: NDArray[np.intp], matrix: Floats, events: Sequence[Event | None]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return positions in the group and in `rows` of the pairs whose tests all hold."""
    signed = _signed(group, rows, matrix, events)
    holds: Bools = np.ones((len(group.journeys), len(rows)), dtype=np.bool_)
    for number, slot in enumerate(group.slots):
        tested = len(slot.columns)
        part = holds[:tested]
        np.logical_and(part, signed.take(slot.columns, axis=0) >= slot.thresholds, out=part)
        if number + 1 < len(group.slots) and np.count_nonzero(holds) < _SPARSE_BELOW * holds.size:
            return _judge_pairs(group, signed, holds, number + 1)
    found = holds.nonzero()
    return found[0], found[1]


def _signed(group: _Group, rows: NDArray[np.intp], matrix: Floats, events: Sequence[Event | None]) -> Floats:
    """Return the signed columns in use, `(signed columns, rows)`."""
    values = matrix.take(rows, axis=0).take(group.features, axis=1).T
    if group.event_columns:
        picked = rows.tolist()
        fields = [[getattr(events[row], name) for row in picked] for name in group.event_columns]
        values = np.concatenate((values, np.array(fields, dtype=np.float64)))
    return np.multiply(values.take(group.sources, axis=0), group.signs)


def _judge_pairs(
    group: _Group, signed: Floats, holds: Bools, number: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Judge the remaining tests for the few pairs that are left."""
    journey, row = np.nonzero(holds)
    for slot in group.slots[number:]:
        tested = int(np.searchsorted(journey, len(slot.columns)))  # pairs come sorted by journey
        keep = np.ones(len(journey), dtype=np.bool_)
        head = journey[:tested]
        keep[:tested] = signed[slot.columns[head], row[:tested]] >= slot.thresholds[head, 0]
        journey, row = journey[keep], row[keep]
    return journey, row
