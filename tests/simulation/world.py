"""One simulated deployment: a log, a store, a broker, a group of workers, and faults; all from one seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine import metrics as table
from engine.events import DeadLetterReason
from engine.pipeline.core import Pipeline
from engine.settings import Settings
from engine.streams.store.memory import MemoryServer
from engine.streams.transactions.outbox import OUTBOX_FIELD, Outbox
from engine.streams.wire.watermark import END_OF_STREAM_MS, WATERMARK_HEADER
from tests.simulation.faults import LOST_S, Faults
from tests.simulation.history import DRAIN_MS, HOUR_MS, PARTITIONS, SPAN_MS, START_MS, Arrival, append
from tests.simulation.plan import REPLAY_S, Plan, settings_of
from tests.simulation.reader import Place
from tests.simulation.rules import new_pipeline, rules_of
from tests.simulation.servers import Broker
from tests.simulation.virtual import Stuck
from tests.simulation.worker import Decided, Worker
from tests.streams.replay import Log, MemoryRecord

LONGEST_S = 3600.0  # from the last fault to the end
MARKED = 0.12  # of the records of the replay clock, followed by watermarks
# what the engine counts of itself, and what it is called in the table at the end of a run
COUNTED = {
    table.FENCED: "seen: fenced",
    table.ROLLED_BACK: "seen: rolled back",
    table.DUPLICATES: "seen: repeats dropped",
    table.HANDLER_ERRORS: "seen: batches with a rule that raises",
    table.TIMERS: "seen: timers",
    table.ERASURES: "seen: erasures",
    table.LATE_EVENTS: "seen: late events",
    table.OUTBOXES: "seen: outboxes sent for others",
}
BY_LABEL = {
    table.DEAD_LETTERS: ("reason", "dead letter"),
    table.RETRIES: ("step", "tried again"),
    table.SUPPRESSED: ("guard", "suppressed"),
    table.DEFERRED: ("guard", "deferred"),
}


@dataclass(frozen=True, slots=True)
class Commit:
    """A write to a partition that was carried out.

    Args:
        sequence: of the partition, after it.
        now_ms: the clock of the worker that decided it.
        reached_ms: up to here it judged deadlines; on the live clock, as the next.
        met_from_ms: from here on it judged those of customers met for the first time; 0 = from then on.
        published: whether it was decided with the rules that are published in the middle.
        ids: keys of its new events, in order.
        touched: customers whose state it changed.
        offsets: next offset of each topic it read.
    """

    sequence: int
    now_ms: int
    reached_ms: int
    met_from_ms: int
    published: bool
    ids: list[int]
    touched: list[str]
    offsets: dict[str, int]


@dataclass(slots=True)
class Result:
    """What came of a seed.

    Args:
        plan: the seed.
        settings: of the deployment.
        log: the event topics.
        came: what each of their records is; None for a watermark.
        appended_ms: when each of them came.
        server: the store.
        broker: what reached it, in order.
        commits: of each partition, those the store still knows of.
        happened: how often each fault did happen, and what the engine counted of it.
        now_ms: the end.
    """

    plan: Plan
    settings: Settings
    log: Log
    came: dict[Place, list[Arrival | None]]
    appended_ms: dict[Place, list[int]]
    server: MemoryServer
    broker: Broker
    commits: dict[int, list[Commit]]
    happened: Counter[str]
    now_ms: int


class World:
    """Runs one plan.

    Args:
        plan: what is to happen.
        pipelines: ready to be used; more are made when needed.

    Attributes:
        server: the store.
        broker: takes what is sent.
        hidden: what cannot be read just now.
        happened: how often each fault did happen.
        owners: whom the group has given each partition.
        workers: those that live.
        committed: set at each commit.
        published: whether rules were published.
    """

    def __init__(self, plan: Plan, pipelines: list[Pipeline]) -> None:
        self._plan = plan
        self._rng = random.Random(plan.seed + 1_000_003)
        self._pipelines = pipelines
        self._settings = settings_of(
            replay=plan.replay,
            cached=plan.cached,
            remembered=plan.remembered,
            transactions=plan.transactions,
        )
        self._topics = tuple(self._settings.event_topics().values())
        self._log: Log = {(topic, number): [] for topic in self._topics for number in range(PARTITIONS)}
        self._came: dict[Place, list[Arrival | None]] = {place: [] for place in self._log}
        self._appended_ms: dict[Place, list[int]] = {place: [] for place in self._log}
        self._commits: dict[int, list[Commit]] = {number: [] for number in range(PARTITIONS)}
        self._dumps: list[tuple[float, Any]] = []
        self._keeps_dumps = any(kind == "roll back" for _, kind in plan.faults)
        self.server = MemoryServer(now_us=lambda: self._now_ms() * 1000)
        self.broker = Broker(self._rng)
        self.hidden: set[Place] = set()
        self.happened = Counter[str]()
        self.owners: dict[int, Worker] = {}
        self.workers: list[Worker] = []
        self.committed = asyncio.Event()
        self.published = False

    async def run(self) -> Result:
        """Run it to its end."""
        for _ in range(self._plan.workers):
            self.join()
        self.share_out()
        feeding, faults, begun = asyncio.create_task(self._feed()), Faults(self, self._rng), []
        for at_s, kind in self._plan.faults:
            await self._until(at_s)
            begun.append(asyncio.create_task(faults.act(kind)))
        await feeding
        for task in begun:
            await task
        await self._finish()
        for worker in list(self.workers):
            await worker.handler.settle()
            await self.end(worker)
        return Result(
            self._plan,
            self._settings,
            self._log,
            self._came,
            self._appended_ms,
            self.server,
            self.broker,
            self._commits,
            self.happened,
            self._now_ms(),
        )

    # ---- time and records -------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return START_MS + int(asyncio.get_running_loop().time() * 1000)

    async def _until(self, at_s: float) -> None:
        await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))

    async def _feed(self) -> None:
        """Let the records come, and on the replay clock now and then watermarks."""
        arrivals, rng = self._plan.arrivals, self._rng
        for number, arrival in enumerate(arrivals):
            at_s = arrival.at_ms / 1000
            if self._plan.replay:
                at_s = REPLAY_S * number / len(arrivals)
            await self._until(at_s)
            self._note(append(self._log, arrival), arrival)
            if self._plan.replay and rng.random() < MARKED:
                self._mark(arrival.at_ms + START_MS - rng.choice((0, rng.randrange(HOUR_MS))))
            self.poke()

    def _mark(self, at_ms: int) -> None:
        """Append a watermark to every topic of every partition."""
        for place, records in self._log.items():
            mark = [(WATERMARK_HEADER, str(at_ms).encode())]
            records.append(MemoryRecord((*place, len(records)), (None, b""), mark))
            self._note(place, None)

    def _note(self, place: Place, arrival: Arrival | None) -> None:
        """Note what a record is that has been appended."""
        self._came[place].append(arrival)
        self._appended_ms[place].append(self._now_ms())

    def poke(self) -> None:
        """Let every worker look for records."""
        for worker in self.workers:
            worker.poked.set()

    # ---- the group --------------------------------------------------------------------------------------

    def join(self) -> None:
        """Let a worker join."""
        pipeline = self._pipelines.pop() if self._pipelines else new_pipeline(self._settings)
        worker = Worker(
            self._settings,
            pipeline,
            self.server,
            self.broker,
            log=self._log,
            appended_ms=self._appended_ms,
            hidden=self.hidden,
            rng=random.Random(self._rng.random()),
            now_ms=self._now_ms,
            on_commit=self._committed,
            ahead_from=self._plan.ahead_from,
        )
        if self.published:
            worker.publish(rules_of(settings_of(replay=False, published=True)))
        self.workers.append(worker)

    async def end(self, worker: Worker) -> None:
        """Kill a worker."""
        if not worker.alive:
            worker.task.result()  # what it failed with
        await worker.kill()
        self.workers.remove(worker)
        worker.pipeline.switch(rules_of(self._settings))
        self._pipelines.append(worker.pipeline)
        metrics = worker.metrics
        self.happened.update({name: int(metrics.value(metric)) for metric, name in COUNTED.items()})
        for metric, (label, name) in BY_LABEL.items():
            found = metrics.by_label(metric, label)
            self.happened.update({f"{name}: {value}": int(count) for value, count in found.items()})
        self.happened["seen: taken up again"] += worker.reclaimed

    def running(self) -> list[Worker]:
        """Return the workers that are not stopped."""
        return [worker for worker in self.workers if not worker.stopped]

    def share_out(self) -> None:
        """Give partitions that nobody has to somebody."""
        for number in range(PARTITIONS):
            if self.owners.get(number) not in self.workers and (running := self.running()):
                self.owners[number] = self._rng.choice(running)
                self.owners[number].tell(self.places(number), take=True)

    def places(self, number: int) -> frozenset[Place]:
        """Return all topics of a partition."""
        return frozenset((topic, number) for topic in self._topics)

    async def done(self, order: asyncio.Future[None], worker: Worker) -> None:
        """Wait until a worker has done what it was told, or has ended."""
        both: list[asyncio.Future[None]] = [order, worker.task]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)

    # ---- the store --------------------------------------------------------------------------------------

    def _committed(self, decided: Decided) -> None:
        """Note a write to a partition that was carried out."""
        write = decided.write
        self._commits[write.partition].append(
            Commit(
                self.server.partition(write.partition).sequence,
                decided.now_ms,
                decided.reached_ms,
                decided.met_from_ms,
                decided.published,
                np.frombuffer(write.ids, "<u8").tolist(),
                [name.decode() for name in write.states],
                dict(write.offsets),
            )
        )
        if self._keeps_dumps:
            now_s = asyncio.get_running_loop().time()
            self._dumps = [each for each in self._dumps if each[0] >= now_s - LOST_S][-20:]
            self._dumps.append((now_s, self.server.dump()))
            self.committed.set()

    def roll_back(self, rng: random.Random) -> bool:
        """Let the store go back by a second at most; False when it has written nothing since.

        Args:
            rng: draws how far.
        """
        now_s = asyncio.get_running_loop().time()
        dumps = [dump for at_s, dump in self._dumps if at_s >= now_s - LOST_S]
        if not dumps:
            return False
        self.server.restore(rng.choice(dumps))
        self._dumps = []
        for number, commits in self._commits.items():
            sequence = self.server.partition(number).sequence
            self._commits[number] = [each for each in commits if each.sequence <= sequence]
        return True

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
            last = Arrival(0, place[0], b"c", b"{", None, DeadLetterReason.NOT_DECODABLE)
            records.append(MemoryRecord((*place, len(records)), (last.key, last.value)))
            self._note(place, last)
        await self._rest()
        await asyncio.sleep(DRAIN_MS / 1000)
        await self._rest()

    async def _rest(self) -> None:
        self.poke()
        until_s = asyncio.get_running_loop().time() + LONGEST_S
        while self._left() or self._unsent() or any(worker.finishing for worker in self.workers):
            if asyncio.get_running_loop().time() > until_s:
                raise Stuck(f"not done an hour after the last fault: {self._left()}, {self._unsent()}")
            await asyncio.sleep(1.0)
            for worker in self.workers:
                if not worker.alive:
                    worker.task.result()

    def _unsent(self) -> list[int]:
        """Return the partitions that have actions which wait for their transaction."""
        stored = {number: self.server.partition(number).fields for number in range(PARTITIONS)}
        return [
            number
            for number, fields in stored.items()
            if (data := fields.get(OUTBOX_FIELD))
            and Outbox.from_bytes(data).token != self.broker.tokens.get(number)
        ]

    def _left(self) -> dict[Place, int]:
        """Return how many records of each partition the store does not know of."""
        stored = {number: self.server.partition(number).offsets for number in range(PARTITIONS)}
        return {
            (topic, number): left
            for (topic, number), records in self._log.items()
            if (left := len(records) - stored[number].get(topic, 0))
        }
