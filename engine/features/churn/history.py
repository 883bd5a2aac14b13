"""What the trainer remembers of purchases: recent ones for labels, last statistics for MBG/NBD."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from engine.features.churn.hazard import HAZARD_FEATURES
from engine.features.churn.purchases import DAY_S

Keys = npt.NDArray[np.uint64]
Seconds = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_RECENCY = HAZARD_FEATURES.index("log_recency")
_MEAN_AMOUNT = HAZARD_FEATURES.index("log_mean_amount")
_REPEATS = HAZARD_FEATURES.index("log_repeats")
_TENURE = HAZARD_FEATURES.index("log_tenure")


class PurchaseLog:
    """Purchases of the last horizon, by day. Bounded by `forget_before`."""

    __slots__ = ("_days", "_floor_s")

    def __init__(self) -> None:
        self._days: dict[int, list[tuple[Keys, Seconds]]] = {}
        self._floor_s = 0

    def add(self, customers: Keys, time_s: Seconds) -> None:
        """Add purchases, (rows,) each, of any days; those before the floor no label can need."""
        days = time_s // DAY_S
        for day in np.unique(days):
            if int(day) * DAY_S >= self._floor_s:
                on_day = days == day
                self._days.setdefault(int(day), []).append((customers[on_day], time_s[on_day]))

    def between(self, start_s: int, end_s: int) -> tuple[Keys, Seconds]:
        """Return all purchases of the days from `start_s` to before `end_s`."""
        parts = [
            part for day in range(start_s // DAY_S, -(-end_s // DAY_S)) for part in self._days.get(day, ())
        ]
        if not parts:
            return np.empty(0, np.uint64), np.empty(0, np.uint32)
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def forget_before(self, floor_s: int) -> None:
        """Drop the days that ended before `floor_s`."""
        self._floor_s = max(self._floor_s, floor_s)
        for day in [day for day in self._days if day * DAY_S < floor_s]:
            del self._days[day]

    def to_state(self) -> dict[str, Any]:
        """Return the log as plain values for msgpack."""
        days = sorted(self._days)
        parts = [part for day in days for part in self._days[day]]
        return {
            "floor_s": self._floor_s,
            "customers": b"".join(part[0].astype("<u8").tobytes() for part in parts),
            "time_s": b"".join(part[1].astype("<u4").tobytes() for part in parts),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PurchaseLog:
        """Restore what `to_state` returned."""
        log = cls()
        log._floor_s = int(state["floor_s"])
        log.add(np.frombuffer(state["customers"], "<u8"), np.frombuffer(state["time_s"], "<u4"))
        return log


class StatisticsLog:
    """The last known repeat count, first and last purchase and mean amount of every customer seen."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[tuple[Keys, Floats]] = []

    def add(self, customers: Keys, time_s: Seconds, features: npt.NDArray[np.floating]) -> None:
        """Note rows, later ones replacing earlier ones of the same customer.

        Args:
            customers: (rows,) keys.
            time_s: (rows,) seconds since the epoch.
            features: (rows, 26) frozen features; they hold the statistics.
        """
        recency_d, repeats, tenure_d, amount = np.expm1(
            features[:, (_RECENCY, _REPEATS, _TENURE, _MEAN_AMOUNT)].T.astype(np.float64)
        )
        now_d = time_s / DAY_S
        values = np.stack((np.rint(repeats), now_d - tenure_d, now_d - recency_d, amount))
        self._parts.append((customers, values))

    def _compact(self) -> tuple[Keys, Floats]:
        if not self._parts:
            return np.empty(0, np.uint64), np.empty((4, 0))
        customers = np.concatenate([part[0] for part in self._parts])
        values = np.concatenate([part[1] for part in self._parts], axis=1)
        # np.unique keeps the first of equals: look from the end to keep the last
        unique, last = np.unique(customers[::-1], return_index=True)
        values = values[:, ::-1][:, last]
        self._parts = [(unique, values)]
        return unique, values

    def as_of(self, now_s: float) -> tuple[Floats, Floats, Floats]:
        """Return x, t_x and T of every customer, (customers,) each, times in days.

        Args:
            now_s: the instant T is taken at, seconds since the epoch.
        """
        _, (repeats, first_d, last_d, _) = self._compact()
        return repeats, np.maximum(last_d - first_d, 0.0), np.maximum(now_s / DAY_S - first_d, 0.0)

    def amounts(self) -> tuple[Floats, Floats]:
        """Return the purchases and their mean amount of every customer, (customers,) each, as in `as_of`."""
        _, (repeats, _, _, amount) = self._compact()
        return repeats + 1.0, amount

    def to_state(self) -> dict[str, Any]:
        """Return the statistics as plain values for msgpack."""
        customers, values = self._compact()
        return {"customers": customers.astype("<u8").tobytes(), "values": values.astype("<f8").tobytes()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> StatisticsLog:
        """Restore what `to_state` returned."""
        log = cls()
        customers = np.frombuffer(state["customers"], "<u8")
        log._parts = [(customers, np.frombuffer(state["values"], "<f8").reshape(4, -1))]
        return log
