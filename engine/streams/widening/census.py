"""Counts and checksums of all customers and timers, however often Redis's scan shows one of them."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import numpy as np
from xxhash import xxh3_64_intdigest

from engine.features.state import unpack
from engine.streams.partition import partition_of

_SPREAD = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


class Totals(msgspec.Struct):
    """What must be the same before and after.

    Args:
        customers: how many there are.
        timers: how many of them have a timer due.
        states_sum: sum of the hashes of all customers with their states, modulo 2^64.
        timers_sum: sum of the hashes of all customers with their timers, modulo 2^64.
    """

    customers: int = 0
    timers: int = 0
    states_sum: int = 0
    timers_sum: int = 0


@dataclass(slots=True)
class Found:
    """What one pass over everything has found.

    Args:
        totals: of everything.
        buyers: customers with a purchase, by partition.
        segments: customers by partition and code of the segment last announced.
        wrong_customers: customers that do not lie where they belong.
        wrong_timers: timers that do not.
    """

    totals: Totals = field(default_factory=Totals)
    buyers: Counter[int] = field(default_factory=Counter)
    segments: dict[int, Counter[int]] = field(default_factory=dict)
    wrong_customers: int = 0
    wrong_timers: int = 0


class _Seen:
    """Things seen, with what is to be known of each; 13 bytes each."""

    def __init__(self) -> None:
        self._hashes, self._partitions, self._notes = array("Q"), array("H"), array("H")

    def add(self, name: bytes, value: bytes, partition: int, note: int) -> None:
        self._hashes.append(xxh3_64_intdigest(name + b"\0" + value))
        self._partitions.append(partition)
        self._notes.append(note)

    def __len__(self) -> int:
        return len(self._hashes)

    def once(self) -> tuple[int, int, list[int], list[int]]:
        """Return count and sum of hashes, and partitions and notes, of each thing once."""
        hashes = np.array(self._hashes, np.uint64)
        partitions = np.array(self._partitions, np.uint64)
        _, at = np.unique(hashes + partitions * np.uint64(_SPREAD), return_index=True)
        total = int(hashes[at].sum(dtype=np.uint64)) & _MASK
        return len(at), total, partitions[at].tolist(), np.array(self._notes)[at].tolist()


class Census:
    """Takes in customers and timers of all partitions.

    Args:
        partitions: how many there are, or are to be: where somebody belongs.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._states = _Seen()
        self._timers = _Seen()

    def add_state(self, partition: int, customer: bytes, data: bytes) -> int:
        """Take in a customer; return how many there were."""
        state = unpack("", data)
        wrong = partition_of(customer, self._partitions) != partition
        self._states.add(customer, data, partition, state.segment | bool(state.purchases) << 8 | wrong << 9)
        return len(self._states)

    def add_timer(self, partition: int, customer: bytes, due: bytes) -> None:
        """Take in a timer."""
        wrong = partition_of(customer, self._partitions) != partition
        self._timers.add(customer, due, partition, wrong)

    def close(self) -> Found:
        """Return what was found."""
        customers, states_sum, partitions, notes = self._states.once()
        timers, timers_sum, _, wrong_timers = self._timers.once()
        found = Found(Totals(customers, timers, states_sum, timers_sum), wrong_timers=sum(wrong_timers))
        for partition, note in zip(partitions, notes, strict=True):
            found.segments.setdefault(partition, Counter())[note & 255] += 1
            found.buyers[partition] += note >> 8 & 1
            found.wrong_customers += note >> 9
        return found
