"""What a simulated worker polls: some records of some of its partitions, none of those that are late."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from tests.streams.replay import Log, MemoryRecord

Place = tuple[str, int]


class SlowReader:
    """The consumer of a simulated worker.

    Args:
        hidden: topics and partitions whose records do not come just now; shared by all workers.

    Attributes:
        log: what it reads.
        at: the next offset of each.
    """

    def __init__(self, hidden: set[Place]) -> None:
        self.log: Log = {}
        self.at: dict[Place, int] = {}
        self._hidden = hidden

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

    async def pause(self, partitions: Iterable[Place]) -> None:
        """Go on: what is read ahead is held back by the intake."""

    async def resume(self, partitions: Iterable[Place]) -> None:
        """Nothing was paused."""

    def report(self, offsets: Mapping[Place, int]) -> None:
        """Offsets are read from the store."""
