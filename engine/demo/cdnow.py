"""The purchase history behind the demo: CDNOW, 69,659 real orders of 23,570 customers, 1997-01 to 1998-06.

The file ships inside the PyPI package `lifetimes`. It is found by the package's place on disk: importing the
package would need pandas.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import EngineError

DAY_MS = 86_400_000
START_MS = 852_076_800_000  # 1997-01-01T00:00:00Z, the first day of the log
DAYS = 546  # 1997-01-01 to 1998-06-30, both included
END_MS = START_MS + DAYS * DAY_MS
PURCHASES = 69_659
_FIRST_DAY = date(1997, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Purchases:
    """The purchases, ordered by customer and day; all arrays have the shape (purchases,).

    Args:
        customer: customer's number, 0-based, without gaps.
        day: days since 1997-01-01.
        items: number of CDs.
        amount: dollars.
        customers: number of customers.
    """

    customer: NDArray[np.int64]
    day: NDArray[np.int64]
    items: NDArray[np.int64]
    amount: NDArray[np.float64]
    customers: int


def find_log() -> Path:
    """Return the path of the purchase log.

    Raises:
        EngineError: the package that carries it is not installed.
    """
    spec = importlib.util.find_spec("lifetimes")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        path = Path(folder) / "datasets" / "CDNOW_master.txt"
        if path.is_file():
            return path
    raise EngineError("the demo's purchase log is missing: install the extra, `pip install 'engage[local]'`")


def load_purchases(path: Path | None = None) -> Purchases:
    """Read the purchase log.

    Args:
        path: the log; found by itself when None.

    Raises:
        EngineError: the file is missing or is not the one expected.
    """
    table = np.loadtxt(path or find_log(), skiprows=1, dtype=np.float64)
    if table.shape != (PURCHASES, 4):
        raise EngineError(f"the purchase log has the shape {table.shape}, expected {(PURCHASES, 4)}")
    dates, place = np.unique(table[:, 1].astype(np.int64), return_inverse=True)
    ordinals = [
        date(number // 10_000, number // 100 % 100, number % 100).toordinal() for number in dates.tolist()
    ]
    days = (np.array(ordinals, dtype=np.int64) - _FIRST_DAY)[place]
    numbers, customer = np.unique(table[:, 0].astype(np.int64), return_inverse=True)
    return Purchases(
        customer=customer.astype(np.int64),
        day=days,
        items=table[:, 2].astype(np.int64),
        amount=np.round(table[:, 3], 2),
        customers=len(numbers),
    )
