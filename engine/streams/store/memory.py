"""The store's twin in memory: the same contract without a server, for tests and dry runs."""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from engine.errors import TransientError
from engine.streams.store.contract import PartitionMeta, PartitionWrite, StoreHealth, refuse_layout
from engine.streams.store.ownership import Ownership, Verdict, judge

T = TypeVar("T")


@dataclass(slots=True)
class _Partition:
    epoch: int = 0
    sequence: int = 0
    clock_ms: int = 0
    offsets: dict[str, int] = field(default_factory=dict)
    fields: dict[str, bytes] = field(default_factory=dict)
    states: dict[bytes, bytes] = field(default_factory=dict)
    timers: dict[bytes, int] = field(default_factory=dict)
    current_ids: bytes = b""
    previous_ids: bytes = b""
    partitions: int = 0

    def apply(self, write: PartitionWrite) -> None:
        """Carry out a write that was judged right."""
        self.sequence += 1
        _merge(self.states, write.states)
        _merge(self.timers, write.timers)
        self.offsets.update(write.offsets)
        self.fields.update(write.fields)
        if write.clock_ms is not None:
            self.clock_ms = write.clock_ms
        self.current_ids += write.ids
        if write.rotate_ids:
            self.current_ids, self.previous_ids = b"", self.current_ids


class MemoryServer:
    """What several `MemoryStore`s share, as workers share a Redis server; it can fail on demand.

    Args:
        down: answer nothing, as a server that is gone.
        lose_reply: carry the next call out, then fail as if its reply had been lost.
        cut_after: carry out so many partitions of the next commit, then fail; None = all of them.
        now_us: the server's clock, µs since the epoch.
    """

    def __init__(
        self,
        *,
        down: bool = False,
        lose_reply: bool = False,
        cut_after: int | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.down = down
        self.lose_reply = lose_reply
        self.cut_after = cut_after
        self.now_us = now_us
        self._partitions: dict[int, _Partition] = {}

    def partition(self, number: int) -> _Partition:
        """Return a partition's data, empty at first."""
        return self._partitions.setdefault(number, _Partition())

    def layout(self, number: int) -> int:
        """Return with how many partitions a partition was written, 0 = never; looking makes none."""
        found = self._partitions.get(number)
        return 0 if found is None else found.partitions

    def dump(self) -> dict[int, _Partition]:
        """Return a copy of everything."""
        return copy.deepcopy(self._partitions)

    def restore(self, dump: dict[int, _Partition]) -> None:
        """Go back to an earlier `dump`."""
        self._partitions = copy.deepcopy(dump)

    def check_up(self) -> None:
        """Raise `TransientError` while down."""
        if self.down:
            raise TransientError("the memory store is down")

    def reply(self) -> None:
        """Raise `TransientError` if the reply is to be lost."""
        if self.lose_reply:
            self.lose_reply = False
            raise TransientError("the memory store's reply is lost")

    def carry_on(self, done: int) -> None:
        """Raise `TransientError` if the connection is to break after `done` partitions of a commit."""
        if done == self.cut_after:
            self.cut_after = None
            raise TransientError("the connection to the memory store broke")


class MemoryStore:
    """A store in memory.

    Args:
        server: shared with other stores; by default one of its own.
    """

    def __init__(self, server: MemoryServer | None = None) -> None:
        self._server = server or MemoryServer()
        self._ownership = Ownership()

    async def acquire(self, partition: int, partitions: int = 0) -> PartitionMeta:
        """See `Store`."""
        self._server.check_up()
        data = self._server.partition(partition)
        if partitions:
            if data.partitions not in {0, partitions}:
                refuse_layout(str(data.partitions), partitions)
            data.partitions = partitions
        data.epoch = max(data.epoch + 1, self._server.now_us())
        self._server.reply()
        self._ownership.take(partition, data.epoch, data.sequence)
        return PartitionMeta(
            partition=partition,
            epoch=data.epoch,
            offsets=dict(data.offsets),
            clock_ms=data.clock_ms,
            fields=dict(data.fields),
            current_ids=data.current_ids,
            previous_ids=data.previous_ids,
        )

    async def check_layout(self, partitions: int) -> None:
        """See `Store`."""
        self._server.check_up()
        for number in range(partitions):
            if (written := self._server.layout(number)) not in {0, partitions}:
                refuse_layout(str(written), partitions)

    def release(self, partition: int) -> None:
        """See `Store`."""
        self._ownership.release(partition)

    async def load(self, reads: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes | None]]:
        """See `Store`."""
        self._ownership.require(reads)
        self._server.check_up()
        parts = {partition: self._server.partition(partition) for partition in reads}
        self._ownership.check({number: (part.epoch, part.sequence) for number, part in parts.items()})
        return {number: [parts[number].states.get(one) for one in ids] for number, ids in reads.items()}

    async def commit(self, writes: Sequence[PartitionWrite]) -> None:
        """See `Store`."""
        sent = self._ownership.start(writes)
        self._server.check_up()
        verdicts = {}
        for done, (write, sequence) in enumerate(sent):
            self._server.carry_on(done)
            data = self._server.partition(write.partition)
            verdict = judge((data.epoch, data.sequence), write.epoch, sequence)
            if verdict is Verdict.WRITTEN:
                data.apply(write)
            verdicts[write.partition] = verdict
        self._server.reply()
        self._ownership.finish(writes, verdicts)

    async def due(self, partition: int, until_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """See `Store`."""
        self._server.check_up()
        timers = self._server.partition(partition).timers
        ordered = sorted((due_ms, customer) for customer, due_ms in timers.items() if due_ms <= until_ms)
        return [(customer, due_ms) for due_ms, customer in ordered[:limit]]

    async def get(self, partition: int, customer: bytes) -> bytes | None:
        """See `Store`."""
        self._server.check_up()
        return self._server.partition(partition).states.get(customer)

    async def customers(self, partition: int) -> AsyncIterator[bytes]:
        """See `Store`."""
        self._server.check_up()
        for customer in list(self._server.partition(partition).states):
            yield customer

    async def ping(self) -> None:
        """See `Store`."""
        self._server.check_up()

    async def health(self) -> StoreHealth:
        """See `Store`."""
        self._server.check_up()
        return StoreHealth(
            server="memory",
            version="1",
            role="master",
            cluster=False,
            clock_ms=time.time_ns() // 1_000_000,
            used_memory_bytes=0,
            max_memory_bytes=0,
            dataset_bytes=0,
            keys=0,
            eviction_policy="noeviction",
            evicted_keys=0,
            aof_enabled=False,
            aof_write_ok=True,
        )

    async def close(self) -> None:
        """See `Store`."""


def _merge(into: dict[bytes, T], changes: Mapping[bytes, T | None]) -> None:
    for key, value in changes.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value
