"""Handles a batch: decode, load, decide, produce, persist, done.

Each step in a batch makes one read, one produce and one write, in that order; the batch is done when all of
its effects are durable. What is decided is decided in the pure core.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Mapping

import structlog

from engine.errors import EngineError
from engine.events import DeadLetterReason, Family
from engine.features.state import CustomerState, unpack
from engine.metrics import Metrics
from engine.pipeline.core import Outcome, Pipeline, Work
from engine.settings import Settings
from engine.streams.batch import Batch
from engine.streams.health import WorkerHealth
from engine.streams.holdings import Consumer, Holdings
from engine.streams.intake import DeadRecord, Decode, Intake, Step
from engine.streams.kafka import TopicPartition
from engine.streams.partitions import OwnedPartition
from engine.streams.producer import ActionProducer, DeliveryError, OutRecord
from engine.streams.sink import Sink
from engine.streams.store import PartitionFenced, PartitionWrite, StateRolledBack, Store
from engine.streams.tally import Tally
from engine.streams.writes import lay_out

log = structlog.get_logger(__name__)

MAX_TIMERS = 5_000  # taken into one step
REPLAY_HORIZON_MS = 7 * 86_400_000
_UNBOUNDED = 2**31  # the replay clock bounds a step's timers by its span of time instead


class _Refused(EngineError):  # noqa: N818 - what happened to them
    """Records that Kafka will never take.

    Args:
        why: Kafka's reason.
        numbers: their positions in what was sent.
    """

    def __init__(self, why: str, numbers: frozenset[int]) -> None:
        super().__init__(why)
        self.numbers = numbers


class Handler:
    """Owner of partitions, state and offsets; handles one batch at a time.

    Args:
        settings: all settings.
        pipeline: the pure core.
        store: customer state.
        producer: the way to Kafka.
        decode: the codec's decoder.
        metrics: counted once per step.
        health: told what works and what does not.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        store: Store,
        producer: ActionProducer,
        decode: Decode,
        metrics: Metrics,
        health: WorkerHealth,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.pipeline = pipeline
        self._settings = settings
        self._store = store
        self._producer = producer
        self._health = health
        self._now_ms = now_ms
        self._replay = settings.clock == "replay"
        families = {topic: Family(family) for family, topic in settings.event_topics().items()}
        self._intake = Intake(
            families, decode, replay=self._replay, ids_remembered=max(1, settings.ids.remembered)
        )
        self._sink = Sink(settings)
        self._tally = Tally(metrics)
        self._holdings = Holdings(store, self._intake, self._tally, health, families)
        self.before_batch: Callable[[], None] = lambda: None

    # ---- what the transport asks -------------------------------------------------------------------

    def attach(self, consumer: Callable[[], Consumer]) -> None:
        """Tell which consumer to pause and seek; asked for at each use, for it exists only once started."""
        self._holdings.consumer = consumer

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Take partitions over and tell where to start."""
        return await self._holdings.assigned(partitions)

    async def on_revoked(self, partitions: frozenset[TopicPartition], *, lost: bool) -> None:
        """Let partitions go."""
        self._holdings.revoked(partitions, lost=lost)

    def next_wakeup_s(self) -> float | None:
        """Time to the next due timer; on the replay clock only events wake."""
        if self._replay:
            return None
        owned = self._holdings.owned.values()
        due_ms = [due for partition in owned if (due := partition.timers.next_due_ms()) is not None]
        soonest_ms = min((*due_ms, *(partition.timers.horizon_ms for partition in owned)), default=None)
        return None if soonest_ms is None else max(0.0, (soonest_ms - self._now_ms()) / 1000)

    # ---- a batch ----------------------------------------------------------------------------------

    async def handle(self, batch: Batch) -> None:
        """Work a batch off, step by step, and let the next poll happen."""
        started_ns = time.perf_counter_ns()
        self.before_batch()
        self._tally.begin(batch)
        await self._holdings.retrying("decode", lambda: self._add(batch))
        self._tally.stage("decode", started_ns)
        while True:
            now_ms = self._now_ms()
            step = self._intake.step(self._settings.batch.max_records, now_ms) or Step()
            worked = await self._timers_before(step, now_ms)
            if not step.records and not step.clock_ms and not worked:
                break
            if step.records or step.clock_ms:
                limit = _UNBOUNDED if self._replay else MAX_TIMERS
                await self._work(step, await self._due(self._until_ms(step, now_ms), limit), now_ms)
            elif not self._replay:
                break
        if self._replay:
            await self._holdings.balance(self._settings.batch.max_held_records)
        offsets, self._holdings.offsets = self._holdings.offsets, {}
        self._health.progressed()
        self._tally.end(len(batch.records))
        batch.done(offsets)

    async def _add(self, batch: Batch) -> None:
        records = batch.records if not self._tally.added else ()
        self._tally.added = True
        self._intake.add(records, self._now_ms())

    def _until_ms(self, step: Step, now_ms: int) -> dict[int, int]:
        """Timers are due up to here: the step's stream time, or the wall clock."""
        if self._replay:
            return dict(step.clock_ms)
        return dict.fromkeys(self._holdings.owned, now_ms)

    async def _timers_before(self, step: Step, now_ms: int) -> bool:
        """Work on timers that come before the step's events, so many at a time; True if there were any."""
        worked = False
        if self._replay:
            until_ms = dict(step.clock_ms)
            for row in reversed(step.events):
                until_ms[row.partition] = row.now_ms
        else:
            until_ms = dict.fromkeys(self._holdings.owned, now_ms)
        while True:
            due = await self._due(until_ms, MAX_TIMERS)
            if not due or (step.events and len(due) < MAX_TIMERS):
                return worked
            await self._work(Step(), due, now_ms, until_ms)
            worked = True

    async def _due(self, until_ms: Mapping[int, int], limit: int) -> dict[str, int]:
        """List customers with a timer due, earliest first, and their partitions."""
        found: list[tuple[int, str, int]] = []
        for number, until in until_ms.items():
            owned = self._holdings.owned.get(number)
            if owned is None:
                continue
            if owned.timers.needs_load(until):
                await self._load_timers(owned, until)
            found.extend((due_ms, name, number) for name, due_ms in owned.timers.due(until, limit))
        found.sort()
        return {name: number for _, name, number in found[:limit]}

    async def _load_timers(self, owned: OwnedPartition, until_ms: int) -> None:
        """Move the horizon of the timers in memory past `until_ms`, or as far as the bound on them allows."""
        settings = self._settings.timers
        most = _UNBOUNDED if self._replay else settings.max_loaded
        span_ms = REPLAY_HORIZON_MS if self._replay else settings.horizon_s * 1000
        horizon_ms = until_ms + span_ms
        found = await self._holdings.retrying(
            "timers", lambda: self._store.due(owned.number, horizon_ms, most)
        )
        if len(found) >= most:
            horizon_ms = found[-1][1] - 1
        owned.timers.extend(((name.decode(), due_ms) for name, due_ms in found), horizon_ms)

    # ---- a step -----------------------------------------------------------------------------------

    async def _work(
        self, step: Step, timers: Mapping[str, int], now_ms: int, until_ms: Mapping[int, int] | None = None
    ) -> None:
        """Load, decide, produce, persist; on a failure of the core, go on record by record."""
        until = self._until_ms(step, now_ms) if until_ms is None else until_ms
        started_ns = time.perf_counter_ns()
        while True:
            try:
                states = await self._load(step, timers)
                break
            except (PartitionFenced, StateRolledBack) as error:
                refused = await self._holdings.give_up(error)
                step = _without(step, refused)
                timers = {name: number for name, number in timers.items() if number not in refused}
        loaded_ns = self._tally.stage("load", started_ns)
        rates = {number: owned.rate.to_bytes() for number, owned in self._holdings.owned.items()}
        work = Work(
            events=step.events,
            timers=timers,
            states=states,
            until_ms=until,
            rates={number: owned.rate for number, owned in self._holdings.owned.items()},
            replay=self._replay,
        )
        try:
            outcome = self.pipeline.process(work)
        except Exception as error:  # noqa: BLE001 - whatever a rule or feature raises, the batch goes on
            self._forget(states, rates)
            await self._isolate(step, timers, now_ms, until, error)
            return
        self._tally.stage("rules", loaded_ns)
        await self._finish(step, outcome, states, rates, until)

    async def _isolate(
        self,
        step: Step,
        timers: Mapping[str, int],
        now_ms: int,
        until: Mapping[int, int],
        error: Exception,
    ) -> None:
        """Find the guilty: each timer and each event as a step of its own; the offsets move with the last."""
        single = len(step.events) + len(timers) <= 1
        if single:
            await self._set_aside(step, timers, error)
            return
        log.warning("batch failed, going on record by record", error=type(error).__name__)
        self._tally.failed_batch()
        for name, number in timers.items():
            limit = min((row.now_ms for row in step.events if row.partition == number), default=until[number])
            await self._work(Step(), {name: number}, now_ms, {number: limit})
        for row in step.events:
            await self._work(Step(events=[row]), {}, now_ms, {row.partition: row.now_ms})
        rest = Step(
            dead=step.dead,
            offsets=step.offsets,
            ids=step.ids,
            rotate=step.rotate,
            clock_ms=step.clock_ms,
            records=step.records,
            duplicates=step.duplicates,
        )
        await self._work(rest, {}, now_ms, until)

    async def _set_aside(self, step: Step, timers: Mapping[str, int], error: Exception) -> None:
        """Send the one guilty record to the dead letters, or disarm the one guilty timer."""
        kind = type(error).__name__
        log.error("a record failed", error=kind, exc_info=error)
        reason = DeadLetterReason.PROCESSING_FAILED
        outcome = Outcome()
        states: dict[str, CustomerState] = {}
        for row in step.events:
            step.dead.append(
                DeadRecord(row.origin, reason, f"{kind} while processing {row.event.type}", kind)
            )
        if timers:
            states = await self._load(step, timers)
            for name, number in timers.items():
                states[name].due_ms = 0
                outcome.touched[name] = number
        step.events = []
        await self._finish(step, outcome, states, {}, {})

    async def _finish(
        self,
        step: Step,
        outcome: Outcome,
        states: Mapping[str, CustomerState],
        rates: Mapping[int, bytes],
        until: Mapping[int, int],
    ) -> None:
        """Produce, then persist, then take note."""
        started_ns = time.perf_counter_ns()
        records = self._sink.records(outcome, step.dead, until)
        if records:
            await self._produce(records)
        self._tally.produced(outcome)
        produced_ns = self._tally.stage("produce", started_ns)
        writes = lay_out(step, outcome, states, self._holdings.owned, rates)
        refused = await self._commit(writes)
        self._tally.stage("commit", produced_ns)
        for write in writes:
            if write.partition not in refused:
                owned = self._holdings.owned[write.partition]
                owned.timers.update({name.decode(): due for name, due in write.timers.items()})
                owned.evict(self._settings.cache.customers // len(self._holdings.owned), states)
        self._holdings.offsets.update(
            {key: offset for key, offset in step.offsets.items() if key[1] not in refused}
        )
        self._health.clock_ms = max((*step.clock_ms.values(), self._health.clock_ms))
        self._tally.step(step, outcome, self._holdings.owned)

    async def _produce(self, records: list[OutRecord]) -> None:
        """Send until acknowledged; what no retry will help (too large, say) goes to the dead letters."""
        while records:
            try:
                await self._holdings.retrying("produce", functools.partial(self._send, records))
            except _Refused as error:
                log.warning("kafka refuses records for good", count=len(error.numbers), why=str(error))
                self._tally.refused_records(len(error.numbers))
                letters = [self._sink.refused(records[number], str(error)) for number in error.numbers]
                records = [record for number, record in enumerate(records) if number not in error.numbers]
                records += letters
            else:
                return

    async def _send(self, records: list[OutRecord]) -> None:
        try:
            await self._producer.send(records)
        except DeliveryError as error:
            if error.refused:
                raise _Refused(str(error), frozenset(error.refused)) from error
            raise

    async def _load(self, step: Step, timers: Mapping[str, int]) -> dict[str, CustomerState]:
        """Return the state of every customer of the step, from the cache or by one read."""
        states: dict[str, CustomerState] = {}
        missing: dict[int, list[str]] = {}
        wanted = dict(timers)
        for row in step.events:
            wanted.setdefault(row.event.customer_id, row.partition)
        for name, number in wanted.items():
            state = self._holdings.owned[number].states.get(name)
            if state is None:
                missing.setdefault(number, []).append(name)
            else:
                states[name] = state
        if missing:
            keys = {number: [name.encode() for name in names] for number, names in missing.items()}
            found = await self._holdings.retrying("load", lambda: self._store.load(keys))
            for number, names in missing.items():
                cache = self._holdings.owned[number].states
                for name, data in zip(names, found[number], strict=True):
                    state = CustomerState(name) if data is None else unpack(name, data)
                    states[name] = cache[name] = state
        self._tally.cache(len(wanted), sum(map(len, missing.values())))
        return states

    # ---- when something is wrong ------------------------------------------------------------------

    async def _commit(self, writes: list[PartitionWrite]) -> frozenset[int]:
        """Write; return the partitions that refused because they are no longer ours, or went back in time."""
        if not writes:
            return frozenset()
        try:
            await self._holdings.retrying("commit", lambda: self._store.commit(writes))
        except (PartitionFenced, StateRolledBack) as error:
            return await self._holdings.give_up(error)
        return frozenset()

    def _forget(self, states: Mapping[str, CustomerState], rates: Mapping[int, bytes]) -> None:
        """Drop what a failed step may have changed in memory; the store still has it as it was."""
        for number, owned in self._holdings.owned.items():
            for name in states:
                owned.states.pop(name, None)
            owned.rate = type(owned.rate).from_bytes(rates[number])


def _without(step: Step, refused: Collection[int]) -> Step:
    """Return the step without the partitions that were given up."""
    return Step(
        events=[row for row in step.events if row.partition not in refused],
        dead=[letter for letter in step.dead if letter.record.partition() not in refused],
        offsets={key: offset for key, offset in step.offsets.items() if key[1] not in refused},
        ids={number: ids for number, ids in step.ids.items() if number not in refused},
        rotate=step.rotate - set(refused),
        clock_ms={number: clock for number, clock in step.clock_ms.items() if number not in refused},
        records=step.records,
        duplicates=step.duplicates,
    )
