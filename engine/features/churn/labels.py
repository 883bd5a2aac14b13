"""Labels: did a customer come back within a horizon of a row? Known only when the horizon has passed."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]
Seconds = npt.NDArray[np.uint32]

_TIME_MASK: Final = np.uint64(0xFFFF_FFFF)
_TIME_BITS: Final = np.uint64(32)


def came_back(
    customers: Keys, time_s: Seconds, buyers: Keys, bought_s: Seconds, horizon_s: int
) -> npt.NDArray[np.bool_]:
    """Say for each row whether its customer bought after it and within the horizon.

    Args:
        customers: customer key of each row, (rows,).
        time_s: time of each row, (rows,) seconds since the epoch.
        buyers: customer key of each purchase, (purchases,) in any order.
        bought_s: time of each purchase, (purchases,). All purchases up to the last row's horizon must
            be there: call this only at maturity.
        horizon_s: seconds after the row, end included; a purchase at the row's own second is no return.

    Returns:
        (rows,) bool.
    """
    if len(customers) == 0 or len(buyers) == 0:
        return np.zeros(len(customers), np.bool_)
    known, rank = np.unique(buyers, return_inverse=True)
    purchases = np.sort((rank.astype(np.uint64) << _TIME_BITS) | bought_s.astype(np.uint64))
    place = np.minimum(np.searchsorted(known, customers), len(known) - 1)
    buys = known[place] == customers
    row = (place.astype(np.uint64) << _TIME_BITS) | time_s.astype(np.uint64)
    following = np.searchsorted(purchases, row, side="right")
    found = purchases[np.minimum(following, len(purchases) - 1)]
    same = (following < len(purchases)) & (found >> _TIME_BITS == row >> _TIME_BITS)
    soon = (found & _TIME_MASK).astype(np.int64) <= time_s.astype(np.int64) + horizon_s
    return np.asarray(buys & same & soon, np.bool_)
