"""Folding: how the entries of a very active customer become tiles of bounded number and known width.

A customer keeps at most `MAX_MARKS` entries without a value and `MAX_VALUES` with one. When one more arrives,
the oldest go into tiles until half of the bound is left. A tile holds the count, the sum and the first and
last second of the entries of one kind in one stretch of the customer's local time; the stretch is longer the
older it is (`LADDERS`). Counts and sums over the whole life stay exact; a window's edge that falls into a
tile is exact to that tile's width. docs/features.md has the table.

Folding depends on the state and the row's `now` alone, never on how events were cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from engine.events import EVENT_TYPES
from engine.features.zones import DAY_S, half_months_of_days, local_seconds, months_of_days

MAX_MARKS = 128
MAX_VALUES = 64
MAX_TILES = 256  # or one per kind, if a customer has more kinds

# Of these the newest entry is never folded: its value is a feature of its own.
LAST_VALUE_KINDS = (EVENT_TYPES["feedback.nps"].code, EVENT_TYPES["feedback.csat"].code)

MARK_DTYPE = np.dtype([("time_s", "<u4"), ("kind", "u1")])
VALUE_DTYPE = np.dtype([("time_s", "<u4"), ("kind", "u1"), ("value", "<f8")])
TILE_DTYPE = np.dtype(
    [("kind", "u1"), ("first_s", "<u4"), ("last_s", "<u4"), ("count", "<u4"), ("days", "<u2"), ("sum", "<f8")]
)
MARK_BYTES, VALUE_BYTES, TILE_BYTES = MARK_DTYPE.itemsize, VALUE_DTYPE.itemsize, TILE_DTYPE.itemsize

Int64s = npt.NDArray[np.int64]


class Width(IntEnum):
    """How long a stretch of local time one tile covers, shortest first."""

    FIVE_MINUTES = 0
    HOUR = 1
    DAY = 2
    HALF_MONTH = 3
    MONTH = 4
    LIFETIME = 5


@dataclass(frozen=True, slots=True)
class Ladder:
    """Up to which age each width is used; what is older than all of them is one tile per kind.

    Args:
        ages_s: one age per width below `LIFETIME`, seconds, not decreasing; 0 = the width is not used.
    """

    ages_s: tuple[int, int, int, int, int]


LIFETIME = Width.LIFETIME.value
_STRETCH_BITS = 40
# The stretch a local second falls into, by width; all of a lifetime is one.
_STRETCHES: tuple[Callable[[Int64s], Int64s], ...] = (
    lambda local_s: local_s // 300,
    lambda local_s: local_s // 3600,
    lambda local_s: local_s // DAY_S,
    lambda local_s: half_months_of_days(local_s // DAY_S),
    lambda local_s: months_of_days(local_s // DAY_S),
    np.zeros_like,
)

# Taken in turn until the tiles fit `MAX_TILES`. The first leaves calendar months whole for 13 months.
LADDERS = (
    Ladder((2 * 3600, 48 * 3600, 35 * DAY_S, 100 * DAY_S, 400 * DAY_S)),
    Ladder((0, 26 * 3600, 35 * DAY_S, 100 * DAY_S, 400 * DAY_S)),
    Ladder((0, 26 * 3600, 9 * DAY_S, 100 * DAY_S, 400 * DAY_S)),
    Ladder((0, 0, 2 * DAY_S, 35 * DAY_S, 400 * DAY_S)),
    Ladder((0, 0, 0, 0, 130 * DAY_S)),
    Ladder((0, 0, 0, 0, 0)),
)


@dataclass(frozen=True, slots=True)
class Folded:
    """The parts of a state after folding, as they are stored."""

    marks: bytes
    values: bytes
    tiles: bytes


def fold(marks: bytes, values: bytes, tiles: bytes, now_s: int, zone: int) -> Folded:
    """Bring a customer's entries back under their bounds.

    Args:
        marks: entries without a value, `MARK_DTYPE`.
        values: entries with a value, `VALUE_DTYPE`.
        tiles: earlier tiles, `TILE_DTYPE`.
        now_s: the row's instant, seconds; ages are counted from it.
        zone: index of the customer's time zone (`zones.zone_index`).

    Returns:
        Marks and values within their bounds (half of it where it was exceeded); the rest in tiles.
    """
    kept_marks, old_marks = _split(np.frombuffer(marks, MARK_DTYPE), MAX_MARKS)
    kept_values, old_values = _split(np.frombuffer(values, VALUE_DTYPE), MAX_VALUES)
    if not len(old_marks) and not len(old_values):
        return Folded(marks, values, tiles)
    pieces = np.concatenate(
        (
            np.frombuffer(tiles, TILE_DTYPE),
            _as_tiles(old_marks, None),
            _as_tiles(old_values, old_values["value"]),
        )
    )
    for ladder in LADDERS:
        merged = _merge(pieces, ladder, now_s, zone)
        if len(merged) <= MAX_TILES:
            break
    return Folded(kept_marks.tobytes(), kept_values.tobytes(), merged.tobytes())


def _split(entries: npt.NDArray[np.void], bound: int) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Return (kept, old): everything, or when over the bound the newest half of it and the rest."""
    if len(entries) <= bound:
        return entries, entries[:0]
    ordered = entries[np.argsort(entries["time_s"], kind="stable")]
    kept = np.zeros(len(ordered), bool)
    kept[-(bound // 2) :] = True
    for kind in LAST_VALUE_KINDS:
        of_kind = np.flatnonzero(ordered["kind"] == kind)
        kept[of_kind[-1:]] = True
    return ordered[kept], ordered[~kept]


def _as_tiles(entries: npt.NDArray[np.void], values: npt.NDArray[np.float64] | None) -> npt.NDArray[np.void]:
    """Return each entry as a tile of its own."""
    tiles = np.zeros(len(entries), TILE_DTYPE)
    tiles["kind"] = entries["kind"]
    tiles["first_s"] = tiles["last_s"] = entries["time_s"]
    tiles["count"] = tiles["days"] = 1
    if values is not None:
        tiles["sum"] = values
    return tiles


def _merge(pieces: npt.NDArray[np.void], ladder: Ladder, now_s: int, zone: int) -> npt.NDArray[np.void]:
    """Join pieces of one kind in one stretch; the result is ordered by kind, width and time."""
    last_s = pieces["last_s"].astype(np.int64)
    instants_s = np.append(last_s, now_s)
    local_s = local_seconds(instants_s, np.full(len(instants_s), zone, np.int64))
    today, local_s = local_s[-1] // DAY_S, local_s[:-1]
    day = local_s // DAY_S
    width = _widths(ladder, now_s - last_s, today - day)
    # Sorted by this and by time, the pieces of one tile lie side by side and its days in order.
    cell = (pieces["kind"].astype(np.int64) << _STRETCH_BITS + 3) | (width << _STRETCH_BITS)
    for level in np.flatnonzero(np.bincount(width, minlength=len(_STRETCHES))[:LIFETIME]).tolist():
        at = np.flatnonzero(width == level)
        cell[at] += _STRETCHES[level](local_s[at])
    order = np.lexsort((last_s, cell))
    pieces, cell, day = pieces[order], cell[order], day[order]
    new = np.ones(len(pieces), bool)
    np.not_equal(cell[1:], cell[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    merged = pieces[starts]
    merged["first_s"] = np.minimum.reduceat(pieces["first_s"], starts)
    merged["last_s"] = np.maximum.reduceat(pieces["last_s"], starts)
    merged["count"] = np.add.reduceat(pieces["count"], starts)
    merged["sum"] = np.add.reduceat(pieces["sum"], starts)
    merged["days"] = _distinct_days(pieces["days"].astype(np.int64), day, new, starts)
    return merged


def _widths(ladder: Ladder, age_s: Int64s, age_days: Int64s) -> Int64s:
    """Return the width for each age.

    From days on it goes by calendar days, so that the events of one day are never split over two long tiles:
    each would count the day.
    """
    below_day = np.searchsorted(ladder.ages_s[:2], np.maximum(age_s, 0), side="right")
    from_day = np.searchsorted(ladder.ages_s[2:], np.maximum(age_days, 0) * DAY_S, side="right")
    return np.where(below_day < 2, below_day, 2 + from_day)


def _distinct_days(days: Int64s, day: Int64s, new: npt.NDArray[np.bool_], starts: Int64s) -> Int64s:
    """Return distinct local days per merged tile: a day shared by neighbouring pieces counts once."""
    same_day = np.zeros(len(days), np.int64)
    same_day[1:] = ~new[1:] & (day[1:] == day[:-1])
    total: Int64s = np.add.reduceat(days - same_day, starts)
    return np.minimum(total, 65_535)
