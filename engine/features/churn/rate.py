"""The global purchase rate of a partition: purchases per known customer and day over 30 whole days.

Counts are kept by day as integers and only completed days are read, so the rate a row sees does not
depend on how the log was cut into batches.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.errors import StateError
from engine.features.churn.purchases import DAY_S

WINDOW_D: Final = 30
RING_D: Final = 40
"""Days kept: the window and ten days for batches that span several days or arrive late."""
_HEAD: Final = struct.Struct("<iiQ")
_BYTES: Final = _HEAD.size + 2 * RING_D * 4


class GlobalRate:
    """Counts purchases and new customers of one partition by day.

    A customer is known from the first purchase on. What is older than `RING_D` days when it arrives is
    counted as a known customer but not as a recent purchase.
    """

    __slots__ = ("_blob", "_cached", "_cached_day", "_first_day", "_head_day", "_known", "_new", "_purchases")

    def __init__(self) -> None:
        self._blob: bytes | None = None
        self._first_day = -1
        self._head_day = -1
        self._known = 0
        self._cached_day = -1
        self._cached = 0.0
        self._purchases = np.zeros(RING_D, np.uint32)
        self._new = np.zeros(RING_D, np.uint32)

    def add(self, time_s: int, purchases: int = 1, new_customers: int = 0) -> None:
        """Count purchases at an instant.

        Args:
            time_s: stream time, seconds since the epoch.
            purchases: how many.
            new_customers: how many of them were a customer's first.
        """
        day = time_s // DAY_S
        if day < self._cached_day:
            self._cached_day = -1
        if self._first_day < 0:
            self._first_day = self._head_day = day
        if day > self._head_day:
            passed = np.arange(self._head_day + 1, min(day, self._head_day + RING_D) + 1) % RING_D
            if day - self._head_day >= RING_D:
                passed = np.arange(RING_D)
            self._purchases[passed] = 0
            self._new[passed] = 0
            self._head_day = day
        self._first_day = min(self._first_day, day)
        self._known += new_customers
        if day > self._head_day - RING_D:
            self._purchases[day % RING_D] += purchases
            self._new[day % RING_D] += new_customers

    def at(self, now_s: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Rate as seen at each instant.

        Args:
            now_s: (rows,) seconds since the epoch.

        Returns:
            (rows,) float64 purchases per known customer and day; 0 before the first full day.
        """
        days = np.asarray(now_s, np.float64) // DAY_S
        if len(days) and days.min() == days.max():
            return np.full(len(days), self._at_day(int(days[0])))
        unique, inverse = np.unique(days, return_inverse=True)
        return np.array([self._at_day(int(day)) for day in unique])[inverse]

    def _at_day(self, day: int) -> float:
        # what is added for a day or later changes nothing that the day sees
        if day != self._cached_day:
            self._cached, self._cached_day = self._count(day), day
        return self._cached

    def _count(self, day: int) -> float:
        if self._first_day < 0 or day <= self._first_day:
            return 0.0
        oldest = max(day - WINDOW_D, self._first_day, self._head_day - RING_D + 1)
        newest = min(day - 1, self._head_day)
        later = np.arange(max(day, self._head_day - RING_D + 1), self._head_day + 1) % RING_D
        known = self._known - int(self._new[later].sum())
        if known <= 0 or newest < oldest:
            return 0.0
        bought = int(self._purchases[np.arange(oldest, newest + 1) % RING_D].sum())
        return bought / (known * min(WINDOW_D, day - self._first_day))

    def to_bytes(self) -> bytes:
        """Serialise, 336 bytes; the same object again while nothing was added."""
        if self._blob is None:
            head = _HEAD.pack(self._first_day, self._head_day, self._known)
            self._blob = head + self._purchases.astype("<u4").tobytes() + self._new.astype("<u4").tobytes()
        return self._blob

    @classmethod
    def from_bytes(cls, blob: bytes) -> GlobalRate:
        """Restore what `to_bytes` wrote.

        Raises:
            StateError: the length is not that of a serialised rate.
        """
        if len(blob) != _BYTES:
            raise StateError(f"global rate: {len(blob)} bytes, expected {_BYTES}")
        rate = cls()
        rate._first_day, rate._head_day, rate._known = _HEAD.unpack_from(blob)
        rings = np.frombuffer(blob, "<u4", offset=_HEAD.size)
        rate._purchases = rings[:RING_D].astype(np.uint32)
        rate._new = rings[RING_D:].astype(np.uint32)
        return rate
