"""One simulated deployment: a log, a store, a broker, a group of workers, and faults; all from one seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.events import Event
from engine.features.state import unpack
from engine.pipeline.core import Pipeline
from engine.settings import Settings
from engine.streams.intake import END_OF_STREAM_MS, WATERMARK_HEADER
from engine.streams.store.contract import PartitionWrite
from engine.streams.store.memory import MemoryServer
from engine.streams.wiring import build_pipeline
from tests.simulation.history import DRAIN_MS, HOUR_MS, PARTITIONS, SPAN_MS, START_MS, append
from tests.simulation.plan import REPLAY_S, Plan, settings_of
from tests.simulation.servers import Broker
from tests.simulation.virtual import Stuck
from tests.simulation.worker import Place, Worker
from tests.streams.replay import Log, MemoryRecord

LONGEST_S = 3600.0  # from the last fault to the end
MARKED = 0.12  # of the records of the replay clock, followed by watermarks
LOST_S = 1.0  # of the store, at most


@dataclass(slots=True)
class Commit:
    """A write to a partition that was carried out.

    Args:
        sequence: of the partition, after it.
        events: its events in order, and the instant each was seen at.
        touched: other customers whose state it changed, and when.
    """

    sequence: int
    events: list[tuple[Event, int]]
    touched: dict[str, int]


@dataclass(slots=True)
class Result:
    """What came of a seed.

    Args:
        plan: the seed.
        settings: of the deployment.
        log: the event topics.
        events: what each of their records holds; None for rubbish and watermarks.
        server: the store.
        broker: what reached it, in order.
        commits: of each partition, those the store still knows of.
        happened: how often each fault did happen.
        now_ms: the end.
    """

    plan: Plan
    settings: Settings
    log: Log
    events: dict[Place, list[Event | None]]
    server: MemoryServer
    broker: Broker
    commits: dict[int, list[Commit]]
    happened: Counter[str] = field(default_factory=Counter)
    now_ms: int = 0


class World:
    """Runs one plan.

    Args:
        plan: what is to happen.
        pipelines: ready to be used; more are made when needed.
    """

    def __init__(self, plan: Plan, pipelines: list[Pipeline]) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed + 1_000_003)
        self._pipelines = pipelines
        self._settings = settings_of(replay=plan.replay, cached=plan.cached)
        self._topics = tuple(self._settings.event_topics().values())
        self._log: Log = {(topic, number): [] for topic in self._topics for number in range(PARTITIONS)}
        self._events: dict[Place, list[Event | None]] = {place: [] for place in self._log}
        self._server = MemoryServer(now_us=lambda: self._now_ms() * 1000)
        self._broker = Broker(self._rng)
        self._commits: dict[int, list[Commit]] = {number: [] for number in range(PARTITIONS)}
        self._happened = Counter[str]()
        self._owners: dict[int, Worker] = {}
        self._workers: list[Worker] = []
        self._dumps: list[tuple[float, Any]] = []
        self._keeps_dumps = any(kind == "roll back" for _, kind in plan.faults)
        self._begun: list[asyncio.Task[None]] = []

    async def run(self) -> Result:
        """Run it to its end."""
        for _ in range(self._plan.workers):
            self._join()
        self._share_out()
        feeding = asyncio.create_task(self._feed())
        for at_s, kind in self._plan.faults:
            await self._until(at_s)
            self._begin(self._fault(kind))
        await feeding
        for task in self._begun:
            await task
        await self._finish()
        for worker in list(self._workers):
            await worker.handler.settle()
            await self._end(worker)
        return Result(
            self._plan,
            self._settings,
            self._log,
            self._events,
            self._server,
            self._broker,
            self._commits,
            self._happened,
            self._now_ms(),
        )

    # ---- time and records -------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return START_MS + int(asyncio.get_running_loop().time() * 1000)

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._begun.append(asyncio.create_task(work))

    async def _feed(self) -> None:
        """Let the records come, and on the replay clock now and then watermarks."""
        arrivals, rng = self._plan.arrivals, self._rng
        for number, arrival in enumerate(arrivals):
            at_s = arrival.at_ms / 1000
            if self._plan.replay:
                at_s = REPLAY_S * number / len(arrivals)
            await self._until(at_s)
            self._events[append(self._log, arrival)].append(arrival.event)
            if self._plan.replay and rng.random() < MARKED:
                self._mark(arrival.at_ms + START_MS - rng.choice((0, rng.randrange(HOUR_MS))))
            self._poke()

    def _mark(self, at_ms: int) -> None:
        """Append a watermark to every topic of every partition."""
        for place, records in self._log.items():
            mark = [(WATERMARK_HEADER, str(at_ms).encode())]
            records.append(MemoryRecord((*place, len(records)), (None, b""), mark))
            self._events[place].append(None)

    def _poke(self) -> None:
        for worker in self._workers:
            worker.poked.set()

    # ---- the group --------------------------------------------------------------------------------------

    def _join(self) -> Worker:
        pipeline = self._pipelines.pop() if self._pipelines else build_pipeline(self._settings)
        worker = Worker(
            self._settings,
            pipeline,
            self._server,
            self._broker,
            log=self._log,
            rng=random.Random(self._rng.random()),
            now_ms=self._now_ms,
            on_commit=self._committed,
            ahead_from=self._plan.ahead_from,
        )
        self._workers.append(worker)
        return worker

    async def _end(self, worker: Worker) -> None:
        if not worker.alive:
            worker.task.result()  # what it failed with
        await worker.kill()
        self._workers.remove(worker)
        self._pipelines.append(worker.pipeline)

    def _running(self) -> list[Worker]:
        return [worker for worker in self._workers if not worker.stopped]

    def _share_out(self) -> None:
        """Give partitions that nobody has to somebody."""
        for number in range(PARTITIONS):
            owner = self._owners.get(number)
            if owner not in self._workers and (running := self._running()):
                self._give(number, self._rng.choice(running))

    def _give(self, number: int, worker: Worker) -> None:
        self._owners[number] = worker
        worker.tell(self._places(number), take=True)

    def _places(self, number: int) -> frozenset[Place]:
        return frozenset((topic, number) for topic in self._topics)

    async def _rebalance(self) -> None:
        """Move a partition, as when a worker comes or goes."""
        self._happened["move"] += 1
        await self._move(self._rng.randrange(PARTITIONS))

    async def _move(self, number: int) -> None:
        """Take a partition from a worker and give it to one, be it the same."""
        before, running = self._owners.get(number), self._running()
        if before is None or before not in running:
            return
        after = self._rng.choice(running)
        self._owners[number] = after  # nobody else may give it away meanwhile
        gone = before.tell(self._places(number), take=False)
        await self._done(gone, before)
        if after in self._workers and self._owners.get(number) is after:
            after.tell(self._places(number), take=True)

    async def _done(self, order: asyncio.Future[None], worker: Worker) -> None:
        """Wait until a worker has done what it was told, or has ended."""
        both: list[asyncio.Future[None]] = [order, worker.task]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)

    def _committed(self, worker: Worker, write: PartitionWrite, before: Mapping[str, int]) -> None:
        """Note a write to a partition that was carried out."""
        number, found = write.partition, []
        for topic, end in write.offsets.items():
            for offset in range(before.get(topic, 0), end):
                event = self._events[topic, number][offset]
                if event is not None:
                    found.append((*worker.delivered[topic, number, offset], event))
        events = [(event, now_ms) for _, now_ms, event in sorted(found, key=lambda each: each[0])]
        touched = {}
        for key, data in write.states.items():
            if data is not None:
                name = key.decode()
                touched[name] = unpack(name, data).clock_ms
        self._commits[number].append(Commit(self._server.partition(number).sequence, events, touched))
        if self._keeps_dumps:
            now_s = asyncio.get_running_loop().time()
            self._dumps = [each for each in self._dumps if each[0] >= now_s - LOST_S][-20:]
            self._dumps.append((now_s, self._server.dump()))

    # ---- faults -----------------------------------------------------------------------------------------

    async def _fault(self, kind: str) -> None:
        act: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "kill": self._kill,
            "move": self._rebalance,
            "stop": self._stop,
            "roll back": self._roll_back,
            "redis away": self._redis_away,
            "reply lost": self._lose_reply,
            "commit cut": self._cut_commit,
            "kafka fails": self._kafka_fails,
        }
        await act[kind]()

    async def _kill(self) -> None:
        """Kill a worker; the group notices, and after a while there is another one."""
        if not self._workers:
            return
        worker = self._rng.choice(self._workers)
        self._happened["kill"] += 1
        await self._end(worker)
        await asyncio.sleep(self._rng.choice((0.0, 0.1, 3.0, 600.0)))
        self._join()
        self._share_out()

    async def _stop(self) -> None:
        """Stop a worker for longer than the group waits; it wakes in the middle of what it did."""
        running = self._running()
        if len(running) < 2:
            return
        worker = self._rng.choice(running)
        self._happened["stop"] += 1
        worker.link.running.clear()
        await asyncio.sleep(self._rng.random())
        lost = [number for number, owner in self._owners.items() if owner is worker]
        told = [worker.tell(self._places(number), take=False, lost=True) for number in lost]
        for number in lost:
            del self._owners[number]
        self._share_out()
        await asyncio.sleep(self._rng.choice((0.0, 0.05, 1.0, 900.0)))
        worker.link.running.set()
        for order in told:
            await self._done(order, worker)
        self._share_out()

    async def _roll_back(self) -> None:
        """Let the store lose up to a second of its writes."""
        now_s = asyncio.get_running_loop().time()
        dumps = [dump for at_s, dump in self._dumps if at_s >= now_s - LOST_S]
        if not dumps:
            return
        self._happened["roll back"] += 1
        self._server.restore(self._rng.choice(dumps))
        self._dumps = []
        for number, commits in self._commits.items():
            sequence = self._server.partition(number).sequence
            self._commits[number] = [each for each in commits if each.sequence <= sequence]

    async def _redis_away(self) -> None:
        self._happened["redis away"] += 1
        self._server.down = True
        await asyncio.sleep(self._rng.choice((0.01, 0.5, 5.0)))
        self._server.down = False

    async def _lose_reply(self) -> None:
        self._happened["reply lost"] += 1
        self._server.lose_reply = True

    async def _cut_commit(self) -> None:
        self._happened["commit cut"] += 1
        self._server.cut_after = self._rng.choice((0, 1, 1, 2))

    async def _kafka_fails(self) -> None:
        self._happened["kafka fails"] += 1
        self._broker.failures += self._rng.randint(1, 4)

    # ---- the end ----------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """Let everything come to rest: all read, all timers over, all of it durable."""
        if self._plan.replay:
            self._mark(START_MS + SPAN_MS + DRAIN_MS)
            self._mark(END_OF_STREAM_MS)
            await self._rest()
            return
        # a store that went back in time is noticed at the next record
        for place, records in self._log.items():
            records.append(MemoryRecord((*place, len(records)), (b"c", b"{")))
            self._events[place].append(None)
        await self._rest()
        await asyncio.sleep(DRAIN_MS / 1000)
        await self._rest()

    async def _rest(self) -> None:
        self._poke()
        until_s = asyncio.get_running_loop().time() + LONGEST_S
        while self._left() or any(worker.finishing for worker in self._workers):
            if asyncio.get_running_loop().time() > until_s:
                raise Stuck(f"not done an hour after the last fault: {self._left()}")
            await asyncio.sleep(1.0)
            for worker in self._workers:
                if not worker.alive:
                    worker.task.result()

    def _left(self) -> dict[Place, int]:
        """Return how many records of each partition the store does not know of."""
        stored = {number: self._server.partition(number).offsets for number in range(PARTITIONS)}
        return {
            (topic, number): left
            for (topic, number), records in self._log.items()
            if (left := len(records) - stored[number].get(topic, 0))
        }
