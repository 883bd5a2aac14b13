"""Declared series: which events they take and which value of them, as a running worker needs it."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.events import MAX_AMOUNT, Event, Scalar

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Test:
    """One comparison on an event's field.

    Args:
        field: a field of the event, or `props.NAME`.
        sign: a key of `OPERATORS`.
        value: what the field is compared with.
    """

    field: str
    sign: str
    value: Scalar

    def holds(self, event: Event) -> bool:
        """Tell whether the event passes; a field that is missing or of another type does not."""
        found = read_field(event, self.field)
        if found is None or isinstance(found, str) != isinstance(self.value, str):
            return False
        return OPERATORS[self.sign](found, self.value)


@dataclass(frozen=True, slots=True)
class Series:
    """What is recorded for one declared feature.

    Args:
        code: 64-199, stored with each entry: never reused for another feature.
        event_code: code of the event type it watches.
        field: the field whose value is kept, or None when events are counted only.
        tests: all must hold.
    """

    code: int
    event_code: int
    field: str | None
    tests: tuple[Test, ...] = ()

    def record(self, event: Event) -> tuple[bool, float | None]:
        """Return whether the event belongs to the series, and the value to keep.

        Args:
            event: an event of the type watched.
        """
        if not all(test.holds(event) for test in self.tests):
            return False, None
        if self.field is None:
            return True, None
        value = read_field(event, self.field)
        if isinstance(value, str) or value is None or not math.isfinite(value) or abs(value) > MAX_AMOUNT:
            return False, None
        return True, float(value)


def read_field(event: Event, field: str) -> Scalar | None:
    """Return a field of an event or of its props; None when it has none of that name."""
    if field.startswith("props."):
        return event.props.get(field.removeprefix("props."))
    value: Scalar | None = getattr(event, field, None)
    return value
