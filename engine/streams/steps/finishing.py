"""Makes a step's effects durable while the next one is decided: never more than one step at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.features.state import CustomerState
from engine.pipeline.core import Outcome
from engine.settings import Settings
from engine.streams.health import WorkerHealth
from engine.streams.producer import OutRecord
from engine.streams.steps.delivery import Delivery
from engine.streams.steps.holdings import Holdings
from engine.streams.steps.intake import Step
from engine.streams.steps.sink import Sink
from engine.streams.steps.tally import Tally
from engine.streams.store.contract import PartitionFenced, PartitionWrite, Refusal, StateRolledBack, Store
from engine.streams.transactions.outbox import Outbox
from engine.streams.transactions.producer import Transactions
from engine.streams.transactions.relay import Relay

if TYPE_CHECKING:  # OpenTelemetry is there only where it is asked for
    from engine.streams.tracing import Trace, Tracing

TURNS = 4  # of the event loop: a timer that has come, what waited for it, what it sends


@dataclass(frozen=True, slots=True)
class Effects:
    """What a step sends, actions apart, and what it makes durable.

    `outboxes` are the actions again, by partition number, where they are sent in transactions.
    """

    actions: list[OutRecord]
    records: list[OutRecord]
    writes: list[PartitionWrite]
    outboxes: dict[int, Outbox] = field(default_factory=dict)


class Finishing:
    """The step that is being made durable, if there is one.

    Args:
        store: customer state.
        delivery: the way to Kafka.
        holdings: the partitions.
        tally: counts.
        health: told what was made durable.
        at_work: whether a batch is being worked on; it then takes the offsets along.
        now_ms: the wall clock; None on the replay clock.

    Attributes:
        task: makes the step durable; None = there is none.
        busy: the states of its customers.
    """

    def __init__(
        self,
        store: Store,
        delivery: Delivery,
        holdings: Holdings,
        tally: Tally,
        health: WorkerHealth,
        at_work: Callable[[], bool],
        now_ms: Callable[[], int] | None,
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._holdings = holdings
        self._tally = tally
        self._health = health
        self._at_work = at_work
        self._now_ms = now_ms
        self.relay: Relay | None = None
        self.task: asyncio.Task[Refusal | None] | None = None
        self.busy: Mapping[str, CustomerState] = {}
        self._tracing: Tracing | None = None

    def trace_with(self, tracing: Tracing) -> None:
        """Make spans of each step's sampled events."""
        self._tracing = tracing
        self._tally.spans = {}

    def relay_with(self, transactions: Transactions, settings: Settings) -> None:
        """Send actions in transactions where that is wanted; in any case those left by workers that did.

        Args:
            transactions: the worker's.
            settings: all settings.
        """
        on = settings.kafka.transactions == "yes"
        relay = Relay(transactions, self._store, self._holdings, Sink(settings), self._tally, on=on)
        self.relay, self._holdings.on_taken = relay, relay.recover

    def begin(
        self, step: Step, outcome: Outcome, states: Mapping[str, CustomerState], effects: Effects
    ) -> None:
        """Begin to make a step's effects durable; `settle` waits for the end.

        Args:
            step: what was worked on.
            outcome: what came of it.
            states: its customers.
            effects: what it sends and writes.
        """
        for name, number in outcome.touched.items():
            gone = name in outcome.erased
            self._holdings.owned[number].timers.move(name, 0 if gone else states[name].due_ms)
        self.busy = states
        trace = None if self._tracing is None else self._begin_trace(self._tracing, step, outcome, effects)
        if self.relay is not None:
            effects.outboxes.update(self.relay.pack(outcome, effects.actions, effects.writes))
        self.task = asyncio.create_task(self._finish(step, outcome, effects, trace), name="engage-finish")

    async def settle(self, *refusals: Refusal) -> None:
        """Wait until the step before is durable; give up the partitions it was refused.

        Args:
            refusals: what else was refused.

        Raises:
            EngineError: it can't be made durable at all.
        """
        finishing, self.task = self.task, None
        if finishing is not None:
            refusal = await finishing
            self.busy = {}
            refusals += () if refusal is None else (refusal,)
        if refusals:
            await self._holdings.give_up(*refusals)

    async def quiet(self) -> None:
        """Wait until no step is being made durable; how it ended is the next batch's business."""
        if self.task is not None:
            await asyncio.wait({self.task})

    async def let_go(self) -> None:
        """Let the step that is being made durable come further, if it can."""
        if self.task is not None and not self.task.done():
            for _ in range(TURNS):
                await asyncio.sleep(0)

    def unfinished(self) -> bool:
        """Whether a step is not durable yet, or will not be."""
        return self.task is not None and (not self.task.done() or self.went_wrong())

    def went_wrong(self) -> bool:
        """Whether the step has ended otherwise than durable as a whole."""
        task = self.task
        if task is None or not task.done():
            return False
        return task.cancelled() or task.exception() is not None or task.result() is not None

    async def commit(self, writes: list[PartitionWrite]) -> Refusal | None:
        """Write; return the refusal of partitions that are no longer ours, or went back in time.

        Args:
            writes: what to make durable of each partition.
        """
        if writes:
            try:
                await self._holdings.retrying("commit", lambda: self._store.commit(writes))
            except (PartitionFenced, StateRolledBack) as error:
                return error
        return None

    def _begin_trace(self, tracing: Tracing, step: Step, outcome: Outcome, effects: Effects) -> Trace | None:
        stages, self._tally.spans = self._tally.spans or {}, {}
        for name in ("produce", "commit"):  # of the step before
            stages.pop(name, None)
        return tracing.begin(step, outcome, effects.actions, stages, self._tally.received_ns)

    async def _finish(
        self, step: Step, outcome: Outcome, effects: Effects, trace: Trace | None
    ) -> Refusal | None:
        """Produce, then persist, then take note; return the store's refusal of some partitions.

        In transactions the actions come last: they are seen when what they follow from is durable.
        """
        started_ns = time.perf_counter_ns()
        received_ns = self._tally.received_ns

        def on_actions() -> None:
            now_ms = None if self._now_ms is None else self._now_ms()
            self._tally.produced(step, outcome, received_ns, now_ms)

        relay = self.relay if self.relay is not None and self.relay.on else None
        if relay is None:
            await self._delivery.produce(effects.actions, effects.records, on_actions)
        else:
            await self._delivery.produce([], effects.records, lambda: None)
        produced_ns = self._tally.stage("produce", started_ns)

        async def persist() -> Refusal | None:
            refusal = await self.commit(effects.writes)
            self._tally.stage("commit", produced_ns)
            return refusal

        if relay is None:
            refusal = await persist()
        else:
            refusal = await relay.send_after(persist, effects.outboxes)
            on_actions()
        refused = frozenset() if refusal is None else refusal.all_partitions
        self._holdings.durable(
            {key: offset for key, offset in step.offsets.items() if key[1] not in refused},
            at_once=not self._at_work(),
        )
        self._health.progressed()
        self._health.clock_ms = max((*step.clock_ms.values(), self._health.clock_ms))
        self._tally.step(step, outcome, received_ns, self._holdings.owned)
        if self._now_ms is not None:
            self._tally.fresh(step, outcome, self._now_ms(), self._holdings.owned)
        if trace is not None:
            trace.durable(started_ns, produced_ns, refused)
        return refusal
