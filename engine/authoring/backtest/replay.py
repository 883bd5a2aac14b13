"""Replays a log through the pipeline in memory: states and timers, nothing else.

The pipeline is the one that runs live, on the replay clock, so its outcome is a function of the log. What a
backtest adds is bookkeeping: the states of some partitions' customers, who is due when, and a watch on what
the journey machine decides.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.actions import Action, Decision
from engine.errors import EngineError
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.core import Outcome, Pipeline, Work
from engine.pipeline.waves import EventRow
from engine.rules.context import Outbox, RowContext
from engine.rules.ledger import Ledger
from engine.rules.machine import JourneyMachine

BUCKET_MS = 3_600_000  # timers are kept by the hour

Watch = Callable[[RowContext, Sequence[Action], Sequence[Decision]], None]


@dataclass(frozen=True, slots=True)
class Slice:
    """A piece of the log: what is worked on at once.

    Args:
        events: rows of any partitions, in order of `now_ms`; rows of one partition in the partition's order.
        until_ms: stream time of every partition after it; no later row lies before.
    """

    events: Sequence[EventRow]
    until_ms: int


class WatchedMachine(JourneyMachine):
    """The journey machine, with somebody looking on.

    Args:
        machine: whose rules and settings to take.
        watch: told after each row what was decided at it, while the customer is as the row left them.
    """

    def __init__(self, machine: JourneyMachine, watch: Watch) -> None:
        super().__init__(machine.rules, machine.settings)
        self._watch = watch

    def run(self, context: RowContext, outbox: Outbox) -> None:
        """See `JourneyMachine.run`."""
        actions, decisions = len(outbox.actions), len(outbox.decisions)
        super().run(context, outbox)
        if len(outbox.decisions) > decisions:
            self._watch(context, outbox.actions[actions:], outbox.decisions[decisions:])


class Timers:
    """Customers by the hour in which they are due; a customer who moved stays behind until that hour."""

    def __init__(self) -> None:
        self._hours: list[int] = []
        self._names: dict[int, set[str]] = {}

    def move(self, name: str, due_ms: int) -> None:
        """Note that a customer is due now at `due_ms`."""
        hour = due_ms // BUCKET_MS
        names = self._names.get(hour)
        if names is None:
            names = self._names[hour] = set()
            heapq.heappush(self._hours, hour)
        names.add(name)

    def due(self, until_ms: int, states: Mapping[str, CustomerState]) -> list[tuple[int, str]]:
        """Take out who is due up to and including an instant, as (due, name).

        Args:
            until_ms: the instant.
            states: tell whether a timer noted still holds.
        """
        found: list[tuple[int, str]] = []
        last = until_ms // BUCKET_MS
        while self._hours and self._hours[0] <= last:
            hour = heapq.heappop(self._hours)
            for name in self._names.pop(hour):
                state = states.get(name)
                if state is None or not state.due_ms or state.due_ms // BUCKET_MS != hour:
                    continue
                if state.due_ms <= until_ms:
                    found.append((state.due_ms, name))
                else:
                    self.move(name, state.due_ms)
            if hour == last:
                break
        return found


@dataclass(slots=True)
class _Partition:
    """What is kept of one partition: what a worker would keep in Redis and in memory."""

    ledger: Ledger
    rate: GlobalRate = field(default_factory=GlobalRate)
    states: dict[str, CustomerState] = field(default_factory=dict)
    timers: Timers = field(default_factory=Timers)


class Replay:
    """Replays the log of some partitions; holds their customers in memory.

    Args:
        pipeline: the pure core; nobody else may use it meanwhile.
        partitions: numbers of the partitions.
        watch: told what is decided.
        count: how many partitions there are; limits over all customers are shared out by it. None = these.
        learn: whether rows are frozen for a trainer (`Outcome.training`).

    Attributes:
        rows: how many rows the pipeline worked on, events and timers.
        events: how many of them were events.
        waves: in how many waves.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        partitions: Iterable[int],
        watch: Watch | None = None,
        count: int | None = None,
        *,
        learn: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self._learn = learn
        if watch is not None:
            pipeline.use(WatchedMachine(pipeline.machine, watch))
        numbers = tuple(partitions)
        self._partitions = {number: _Partition(Ledger(number, count or len(numbers))) for number in numbers}
        self.events = 0
        self.rows = 0
        self.waves = 0

    def step(self, piece: Slice) -> Outcome:
        """Work on one slice.

        Raises:
            EngineError: a condition or feature raised; live, the record would be set aside.
        """
        work = self._work(piece)
        before = {name: state.due_ms for name, state in work.states.items()}
        try:
            outcome = self.pipeline.process(work)
        except Exception as error:
            kind = type(error).__name__
            raise EngineError(
                f"the backtest stopped: {kind} among {len(piece.events)} events up to {piece.until_ms} ms; "
                "a worker would set the one record aside and go on"
            ) from error
        self._keep(work, outcome, before)
        self.events += len(piece.events)
        self.rows += len(piece.events) + outcome.timers_fired
        self.waves += outcome.waves
        return outcome

    def _work(self, piece: Slice) -> Work:
        partitions = self._partitions
        states: dict[str, CustomerState] = {}
        for row in piece.events:
            name = row.event.customer_id
            if name not in states:
                known = partitions[row.partition].states
                state = known.get(name)
                if state is None:
                    state = known[name] = CustomerState(name)
                states[name] = state
        due: list[tuple[int, str, int]] = []
        for number, part in partitions.items():
            due.extend((at_ms, name, number) for at_ms, name in part.timers.due(piece.until_ms, part.states))
        due.sort()
        for _, name, number in due:
            states[name] = partitions[number].states[name]
        return Work(
            events=piece.events,
            timers={name: number for _, name, number in due},
            states=states,
            until_ms=dict.fromkeys(partitions, piece.until_ms),
            rates={number: part.rate for number, part in partitions.items()},
            replay=True,
            learn=self._learn,
            ledgers={number: part.ledger for number, part in partitions.items()},
        )

    def _keep(self, work: Work, outcome: Outcome, before: Mapping[str, int]) -> None:
        """Note the timers as they are now; forget who asked for it."""
        touched = outcome.touched
        touched.update({name: number for name, number in work.timers.items() if name not in touched})
        for name, number in touched.items():
            part = self._partitions[number]
            if name in outcome.erased:
                del part.states[name]
                continue
            due_ms = work.states[name].due_ms
            if due_ms and (due_ms != before[name] or name in work.timers):
                part.timers.move(name, due_ms)

    def states(self) -> Iterator[tuple[int, CustomerState]]:
        """Yield every customer, with their partition."""
        for number, part in self._partitions.items():
            for state in part.states.values():
                yield number, state
