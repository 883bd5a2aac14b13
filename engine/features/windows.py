"""Windowed counts, sums, distinct days and instants for a whole wave at once.

Window `w` at instant `now` holds the entries of the last `w` seconds: `now - w < time`, both in whole
seconds. An entry stamped ahead of `now` (a sender's clock may run fast) is in every window. Each entry is put
into the shortest window that holds it, one `bincount` counts (row, kind, window) cells, and a running sum
over the windows makes each window hold the shorter ones. A tile counts with its last entry, so an edge is
exact to the tile's width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.events import EVENT_TYPES, VISIT_CODES
from engine.features.rows import RowBatch, flatten
from engine.features.state import HEAD_COLUMNS
from engine.features.tiles import MARK_DTYPE, TILE_DTYPE, VALUE_DTYPE
from engine.features.zones import local_days, months_of_days

WINDOWS: dict[str, int] = {
    "1h": 3600,
    "24h": 86_400,
    "7d": 7 * 86_400,
    "30d": 30 * 86_400,
    "90d": 90 * 86_400,
    "365d": 365 * 86_400,
    "lifetime": 0,
}
VISITS = 256  # pseudo-kind: any event of the click family
MONTHS = 4  # this calendar month and the three before

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]

_EDGES_S = np.array([length_s for length_s in WINDOWS.values() if length_s])
_W = len(WINDOWS)
_ORDER = EVENT_TYPES["order.placed"].code
_IS_CLICK = np.isin(np.arange(256), VISIT_CODES)
_DAY_BITS, _WINDOW_BITS = 16, 3
_NEVER = np.iinfo(np.int64).max


def _nest(table: Floats) -> Floats:
    """Let each window hold the shorter ones, in place (whole slices are ten times faster than cumsum)."""
    for window in range(1, _W):
        table[window] += table[window - 1]
    return table


class Kinds:
    """Which kinds of entries get a column in the tables, and which.

    Args:
        kinds: codes of event types and declared series, or `VISITS`, in column order.
        valued: those of them whose values are summed.
        dated: those of them whose first or last instant is asked for.
    """

    def __init__(self, kinds: Sequence[int], valued: Sequence[int], dated: Sequence[int]) -> None:
        self.column = {kind: column for column, kind in enumerate(kinds)}
        self.value_column = {kind: column for column, kind in enumerate(valued)}
        self.width = len(kinds) + 1  # the last column takes what nobody asked for
        self.value_width = len(valued) + 1
        self.columns = self._table(self.column, self.width - 1)
        self.value_columns = self._table(self.value_column, self.value_width - 1)
        self.visits = self.column.get(VISITS)
        # Clicks are added up into visits, so they need columns of their own where visits are asked for.
        assert self.visits is None or all(code in self.column for code in VISIT_CODES)
        self.dated = np.isin(np.arange(256), dated)
        self.click_columns = [self.column[code] for code in VISIT_CODES if code in self.column]

    @staticmethod
    def _table(columns: dict[int, int], rest: int) -> Int64s:
        table = np.full(256, rest, np.int64)
        for kind, column in columns.items():
            if kind < 256:
                table[kind] = column
        return table


class Tables:
    """What the features of a wave are made of; each table is computed when first asked for.

    Args:
        rows: the wave.
        kinds: the columns.
    """

    def __init__(self, rows: RowBatch, kinds: Kinds) -> None:
        self.rows = len(rows)
        self.kinds = kinds
        self.heads = rows.head_columns()
        self.now_s: Int64s = rows.now_ms // 1000
        self.zones: Int64s = self.heads[:, HEAD_COLUMNS.index("zone")]
        marks, mark_rows = flatten(rows.marks, MARK_DTYPE)
        values, self.value_rows = flatten(rows.values, VALUE_DTYPE)
        tiles, self.tile_rows = flatten(rows.tiles, TILE_DTYPE)
        self.values, self.tiles = values, tiles
        self.row: Int64s = np.concatenate((mark_rows, self.value_rows, self.tile_rows))
        self.kind = np.concatenate((marks["kind"], values["kind"], tiles["kind"]))
        self.time_s: Int64s = np.concatenate((marks["time_s"], values["time_s"], tiles["last_s"])).astype(
            np.int64
        )
        self.marks_n, self.values_n = len(marks), len(values)
        self.bucket: Int64s = _EDGES_S.searchsorted(self.now_s[self.row] - self.time_s, side="right")
        self.cell: Int64s = self.row * kinds.width + kinds.columns[self.kind]  # (row, kind) of each entry

    @cached_property
    def counts(self) -> Floats:
        """Entries per `(window, row, kind)`."""
        size = self.rows * self.kinds.width
        weights = None
        if len(self.tiles):
            weights = np.ones(len(self.cell))
            weights[len(weights) - len(self.tiles) :] = self.tiles["count"]
        cells = np.bincount(self.bucket * size + self.cell, weights, _W * size)
        counts = _nest(cells.astype(np.float64).reshape(_W, self.rows, self.kinds.width))
        if self.kinds.visits is not None:
            counts[:, :, self.kinds.visits] = counts[:, :, self.kinds.click_columns].sum(axis=2)
        return counts

    @cached_property
    def sums(self) -> Floats:
        """Sum of values per `(window, row, valued kind)`."""
        first, width = self.marks_n, self.kinds.value_width
        cell = self.row[first:] * width + self.kinds.value_columns[self.kind[first:]]
        size = self.rows * width
        amounts = np.concatenate((self.values["value"], self.tiles["sum"]))
        cells = np.bincount(self.bucket[first:] * size + cell, amounts, _W * size)
        return _nest(cells.astype(np.float64).reshape(_W, self.rows, width))

    @cached_property
    def local_day(self) -> Int64s:
        """Each entry's day in its customer's zone."""
        return local_days(self.time_s, self.zones[self.row])

    @cached_property
    def days(self) -> Floats:
        """Distinct local days with an entry, per `(window, row, kind)`."""
        size = self.rows * self.kinds.width
        low = (self.local_day << _WINDOW_BITS) | self.bucket
        keys = (self.cell << (_DAY_BITS + _WINDOW_BITS)) | low
        if self.kinds.visits is not None:
            click = np.flatnonzero(_IS_CLICK[self.kind])
            cell = self.row[click] * self.kinds.width + self.kinds.visits
            keys = np.concatenate((keys, (cell << (_DAY_BITS + _WINDOW_BITS)) | low[click]))
        keys.sort()
        # Within a day the entry in the shortest window sorts first: it alone stands for the day.
        first = np.ones(len(keys), bool)
        first[1:] = np.diff(keys >> _WINDOW_BITS) != 0
        keys = keys[first]
        at = (keys & ((1 << _WINDOW_BITS) - 1)) * size + (keys >> (_DAY_BITS + _WINDOW_BITS))
        cells = np.bincount(at, minlength=_W * size).astype(np.float64)
        if len(self.tiles):
            self._add_tile_days(cells, size)
        return _nest(cells.reshape(_W, self.rows, self.kinds.width))

    def _add_tile_days(self, cells: Floats, size: int) -> None:
        """Add the days of each tile beyond its last one, which is among the keys already."""
        first = len(self.cell) - len(self.tiles)
        extra = self.tiles["days"].astype(np.float64) - 1
        bucket = self.bucket[first:]
        cells += np.bincount(bucket * size + self.cell[first:], extra, len(cells))
        if self.kinds.visits is not None:
            click = _IS_CLICK[self.tiles["kind"]]
            cell = self.tile_rows[click] * self.kinds.width + self.kinds.visits
            cells += np.bincount(bucket[click] * size + cell, extra[click], len(cells))

    @cached_property
    def last_s(self) -> Int64s:
        """Second of the last entry per `(row, kind)`; 0 = never. Only for kinds that are `dated`."""
        at = self._dated
        last = np.zeros(self.rows * self.kinds.width, np.int64)
        np.maximum.at(last, self.cell[at], self.time_s[at])
        table = last.reshape(self.rows, self.kinds.width)
        if self.kinds.visits is not None:
            table[:, self.kinds.visits] = table[:, self.kinds.click_columns].max(axis=1)
        return table

    @cached_property
    def first_s(self) -> Int64s:
        """Second of the first entry per `(row, kind)`; 0 = never. Only for kinds that are `dated`."""
        at = self._dated
        first = np.full(self.rows * self.kinds.width, _NEVER, np.int64)
        begin_s = self.time_s
        if len(self.tiles):
            begin_s = begin_s.copy()
            begin_s[len(begin_s) - len(self.tiles) :] = self.tiles["first_s"]
        np.minimum.at(first, self.cell[at], begin_s[at])
        first[first == _NEVER] = 0
        table = first.reshape(self.rows, self.kinds.width)
        if self.kinds.visits is not None:
            clicks = table[:, self.kinds.click_columns]
            earliest = np.where(clicks == 0, _NEVER, clicks).min(axis=1)
            table[:, self.kinds.visits] = np.where(earliest == _NEVER, 0, earliest)
        return table

    @cached_property
    def _dated(self) -> Int64s:
        """Numbers of the entries whose kind is `dated`."""
        return np.flatnonzero(self.kinds.dated[self.kind])

    def months(self, kind: int) -> tuple[Floats, Floats]:
        """Count and add up a valued kind by calendar month in the customer's zone.

        Args:
            kind: code of the kind.

        Returns:
            Two `(months back, rows)` tables, counts and sums; 0 = the month of `now`.
        """
        first = self.marks_n
        at = first + np.flatnonzero(self.kind[first:] == kind)
        row = self.row[at]
        # Orders and the rows' own instants in one go: for small waves the number of calls is what costs.
        times_s = np.concatenate((self.now_s, self.time_s[at]))
        month = months_of_days(local_days(times_s, np.concatenate((self.zones, self.zones[row]))))
        back = np.maximum(month[: self.rows][row] - month[self.rows :], 0)
        recent = back < MONTHS
        cell = (back * self.rows + row)[recent]
        at = at[recent] - first
        counts = np.concatenate((np.ones(self.values_n), self.tiles["count"]))[at]
        amounts = np.concatenate((self.values["value"], self.tiles["sum"]))[at]
        by_month: Floats = np.bincount(cell, counts, MONTHS * self.rows).astype(np.float64)
        sums: Floats = np.bincount(cell, amounts, MONTHS * self.rows).astype(np.float64)
        return by_month.reshape(MONTHS, self.rows), sums.reshape(MONTHS, self.rows)

    @cached_property
    def order_months(self) -> tuple[Floats, Floats]:
        """Orders and spend by calendar month; see `months`."""
        return self.months(_ORDER)

    def last_values(self, kind: int, default: float) -> Floats:
        """Return the value of the last entry of a kind per row, `(rows,)`.

        Args:
            kind: code of the kind, one of `tiles.LAST_VALUE_KINDS`.
            default: for rows without one.
        """
        at = np.flatnonzero(self.values["kind"] == kind)
        if not len(at):
            return np.full(self.rows, default)
        # Assignment in order of time: the last one stays, and of equal times the one that came in last.
        at = at[np.argsort(self.values["time_s"][at], kind="stable")]
        last = np.full(self.rows, default)
        last[self.value_rows[at]] = self.values["value"][at]
        return last
