"""A simulated worker: the product's handler between a simulated consumer group and slow servers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.metrics import Metrics
from engine.pipeline.core import Pipeline
from engine.settings import Settings
from engine.streams.batch import Batch
from engine.streams.health import WorkerHealth
from engine.streams.steps.delivery import Producers
from engine.streams.steps.finishing import Effects
from engine.streams.steps.handler import Handler
from engine.streams.store.contract import PartitionWrite
from engine.streams.store.memory import MemoryServer
from engine.streams.wire.codec import Decoder
from tests.simulation.reader import Place, SlowReader
from tests.simulation.servers import Broker, Link, SlowProducer, SlowStore
from tests.simulation.transactions import SlowTransactions
from tests.streams.replay import Log

IDLE_S = 1.0  # between two looks at a step that is being made durable


@dataclass(frozen=True, slots=True)
class Decided:
    """A write to a partition, and under what it was decided.

    Args:
        write: the write.
        now_ms: the worker's clock.
        reached_ms: up to here deadlines were judged.
        met_from_ms: from here on they are of customers met for the first time; 0 = from now on.
        published: whether with the rules that are published in the middle.
    """

    write: PartitionWrite
    now_ms: int
    reached_ms: int
    met_from_ms: int
    published: bool


@dataclass(slots=True)
class Order:
    """What the group tells a worker between two batches."""

    places: frozenset[Place]
    take: bool
    lost: bool
    done: asyncio.Future[None]


class Worker:
    """One worker.

    Args:
        settings: of the deployment.
        pipeline: nobody else's while this worker lives.
        server: the store.
        broker: takes what is sent.
        log: the event topics.
        appended_ms: when each record came.
        hidden: the places that cannot be read just now.
        rng: sizes of batches, how long calls take.
        now_ms: the clock; it stands still while a batch is worked on.
        on_commit: told of each write that was carried out.
        ahead_from: from so many records in a batch on the next one is decided meanwhile.

    Attributes:
        skew_ms: how far its clock is wrong.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        server: MemoryServer,
        broker: Broker,
        *,
        log: Log,
        appended_ms: Mapping[Place, Sequence[int]],
        hidden: set[Place],
        rng: random.Random,
        now_ms: Callable[[], int],
        on_commit: Callable[[Decided], None],
        ahead_from: int,
    ) -> None:
        self.pipeline = pipeline
        self.link = Link(rng, rng.choice((0.001, 0.05, 0.5)))
        self.reader = SlowReader(hidden, appended_ms)
        self.poked = asyncio.Event()
        self.metrics = Metrics()
        self.reclaimed = 0
        self.skew_ms = 0
        self._next_rules: Pipeline | None = None
        self._published = False
        self._decided: dict[int, Decided] = {}
        self._log = log
        self._rng = rng
        self._most = rng.choice((2, 5, 12))
        self._orders: list[Order] = []
        self._now_ms = now_ms
        self._batch_ms = 0

        def noted(write: PartitionWrite) -> None:
            if (decided := self._decided.get(id(write))) is not None:  # none decided those of the relay
                on_commit(decided)

        store = SlowStore(server, self.link, noted)
        producer: Any = SlowProducer(broker, self.link)
        health = WorkerHealth(asyncio.get_running_loop().time)
        producers, decode = Producers(producer, producer), Decoder(settings.clock).decode
        self.handler = Handler(
            settings, pipeline, store, producers, decode, self.metrics, health, self.now_ms
        )
        self.handler.finishing.relay_with(SlowTransactions(broker, self.link), settings)
        self.handler.attach(lambda: self.reader)
        self.handler.ahead_from = ahead_from
        self.handler.before_batch = self._switch
        self._listen()
        self.task = asyncio.create_task(self._run())

    @property
    def stopped(self) -> bool:
        """Whether it stands still, as after SIGSTOP."""
        return not self.link.running.is_set()

    @property
    def alive(self) -> bool:
        """Whether it has neither been killed nor failed."""
        return not self.task.done()

    @property
    def finishing(self) -> bool:
        """Whether a step is being made durable."""
        task = self.handler.finishing.task
        return task is not None and not task.done()

    @property
    def sending(self) -> bool:
        """Whether it is between making actions durable and having sent them, in transactions."""
        relay = self.handler.finishing.relay
        return relay is not None and relay.at_work

    def now_ms(self) -> int:
        """The worker's clock."""
        return self._batch_ms or self._now_ms() + self.skew_ms

    def tell(self, places: frozenset[Place], *, take: bool, lost: bool = False) -> asyncio.Future[None]:
        """Tell the worker to take partitions or to let them go, between two batches."""
        order = Order(places, take, lost, asyncio.get_running_loop().create_future())
        self._orders.append(order)
        self.poked.set()
        return order.done

    async def kill(self) -> None:
        """End it with whatever it has in hand."""
        tasks = {self.task} | ({self.handler.finishing.task} if self.handler.finishing.task else set())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for order in self._orders:
            order.done.cancel()

    def publish(self, rules: Pipeline) -> None:
        """Have published rules ready; they are taken before the next batch."""
        self._next_rules = rules

    def _switch(self) -> None:
        """Go on with the rules that were published, as `RuleSwitch` does."""
        if self._next_rules is not None:
            self.pipeline.switch(self._next_rules)
            self._next_rules, self._published = None, True

    def _listen(self) -> None:
        """Note under what each write is decided, and what is taken up again."""
        finishing, holdings = self.handler.finishing, self.handler.holdings
        begin, reclaim = finishing.begin, holdings.reclaim

        def noted(step: Any, outcome: Any, states: Any, effects: Effects) -> None:
            now_ms = self.now_ms()
            self._decided.clear()
            for write in effects.writes:
                owned = holdings.owned[write.partition]
                reached_ms = min(now_ms, owned.reached_ms)
                decided = Decided(write, now_ms, reached_ms, owned.met_from_ms, self._published)
                self._decided[id(write)] = decided
            begin(step, outcome, states, effects)

        async def counted() -> None:
            fenced = set(holdings._fenced_at_s)
            await reclaim()
            self.reclaimed += len(fenced - holdings._fenced_at_s.keys())

        finishing.begin = noted  # type: ignore[method-assign]
        holdings.reclaim = counted  # type: ignore[method-assign]

    async def _run(self) -> None:
        while True:
            await self.link.running.wait()
            await self._obey()
            self.poked.clear()
            polled = self.reader.take(self._rng, self._most)
            wakeup_s = self.handler.next_wakeup_s()
            if not (polled or self.reader.news) and (wakeup_s is None or wakeup_s > 0):
                await self._idle(wakeup_s)
                continue
            self._batch_ms = self.now_ms()
            finished = asyncio.get_running_loop().create_future()
            records: list[Any] = list(polled)
            behind_ms = self.reader.behind_ms(self._now_ms())
            await self.handler.handle(Batch(records, 0, 1, finished, behind_ms))
            self._batch_ms = 0
            await self.link.pause()

    async def _idle(self, wakeup_s: float | None) -> None:
        """Wait for a record, an order of the group, or the next timer."""
        if self.finishing:
            wakeup_s = min(wakeup_s or IDLE_S, IDLE_S)
        try:
            async with asyncio.timeout(wakeup_s):
                await self.poked.wait()
        except TimeoutError:
            pass

    async def _obey(self) -> None:
        """Take what the group gives, let go what it takes away."""
        while self._orders:
            order = self._orders[0]
            if order.take:
                starts = await self.handler.on_assigned(order.places)
                self.reader.at.update({place: starts.get(place, 0) for place in order.places})
                self.reader.log.update({place: self._log[place] for place in order.places})
                self.reader.begin({number for _, number in order.places})
            else:
                await self.handler.on_revoked(order.places, lost=order.lost)
                for place in order.places:
                    self.reader.log.pop(place, None)
            self._orders.pop(0)
            if not order.done.done():
                order.done.set_result(None)
