"""Schedules: instants that come by the clock, for a whole batch at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engine.features.zones import zone_name
from engine.rules.journey import Journey
from engine.rules.matching.absence import NEVER_MS, Deadlines, Fired, IntColumn
from engine.rules.times.cron import instants
from engine.rules.times.local_time import zone_of

_ANYBODY = -1
_LOOK_BACK_DAYS = (2, 40, 400, 3_000)  # until the instant before is found; one longer ago doesn't matter
_DAY_MS = 86_400_000
_AHEAD = 8  # instants made beyond the one asked for
_MAX_KEPT = 20_000

_Around = tuple[IntColumn, IntColumn]
_Zones = tuple[IntColumn, NDArray[np.intp]]  # the zones there are, and for each row the place of its own


@dataclass(frozen=True, slots=True)
class ScheduleRows:
    """What schedules ask of a batch, one element per row.

    Args:
        segment: `(rows,) uint8`, code of the customer's segment as of the row.
        zone: `(rows,) int64`, index of the customer's time zone (`zones.zone_index`).
        clock_ms: `(rows,) int64`, the customer's clock before the row.
        due_ms: `(rows,) int64`, the timer that was set before the row; 0 = none.
        after_ms: `(rows,) int64`, the customer's clock after the row.
    """

    segment: NDArray[np.uint8]
    zone: IntColumn
    clock_ms: IntColumn
    due_ms: IntColumn
    after_ms: IntColumn


class Instants:
    """The instants of one schedule in one zone, made when they are first asked for.

    Args:
        plain: the schedule, `Cron.plain`.
        zone: whose clocks count.
    """

    def __init__(self, plain: str, zone: tzinfo) -> None:
        self._plain = plain
        self._zone = zone
        self._known: IntColumn = np.zeros(0, np.int64)
        self._onward: Iterator[int] = iter(())

    def around(self, now_ms: IntColumn) -> tuple[IntColumn, IntColumn]:
        """Return the latest instant up to each moment (0 = none) and the next one (`NEVER_MS` = none).

        Args:
            now_ms: `(n,) int64`, at least one.
        """
        self._cover(int(now_ms.min()), int(now_ms.max()))
        place = np.searchsorted(self._known, now_ms, side="right")
        return self._known[place - 1], self._known[place]

    def _cover(self, low_ms: int, high_ms: int) -> None:
        """Make sure that what is known begins at or before a moment and ends after another."""
        if not len(self._known) or low_ms < self._known[0]:
            self._begin(low_ms)
        if self._known[-1] <= high_ms:
            found = _past(self._onward, high_ms)
            self._known = np.append(self._known, [*found, *islice(self._onward, _AHEAD)])
        if len(self._known) > _MAX_KEPT:
            self._known = self._known[np.searchsorted(self._known, low_ms, side="right") - 1 :]

    def _begin(self, low_ms: int) -> None:
        """Begin anew with the last instant up to a moment."""
        for days in _LOOK_BACK_DAYS:
            self._onward = instants(self._plain, self._zone, low_ms - days * _DAY_MS)
            found = [0, *_past(self._onward, low_ms)]
            self._known = np.array(found[-2:], np.int64)
            if found[-2]:
                return


class ScheduleIndex:
    """All `schedule` entries of a rule set.

    Args:
        journeys: the rule set's journeys; those by schedule that are enabled are taken.
        segments: segment name to code.
    """

    def __init__(self, journeys: Sequence[Journey], segments: Mapping[str, int]) -> None:
        groups: dict[tuple[str, str], dict[int, list[int]]] = {}
        for index, journey in enumerate(journeys):
            if journey.kind == "schedule" and journey.enabled:
                code = segments[journey.segment] if journey.segment else _ANYBODY
                by_segment = groups.setdefault((journey.schedule, journey.zone), {})
                by_segment.setdefault(code, []).append(index)
        self.groups = groups
        self._instants: dict[tuple[str, str, str], Instants] = {}

    def judge(self, rows: ScheduleRows, default_zone: str) -> Deadlines:
        """Find the instants that pass, and the next ones.

        An instant fires in the row whose (clock, after] it falls into if a timer was set for it or before it:
        who came into the segment later, or was not known then, had none. Of several that passed in one row,
        after a stop, only the latest fires: nobody wants seven messages at once.

        Args:
            rows: the batch.
            default_zone: IANA zone of customers whose zone is unknown.

        Returns:
            the next instant of each row, and what fired.
        """
        next_due = np.full(len(rows.after_ms), NEVER_MS, dtype=np.int64)
        fired: list[Fired] = []
        since = np.where(rows.due_ms > 0, np.maximum(rows.clock_ms, rows.due_ms - 1), NEVER_MS)
        own = np.unique(rows.zone, return_inverse=True)
        for (plain, zone), by_segment in self.groups.items():
            zones = None if zone else own
            latest, following = self._around(plain, zone or default_zone, rows.after_ms, zones)
            for code, journeys in by_segment.items():
                inside = rows.segment == code if code != _ANYBODY else True
                np.minimum(next_due, np.where(inside, following, NEVER_MS), out=next_due)
                for row in np.flatnonzero((latest > since) & inside).tolist():
                    fired.extend(Fired(row, journey, int(latest[row])) for journey in journeys)
        fired.sort(key=lambda each: (each.row, each.due_ms, each.journey))
        return Deadlines(next_due, tuple(fired))

    def _around(self, plain: str, zone: str, now_ms: IntColumn, zones: _Zones | None) -> _Around:
        """Return the instants around each row; `zone` is that of all, or of those who have none."""
        if zones is None:
            return self._of(plain, zone, "").around(now_ms)
        latest, following = np.empty_like(now_ms), np.empty_like(now_ms)
        for place, index in enumerate(zones[0].tolist()):
            mine = zones[1] == place
            latest[mine], following[mine] = self._of(plain, zone_name(index), zone).around(now_ms[mine])
        return latest, following

    def _of(self, plain: str, zone: str, default: str) -> Instants:
        key = (plain, zone, default)
        found = self._instants.get(key)
        if found is None:
            found = self._instants[key] = Instants(plain, zone_of(zone, default))
        return found


def _past(onward: Iterator[int], limit_ms: int) -> list[int]:
    """Take instants up to the first beyond a limit, that one included; `NEVER_MS` stands for the end."""
    found: list[int] = []
    for at_ms in onward:
        found.append(at_ms)
        if at_ms > limit_ms:
            return found
    return [*found, NEVER_MS]
