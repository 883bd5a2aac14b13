"""The partitions a worker holds: taken over, given up, waited for when a server is away."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Protocol, TypeVar

import structlog

from engine.errors import AccessError, StateError, TransientError
from engine.streams.batch import forgotten
from engine.streams.health import WorkerHealth
from engine.streams.kafka import TopicPartition
from engine.streams.steps.intake import Intake
from engine.streams.steps.partitions import CLOCK_FIELD, LIVE, Mark, OwnedPartition
from engine.streams.steps.tally import Tally
from engine.streams.store.contract import Refusal, StateRolledBack, Store

log = structlog.get_logger(__name__)

# A worker that has lost its partitions is told so long before: by its session's end, or by the broker's own.
RECLAIM_AFTER_S = 60.0
# A store that goes back in time has lost its last second. One that was told of a partition over so long a
# time, and now knows nothing of it, has lost everything.
FORGOTTEN_AFTER_S = 30.0
FIRST_RETRY_S = 0.05
MAX_RETRY_S = 2.0
TELL_AGAIN_S = 30.0  # that a server does not answer
_T = TypeVar("_T")


class Consumer(Protocol):
    """What the worker asks of the transport's consumer."""

    async def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Stop fetching."""

    async def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Fetch again."""

    async def seek(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read on from other offsets."""

    def report(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Note offsets as durable."""


class Holdings:
    """The partitions this worker owns, as Kafka assigned them and the store confirmed.

    Args:
        store: customer state; draws the fencing epoch.
        intake: told which partitions are ours.
        tally: counts.
        health: told what works and what does not; has the monotonic clock.
        topics: the event topics.
        partitions: how many partitions each of them has.
        live: whether the live clock is on.

    Attributes:
        owned: those confirmed.
        reclaim_after_s: how long a fenced partition stays with Kafka's word alone.
        on_taken: told of partitions taken; None = no actions have ever been sent in transactions.
    """

    def __init__(
        self,
        store: Store,
        intake: Intake,
        tally: Tally,
        health: WorkerHealth,
        topics: Iterable[str],
        partitions: int,
        *,
        live: bool,
    ) -> None:
        self._partitions = partitions
        self._live = live
        self._store = store
        self._intake = intake
        self._tally = tally
        self._health = health
        health.all_partitions = partitions
        self._topics = tuple(topics)
        self._paused: set[TopicPartition] = set()
        self.owned: dict[int, OwnedPartition] = {}
        # Given up since the step at hand was taken: whatever it still holds of them is read again by whoever
        # owns them now, this worker included.
        self.given_up: set[int] = set()
        self.reclaim_after_s = RECLAIM_AFTER_S
        self._gone_through: set[str] = set()
        # when the store first and last had something new of a partition; since ever, if we found it there
        self._known_s: dict[int, tuple[float, float]] = {}
        self._fenced_at_s: dict[int, float] = {}  # given up, and Kafka has not taken them away
        self._offsets: dict[TopicPartition, int] = {}
        self.consumer: Callable[[], Consumer] | None = None
        self.on_taken: Callable[[Collection[OwnedPartition]], Awaitable[None]] | None = None

    async def assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Take partitions over: a new epoch, the stored offsets, recent ids.

        Args:
            partitions: those newly assigned.

        Returns:
            Where to start reading each.
        """
        # Not only of those assigned: new partitions hold nothing yet that would tell.
        await self.retrying("acquire", lambda: self._store.check_layout(self._partitions))
        starts: dict[TopicPartition, int] = {}
        for number in sorted({partition for _, partition in partitions}):
            for topic, offset in (await self._acquire(number)).items():
                if (topic, number) in partitions:
                    starts[topic, number] = offset
        await self._recover({number for _, number in partitions})
        self._tally.rebalanced()
        self._health.rebalance_ended(tuple(sorted(self.owned)))
        log.info("partitions assigned", partitions=sorted(self.owned))
        return starts

    def revoked(self, partitions: frozenset[TopicPartition], *, lost: bool) -> None:
        """Let partitions go; no batch is in flight, so everything done is durable."""
        self._health.rebalance_started()
        for number in {partition for _, partition in partitions}:
            self._drop(number)
            self._fenced_at_s.pop(number, None)
            self._known_s.pop(number, None)
        self._tally.rebalanced()
        self._health.rebalance_ended(tuple(sorted(self.owned)))
        log.info("partitions revoked", partitions=sorted({number for _, number in partitions}), lost=lost)

    async def give_up(self, *errors: Refusal) -> None:
        """Forget the memory of partitions, and take up again those that went back in time.

        All are in `given_up` then. A fenced one is left alone: its new owner has it, and Kafka will say so to
        this worker, too; if it does not, `reclaim` takes it up again.

        Args:
            errors: what a write and a read at the same time were refused for. The store forgets a partition
                it found rolled back, so the other of the two may only say that it is not ours.
        """
        rolled_back: frozenset[int] = frozenset()
        fenced: frozenset[int] = frozenset()
        for error in errors:
            log.warning("partitions given up", error=str(error))
            self._tally.refused(error)
            fenced |= error.all_partitions
            if isinstance(error, StateRolledBack):
                rolled_back |= error.partitions
        # What has been given up already may have been taken up again; a rebalance may have taken some away.
        fenced -= rolled_back | self.given_up
        rolled_back = (rolled_back - self.given_up) & self.owned.keys()
        self.given_up |= fenced | rolled_back
        self._fenced_at_s |= dict.fromkeys(fenced & self.owned.keys(), self._health.now_s())
        paused = {key for key in self._paused if key[1] in rolled_back}
        for number in sorted(fenced | rolled_back):
            self._drop(number)
        for number in sorted(rolled_back):
            await self._take_again(number)
        if paused and self.consumer is not None:
            await self.consumer().resume(paused)  # nothing of them is held back any more

    def reclaim_in_s(self) -> float | None:
        """Time until a fenced partition is to be taken up again; None = there is none."""
        first_s = min(self._fenced_at_s.values(), default=None)
        return None if first_s is None else max(0.0, first_s + self.reclaim_after_s - self._health.now_s())

    async def reclaim(self) -> None:
        """Take up again what was fenced and Kafka has left here all the same; call it at the end of a batch.

        A worker that was stopped in the middle of taking a partition over fences its new owner when it wakes,
        and is told only then that it has lost it: nobody would have it.
        """
        now_s = self._health.now_s()
        for number, fenced_s in list(self._fenced_at_s.items()):
            if now_s - fenced_s >= self.reclaim_after_s:
                log.warning("taking up again what no other worker claims", partition=number)
                await self._take_again(number)

    def durable(self, offsets: Mapping[TopicPartition, int], *, at_once: bool) -> None:
        """Note offsets as durable.

        Args:
            offsets: next offset of each partition.
            at_once: tell the consumer now, for no batch is at hand that would.
        """
        self._offsets.update(offsets)
        for _, number in offsets:
            now_s = self._health.now_s()
            self._known_s[number] = self._known_s.get(number, (now_s, now_s))[0], now_s
            if (owned := self.owned.get(number)) is not None:
                owned.unmarked = False
        if at_once and self.consumer is not None:
            self.consumer().report(self.take_offsets())

    def take_offsets(self) -> dict[TopicPartition, int]:
        """Return the durable offsets the consumer has not been told yet."""
        offsets, self._offsets = self._offsets, {}
        return offsets

    def forget(self, names: Iterable[str], marks: Mapping[int, Mark], given_up: Collection[int]) -> None:
        """Drop what a step has changed in memory; the store still has it as it was.

        Args:
            names: its customers.
            marks: what the partitions were before it.
            given_up: those given up before it; what was given up since is new in memory.
        """
        for number, owned in self.owned.items():
            for name in names:
                owned.states.pop(name, None)
            if number in given_up or number not in self.given_up:
                owned.go_back(marks[number])

    async def balance(self, held_bound: int) -> None:
        """Pause topics that run ahead of the replay clock's merge, resume those that caught up.

        Args:
            held_bound: records held back at most, over all topics and partitions.
        """
        held = self._intake.held()
        bound = max(1, held_bound // max(1, len(held)))
        full = {key for key, count in held.items() if count > bound}
        low = {key for key in self._paused if held.get(key, 0) < bound // 2}
        if self.consumer is not None:
            if full - self._paused:
                await self.consumer().pause(full - self._paused)
            if low:
                await self.consumer().resume(low)
        self._paused = (self._paused | full) - low

    async def retrying(self, step: str, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Try until the server answers; readiness says so meanwhile.

        A login or right that is refused where the step has gone through before was taken away under us: it
        may be given back, and until then nothing is lost. The watchdog ends a worker that Redis keeps out.

        Args:
            step: what is tried, for metrics and readiness.
            attempt: the call, anew each time.

        Raises:
            AccessError: we have never had the right.
        """
        wait_s, tell_s = FIRST_RETRY_S, 0.0
        try:
            while True:
                try:
                    found = await attempt()
                except (TransientError, AccessError) as error:
                    if isinstance(error, AccessError) and step not in self._gone_through:
                        raise
                    self._tally.retried(step)
                    self._health.trouble(step, str(error))
                    if self._health.now_s() >= tell_s:
                        log.warning("waiting for a server", step=step, error=str(error), retry_in_s=wait_s)
                        tell_s = self._health.now_s() + TELL_AGAIN_S
                    await asyncio.sleep(wait_s)
                    wait_s = min(2 * wait_s, MAX_RETRY_S)
                else:
                    if wait_s > FIRST_RETRY_S:
                        log.info("the server answers again", step=step)
                    self._gone_through.add(step)
                    return found
        finally:
            if wait_s > FIRST_RETRY_S:  # it answers again, be it with a refusal
                self._health.trouble(step, "")

    async def _take_again(self, number: int) -> None:
        """Become the owner of a partition that Kafka has assigned; read it from where it is stored.

        Raises:
            StateError: more is lost than the last moments: the store knows nothing of the partition.
        """
        first_s, last_s = self._known_s.get(number, (0.0, 0.0))
        offsets = await self._acquire(number)
        if self._live and not offsets and last_s - first_s > FORGOTTEN_AFTER_S:
            raise forgotten(number)
        await self._recover({number})
        if self.consumer is not None:
            await self.consumer().seek({(topic, number): offsets.get(topic, 0) for topic in self._topics})

    async def _acquire(self, number: int) -> Mapping[str, int]:
        """Become the owner of a partition; return its stored offsets."""
        if number >= self._partitions:
            # Going on would let the new partitions' customers begin anew, beside the state they have.
            raise StateError(
                f"kafka has given this worker partition {number}, there were {self._partitions} when it "
                "started: the event topics were widened; `engage partitions widen` moves the state"
            )
        meta = await self.retrying("acquire", lambda: self._store.acquire(number, self._partitions))
        self._fenced_at_s.pop(number, None)
        if meta.offsets:
            self._known_s.setdefault(number, (-math.inf, self._health.now_s()))
        else:
            self._known_s.pop(number, None)
        lived = meta.fields.get(CLOCK_FIELD) == LIVE
        if lived and not self._live:
            raise StateError(
                f"partition {number} is kept by workers on the live clock; one on the replay clock would "
                "take its customers back to event time: give it a redis.prefix and a kafka.group of its own"
            )
        owned = OwnedPartition.restored(number, meta.epoch, meta.fields, self._partitions)
        owned.unmarked = self._live and not lived
        self.owned[number] = owned
        self._intake.assign(number, meta.clock_ms, meta.current_ids, meta.previous_ids)
        self._tally.owned(self.owned)
        return meta.offsets

    async def _recover(self, numbers: Collection[int]) -> None:
        """Send what became durable under other owners and did not reach Kafka."""
        if self.on_taken is not None:
            await self.on_taken([self.owned[number] for number in sorted(numbers)])

    def _drop(self, number: int) -> None:
        if self.owned.pop(number, None) is not None:
            self._store.release(number)
        self._intake.revoke(number)
        self._offsets = {key: offset for key, offset in self._offsets.items() if key[1] != number}
        self._paused = {key for key in self._paused if key[1] != number}
        self._tally.owned(self.owned)
