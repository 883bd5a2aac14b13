"""Entries by a date the customer's traits hold: a birthday, the end of a trial."""

from __future__ import annotations

from collections.abc import Sequence

from engine.features.profile import Profile
from engine.rules.journey import Journey
from engine.rules.matching.absence import NEVER_MS
from engine.rules.times.local_time import zone_of
from engine.rules.times.until import NoDate, read_date, until_ms

_RECHECK_MS = 300 * 86_400_000  # a date too far ahead for a timer is looked at again then
_MAX_KEPT = 100_000


class DateIndex:
    """All `date` entries of a rule set.

    Args:
        journeys: the rule set's journeys that take entries; those by date that are enabled are taken.
        numbers: the number of each in the rule set.
    """

    def __init__(self, journeys: Sequence[Journey], numbers: Sequence[int]) -> None:
        self._entries = [
            (number, journey.until)
            for number, journey in zip(numbers, journeys, strict=True)
            if journey.kind == "date" and journey.enabled and journey.until is not None
        ]
        self._traits = frozenset(until.trait for _, until in self._entries)
        self._known: dict[tuple[int, object, str], tuple[int, int, bool]] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._entries)

    def come(
        self, profile: Profile, clock_ms: int, due_ms: int, after_ms: int, default_zone: str
    ) -> list[tuple[int, int]]:
        """Find the dates that have come.

        A date comes in the row whose (clock, after] its instant falls into, if a timer was set for it or
        before it: one that the customer's traits only tell afterwards is over.

        Args:
            profile: the customer, the row's own event applied.
            clock_ms: the customer's clock before the row.
            due_ms: the timer that was set before the row.
            after_ms: the customer's clock after it.
            default_zone: IANA zone of customers whose zone is unknown.

        Returns:
            (journey, instant ms) of each.
        """
        found: list[tuple[int, int]] = []
        if clock_ms >= after_ms:
            return found
        for place, (index, until) in enumerate(self._entries):
            if until.trait in profile.traits:
                at_ms, real = self._next(place, profile, clock_ms, default_zone)
                if real and due_ms <= at_ms <= after_ms:
                    found.append((index, at_ms))
        return sorted(found, key=lambda each: (each[1], each[0]))

    def next_ms(self, profile: Profile, after_ms: int, default_zone: str) -> int:
        """Return the next date's instant, or when to look again; `NEVER_MS` when there is none.

        Args:
            profile: the customer, as the row leaves it.
            after_ms: the customer's clock after the row.
            default_zone: IANA zone of customers whose zone is unknown.
        """
        if self._traits.isdisjoint(profile.traits):
            return NEVER_MS
        return min(
            self._next(place, profile, after_ms, default_zone)[0]
            for place, (_, until) in enumerate(self._entries)
            if until.trait in profile.traits
        )

    def _next(self, place: int, profile: Profile, after_ms: int, default_zone: str) -> tuple[int, bool]:
        """Return the first instant after a moment; False with one at which to look again only."""
        until = self._entries[place][1]
        zone = until.zone or profile.time_zone or default_zone
        value = profile.traits[until.trait]
        key = (place, value, zone)
        known = self._known.get(key)
        if known is not None and known[0] <= after_ms < known[1]:
            return known[1], known[2]
        clocks = zone_of(zone, default_zone)
        at_ms, real = NEVER_MS, False
        try:
            found_ms = until_ms(until, after_ms, clocks, profile.traits)
        except NoDate:
            if read_date(value, clocks) is not None:
                at_ms = after_ms + _RECHECK_MS
        else:
            if found_ms > after_ms:
                at_ms, real = found_ms, True
        if len(self._known) >= _MAX_KEPT:
            self._known.clear()
        self._known[key] = (after_ms, at_ms, real)
        return at_ms, real
