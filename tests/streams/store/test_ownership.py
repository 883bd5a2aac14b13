"""What a store concludes from epochs, sequences and verdicts."""

from __future__ import annotations

import pytest

from engine.streams.store.contract import PartitionFenced, PartitionWrite, StateRolledBack
from engine.streams.store.ownership import Ownership, Verdict, judge

_WRITE = PartitionWrite(0, 7, ids=b"1")


@pytest.mark.parametrize(
    ("stored", "verdict"),
    [
        ((7, 3), Verdict.WRITTEN),
        ((7, 4), Verdict.REPEATED),
        ((7, 5), Verdict.ROLLED_BACK),
        ((7, 2), Verdict.ROLLED_BACK),
        ((6, 3), Verdict.ROLLED_BACK),
        ((6, 4), Verdict.ROLLED_BACK),
        ((0, 0), Verdict.ROLLED_BACK),
        ((8, 3), Verdict.FENCED),
        ((8, 4), Verdict.FENCED),
        ((8, 0), Verdict.FENCED),
    ],
)
def test_epoch_and_sequence_decide(stored: tuple[int, int], verdict: Verdict) -> None:
    """A writer of epoch 7 that knows of 3 commits may write, repeat or must stop."""
    assert judge(stored, 7, 3) is verdict


def test_a_repeat_that_was_never_sent_before_is_not_trusted() -> None:
    """A first attempt that is told it was written before has lost track of the store: it starts anew."""
    ownership = Ownership()
    ownership.take(0, 7, 3)
    ownership.start([_WRITE])
    with pytest.raises(StateRolledBack):
        ownership.finish([_WRITE], {0: Verdict.REPEATED})


def test_a_repeat_of_a_commit_with_unknown_outcome_counts_once() -> None:
    """The second attempt may be told that the first went through; the sequence moves by one."""
    ownership = Ownership()
    ownership.take(0, 7, 3)
    assert ownership.start([_WRITE]) == [(_WRITE, 3)]
    assert ownership.start([_WRITE]) == [(_WRITE, 3)]
    ownership.finish([_WRITE], {0: Verdict.REPEATED})
    assert ownership.start([_WRITE]) == [(_WRITE, 4)]


def test_a_partition_released_during_its_write_stays_released() -> None:
    """A reply that comes after the partition was given up changes nothing."""
    ownership = Ownership()
    ownership.take(0, 7, 3)
    ownership.start([_WRITE])
    ownership.release(0)
    ownership.finish([_WRITE], {0: Verdict.WRITTEN})
    with pytest.raises(PartitionFenced):
        ownership.require([0])


def test_rolled_back_and_fenced_partitions_are_both_named() -> None:
    """One commit can find both; the caller learns of each, and the rest counts as written."""
    ownership = Ownership()
    writes = [PartitionWrite(partition, 7) for partition in range(3)]
    for write in writes:
        ownership.take(write.partition, 7, 0)
    ownership.start(writes)
    verdicts = {0: Verdict.WRITTEN, 1: Verdict.FENCED, 2: Verdict.ROLLED_BACK}
    with pytest.raises(StateRolledBack) as caught:
        ownership.finish(writes, verdicts)
    assert (caught.value.partitions, caught.value.fenced) == (frozenset({2}), frozenset({1}))
    assert ownership.start(writes[:1]) == [(writes[0], 1)]
