"""The column index: which journeys' comparisons hold for which rows of a batch.

Journeys are grouped by the event type they enter on. Every comparison becomes `sign * column >= threshold`.
Within a group the first comparisons of all journeys are judged as one `(journeys, rows)` array, then the
second ones of those that have two, and so on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from engine.events import Event
from engine.rules.condition import Comparison, Condition
from engine.rules.journey import Journey

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_Test = tuple[str, int, float]
_CUSTOMER, _EVENT = "customer.", "event."
_ROWS_AT_ONCE = 128  # keeps the (journeys, rows) arrays in the processor's cache
_SPARSE_BELOW = 0.1  # share of pairs left below which the rest is judged pair by pair
_FEW_PAIRS = 1000  # so few are judged pair by pair, whatever their share


@dataclass(frozen=True, slots=True)
class _Slot:
    """The n-th test of each journey of a group that has one: its signed column, and its threshold, `(n,)`."""

    columns: NDArray[np.intp]
    thresholds: Floats


@dataclass(frozen=True, slots=True)
class _Group:
    """The journeys of one event type, those with most tests first.

    Args:
        first: place of its first journey among all.
        size: how many journeys.
        slots: tests by number.
        reads: read the fields of the event that are compared.
        sources: for each signed column of events its place in `reads`.
        signs: +1 or -1 of each, `(n,)`.
        place: place of the first of them among the signed columns.
    """

    first: int
    size: int
    slots: tuple[_Slot, ...]
    reads: tuple[Callable[[Event | None], float], ...]
    sources: NDArray[np.intp]
    signs: Floats
    place: int


class ColumnIndex:
    """Entry candidates by event type.

    Args:
        journeys: the rule set's journeys.
        columns: feature name to its column in the matrix.
        kind: which entries are taken: `event`, or `count`, of which only `where` is judged.
    """

    def __init__(self, journeys: Sequence[Journey], columns: Mapping[str, int], kind: str = "event") -> None:
        by_code: dict[int, list[int]] = {}
        for index, journey in enumerate(journeys):
            if journey.kind == kind and journey.enabled:
                for code in dict.fromkeys(journey.codes):
                    by_code.setdefault(code, []).append(index)
        self.codes = frozenset(by_code)
        self._codes = np.array(sorted(by_code), np.uint8)
        tests = {code: [_tests(journeys[index]) for index in found] for code, found in by_code.items()}
        used = {(column, sign) for group in tests.values() for each in group for column, sign, _ in each}
        features = sorted(pair for pair in used if pair[0].startswith(_CUSTOMER))
        self._features = np.array(
            [columns[name.removeprefix(_CUSTOMER)] for name, _ in features], dtype=np.intp
        )
        self._signs = _signs(features)
        self._groups: list[_Group] = []
        self._journeys = np.zeros(0, np.intp)
        self._columns = len(features)
        slots: list[list[tuple[int, float]]] = []  # all tests of each journey, for those judged pair by pair
        for code in sorted(by_code):
            order = sorted(range(len(tests[code])), key=lambda at: -len(tests[code][at]))
            group, places = self._plan([tests[code][at] for at in order], features)
            self._groups.append(group)
            self._columns += len(group.sources)
            self._journeys = np.append(self._journeys, [by_code[code][at] for at in order])
            slots += [
                [(places[column, sign], number) for column, sign, number in tests[code][at]] for at in order
            ]
        most = max(map(len, slots), default=0)
        # a journey with fewer tests has in their place one that always holds, on a column of zeros
        self._pair_columns = np.full((most, len(slots)), self._columns, np.intp)
        self._pair_thresholds = np.zeros((most, len(slots)))
        for at, each in enumerate(slots):
            for number, (column, threshold) in enumerate(each):
                self._pair_columns[number, at] = column
                self._pair_thresholds[number, at] = threshold

    def _plan(
        self, tests: list[list[_Test]], features: list[tuple[str, int]]
    ) -> tuple[_Group, dict[tuple[str, int], int]]:
        """Plan a group; return it, and where it finds its signed columns."""
        used = {(column, sign) for each in tests for column, sign, _ in each}
        events = sorted(used - set(features))
        names = sorted({column for column, _ in events})
        places = {pair: place for place, pair in enumerate(features)}
        places.update({pair: self._columns + at for at, pair in enumerate(events)})
        slots = []
        for number in range(max(map(len, tests), default=0)):
            having = [each[number] for each in tests if len(each) > number]
            slots.append(
                _Slot(
                    np.array([places[column, sign] for column, sign, _ in having], dtype=np.intp),
                    np.array([threshold for _, _, threshold in having], dtype=np.float64),
                )
            )
        group = _Group(
            first=len(self._journeys),
            size=len(tests),
            slots=tuple(slots),
            reads=tuple(attrgetter(name.removeprefix(_EVENT)) for name in names),
            sources=np.array([names.index(column) for column, _ in events], dtype=np.intp),
            signs=_signs(events),
            place=self._columns,
        )
        return group, places

    def match(
        self, codes: NDArray[np.uint8], matrix: Floats, events: Sequence[Event | None]
    ) -> list[tuple[int, int]]:
        """Return the (row, journey) pairs whose column comparisons all hold, by row, then journey.

        Args:
            codes: `(rows,) uint8`, event types.
            matrix: `(rows, features) float64`.
            events: the event of each row; only those of types with journeys are looked at.
        """
        order = codes.argsort(kind="stable")
        ordered = codes[order]
        begins = ordered.searchsorted(self._codes, side="left").tolist()
        ends = ordered.searchsorted(self._codes, side="right").tolist()
        signed: Floats = np.empty((len(codes), self._columns + 1))
        signed[:, self._columns] = 0.0
        values = matrix.take(order, axis=0).take(self._features, axis=1)
        np.multiply(values, self._signs, out=signed[:, : len(self._features)])
        found: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        for group, begin, end in zip(self._groups, begins, ends, strict=True):
            for first in range(begin, end, _ROWS_AT_ONCE):
                last = min(first + _ROWS_AT_ONCE, end)
                if group.reads:
                    picked = [events[row] for row in order[first:last].tolist()]
                    _fill_events(group, picked, signed[first:last])
                row, journey = _judge(group, signed[first:last]).nonzero()
                if len(row):
                    found.append((journey + group.first, row + first))
        if not found:
            return []
        journey, row = (np.concatenate(parts) for parts in zip(*found, strict=True))
        # The first slot has been judged for all pairs, the others only where many were left.
        for columns, thresholds in zip(self._pair_columns[1:], self._pair_thresholds[1:], strict=True):
            keep = signed[row, columns[journey]] >= thresholds[journey]
            journey, row = journey[keep], row[keep]
        return sorted(zip(order[row].tolist(), self._journeys[journey].tolist(), strict=True))


def comparisons_of(journey: Journey) -> tuple[Comparison, ...]:
    """Return the column comparisons that say whether an event is a candidate for a journey's entry."""
    counted = journey.kind == "count"  # `when` is asked only at the event that makes it enough
    conditions: tuple[Condition | None, ...] = (journey.where, None if counted else journey.when)
    return tuple(comparison for each in conditions if each is not None for comparison in each.comparisons)


def _tests(journey: Journey) -> list[_Test]:
    """Return what must hold for a journey's entry: column, sign and threshold of each test."""
    return [
        (comparison.column, sign, threshold)
        for comparison in comparisons_of(journey)
        for sign, threshold in comparison.at_least()
    ]


def _signs(columns: Sequence[tuple[str, int]]) -> Floats:
    return np.array([float(sign) for _, sign in columns], dtype=np.float64)


def _fill_events(group: _Group, events: Sequence[Event | None], signed: Floats) -> None:
    """Write a group's event columns for its rows into the signed columns."""
    fields = np.array([list(map(read, events)) for read in group.reads], dtype=np.float64)
    columns = signed[:, group.place : group.place + len(group.sources)]
    np.multiply(fields.take(group.sources, axis=0).T, group.signs, out=columns)


def _judge(group: _Group, signed: Floats) -> Bools:
    """Return which pairs pass the first test, and the further ones while many are left.

    Args:
        group: the journeys.
        signed: `(rows, signed columns)`.

    Returns:
        `(rows, journeys) bool`.
    """
    holds: Bools | None = None
    for slot in group.slots:
        tested = len(slot.columns)
        found = signed.take(slot.columns, axis=1) >= slot.thresholds
        if holds is None and tested == group.size:
            holds = found
        else:
            if holds is None:
                holds = np.ones((len(signed), group.size), np.bool_)
            part = holds[:, :tested]
            np.logical_and(part, found, out=part)
        if holds.size < _FEW_PAIRS or np.count_nonzero(holds) < max(_SPARSE_BELOW * holds.size, _FEW_PAIRS):
            break
    return holds if holds is not None else np.ones((len(signed), group.size), np.bool_)
