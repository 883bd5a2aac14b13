"""Works on one step: load, decide, and begin to make durable; where that fails, record by record."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping

import structlog

from engine.events import event_key
from engine.features.state import CustomerState
from engine.pipeline.core import Outcome, Pipeline, Work
from engine.pipeline.failed import set_timer_aside
from engine.settings import Settings
from engine.streams.steps import due
from engine.streams.steps.arming import wake
from engine.streams.steps.aside import set_events_aside
from engine.streams.steps.due import UNBOUNDED, DueTimers
from engine.streams.steps.finishing import Effects, Finishing
from engine.streams.steps.holdings import Holdings
from engine.streams.steps.intake import Intake, Step
from engine.streams.steps.loading import Loading
from engine.streams.steps.partitions import Mark
from engine.streams.steps.sink import Sink
from engine.streams.steps.tally import Tally
from engine.streams.steps.writes import lay_out
from engine.streams.store.contract import Store

log = structlog.get_logger(__name__)


class Deciding:
    """Decides steps, one after the other.

    Args:
        settings: all settings.
        pipeline: the pure core.
        store: customer state.
        intake: told what is set aside.
        holdings: the owned partitions.
        finishing: the step before; what is decided here is handed to it.
        sink: lays out what is sent.
        tally: counts.

    Attributes:
        due: whose timers are due.
    """

    def __init__(
        self,
        settings: Settings,
        pipeline: Pipeline,
        store: Store,
        intake: Intake,
        holdings: Holdings,
        finishing: Finishing,
        sink: Sink,
        tally: Tally,
    ) -> None:
        self._replay = settings.clock == "replay"
        self._pipeline = pipeline
        self._intake = intake
        self._holdings = holdings
        self._finishing = finishing
        self._sink = sink
        self._tally = tally
        self._loading = Loading(settings, store, holdings, tally, finishing)
        self.due = DueTimers(settings, store, holdings, finishing.settle)

    def until_ms(self, step: Step, now_ms: int) -> dict[int, int]:
        """Return how far a step goes in each partition: the step's stream time, or the wall clock."""
        if self._replay:
            return dict(step.clock_ms)
        return dict.fromkeys(self._holdings.owned, now_ms)

    def reached_ms(self, until_ms: Mapping[int, int]) -> dict[int, int]:
        """Deadlines are judged up to here: on the live clock not before what came until then is worked on."""
        if self._replay:
            return dict(until_ms)
        owned = self._holdings.owned
        return {
            number: min(until, owned[number].reached_ms)
            for number, until in until_ms.items()
            if number in owned
        }

    async def decide(
        self,
        step: Step,
        timers: Mapping[str, int],
        now_ms: int,
        until_ms: Mapping[int, int] | None = None,
        *,
        waking: bool = False,
    ) -> None:
        """Load, decide, and once the step before is durable, begin to produce and persist.

        On a failure of the core, go on record by record.
        """
        until = self.until_ms(step, now_ms) if until_ms is None else until_ms
        started_ns = time.perf_counter_ns()
        step, timers, states = await self._loading.held(step, timers)
        given_up = frozenset(self._holdings.given_up)
        until = {number: at_ms for number, at_ms in until.items() if number not in given_up}
        loaded_ns = self._tally.stage("load", started_ns)
        reached = self.reached_ms(until)
        if waking:
            wake(states, timers, reached)
        marks = {number: owned.mark() for number, owned in self._holdings.owned.items()}
        work = Work(
            events=step.events,
            timers=timers,
            states=states,
            until_ms=until,
            reached_ms=reached,
            rates={number: owned.rate for number, owned in self._holdings.owned.items()},
            replay=self._replay,
            ledgers={number: owned.ledger for number, owned in self._holdings.owned.items()},
            met_from_ms={number: owned.met_from_ms for number, owned in self._holdings.owned.items()},
        )
        outcome = Outcome()
        effects, failure = Effects([], [], []), None
        try:
            for _ in self._pipeline.run(work, outcome):
                await self._finishing.let_go()
            # a timer that moved nothing is written as its state has it, or it would be due for ever
            outcome.touched.update({name: timers[name] for name in timers.keys() - outcome.touched.keys()})
            await self._finishing.let_go()
            effects = self._lay_out(step, outcome, states, marks, until)
            self._tally.stage("rules", loaded_ns)
        except Exception as error:  # noqa: BLE001 - whatever a rule or feature raises, the batch goes on
            failure = error
        await self._finishing.settle()
        if self._holdings.given_up != given_up:
            # decided on what has turned out not to stand: once more, without the partitions given up
            self._holdings.forget(states, marks, given_up)
            await self.decide(step, timers, now_ms, until, waking=waking)
        elif failure is not None:
            self._holdings.forget(states, marks, given_up)
            await self._isolate(step, timers, now_ms, until, failure)
        else:
            self._finishing.begin(step, outcome, states, effects)

    def _lay_out(
        self,
        step: Step,
        outcome: Outcome,
        states: Mapping[str, CustomerState],
        marks: Mapping[int, Mark],
        until: Mapping[int, int],
    ) -> Effects:
        sent = self._sink.actions(outcome), self._sink.records(outcome, step.dead, until)
        return Effects(*sent, lay_out(step, outcome, states, self._holdings.owned, marks))

    async def _isolate(
        self,
        step: Step,
        timers: Mapping[str, int],
        now_ms: int,
        until: Mapping[int, int],
        error: Exception,
    ) -> None:
        """Find the guilty: each timer and each event as a step of its own; the offsets move with the last.

        An event's id is made durable with its effects, so a kill in the middle makes none count twice.
        """
        if len(step.events) + len(timers) <= 1 and not self._goes_further(step, timers, until):
            await self._set_aside(step, timers, until, error)
            return
        log.warning("batch failed, going on record by record", error=type(error).__name__)
        self._tally.failed_batch()
        first_ms = dict(until)
        for row in reversed(step.events):
            first_ms[row.partition] = row.now_ms
        for name, number in timers.items():
            await self._timer_alone(name, number, now_ms, first_ms[number])
        for row in step.events:
            number, until_ms = row.partition, {row.partition: row.now_ms}
            single = Step(events=[row], ids={number: [event_key(row.event)]})
            # the customer's timer alone, too: failing, it must not take the event with it
            await self._timer_alone(row.event.customer_id, number, now_ms, row.now_ms)
            await self.decide(single, {}, now_ms, until_ms)
        limit = UNBOUNDED if self._replay else due.TIMERS_ALONE
        rest = dataclasses.replace(step, events=[], ids={})
        await self.decide(rest, await self.due.of(self.reached_ms(until), limit), now_ms, until)

    def _goes_further(self, step: Step, timers: Mapping[str, int], until: Mapping[int, int]) -> bool:
        """Whether what was worked on goes on behind an event or a timer: what came later may be guilty."""
        owned = self._holdings.owned
        found = [(owned[number].timers.due_of(name), number) for name, number in timers.items()]
        found += [(row.now_ms, row.partition) for row in step.events]
        return self._replay and any(at_ms < until[number] for at_ms, number in found)

    async def _timer_alone(self, name: str, number: int, now_ms: int, until_ms: int) -> None:
        """Work on one customer's timer; on the replay clock on one instant after the other.

        What is set aside is then what is due at the instant that fails, and nothing that is due later.
        """
        at_ms = 0
        while (owned := self._holdings.owned.get(number)) is not None:
            last_ms = until_ms if self._replay else min(until_ms, owned.reached_ms)
            if not at_ms < (due_ms := owned.timers.due_of(name)) <= last_ms:
                return
            at_ms = due_ms if self._replay else until_ms
            await self.decide(Step(), {name: number}, now_ms, {number: at_ms})

    async def _set_aside(
        self, step: Step, timers: Mapping[str, int], until: Mapping[int, int], error: Exception
    ) -> None:
        """Send the one guilty record to the dead letters, or take out what is due at the one guilty timer."""
        kind = set_events_aside(step, self._intake, error)
        outcome = Outcome()
        step, timers, states = await self._loading.held(step, timers)
        reached = self.reached_ms(until)
        for name, number in timers.items():
            decided = set_timer_aside(states[name], self._pipeline.machine, reached[number], kind)
            outcome.outbox.decisions += decided
            outcome.touched[name] = number
        marks = {number: owned.mark() for number, owned in self._holdings.owned.items()}
        effects = self._lay_out(step, outcome, states, marks, until)
        self._finishing.begin(step, outcome, states, effects)
        await self._finishing.settle()
