"""What is judged for all rows of a wave at once: who may enter a journey, and when something is due next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from engine.events import Event
from engine.features.rows import RowBatch
from engine.features.state import HEAD_COLUMNS, CustomerState
from engine.rules.counts import count_event
from engine.rules.matching.crossing import newly_beyond
from engine.rules.matching.schedule import ScheduleRows
from engine.rules.ruleset import RuleSet

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]
_T = TypeVar("_T")
_ZONE = HEAD_COLUMNS.index("zone")


class ByCustomer(NamedTuple):
    """What only a look at the customer tells of a row: who may enter.

    Args:
        enough: journeys whose count the row's event made enough.
        crossed: journeys whose level was crossed.
        dates: (journey, instant ms) of dates that have come.
    """

    enough: Sequence[int]
    crossed: Sequence[int]
    dates: Sequence[tuple[int, int]]


NOTHING = ByCustomer((), (), ())


class Found:
    """Entries and deadlines of a wave; those by row are dictionaries with the rows that have any.

    Args:
        rules: the rule set.
        batch: the rows.
        matrix: `(rows, features) float64`.
        events: the event of each row, None for timers.
        clock_ms: `(rows,) int64`, the customer's clock before each row: up to there deadlines have been
            judged; 0 = the customer is new.
        after_ms: `(rows,) int64`, that clock after the row.
    """

    __slots__ = (
        "_after_ms",
        "_batch",
        "_beyond",
        "_clock_ms",
        "_crosses",
        "_dates",
        "_rules",
        "absences",
        "candidates",
        "counts",
        "next_ms",
        "schedules",
    )

    def __init__(
        self,
        rules: RuleSet,
        batch: RowBatch,
        matrix: Floats,
        events: Sequence[Event | None],
        clock_ms: Int64s,
        after_ms: Int64s,
    ) -> None:
        self._rules = rules
        self._batch = batch
        self._clock_ms = clock_ms
        self._after_ms = after_ms
        self.candidates: dict[int, list[int]] = _grouped(rules.match(batch.codes, matrix, events))
        self.counts: dict[int, list[int]] = _grouped(rules.match_counts(batch.codes, matrix, events))
        self.next_ms, fired = rules.absences(matrix, clock_ms, batch.now_ms, after_ms)
        self.absences: dict[int, list[tuple[int, int]]] = _by_row(fired)
        self.schedules: dict[int, list[tuple[int, int]]] = {}
        self._crosses, self._dates = rules.crosses, rules.dates or None
        self._beyond: dict[int, list[int]] = _grouped(rules.beyond(matrix)) if self._crosses else {}

    def change_by(self, next_ms: Int64s) -> None:
        """Take further deadlines into account, `(rows,) int64`."""
        self.next_ms = np.minimum(self.next_ms, next_ms)

    def schedule(self, segment: Codes, due_ms: Int64s, default_zone: str) -> None:
        """Judge the entries by schedule.

        Args:
            segment: `(rows,) uint8`, code of the customer's segment as of the row.
            due_ms: `(rows,) int64`, the timer that was set before the row; 0 = none.
            default_zone: IANA zone of customers whose zone is unknown.
        """
        batch = self._batch
        zone = batch.head_columns()[:, _ZONE]
        rows = ScheduleRows(segment, zone, self._clock_ms, due_ms, self._after_ms)
        next_ms, fired = self._rules.schedules(rows, default_zone)
        self.change_by(next_ms)
        self.schedules = _by_row(fired)

    @property
    def by_customer(self) -> bool:
        """Whether rows must be asked one by one, in order, what their customer enters by."""
        return bool(self.counts or self._crosses or self._dates)

    def of_customer(
        self, row: int, state: CustomerState, event: Event | None, after_ms: int, default_zone: str
    ) -> ByCustomer:
        """Return what a customer enters by at a row, and note what has to be remembered of it.

        To be asked of the rows of `asking`, of customers beyond some level before (`Profile.beyond`), and of
        those whose timer is due; for others it is nothing.

        Args:
            row: the row.
            state: its customer, the row's event applied, the timer before it still set.
            event: the row's event.
            after_ms: the customer's clock after the row.
            default_zone: IANA zone of customers whose zone is unknown.

        Returns:
            What they enter by; `NOTHING` itself where that is nothing.
        """
        rules = self._rules
        enough: Sequence[int] = ()
        if event is not None and row in self.counts:
            enough = count_event(rules, state, event, self.counts[row])
        crossed: Sequence[int] = ()
        if self._crosses:
            crossed = newly_beyond(rules.journeys, state, self._beyond.get(row, ()))
        dates: Sequence[tuple[int, int]] = ()
        if self._dates is not None and 0 < state.due_ms <= after_ms and state.profile.traits:
            clock_ms = int(self._clock_ms[row])
            dates = self._dates.come(state.profile, clock_ms, state.due_ms, after_ms, default_zone)
        return ByCustomer(enough, crossed, dates) if enough or crossed or dates else NOTHING

    def at_instants(self, row: int, own: ByCustomer) -> Sequence[tuple[int, int]]:
        """Return the (journey, instant ms) of the schedules and dates that come at a row.

        Args:
            row: the row.
            own: what its customer enters by.
        """
        schedules = self.schedules.get(row, ())
        return [*schedules, *own.dates] if own.dates else schedules

    def asking(self) -> frozenset[int]:
        """Return the rows by which somebody may cross a level, or reach a count."""
        return frozenset((*self.counts, *self._beyond))

    def entering(self) -> frozenset[int]:
        """Return the rows by which somebody may enter a journey, counts apart."""
        return frozenset((*self.candidates, *self.absences, *self.schedules))

    def by_event(self, row: int, enough: Sequence[int]) -> Sequence[int]:
        """Return the journeys a row's event may lead into: candidates, and those whose count is reached.

        Args:
            row: the row.
            enough: the journeys whose count is reached.
        """
        candidates = self.candidates.get(row, ())
        return sorted([*candidates, *enough]) if enough else candidates


def _by_row(fired: Iterable[tuple[int, int, int]]) -> dict[int, list[tuple[int, int]]]:
    return _grouped((row, (journey, at_ms)) for row, journey, at_ms in fired)


def _grouped(found: Iterable[tuple[int, _T]]) -> dict[int, list[_T]]:
    grouped: dict[int, list[_T]] = {}
    for row, item in found:
        grouped.setdefault(row, []).append(item)
    return grouped
