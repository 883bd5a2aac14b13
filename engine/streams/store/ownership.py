"""Who may write to a partition: what a store remembers of its acquisitions and commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from engine.streams.store.contract import (
    MAX_CUSTOMERS_PER_COMMIT,
    PartitionFenced,
    PartitionWrite,
    StateRolledBack,
)


class Verdict(IntEnum):
    """What became of a partition's write."""

    WRITTEN = 1
    REPEATED = 2  # it was written before, and its reply was lost
    FENCED = 3
    ROLLED_BACK = 4


def judge(stored: tuple[int, int], epoch: int, sequence: int) -> Verdict:
    """Decide whether a write may go ahead (the commit script does the same inside Redis).

    Args:
        stored: epoch and sequence kept with the partition's data.
        epoch: the writer's epoch.
        sequence: the number of commits the writer knows of.

    Returns:
        `WRITTEN` when it may.
    """
    if stored[0] != epoch:
        return Verdict.FENCED if stored[0] > epoch else Verdict.ROLLED_BACK
    if stored[1] == sequence + 1:
        return Verdict.REPEATED
    return Verdict.WRITTEN if stored[1] == sequence else Verdict.ROLLED_BACK


@dataclass(slots=True)
class _Owned:
    epoch: int
    sequence: int
    # A commit whose outcome is unknown. Only the same one may follow: another would be taken for its repeat.
    unknown: PartitionWrite | None = None
    attempts: int = 0


class Ownership:
    """The partitions a store has acquired, and how many commits it knows of in each."""

    def __init__(self) -> None:
        self._owned: dict[int, _Owned] = {}

    def take(self, partition: int, epoch: int, sequence: int) -> None:
        """Note a fresh acquisition."""
        self._owned[partition] = _Owned(epoch, sequence)

    def release(self, partition: int) -> None:
        """Forget a partition."""
        self._owned.pop(partition, None)

    def start(self, writes: Sequence[PartitionWrite]) -> list[tuple[PartitionWrite, int]]:
        """Note that writes are on their way.

        Args:
            writes: one for each partition.

        Returns:
            Those whose partition is owned under their epoch, each with the sequence it expects.
        """
        assert len({write.partition for write in writes}) == len(writes), "two writes to one partition"
        sent = []
        for write in writes:
            assert len(write.states) <= MAX_CUSTOMERS_PER_COMMIT, (
                f"{len(write.states)} customers in one commit"
            )
            owned = self._owned.get(write.partition)
            if owned is None or owned.epoch != write.epoch:
                continue
            assert owned.unknown is None or owned.unknown == write, "a commit must be repeated as it was"
            owned.unknown = write
            owned.attempts += 1
            sent.append((write, owned.sequence))
        return sent

    def finish(self, writes: Sequence[PartitionWrite], verdicts: Mapping[int, Verdict]) -> None:
        """Note how writes ended.

        Args:
            writes: as given to `start`.
            verdicts: by partition; none for a write that was not sent.

        Raises:
            PartitionFenced: if some were fenced or not sent.
            StateRolledBack: if some found older data.
        """
        fenced: list[int] = []
        rolled_back: list[int] = []
        for write in writes:
            verdict = verdicts.get(write.partition)
            owned = self._owned.get(write.partition)
            if verdict is None:  # a newer acquisition of our own may stand: it stays
                fenced.append(write.partition)
            elif owned is None or owned.unknown is not write:
                continue  # released or acquired anew meanwhile: whoever did that looks at the store again
            elif verdict is Verdict.WRITTEN or (verdict is Verdict.REPEATED and owned.attempts > 1):
                owned.sequence += 1
                owned.unknown, owned.attempts = None, 0
            else:
                self.release(write.partition)
                (fenced if verdict is Verdict.FENCED else rolled_back).append(write.partition)
        _report(fenced, rolled_back)

    def check(self, stored: Mapping[int, tuple[int, int]]) -> None:
        """Check a read.

        Args:
            stored: epoch and sequence of the partitions read.

        Raises:
            PartitionFenced: if another worker owns one of them.
            StateRolledBack: if one is older than what was written.
        """
        fenced: list[int] = []
        rolled_back: list[int] = []
        for partition, numbers in stored.items():
            owned = self._owned.get(partition)
            if owned is None:
                fenced.append(partition)
                continue
            verdict = judge(numbers, owned.epoch, owned.sequence)
            if verdict is Verdict.REPEATED and owned.unknown is None:
                verdict = Verdict.ROLLED_BACK
            if verdict is not Verdict.FENCED and verdict is not Verdict.ROLLED_BACK:
                continue
            self.release(partition)
            (fenced if verdict is Verdict.FENCED else rolled_back).append(partition)
        _report(fenced, rolled_back)

    def require(self, partitions: Iterable[int]) -> None:
        """Check that partitions are owned.

        Args:
            partitions: their numbers.

        Raises:
            PartitionFenced: if one is not.
        """
        lost = [partition for partition in partitions if partition not in self._owned]
        if lost:
            raise PartitionFenced(lost)


def _report(fenced: Sequence[int], rolled_back: Sequence[int]) -> None:
    if rolled_back:
        raise StateRolledBack(rolled_back, fenced)
    if fenced:
        raise PartitionFenced(fenced)
