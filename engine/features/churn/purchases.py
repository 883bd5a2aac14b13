"""What the churn model remembers of a customer's purchases: 44 bytes, updated one purchase at a time.

The record holds sufficient statistics for every hazard feature and for MBG/NBD, so the retained
entries of the customer state may be folded or dropped without the model noticing. A customer who has
never bought has no record.

Decayed sums use time constants (`exp(-age / constant)`) and are valid at the last purchase; a reader
decays them forward to its own `now`.

Purchases less than `OCCASION_S` after the last occasion began belong to it: they add to its amount, not
to the count, the gaps or the last time. Split orders and second thoughts are no returning customer
(on every fourth CDNOW customer MBG/NBD's log-loss is .388 without this and .383 with it).

A late purchase (older than the last one) keeps count, first time, amounts and decayed sums exact. The
one approximation is the sum of squared gaps when the late purchase falls between known ones: the
individual gaps are no longer known, so it is taken to halve a gap of mean length (exact size for the
two occasions case). The result depends only on the order of the log.
"""

from __future__ import annotations

import math
import struct
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.errors import StateError

Floats = npt.NDArray[np.float64]

DAY_S: Final = 86_400
DECAY_DAYS: Final = (7.0, 30.0, 90.0)
OCCASION_S: Final = DAY_S
"""Purchases this close together are one occasion."""
MAX_AMOUNT: Final = 1e12
"""Amounts are clipped to 0 … this, so that float32 sums stay finite and a refund cannot go below zero."""
MAX_COUNT: Final = 2**32 - 1

PURCHASE_DTYPE: Final = np.dtype(
    [
        ("first_s", "<u4"),
        ("last_s", "<u4"),
        ("count", "<u4"),
        ("sum_gap_sq", "<f8"),
        ("sum_amount", "<f4"),
        ("last_amount", "<f4"),
        ("decayed_7", "<f4"),
        ("decayed_30", "<f4"),
        ("decayed_90", "<f4"),
        ("decayed_spend_90", "<f4"),
    ]
)
_NAMES: Final = PURCHASE_DTYPE.names or ()
RECORD_BYTES: Final = PURCHASE_DTYPE.itemsize
_WORDS: Final = RECORD_BYTES // 4
_RECORD: Final = struct.Struct("<IIIdffffff")
assert _RECORD.size == RECORD_BYTES

_RATE_7, _RATE_30, _RATE_90 = (1.0 / (days * DAY_S) for days in DECAY_DAYS)


class PurchaseStats(msgspec.Struct, frozen=True):
    """Purchase statistics of many customers, a row of one array per quantity.

    Args:
        columns: (10, rows) float64, in the order of `PURCHASE_DTYPE`.
    """

    columns: Floats

    @property
    def first_s(self) -> Floats:
        """Time of the first purchase, seconds since the epoch, (rows,)."""
        return _row(self.columns, 0)

    @property
    def last_s(self) -> Floats:
        """Time of the last purchase, seconds since the epoch, (rows,)."""
        return _row(self.columns, 1)

    @property
    def count(self) -> Floats:
        """Purchase occasions so far; 0 for a row without a record, (rows,)."""
        return _row(self.columns, 2)

    @property
    def sum_gap_sq(self) -> Floats:
        """Sum of squared gaps between purchases, days squared, (rows,)."""
        return _row(self.columns, 3)

    @property
    def sum_amount(self) -> Floats:
        """Sum of amounts, (rows,)."""
        return _row(self.columns, 4)

    @property
    def last_amount(self) -> Floats:
        """Amount of the last purchase, (rows,)."""
        return _row(self.columns, 5)

    @property
    def amounts(self) -> Floats:
        """`sum_amount` and `last_amount`, (2, rows)."""
        return self.columns[4:6]

    @property
    def decayed(self) -> Floats:
        """Purchases decayed with time constants of 7, 30 and 90 days and amounts decayed with 90.

        Valid at `last_s`, (4, rows).
        """
        return self.columns[6:]

    def __len__(self) -> int:
        return len(self.columns[0])


def _row(columns: Floats, number: int) -> Floats:
    row: Floats = columns[number]
    return row


def update_purchase(record: bytes | None, time_s: int, amount: float) -> bytes:
    """Fold one purchase into a customer's record.

    Args:
        record: the record so far, or None before the first purchase.
        time_s: time of the purchase, seconds since the epoch.
        amount: what was paid, in the deployment's currency; clipped to 0 … `MAX_AMOUNT`.

    Returns:
        The new record, `RECORD_BYTES` long.
    """
    amount = min(max(amount, 0.0), MAX_AMOUNT)
    if record is None:
        return _RECORD.pack(time_s, time_s, 1, 0.0, amount, amount, 1.0, 1.0, 1.0, amount)
    first_s, last_s, count, gap_sq, total, last_amount, d7, d30, d90, spend = _RECORD.unpack(record)
    age_s = time_s - last_s
    if abs(age_s) < OCCASION_S:
        return _RECORD.pack(
            first_s, last_s, count, gap_sq, total + amount, last_amount + amount, d7, d30, d90, spend + amount
        )
    if age_s > 0:
        gap_sq += (age_s / DAY_S) ** 2
        fade_90 = math.exp(-age_s * _RATE_90)
        d7 = d7 * math.exp(-age_s * _RATE_7) + 1.0
        d30 = d30 * math.exp(-age_s * _RATE_30) + 1.0
        d90 = d90 * fade_90 + 1.0
        spend = spend * fade_90 + amount
        last_s, last_amount = time_s, amount
    else:
        gap_sq = _late_gap_sq(gap_sq, count, first_s, last_s, time_s)
        weight_90 = math.exp(age_s * _RATE_90)
        d7 += math.exp(age_s * _RATE_7)
        d30 += math.exp(age_s * _RATE_30)
        d90 += weight_90
        spend += weight_90 * amount
        first_s = min(first_s, time_s)
    count = min(count + 1, MAX_COUNT)
    return _RECORD.pack(first_s, last_s, count, gap_sq, total + amount, last_amount, d7, d30, d90, spend)


def _late_gap_sq(gap_sq: float, count: int, first_s: int, last_s: int, time_s: int) -> float:
    """Sum of squared gaps after a purchase older than the last one."""
    if time_s < first_s:
        return gap_sq + ((first_s - time_s) / DAY_S) ** 2
    if count <= 2:  # exactly one gap, which is split where it is split
        return float(((time_s - first_s) / DAY_S) ** 2 + ((last_s - time_s) / DAY_S) ** 2)
    return gap_sq * (1.0 - 0.5 / (count - 1))


def unpack_many(blob: bytes, has: npt.NDArray[np.bool_]) -> PurchaseStats:
    """Read the records of a batch.

    Args:
        blob: the records of the rows that have one, joined in row order.
        has: which rows have a record, (rows,) bool.

    Returns:
        Statistics for every row; rows without a record have `count` 0 and zeros elsewhere.

    Raises:
        StateError: the blob's length does not match the mask.
    """
    present = int(np.count_nonzero(has))
    if len(blob) != present * RECORD_BYTES:
        raise StateError(f"purchase records: {len(blob)} bytes for {present} rows of {RECORD_BYTES}")
    records: npt.NDArray[Any] = np.frombuffer(blob, PURCHASE_DTYPE)
    if present != len(has):
        spread = np.zeros(len(has), PURCHASE_DTYPE)
        spread[has] = records
        records = spread
    columns = np.empty((len(_NAMES), len(has)))
    # three casts, not one a field: on a batch it is calls that cost
    columns[:3] = records.view("<u4").reshape(-1, _WORDS)[:, :3].T
    columns[3] = records["sum_gap_sq"]
    columns[4:] = records.view("<f4").reshape(-1, _WORDS)[:, 5:].T
    return PurchaseStats(columns)
