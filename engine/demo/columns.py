"""The demo's log as columns: who the customers are, and rows of what happens to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.events import EVENT_TYPES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Population:
    """The customers; all arrays have the shape (customers,).

    Args:
        zone: index into `texts.ZONES`.
        signup_ms: when they signed up.
        consent_ms: when they agreed to marketing; 0 = never.
        last_purchase_ms: their last purchase; 0 = none.
        birthday: the day they were born, as `date.toordinal` counts; 0 = not told.
        customer_since: the day they first bought here, web or mail, likewise.
    """

    zone: Ints
    signup_ms: Ints
    consent_ms: Ints
    last_purchase_ms: Ints
    birthday: Ints
    customer_since: Ints

    @property
    def size(self) -> int:
        """Number of customers."""
        return len(self.zone)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows of the log; all arrays have the shape (rows,).

    Args:
        time_ms: when.
        customer: who, 0-based.
        code: event type's code.
        number: the thing's number (order, session, inquiry, message); events about one thing share it.
        value: amount, score, or sentiment.
        detail: what else the event needs: items, mood, choice of text.
    """

    time_ms: Ints
    customer: Ints
    code: Ints
    number: Ints
    value: Floats
    detail: Ints

    def __len__(self) -> int:
        return len(self.time_ms)

    def take(self, rows: Ints | Bools) -> Self:
        """Return the rows at these indices or where the mask holds."""
        return type(self)(
            self.time_ms[rows],
            self.customer[rows],
            self.code[rows],
            self.number[rows],
            self.value[rows],
            self.detail[rows],
        )


def columns(
    name: str,
    time_ms: Ints,
    customer: Ints,
    *,
    number: Ints | int = 0,
    value: Floats | float = 0.0,
    detail: Ints | int = 0,
) -> Columns:
    """Make rows of one event type; scalars hold for every row."""
    rows = len(time_ms)
    return Columns(
        time_ms=time_ms,
        customer=customer,
        code=np.full(rows, EVENT_TYPES[name].code, dtype=np.int64),
        number=np.broadcast_to(np.asarray(number, dtype=np.int64), rows),
        value=np.broadcast_to(np.asarray(value, dtype=np.float64), rows),
        detail=np.broadcast_to(np.asarray(detail, dtype=np.int64), rows),
    )


def concatenate(parts: list[Columns]) -> Columns:
    """Put parts of a log one behind the other."""
    return Columns(
        np.concatenate([part.time_ms for part in parts]),
        np.concatenate([part.customer for part in parts]),
        np.concatenate([part.code for part in parts]),
        np.concatenate([part.number for part in parts]),
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.detail for part in parts]),
    )
