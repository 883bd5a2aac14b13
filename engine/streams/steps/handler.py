"""Handles a batch: decode, load, decide, produce, persist, done.

Each step in a batch makes one read, one produce and one write, in that order. What is decided is decided in
the pure core. Under load a step's produce and write go on while the next step is decided: never more than one
step ahead, and no step's effects leave before those of the step before are durable. What was decided ahead on
a partition that turns out to be another worker's is thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog
from confluent_kafka import Message

from engine.events import Family
from engine.metrics import Metrics
from engine.pipeline.core import Pipeline
from engine.settings import Settings
from engine.streams.batch import Batch
from engine.streams.health import WorkerHealth
from engine.streams.kafka import TopicPartition
from engine.streams.steps import due
from engine.streams.steps.arming import Arming
from engine.streams.steps.deciding import Deciding
from engine.streams.steps.delivery import Delivery, Producers
from engine.streams.steps.due import UNBOUNDED
from engine.streams.steps.finishing import Finishing
from engine.streams.steps.holdings import Consumer, Holdings
from engine.streams.steps.intake import Intake, Step
from engine.streams.steps.partitions import ARMED_FIELD
from engine.streams.steps.sink import Sink
from engine.streams.steps.tally import Tally
from engine.streams.store.contract import PartitionWrite, Store
from engine.streams.wire.codec import Decode

log = structlog.get_logger(__name__)

# From so many records in a batch on the next one is worked on while this one's effects become durable. With
# fewer, waiting costs little, and lets the next batch grow.
AHEAD_FROM = 200
DECODE_AT_ONCE = 250


class Handler:
    """Owner of partitions, state and offsets; handles one batch at a time.

    Args:
        settings: all settings; `topics.partitions` is what the event topics have.
        pipeline: the pure core.
        store: customer state.
        producers: the ways to Kafka.
        decode: the codec's decoder.
        metrics: counted once per step.
        health: told what works and what does not.
        now_ms: the wall clock.

    Attributes:
        pipeline: the pure core.
        intake: what has been read and not worked on yet.
        holdings: the owned partitions.
        finishing: the step that is being made durable.
        before_batch: called before each batch.
        arming: gives rows to customers whose timers new rules ask for; None = it is not done.
        ahead_from: from so many records in a batch on the next one is decided meanwhile.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        store: Store,
        producers: Producers,
        decode: Decode,
        metrics: Metrics,
        health: WorkerHealth,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.pipeline = pipeline
        self._settings = settings
        self._store = store
        self._health = health
        self._now_ms = now_ms
        self._replay = settings.clock == "replay"
        families = {topic: Family(family) for family, topic in settings.event_topics().items()}
        self.intake = Intake(
            families, decode, replay=self._replay, ids_remembered=max(1, settings.ids.remembered)
        )
        self._tally = Tally(metrics)
        self.holdings = Holdings(
            store,
            self.intake,
            self._tally,
            health,
            families,
            settings.topics.partitions,
            live=not self._replay,
        )
        sink = Sink(settings)
        delivery = Delivery(producers, sink, self.holdings, self._tally)
        clock = None if self._replay else now_ms
        self.finishing = Finishing(
            store, delivery, self.holdings, self._tally, health, lambda: self._at_work, clock
        )
        self._deciding = Deciding(
            settings, pipeline, store, self.intake, self.holdings, self.finishing, sink, self._tally
        )
        self._due = self._deciding.due
        self.before_batch: Callable[[], None] = lambda: None
        self.arming: Arming | None = None
        self.ahead_from = AHEAD_FROM
        self._at_work = False

    def attach(self, consumer: Callable[[], Consumer]) -> None:
        """Tell which consumer to pause and seek; asked for at each use, for it exists only once started."""
        self.holdings.consumer = consumer

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Take partitions over and tell where to start."""
        await self.finishing.quiet()
        return await self.holdings.assigned(partitions)

    async def on_revoked(self, partitions: frozenset[TopicPartition], *, lost: bool) -> None:
        """Let partitions go, once what was decided on them is durable."""
        await self.finishing.quiet()
        self.holdings.revoked(partitions, lost=lost)

    @property
    def at_work(self) -> bool:
        """Whether a batch is being worked on; in between, rules and model may change."""
        return self._at_work

    def settled(self) -> bool:
        """Whether all that was handed out is durable."""
        held = any(self.intake.held().values())
        return not (self._at_work or held or self.finishing.unfinished())

    def forget_deadlines(self) -> None:
        """Let states in memory forget when their journeys are due: the rules say it anew."""
        for owned in self.holdings.owned.values():
            for state in owned.states.values():
                state.journey_due_ms = -1

    def next_wakeup_s(self) -> float | None:
        """Time to what is to be done without an event: a timer, except on the replay clock; a reclaim."""
        if self.finishing.went_wrong():
            return 0.0
        again_s = self.holdings.reclaim_in_s()
        if self._replay:
            return again_s
        owned = self.holdings.owned.values()
        soonest_ms = min((due for each in owned if (due := each.wakeup_ms()) is not None), default=None)
        if self.arming is not None and self.arming.ready and owned:
            soonest_ms = min(soonest_ms or 2**62, self.arming.due_ms())
        due_s = None if soonest_ms is None else max(0.0, (soonest_ms - self._now_ms()) / 1000)
        return min((each for each in (again_s, due_s) if each is not None), default=None)

    async def handle(self, batch: Batch) -> None:
        """Work a batch off, step by step, and let the next poll happen."""
        started_ns = time.perf_counter_ns()
        self._at_work = True
        self.before_batch()
        self._tally.begin(batch)
        await self._decode(batch.records)
        self._tally.stage("decode", started_ns)
        rows = len(batch.records)
        if self._replay:
            await self._replay_steps()
            await self.holdings.balance(self._settings.batch.max_held_records)
        else:
            rows = max(rows, await self._live_batch(batch))
        if rows < self.ahead_from:
            await self.settle()
        await self.holdings.reclaim()
        if self.finishing.task is None:
            self._health.progressed()
        self._tally.end(len(batch.records))
        self._at_work = False
        batch.done(self.holdings.take_offsets())

    async def _live_batch(self, batch: Batch) -> int:
        """Work on what came; what it says of how far the topics are read holds behind its own records.

        Returns:
            how many rows the last step was.
        """
        owned, now_ms = dict(self.holdings.owned), self._now_ms()
        behind_ms = dict.fromkeys(owned, 0) if batch.behind_ms is None else batch.behind_ms
        for number, partition in owned.items():
            if not self.intake.waiting(number):
                partition.reach(now_ms, behind_ms.get(number))
        rows = await self._live_steps()
        for number, partition in owned.items():  # one taken anew meanwhile is another object
            partition.reach(now_ms, behind_ms.get(number))
        if self.arming is not None:
            await self._arm(self.arming, self._now_ms())
        return rows

    async def _live_steps(self) -> int:
        """Work on what came and on timers that are due; return of how many rows the last step was.

        Where more timers are due than a step takes, the others go with the next batches.
        """
        rows, stepped = 0, False
        while True:
            now_ms = self._now_ms()
            self.holdings.given_up.clear()
            taken = self.intake.step(self._settings.batch.max_records, now_ms)
            if taken is None and stepped:
                return rows
            step, stepped = taken or Step(), True
            until_ms = self._deciding.reached_ms(self._deciding.until_ms(step, now_ms))
            limit = due.TIMERS_BESIDE_EVENTS if step.records else due.TIMERS_ALONE
            timers = await self._due.of(until_ms, limit)
            if not step.records and not timers:
                return rows
            await self._deciding.decide(step, timers, now_ms)
            rows = step.records + len(timers)

    async def _replay_steps(self) -> None:
        """Work on what came, as far as the watermarks allow, and on the timers up to there."""
        while True:
            now_ms = self._now_ms()
            self.holdings.given_up.clear()
            step = self.intake.step(self._settings.batch.max_records, now_ms) or Step()
            worked = await self._timers_before(step, now_ms)
            if step.records or step.clock_ms:
                timers = await self._due.of(dict(step.clock_ms), UNBOUNDED)
                await self._deciding.decide(step, timers, now_ms)
            elif not worked:
                return

    def walk(self) -> Arming:
        """Begin to arm customers; the caller runs what is returned."""
        self.arming = Arming(self._store, self.holdings, lambda: self.pipeline.rules)
        return self.arming

    async def _arm(self, arming: Arming, now_ms: int) -> None:
        """Give some customers a row that sets their timer; note when a whole partition has had it."""
        self.holdings.given_up.clear()
        names = arming.take(now_ms)
        if names:
            until_ms = dict.fromkeys(names.values(), now_ms)
            await self._deciding.decide(Step(), names, now_ms, until_ms, waking=True)
        owned = arming.finished()
        if owned is not None:
            await self.settle()
            if self.holdings.owned.get(owned.number) is owned:
                fields = {ARMED_FIELD: msgspec.json.encode(sorted(owned.armed))}
                refusal = await self.finishing.commit(
                    [PartitionWrite(owned.number, owned.epoch, fields=fields)]
                )
                await self.finishing.settle(*(() if refusal is None else (refusal,)))

    async def settle(self) -> None:
        """Wait until the step before is durable; give up the partitions it was refused.

        Raises:
            EngineError: it can't be made durable at all.
        """
        await self.finishing.settle()

    async def _decode(self, records: Sequence[Message]) -> None:
        """Hand records to the intake, a few at a time: in between, the step before comes further."""
        for first in range(0, len(records), DECODE_AT_ONCE):
            fresh = [records[first : first + DECODE_AT_ONCE]]

            async def add(fresh: list[Sequence[Message]] = fresh) -> None:
                # tried again, the intake goes on with what it was given
                self.intake.add(fresh.pop() if fresh else (), self._now_ms())

            await self.holdings.retrying("decode", add)
            await self.finishing.let_go()

    async def _timers_before(self, step: Step, now_ms: int) -> bool:
        """Work on timers that come before the step's events, so many at a time; True if there were any."""
        worked = False
        until_ms = dict(step.clock_ms)
        for row in reversed(step.events):
            until_ms[row.partition] = row.now_ms
        # where customers compete for room, no timer may be worked on before an earlier one
        limit = UNBOUNDED if self.pipeline.machine.limited else due.TIMERS_REPLAYED
        while True:
            timers = await self._due.of(until_ms, limit)
            if not timers or (step.events and len(timers) < due.TIMERS_REPLAYED):
                return worked
            await self._deciding.decide(Step(), timers, now_ms, until_ms)
            worked = True
