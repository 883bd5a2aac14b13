"""What a simulated worker polls: some records of some of its partitions, none of those that are late."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

from tests.streams.replay import Log, MemoryRecord

Place = tuple[str, int]


class SlowReader:
    """The consumer of a simulated worker.

    Args:
        hidden: topics and partitions whose records do not come just now; shared by all workers.
        appended_ms: when each record came to the broker.

    Attributes:
        log: what it reads.
        at: the next offset of each.
        fresh: partition numbers that begin, or are read anew: of those nothing is known at the next poll.
        news: whether there is more to tell than at the last poll, with or without records.
    """

    def __init__(self, hidden: set[Place], appended_ms: Mapping[Place, Sequence[int]]) -> None:
        self.log: Log = {}
        self.at: dict[Place, int] = {}
        self.fresh: set[int] = set()
        self.news = False
        self._hidden = hidden
        self._appended_ms = appended_ms

    def behind_ms(self, now_ms: int) -> dict[int, int]:
        """Tell how long ago all that was there had been handed out, by partition number, as `Batch` does."""
        behind = {number: 0 for _, number in self.log if number not in self.fresh}
        self.news = bool(self.fresh)
        self.fresh.clear()
        for (topic, number), records in self.log.items():
            first = self.at[topic, number]
            if number in behind and first < len(records):
                since_ms = now_ms - self._appended_ms[topic, number][first] + 1
                behind[number] = max(behind[number], since_ms)
        return behind

    def take(self, rng: random.Random, most: int) -> list[MemoryRecord]:
        """Take some records of some partitions; none when there are none.

        Args:
            rng: draws which.
            most: most records of each.
        """
        log, at = self.log, self.at
        places = [place for place, records in log.items() if at[place] < len(records)]
        if self._hidden:
            places = [place for place in places if place not in self._hidden]
        polled: list[MemoryRecord] = []
        if places:
            for place in rng.sample(sorted(places), rng.randint(1, len(places))):
                found = log[place][at[place] : at[place] + rng.randint(1, most)]
                at[place] += len(found)
                polled += found
        return polled

    async def seek(self, offsets: Mapping[Place, int]) -> None:
        """Read on from other offsets."""
        self.at.update(offsets)
        self.begin({number for _, number in offsets})

    def begin(self, numbers: set[int]) -> None:
        """Partitions begin, or are read anew."""
        self.fresh |= numbers
        self.news = True

    async def pause(self, partitions: Iterable[Place]) -> None:
        """Go on: what is read ahead is held back by the intake."""

    async def resume(self, partitions: Iterable[Place]) -> None:
        """Nothing was paused."""

    def report(self, offsets: Mapping[Place, int]) -> None:
        """Offsets are read from the store."""
