"""Sends the actions of durable steps, each step in one transaction; ends what a worker has left unfinished.

A step's actions become durable with its states, as an outbox in the same write; only then they are sent, and
with them, in the same transaction, the outbox's token. So whoever takes a partition over can tell whether
its last outbox was sent. `docs/decisions/010-actions-in-transactions.md` has the reasons, and why the order
of the calls below is the one it is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

import msgspec
import structlog

from engine.pipeline.core import Outcome
from engine.streams.producer import DeliveryError, OutRecord
from engine.streams.steps.holdings import Holdings
from engine.streams.steps.partitions import OwnedPartition
from engine.streams.steps.sink import Sink
from engine.streams.steps.tally import Tally
from engine.streams.store.contract import PartitionFenced, PartitionWrite, Refusal, StateRolledBack, Store
from engine.streams.transactions.outbox import OUTBOX_FIELD, Outbox
from engine.streams.transactions.producer import Transactions

log = structlog.get_logger(__name__)


class Relay:
    """The way of actions to Kafka in transactions.

    Args:
        transactions: the worker's.
        store: keeps the outboxes.
        holdings: the partitions; waits while Kafka is away.
        sink: lays out dead letters.
        tally: counts.
        on: whether steps send their actions this way; what was left by workers that did is sent in any case.
    """

    def __init__(
        self,
        transactions: Transactions,
        store: Store,
        holdings: Holdings,
        sink: Sink,
        tally: Tally,
        *,
        on: bool,
    ) -> None:
        self._transactions = transactions
        self._store = store
        self._holdings = holdings
        self._sink = sink
        self._tally = tally
        self._lock = asyncio.Lock()  # a partition may be taken up again while a step is made durable
        self.on = on

    @property
    def at_work(self) -> bool:
        """Whether outboxes are being made durable or sent."""
        return self._lock.locked()

    def pack(
        self, outcome: Outcome, actions: list[OutRecord], writes: Iterable[PartitionWrite]
    ) -> dict[int, Outbox]:
        """Put a step's actions into its writes; take out what an earlier step has left there.

        Args:
            outcome: what came of the step.
            actions: as they will be sent, one for each of the outcome's.
            writes: what the step makes durable; gets the outboxes.

        Returns:
            The outboxes, by partition number.
        """
        records: dict[int, list[OutRecord]] = {}
        if self.on:
            for action, record in zip(outcome.actions, actions, strict=True):
                records.setdefault(outcome.touched[action.customer_id], []).append(record)
        made = {number: Outbox.of(self._transactions.sender, own) for number, own in records.items()}
        for write in writes:
            owned, outbox = self._holdings.owned[write.partition], made.get(write.partition)
            stored = b"" if outbox is None else outbox.to_bytes()
            if stored or owned.outbox:
                write.fields[OUTBOX_FIELD] = owned.outbox = stored
        return made

    async def send_after(
        self, persist: Callable[[], Awaitable[Refusal | None]], outboxes: Mapping[int, Outbox]
    ) -> Refusal | None:
        """Make outboxes durable, then send them in one transaction.

        Args:
            persist: writes the step they are part of; returns the refusal of some partitions.
            outboxes: by partition number.

        Returns:
            The refusal of partitions that are not ours, or no longer; whoever has them now sends theirs.
        """
        async with self._lock:
            if outboxes:  # before they are durable: who takes over then shuts out what is open by then
                await self._holdings.retrying("produce", self._transactions.open)
            refusal = await persist()
            refused = frozenset() if refusal is None else refusal.all_partitions
            left = {number: outbox for number, outbox in outboxes.items() if number not in refused}
            started_ns = time.perf_counter_ns()
            late = await self._send_surely(left) if left else None
            self._tally.stage("transaction", started_ns)
            return joined([each for each in (refusal, late) if each is not None])

    async def _send_surely(self, left: dict[int, Outbox]) -> Refusal | None:
        refusals, tried = list[Refusal](), False

        async def attempt() -> None:
            nonlocal tried
            if tried:
                await self._look_again(left, refusals)
            tried = True
            await self._send(left)

        await self._holdings.retrying("produce", attempt)
        return joined(refusals)

    async def recover(self, taken: Collection[OwnedPartition]) -> None:
        """Send what became durable in partitions under other owners and did not reach Kafka.

        Args:
            taken: partitions that have just become ours.
        """
        left = {owned.number: Outbox.from_bytes(owned.outbox) for owned in taken if owned.outbox}
        others = {outbox.sender for outbox in left.values()} - {self._transactions.sender}

        async def attempt() -> None:
            drop_sent(left, await self._transactions.sent(left, settled=False))
            if left:
                log.warning("sending what an earlier worker has left", partitions=sorted(left))
                await self._transactions.fence(others)
                await self._look_again(left, [])
                await self._send(left)
                self._tally.recovered(len(left))

        if left:
            async with self._lock:
                await self._holdings.retrying("produce", attempt)

    async def _look_again(self, left: dict[int, Outbox], refusals: list[Refusal]) -> None:
        """Drop from `left` what has been sent, or is no longer ours to send.

        First the producer, then the store, then the tokens: who takes a partition over after our write to
        the store shuts this producer out, and sees our tokens or sends the outbox alone.
        """
        await self._transactions.open()
        for number, outbox in left.items():
            left[number] = msgspec.structs.replace(outbox, sender=self._transactions.sender)
        held = {number: owned for number, owned in self._holdings.owned.items() if number in left}
        writes = [
            PartitionWrite(number, owned.epoch, fields={OUTBOX_FIELD: left[number].to_bytes()})
            for number, owned in held.items()
        ]
        gone = left.keys() - held.keys()
        try:
            if writes:
                await self._store.commit(writes)
        except (PartitionFenced, StateRolledBack) as error:
            refusals.append(error)
            gone |= error.all_partitions
        for number in gone:
            left.pop(number, None)
        if left:
            drop_sent(left, await self._transactions.sent(left, settled=True))

    async def _send(self, left: dict[int, Outbox]) -> None:
        """Send; what Kafka will never take is replaced by its dead letters for the next attempt."""
        places = [(number, place) for number, outbox in left.items() for place in range(len(outbox.records))]
        if not places:
            return
        records: list[OutRecord] = [left[number].records[place] for number, place in places]
        try:
            await self._transactions.send(records, {number: outbox.token for number, outbox in left.items()})
        except DeliveryError as error:
            for index in error.refused:
                number, place = places[index]
                letter = Outbox.of("", [self._sink.refused(records[index], str(error))])
                left[number].records[place] = letter.records[0]
            self._tally.refused_records(len(error.refused))
            raise


def drop_sent(left: dict[int, Outbox], tokens: Mapping[int, str]) -> None:
    """Drop outboxes that Kafka has.

    Args:
        left: by partition number; gets shorter.
        tokens: those sent last, by partition number.
    """
    for number, token in tokens.items():
        if number in left and left[number].token == token:
            del left[number]


def joined(refusals: Collection[Refusal]) -> Refusal | None:
    """Return one refusal that says what several say; None when there is none."""
    if len(refusals) <= 1:
        return next(iter(refusals), None)
    everything = frozenset[int]().union(*(each.all_partitions for each in refusals))
    rolled_back = frozenset[int]().union(
        *(each.partitions for each in refusals if isinstance(each, StateRolledBack))
    )
    if rolled_back:
        return StateRolledBack(rolled_back, everything - rolled_back)
    return PartitionFenced(everything)
