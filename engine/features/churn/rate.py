"""The global purchase rate of a partition: purchases per known customer and day over 30 whole days.

Counts are kept by day as integers and only completed days are read, so the rate a row sees does not
depend on how the log was cut into batches.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.errors import StateError
from engine.features.churn.purchases import DAY_S

WINDOW_D: Final = 30
KEPT_D: Final = 40
"""Days stored: the window and ten days more for what arrives late."""
_HEAD: Final = struct.Struct("<iiQ")
_BYTES: Final = _HEAD.size + 2 * KEPT_D * 4


class GlobalRate:
    """Counts purchases and new customers of one partition by day.

    A customer is known from the first purchase on. What is older than `KEPT_D` days when it arrives is
    counted as a known customer but not as a recent purchase. In memory the days reach back to `KEPT_D` days
    before the last `to_bytes`, so that a step may span any time and its rows see what they would one by one.
    """

    __slots__ = ("_blob", "_cached", "_cached_day", "_days", "_first_day", "_head_day", "_known")

    def __init__(self) -> None:
        self._blob: bytes | None = None
        self._first_day = -1
        self._head_day = -1
        self._known = 0
        self._cached_day = -1
        self._cached = 0.0
        self._days: dict[int, tuple[int, int]] = {}

    def add(self, time_s: int, purchases: int = 1, new_customers: int = 0) -> None:
        """Count purchases at an instant.

        Args:
            time_s: stream time, seconds since the epoch.
            purchases: how many.
            new_customers: how many of them were a customer's first.
        """
        day = time_s // DAY_S
        self._blob = None
        if day < self._cached_day:
            self._cached_day = -1
        if self._first_day < 0:
            self._first_day = self._head_day = day
        self._head_day = max(self._head_day, day)
        self._first_day = min(self._first_day, day)
        self._known += new_customers
        if day > self._head_day - KEPT_D:
            bought, new = self._days.get(day, (0, 0))
            self._days[day] = (bought + purchases, new + new_customers)

    def at(self, now_s: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Rate as seen at each instant.

        Args:
            now_s: (rows,) seconds since the epoch.

        Returns:
            (rows,) float64 purchases per known customer and day; 0 before the first full day.
        """
        days = np.asarray(now_s, np.float64) // DAY_S
        if len(days) and days.min() == days.max():
            return np.full(len(days), self.on(int(days[0])))
        unique, inverse = np.unique(days, return_inverse=True)
        return np.array([self.on(int(day)) for day in unique])[inverse]

    def on(self, day: int) -> float:
        """Return the rate as seen on a day: purchases per known customer and day.

        Args:
            day: days since the epoch.
        """
        # what is added for a day or later changes nothing that the day sees
        if day != self._cached_day:
            self._cached, self._cached_day = self._count(day), day
        return self._cached

    def _count(self, day: int) -> float:
        if self._first_day < 0 or day <= self._first_day:
            return 0.0
        known = self._known - sum(new for at, (_, new) in self._days.items() if at >= day)
        bought = sum(bought for at, (bought, _) in self._days.items() if day - WINDOW_D <= at < day)
        return bought / (known * min(WINDOW_D, day - self._first_day)) if known > 0 else 0.0

    def to_bytes(self) -> bytes:
        """Serialise the last days, 336 bytes, and forget older ones; the same object until more is added."""
        if self._blob is None:
            for day in [day for day in self._days if day <= self._head_day - KEPT_D]:
                del self._days[day]
            ring = np.zeros((2, KEPT_D), "<u4")
            for day, counts in self._days.items():
                ring[:, day % KEPT_D] = counts
            self._blob = _HEAD.pack(self._first_day, self._head_day, self._known) + ring.tobytes()
        return self._blob

    def split(self, known: Sequence[int]) -> list[GlobalRate]:
        """Divide it among partitions that take over this one's customers: each sees about the same rate.

        Args:
            known: how many customers with a purchase each of them takes over.

        Returns:
            One rate each.
        """
        total = sum(known)
        shares = [count / total if total else 1 / len(known) for count in known]
        return [self._part(share) for share in shares]

    def _part(self, share: float) -> GlobalRate:
        part = GlobalRate()
        part._first_day, part._head_day = self._first_day, self._head_day
        part._known = round(self._known * share)
        # What rounding leaves over goes to the next day, so that sums over days are right.
        bought_left = new_left = 0.5
        for day, (bought, new) in sorted(self._days.items()):
            bought_left += bought * share
            new_left += new * share
            counts = int(bought_left), int(new_left)
            bought_left -= counts[0]
            new_left -= counts[1]
            if any(counts):
                part._days[day] = counts
        return part

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
        ring = np.frombuffer(blob, "<u4", offset=_HEAD.size).reshape(2, KEPT_D)
        days = range(rate._head_day - KEPT_D + 1, rate._head_day + 1)
        found = {day: (int(ring[0, day % KEPT_D]), int(ring[1, day % KEPT_D])) for day in days}
        rate._days = {day: counts for day, counts in found.items() if any(counts)}
        return rate
