"""All journeys of a deployment, ready for batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from engine.events import TYPE_BY_CODE, Event
from engine.rules.condition import Bound, Condition
from engine.rules.context import TEXT_FEATURES
from engine.rules.journey import Branch, Journey, Send, SetTrait, Wait, WaitUntil
from engine.rules.limits import MAX_DURATION_MS, PAUSE_RETRY_MS
from engine.rules.matching.absence import NEVER_MS, AbsenceIndex, IntColumn, LastSeen
from engine.rules.matching.crossing import CrossingIndex
from engine.rules.matching.dates import DateIndex
from engine.rules.matching.index import ColumnIndex, Floats
from engine.rules.matching.schedule import ScheduleIndex, ScheduleRows
from engine.rules.release import Lane, Release
from engine.rules.scope import Vocabulary
from engine.rules.times.local_time import MIN_DEFERRAL_MS

_NEVER_DAYS = 36_500.0  # what a recency feature says when something never happened


class RuleSet:
    """Immutable once built; a new set of files is a new rule set.

    Args:
        journeys: compiled journeys.
        vocabulary: the one they were compiled against; has the contact policy.
        release: which versions take entries, what is paused; when None, of several versions of one journey
            only the highest takes entries.
    """

    def __init__(
        self, journeys: Sequence[Journey], vocabulary: Vocabulary, release: Release | None = None
    ) -> None:
        self.policy = vocabulary.policy
        self.journeys: tuple[Journey, ...] = tuple(
            sorted(journeys, key=lambda each: (each.name, each.version))
        )
        self.by_name: dict[tuple[str, int], Journey] = {
            (each.name, each.version): each for each in self.journeys
        }
        newest = {each.name: each.version for each in self.journeys}
        self.release = release or Release(0, dict.fromkeys(newest.items(), Lane.ALL))
        self._entering = tuple(
            index
            for index, each in enumerate(self.journeys)
            if each.enabled and self.release.takes(each.name, each.version)
        )
        self.has_entry_caps = any(self.journeys[index].entry_cap for index in self._entering)
        self._columns = vocabulary.columns
        entering = [self.journeys[index] for index in self._entering]
        self._index = ColumnIndex(entering, vocabulary.columns)
        self._counting = ColumnIndex(entering, vocabulary.columns, "count")
        self._absence = AbsenceIndex(entering)
        self._schedule = ScheduleIndex(entering, vocabulary.segments)
        self._crossing = CrossingIndex(entering, vocabulary.columns)
        self.dates = DateIndex(entering, self._entering)
        self.goal_codes = frozenset(each.goal.code for each in self.journeys if each.goal is not None)
        self.by_code = self._grouped("event")
        self.unanswered = tuple(
            index for index in self._entering if self.journeys[index].kind == "unanswered"
        )
        self.by_segment = {
            (kind, segment): tuple(found)
            for kind in ("segment_entered", "segment_exited")
            for segment, found in self._by_segment(kind).items()
        }
        self.cap_windows_ms: dict[str, int] = {}
        for each in self.journeys:
            longest = max((cap.window_ms for cap in each.caps), default=0)
            self.cap_windows_ms[each.name] = max(longest, self.cap_windows_ms.get(each.name, 0))
        self.min_delay_ms = min((_shortest_delay_ms(each) for each in self.journeys), default=MAX_DURATION_MS)
        if self.release.paused:
            self.min_delay_ms = min(self.min_delay_ms, PAUSE_RETRY_MS)
        staged = [place for place, lane in self.release.lanes.items() if lane is not Lane.ALL]
        self._staged = frozenset(staged) if 0 < self.release.share < 1 else frozenset()
        self.triggers = frozenset(
            f"{each.kind} {each.code} {each.since} {each.for_ms} {each.segment} {each.schedule} {each.zone}"
            for each in entering
            if each.kind in ("absent", "schedule", "unanswered")
        )
        self.features = features_of(self.journeys) | self.policy.features

    def takes(self, index: int, customer_id: str) -> bool:
        """Tell whether a journey's version lets a customer in, or leaves them to the version beside it.

        Args:
            index: of the journey, one that takes entries.
            customer_id: who.
        """
        if not self._staged:
            return True
        journey = self.journeys[index]
        lane = self.release.lanes[journey.name, journey.version]
        return lane is Lane.ALL or lane is self.release.lane_of(journey.name, customer_id)

    def match(
        self, codes: NDArray[np.uint8], matrix: Floats, events: Sequence[Event | None]
    ) -> list[tuple[int, int]]:
        """Return the (row, journey) pairs whose entry event and column conditions hold, by row, then journey.

        What the columns can't say (`CEL` on texts, properties, alternatives) is left to the machine.

        Args:
            codes: `(rows,) uint8`, event type codes; other codes (timers) match nothing.
            matrix: `(rows, features) float64`.
            events: the event of each row, None for timers.
        """
        pairs = self._index.match(codes, matrix, events)
        return [(row, self._entering[journey]) for row, journey in pairs]

    def match_counts(
        self, codes: NDArray[np.uint8], matrix: Floats, events: Sequence[Event | None]
    ) -> list[tuple[int, int]]:
        """Return the (row, journey) pairs whose event may be one that a `count` entry counts.

        Args:
            codes: `(rows,) uint8`, event type codes.
            matrix: `(rows, features) float64`.
            events: the event of each row, None for timers.
        """
        if not self._counting.codes:
            return []
        pairs = self._counting.match(codes, matrix, events)
        return [(row, self._entering[journey]) for row, journey in pairs]

    @property
    def crosses(self) -> bool:
        """Whether any journey enters by a feature that crosses a level."""
        return bool(self._crossing.levels)

    def beyond(self, matrix: Floats) -> list[tuple[int, int]]:
        """Return the (row, journey) pairs whose feature is beyond the level of a `rises` or `falls` entry.

        Args:
            matrix: `(rows, features) float64`.
        """
        return [(row, self._entering[journey]) for row, journey in self._crossing.beyond(matrix)]

    @property
    def scheduled(self) -> bool:
        """Whether any journey enters by schedule."""
        return bool(self._schedule.groups)

    def schedules(
        self, rows: ScheduleRows, default_zone: str
    ) -> tuple[IntColumn, list[tuple[int, int, int]]]:
        """Judge every `schedule` entry for a batch.

        Args:
            rows: the batch.
            default_zone: IANA zone of customers whose zone is unknown.

        Returns:
            the next instant of each row, `(rows,) int64`, 2**63-1 where there is none; and those that fire
            as (row, journey, instant ms), by row, then instant, then journey.
        """
        judged = self._schedule.judge(rows, default_zone)
        fired = [(each.row, self._entering[each.journey], each.due_ms) for each in judged.fired]
        return judged.next_due_ms, fired

    def absences(
        self, matrix: Floats, clock_ms: IntColumn, now_ms: IntColumn, after_ms: IntColumn
    ) -> tuple[IntColumn, list[tuple[int, int, int]]]:
        """Judge every `absent` entry for a batch.

        Args:
            matrix: `(rows, features) float64`; the recency features say when things happened last.
            clock_ms: `(rows,) int64`, the customer's clock before each row; 0 = the customer is new.
            now_ms: `(rows,) int64`, the row's instant.
            after_ms: `(rows,) int64`, the customer's clock after the row.

        Returns:
            the next deadline of each row, `(rows,) int64`, 2**63-1 where there is none; and those that fire
            as (row, journey, deadline ms), by row, then deadline, then journey.
        """
        if not self._absence.groups:
            return np.full(len(now_ms), NEVER_MS, dtype=np.int64), []
        now_s = now_ms // 1000
        seen = LastSeen(
            {code: self._seen_s(matrix, now_s, _recency(code)) for code in self._absence.codes},
            {code: self._seen_s(matrix, now_s, _first_recency(code)) for code in self._absence.first_codes},
            self._seen_s(matrix, now_s, "days_since_signup" if self._absence.by_signup else ""),
        )
        judged = self._absence.judge(seen, clock_ms, after_ms)
        fired = [(each.row, self._entering[each.journey], each.due_ms) for each in judged.fired]
        return judged.next_due_ms, fired

    def _seen_s(self, matrix: Floats, now_s: IntColumn, feature: str) -> IntColumn:
        """Turn a recency in days back into the second it counts from; 0 = never."""
        column = self._columns.get(feature)
        if column is None:
            return np.zeros(len(now_s), dtype=np.int64)
        days = matrix[:, column]
        ago_s = np.rint(days * 86_400.0).astype(np.int64)
        return np.where(days >= _NEVER_DAYS, 0, now_s - ago_s)

    def _grouped(self, kind: str) -> dict[int, tuple[int, ...]]:
        grouped: dict[int, list[int]] = {}
        for index in self._entering:
            if self.journeys[index].kind == kind:
                for code in dict.fromkeys(self.journeys[index].codes):
                    grouped.setdefault(code, []).append(index)
        return {code: tuple(found) for code, found in grouped.items()}

    def _by_segment(self, kind: str) -> dict[str, list[int]]:
        grouped: dict[str, list[int]] = {}
        for index in self._entering:
            if self.journeys[index].kind == kind:
                grouped.setdefault(self.journeys[index].segment, []).append(index)
        return grouped


def features_of(journeys: Iterable[Journey]) -> frozenset[str]:
    """Return the features that journeys read."""
    return frozenset(name for each in journeys for name in _features(each))


def _recency(code: int) -> str:
    return f"days_since_{TYPE_BY_CODE[code].singular}"


def _first_recency(code: int) -> str:
    return f"days_since_first_{TYPE_BY_CODE[code].singular}"


def _shortest_delay_ms(journey: Journey) -> int:
    """Return the shortest time after which a journey can want a timer."""
    delays = [MAX_DURATION_MS]
    if journey.for_ms and journey.kind != "count":
        delays.append(journey.for_ms)
    if journey.quiet_hours is not None or journey.send_windows or journey.kind == "date":
        delays.append(MIN_DEFERRAL_MS)
    for step in journey.program:
        if isinstance(step, Wait):
            delays.append(step.wait_ms or MIN_DEFERRAL_MS)
        elif isinstance(step, WaitUntil):
            delays.append(step.timeout_ms or MIN_DEFERRAL_MS)
    return min(delays)


def _features(journey: Journey) -> set[str]:
    """Return the features a journey reads."""
    found: set[str] = set()
    conditions: list[Condition | None] = [
        journey.where,
        journey.when,
        journey.at_once_where,
        journey.at_once_when,
    ]
    bounds: list[Bound] = []
    if journey.goal is not None:
        conditions.append(journey.goal.where)
        bounds.extend([journey.goal.value] if isinstance(journey.goal.value, Bound) else [])
    for step in journey.program:
        if isinstance(step, Send):
            bounds.extend(value for _, value in step.data if isinstance(value, Bound))
        elif isinstance(step, SetTrait) and isinstance(step.value, Bound):
            bounds.append(step.value)
        elif isinstance(step, Branch):
            conditions.extend(arm.when for arm in step.arms)
    bounds.extend(each.whole for each in conditions if each is not None)
    for bound in bounds:
        found.update(name for _, root, name, _ in bound.sources if root == "customer")
    if journey.feature:
        found.add(journey.feature)
    if journey.kind == "absent":
        found.add(_recency(journey.code))
        found.update({_first_recency(journey.code)} if journey.since == "first" else ())
        found.update({"days_since_signup"} if journey.since == "signup" else ())
    return found - {"traits", *TEXT_FEATURES}
