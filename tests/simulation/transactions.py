"""Transactions as Kafka keeps them, in memory: what is open is seen by nobody, and a name fences."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from engine.errors import TransientError
from engine.streams.producer import DeliveryError, OutRecord
from tests.simulation.servers import Broker, Link

TIMEOUT_S = 15.0  # after which the broker gives up a transaction
PATIENCE_S = 10.0  # of who waits for transactions that are open
_numbers = itertools.count()


@dataclass
class Begun:
    """A transaction that is open.

    Args:
        since_s: when it began.
        records: what is in it.
        tokens: by partition number.
    """

    since_s: float
    records: list[OutRecord] = field(default_factory=list)
    tokens: dict[int, str] = field(default_factory=dict)


class SlowTransactions:
    """A worker's transactions; see `Transactions`.

    Args:
        broker: what all workers share.
        link: the way there.
    """

    def __init__(self, broker: Broker, link: Link) -> None:
        self.sender = f"sender-{next(_numbers)}"
        self._broker = broker
        self._link = link
        self._epoch = 0

    async def open(self) -> None:
        """See `Transactions`."""
        if not self._epoch:
            await self._link.pause()
            epoch = self._begin(self.sender)
            await self._link.pause()
            self._epoch = epoch

    async def send(self, records: Sequence[OutRecord], tokens: Mapping[int, str]) -> None:
        """See `Transactions`."""
        assert self._epoch, "not opened"
        try:
            await self._send(records, tokens)
        except DeliveryError:
            self._epoch = 0
            raise

    async def sent(self, numbers: Collection[int], *, settled: bool) -> dict[int, str]:
        """See `Transactions`."""
        await self._link.pause()
        over_s = _now_s() + PATIENCE_S
        while settled and any(begun.tokens.keys() & set(numbers) for begun in self._open().values()):
            if _now_s() > over_s:
                raise TransientError("transactions stay open")
            await asyncio.sleep(0.5)
        tokens = {number: token for number, token in self._broker.tokens.items() if number in numbers}
        await self._link.pause()
        return tokens

    async def fence(self, senders: Collection[str]) -> None:
        """See `Transactions`."""
        for sender in sorted(senders):
            await self._link.pause()
            self._begin(sender)
            await self._link.pause()

    def _begin(self, sender: str) -> int:
        """Abort what the sender has begun, and shut out who has sent by its name."""
        self._broker.begun.pop(sender, None)
        self._broker.epochs[sender] += 1
        return self._broker.epochs[sender]

    def _open(self) -> dict[str, Begun]:
        """Return what is open, once the broker has given up what is too old."""
        broker = self._broker
        for sender, begun in list(broker.begun.items()):
            if _now_s() - begun.since_s > TIMEOUT_S:
                self._begin(sender)
        found: dict[str, Begun] = broker.begun
        return found

    async def _send(self, records: Sequence[OutRecord], tokens: Mapping[int, str]) -> None:
        broker, everything = self._broker, tuple(range(len(records)))
        broker.sending.set()
        broker.sending.clear()
        await self._link.pause()
        self._require()
        begun = broker.begun[self.sender] = Begun(_now_s())
        if (number := broker.refuse(records)) is not None:
            raise DeliveryError("too large", everything, (number,))
        begun.records += records
        await self._link.pause()
        self._require()
        begun.tokens.update(tokens)
        await self._link.pause()
        self._require()
        fails = broker.failures > 0
        broker.failures -= fails
        if not fails or broker.failures % 2:  # it fails before it is committed, or after
            broker.records += begun.records
            broker.tokens |= begun.tokens
            del broker.begun[self.sender]
        if fails:
            raise DeliveryError("no answer", everything, ())
        await self._link.pause()

    def _require(self) -> None:
        """Fail when somebody else has sent by our name since, or the broker gave the transaction up."""
        self._open()
        if self._broker.epochs[self.sender] != self._epoch:
            raise DeliveryError("fenced", (), ())


def _now_s() -> float:
    return asyncio.get_running_loop().time()
