"""Who would newly get, or no longer get, what: two rule sets over the same log."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import msgspec

from engine.authoring.backtest.tally import ENTRY_STEP, MAX_SAMPLES, Got, sample_order


class Difference(msgspec.Struct, kw_only=True):
    """One thing customers can get, under two rule sets.

    Args:
        journey: the journey.
        step: the step's path, or `entry`.
        channel: the channel; empty for an entry.
        template: the template; empty for an entry.
        newly: customers who get it under the new rules only.
        no_longer: customers who get it under the old rules only.
        both: customers who get it under both.
        newly_sample: some of the first, at most `MAX_SAMPLES`, chosen by a hash of the id.
        no_longer_sample: some of the second.
    """

    journey: str
    step: str
    channel: str = ""
    template: str = ""
    newly: int = 0
    no_longer: int = 0
    both: int = 0
    newly_sample: list[str] = []
    no_longer_sample: list[str] = []

    @property
    def changed(self) -> bool:
        """Whether anybody gets it under one of the rule sets only."""
        return bool(self.newly or self.no_longer)


Differences = dict[Got, Difference]


def compare(new: Mapping[Got, set[str]], old: Mapping[Got, set[str]]) -> Differences:
    """Compare who got what among the same customers.

    Args:
        new: under the new rules.
        old: under the old ones.
    """
    found: Differences = {}
    for got in new.keys() | old.keys():
        ours, theirs = new.get(got, set()), old.get(got, set())
        newly, no_longer = ours - theirs, theirs - ours
        found[got] = Difference(
            **got._asdict(),
            newly=len(newly),
            no_longer=len(no_longer),
            both=len(ours & theirs),
            newly_sample=_sample(newly),
            no_longer_sample=_sample(no_longer),
        )
    return found


def merge(into: Differences, more: Differences) -> None:
    """Add the differences among other customers."""
    for got, each in more.items():
        known = into.setdefault(got, Difference(**got._asdict()))
        known.newly += each.newly
        known.no_longer += each.no_longer
        known.both += each.both
        known.newly_sample = _sample([*known.newly_sample, *each.newly_sample])
        known.no_longer_sample = _sample([*known.no_longer_sample, *each.no_longer_sample])


def in_order(found: Differences) -> list[Difference]:
    """Return what differs: by journey, entries first, then by step."""
    changed = (each for each in found.values() if each.changed)
    return sorted(
        changed,
        key=lambda each: (each.journey, each.step != ENTRY_STEP, each.step, each.channel, each.template),
    )


def _sample(customers: Iterable[str]) -> list[str]:
    return heapq.nsmallest(MAX_SAMPLES, customers, key=lambda each: (sample_order(each), each))
