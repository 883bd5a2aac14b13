"""The rows of a wave, as the features see them: every customer's bytes as they were at that row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.features.state import HEAD_COLUMNS, CustomerState

Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Parallel lists and arrays, one element per row; a customer may have several rows.

    Args:
        states: whose row it is (for the parts that are not columns; not necessarily as of the row).
        heads: rows of `HEAD_COLUMNS` as of the row.
        marks: `MARK_DTYPE` entries as of the row.
        values: `VALUE_DTYPE` entries as of the row.
        tiles: `TILE_DTYPE` entries as of the row.
        purchases: the churn model's records as of the row, empty before the first order.
        now_ms: `(rows,)` int64, the row's instant.
        codes: `(rows,)` uint8, code of the row's event type, or `TIMER_CODE`.
    """

    states: list[CustomerState]
    heads: list[bytes]
    marks: list[bytes]
    values: list[bytes]
    tiles: list[bytes]
    purchases: list[bytes]
    now_ms: Int64s
    codes: npt.NDArray[np.uint8]

    @classmethod
    def of(
        cls, states: Sequence[CustomerState], now_ms: Sequence[int] | Int64s, codes: Sequence[int]
    ) -> RowBatch:
        """Take states as they are now, one row each.

        Args:
            states: one customer per row.
            now_ms: `(rows,)` the rows' instants.
            codes: `(rows,)` codes of the rows' event types.
        """
        return cls(
            states=list(states),
            heads=[state.head for state in states],
            marks=[state.marks for state in states],
            values=[state.values for state in states],
            tiles=[state.tiles for state in states],
            purchases=[state.purchases for state in states],
            now_ms=np.asarray(now_ms, np.int64).reshape(len(states)),
            codes=np.asarray(codes, np.uint8).reshape(len(states)),
        )

    def __len__(self) -> int:
        return len(self.heads)

    def part(self, first: int, last: int) -> RowBatch:
        """Return the rows from `first` up to, not including, `last`."""
        rows = slice(first, last)
        return RowBatch(
            states=self.states[rows],
            heads=self.heads[rows],
            marks=self.marks[rows],
            values=self.values[rows],
            tiles=self.tiles[rows],
            purchases=self.purchases[rows],
            now_ms=self.now_ms[rows],
            codes=self.codes[rows],
        )

    def head_columns(self) -> Int64s:
        """Return the heads as `(rows, HEAD_COLUMNS)`."""
        return np.frombuffer(b"".join(self.heads), np.int64).reshape(len(self), len(HEAD_COLUMNS))


def flatten(blobs: list[bytes], dtype: np.dtype[np.void]) -> tuple[npt.NDArray[np.void], Int64s]:
    """Join the entries of all rows.

    Args:
        blobs: entries of each row, packed as `dtype`.
        dtype: one entry.

    Returns:
        `(entries,)` records and `(entries,)` the row each belongs to, rows in order.
    """
    joined = b"".join(blobs)
    if not joined:
        return np.empty(0, dtype), np.empty(0, np.int64)
    lengths = np.fromiter(map(len, blobs), np.int64, len(blobs)) // dtype.itemsize
    return np.frombuffer(joined, dtype), np.repeat(np.arange(len(blobs)), lengths)
