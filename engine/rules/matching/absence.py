"""Absence: something that has not happened for a while, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.rules.journey import Journey

IntColumn = NDArray[np.int64]
NEVER_MS = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Fired:
    """A deadline that passed at this row.

    Args:
        row: row of the batch.
        journey: index in the rule set.
        due_ms: the deadline.
    """

    row: int
    journey: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Deadlines:
    """What a batch says about absence, or about schedules.

    Args:
        next_due_ms: `(rows,) int64`, the next deadline of each row; `NEVER_MS` = none.
        fired: deadlines in (clock, after], by row, then deadline, then journey.
    """

    next_due_ms: IntColumn
    fired: tuple[Fired, ...]


@dataclass(frozen=True, slots=True)
class LastSeen:
    """When things happened last and first, whole seconds; 0 = never. One element per row.

    Args:
        last_s: event code to `(rows,) int64`, for every code of the index.
        first_s: the same for the first time, for entries `since: first`.
        signup_s: `(rows,) int64`.
    """

    last_s: Mapping[int, IntColumn]
    first_s: Mapping[int, IntColumn]
    signup_s: IntColumn


class AbsenceIndex:
    """All `absent` entries of a rule set, one array pass per distinct deadline.

    Args:
        journeys: the rule set's journeys; those by absence that are enabled are taken.
    """

    def __init__(self, journeys: Sequence[Journey]) -> None:
        groups: dict[tuple[int, str, int], list[int]] = {}
        for index, journey in enumerate(journeys):
            if journey.kind == "absent" and journey.enabled:
                groups.setdefault((journey.code, journey.since, journey.for_ms), []).append(index)
        self.groups = groups
        self.codes = frozenset(code for code, _, _ in groups)
        self.by_signup = any(since == "signup" for _, since, _ in groups)
        self.first_codes = frozenset(code for code, since, _ in groups if since == "first")

    def judge(self, seen: LastSeen, clock_ms: IntColumn, after_ms: IntColumn) -> Deadlines:
        """Find the deadlines that pass, and the next ones.

        A deadline fires in the row whose (clock, after] it falls into, so once. It lies behind the clock for
        customers who had been away before the journey existed: they do not enter. A customer the engine has
        just met (clock 0) is only armed.

        Args:
            seen: as of each row, its own event included.
            clock_ms: `(rows,) int64`, the customer's clock before the row.
            after_ms: `(rows,) int64`, the customer's clock after it.
        """
        next_due = np.full(len(after_ms), NEVER_MS, dtype=np.int64)
        fired: list[Fired] = []
        clock = np.where(clock_ms > 0, clock_ms, after_ms)
        for (code, since, for_ms), journeys in self.groups.items():
            due = _deadlines(seen, code, since, for_ms)
            np.minimum(next_due, np.where(due > after_ms, due, NEVER_MS), out=next_due)
            for row in np.flatnonzero((due > clock) & (due <= after_ms)).tolist():
                fired.extend(Fired(row, journey, int(due[row])) for journey in journeys)
        fired.sort(key=lambda each: (each.row, each.due_ms, each.journey))
        return Deadlines(next_due, tuple(fired))


def _deadlines(seen: LastSeen, code: int, since: str, for_ms: int) -> IntColumn:
    """Return each row's deadline, 0 where there is none."""
    last_s = seen.last_s[code]
    if since == "last":
        begin_s, armed = last_s, last_s > 0
    elif since == "first":
        begin_s = seen.first_s[code]
        armed = (begin_s > 0) & (last_s == begin_s)
    else:
        begin_s = seen.signup_s
        armed = (begin_s > 0) & (last_s < begin_s)
    return np.where(armed, begin_s * 1000 + for_ms, 0)
