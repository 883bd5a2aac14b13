"""Customer state, timers and offsets of the partitions a worker owns: the contract of every store.

A partition has one writer, the store that acquired it last. Everything a batch changes in a partition
(states, timers, offsets, stream time, ids seen) is written in one atomic step that first checks two numbers
kept with the data: the *fencing epoch*, drawn at each acquisition, and the *sequence*, the count of commits.
A higher epoch means that another worker took the partition over; a lower epoch or another sequence means
that the server was restored from an older moment. A sequence that is one ahead means that this very commit
went through and only its reply was lost, so repeating a commit is harmless.
`docs/decisions/003-fencing.md` has the reasons.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, TypeAlias, TypeVar

from engine.errors import EngineError, FencedError, StateError, TransientError

META_FORMAT = 1
MAX_CUSTOMERS_PER_COMMIT = 100_000
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0

T = TypeVar("T")


class PartitionFenced(FencedError):  # noqa: N818 - named for what happened, as its base
    """Other workers own these partitions now; nothing of this commit was written to them.

    Args:
        partitions: which ones.
    """

    def __init__(self, partitions: Iterable[int]) -> None:
        self.partitions = self.all_partitions = frozenset(partitions)
        super().__init__(f"another worker owns {_list(self.partitions)}")


class StateRolledBack(EngineError):  # noqa: N818 - the word of the design
    """The server lost commits it had confirmed; the partitions must be acquired and read anew.

    Nothing of the commit was written to these partitions, nor to those that are fenced.

    Args:
        partitions: which ones are older than what this worker wrote.
        fenced: partitions of the same commit that another worker owns.
    """

    def __init__(self, partitions: Iterable[int], fenced: Iterable[int] = ()) -> None:
        self.partitions = frozenset(partitions)
        self.fenced = frozenset(fenced)
        self.all_partitions = self.partitions | self.fenced
        super().__init__(f"the store went back in time for {_list(self.partitions)}")


#: Why a store takes nothing for some partitions, `all_partitions` of it.
Refusal: TypeAlias = PartitionFenced | StateRolledBack


@dataclass(frozen=True, slots=True)
class PartitionMeta:
    """What the store knows of a partition besides its customers.

    Args:
        partition: its number.
        epoch: the fencing epoch of this acquisition; grows with each.
        offsets: next offset to read, by topic; empty for a new partition.
        clock_ms: stream time, ms; 0 for a new partition.
        fields: small values of the worker's own.
        current_ids: ids of recent events, the generation being filled.
        previous_ids: the generation before it.
    """

    partition: int
    epoch: int
    offsets: Mapping[str, int]
    clock_ms: int
    fields: Mapping[str, bytes]
    current_ids: bytes
    previous_ids: bytes


@dataclass(frozen=True, slots=True)
class PartitionWrite:
    """Everything one commit changes in one partition.

    Args:
        partition: its number.
        epoch: the epoch under which it was acquired.
        states: packed state by customer id; None erases the customer's state.
        timers: due instant by customer id, ms; None removes the timer.
        offsets: next offset to read, by topic, of the topics that moved.
        clock_ms: stream time, ms; None leaves it.
        fields: small values of the worker's own to set.
        ids: appended to the current generation of ids.
        rotate_ids: make the current generation the previous one after that; the older one is dropped.
    """

    partition: int
    epoch: int
    states: Mapping[bytes, bytes | None] = field(default_factory=dict)
    timers: Mapping[bytes, int | None] = field(default_factory=dict)
    offsets: Mapping[str, int] = field(default_factory=dict)
    clock_ms: int | None = None
    fields: dict[str, bytes] = field(default_factory=dict)
    ids: bytes = b""
    rotate_ids: bool = False


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What an operator should know of the server; None where it does not tell.

    Args:
        server: `redis`, `valkey` or `memory`.
        version: its version.
        role: `master` or `slave`.
        cluster: whether it is a cluster.
        clock_ms: its clock, ms since the epoch.
        used_memory_bytes: memory in use.
        max_memory_bytes: its bound; 0 = none.
        dataset_bytes: memory that keys and values take.
        keys: how many keys there are, those of others, too.
        eviction_policy: what it does at the bound; anything but `noeviction` loses customers.
        evicted_keys: keys it has thrown away since its start.
        aof_enabled: whether it keeps an append-only file.
        aof_write_ok: whether the last write to it went well.
    """

    server: str
    version: str
    role: str
    cluster: bool
    clock_ms: int
    used_memory_bytes: int
    max_memory_bytes: int
    dataset_bytes: int
    keys: int
    eviction_policy: str | None
    evicted_keys: int
    aof_enabled: bool
    aof_write_ok: bool


class Store(Protocol):
    """Where customer state lives. Every method raises `TransientError` when the server does not answer."""

    async def acquire(self, partition: int, partitions: int = 0) -> PartitionMeta:
        """Become the owner of a partition; whoever owned it before is fenced from then on.

        Args:
            partition: its number.
            partitions: how many there are; kept with the data from the first time on. 0 = not told.

        Returns:
            What the store knows of it.

        Raises:
            StateError: if a newer engine wrote it, or it was written with another number of partitions.
        """

    async def check_layout(self, partitions: int) -> None:
        """Check that the state of all partitions was written with this number of them, or does not tell.

        Args:
            partitions: how many there are.

        Raises:
            StateError: it was written with another one.
        """

    def release(self, partition: int) -> None:
        """Forget a partition; later writes to it are refused here."""

    async def load(self, reads: Mapping[int, Sequence[bytes]]) -> dict[int, list[bytes | None]]:
        """Read states, one round trip for all partitions.

        Args:
            reads: customer ids by partition, all of them acquired.

        Returns:
            By partition, one value per customer in the same order; None for an unknown one.

        Raises:
            PartitionFenced: if another worker owns one of the partitions.
            StateRolledBack: if the server went back in time.
        """

    async def commit(self, writes: Sequence[PartitionWrite]) -> None:
        """Write, one round trip for all partitions, each partition atomically.

        After `TransientError` it is unknown what was written: the same writes must be committed again
        (harmless for those that were), or the partitions acquired anew.

        Args:
            writes: one for each partition.

        Raises:
            PartitionFenced: if another worker owns partitions; all other partitions are written.
            StateRolledBack: if the server went back in time for partitions; see there.
        """

    async def due(self, partition: int, until_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """List timers.

        Args:
            partition: its number.
            until_ms: due up to and including this instant.
            limit: most entries returned.

        Returns:
            Customer ids and due instants in ms, earliest first, equal instants by id.
        """

    async def get(self, partition: int, customer: bytes) -> bytes | None:
        """Read one state without owning the partition; None for an unknown customer."""

    def customers(self, partition: int) -> AsyncIterator[bytes]:
        """Go through the ids of a partition's customers, in no order, without owning it."""

    async def ping(self) -> None:
        """Check that the server answers."""

    async def health(self) -> StoreHealth:
        """Ask the server about itself."""

    async def close(self) -> None:
        """Close the connection."""


async def retrying(
    call: Callable[[], Awaitable[T]], on_wait: Callable[[TransientError, float], None] | None = None
) -> T:
    """Repeat a call until the server answers; the waits between double up to a bound.

    Args:
        call: makes the awaitable, anew each time.
        on_wait: told of each failure and of the wait that follows, s.

    Returns:
        What the call returned.
    """
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return await call()
        except TransientError as error:
            if on_wait is not None:
                on_wait(error, wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def refuse_layout(written: str, partitions: int) -> NoReturn:
    """Refuse state that was written with another number of partitions: customers lie elsewhere in it.

    Args:
        written: what is kept with the state: a number, or `FROM>TO` while it is being moved.
        partitions: how many there are.

    Raises:
        StateError: always.
    """
    before, moving, after = written.partition(">")
    if moving:
        raise StateError(
            f"the state is being moved from {before} to {after} partitions: "
            f"`engage partitions widen --to {after}` finishes it"
        )
    way = f"`engage partitions widen --to {partitions}` moves it" if partitions > int(written) else "go back"
    raise StateError(
        f"the event topics have {partitions} partitions, the state was written with {written}: "
        f"a customer's state would not be found; {way} (docs/operations.md)"
    )


def _list(partitions: Iterable[int]) -> str:
    numbers = sorted(partitions)
    return f"partition{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
