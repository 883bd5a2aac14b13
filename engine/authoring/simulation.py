"""Runs a case through the pipeline on a clock of its own: timers fire at their exact instants.

Nothing is loaded, sent or stored; the code that decides is the code that runs live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from engine.actions import Action, Decision
from engine.authoring.fixtures import MAX_ROWS, Case, CaseCustomer, CaseEvent
from engine.errors import EngineError
from engine.events import EVENT_TYPES, Scalar, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.segments import Segments
from engine.features.state import CustomerState
from engine.pipeline.core import Outcome, Pipeline, Work
from engine.pipeline.pins import Codes, Floats, Pins
from engine.pipeline.waves import EventRow, Wave
from engine.rules.context import Chosen, MachineSettings, Move, Outbox
from engine.rules.ledger import Ledger
from engine.rules.machine import JourneyMachine
from engine.rules.ruleset import RuleSet
from engine.rules.runner import step_path
from engine.rules.scope import Vocabulary

MAX_TURN_MS = 30 * 86_400_000  # a journey with a timer each minute comes to its bound within one


@dataclass(frozen=True, slots=True)
class Standing:
    """How a customer is at an instant.

    Args:
        positions: (journey, step's path) of each run.
        traits: the traits.
        segment: name of the segment, or empty.
    """

    positions: tuple[tuple[str, str], ...]
    traits: Mapping[str, Scalar]
    segment: str


@dataclass(slots=True)
class Record:
    """What came of a case.

    Args:
        actions: what would have been sent, in order.
        decisions: in order.
        moves: which way runs went, those of the cases beside it among them.
        chosen: rows of tables that were chosen, likewise.
        standings: (customer id, instant ms) to how they were then, where the case asks.
    """

    actions: list[Action] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    chosen: list[Chosen] = field(default_factory=list)
    standings: dict[tuple[str, int], Standing] = field(default_factory=dict)


class TooLong(EngineError):  # noqa: N818 - an ending, not a mistake of ours
    """A case has more rows than `MAX_ROWS`."""


class Simulation:
    """Runs cases side by side: each on its own clock and partition, all rows of a turn as one wave.

    Args:
        pipeline: over the journeys that run; it is used for nothing else.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._before = _without_journeys(pipeline)

    @property
    def settings(self) -> MachineSettings:
        """The deployment's settings the cases run under."""
        return self._pipeline.machine.settings

    def run(self, cases: Sequence[tuple[Case, Mapping[str, str]]]) -> list[Record | TooLong]:
        """Run cases.

        Args:
            cases: each with the id of each of its customers, by label.

        Returns:
            What came of each; or that it took more rows than a case may have.
        """
        found: list[Record | TooLong] = []
        batch: list[_Run] = []
        taken: set[str] = set()
        for case, ids in cases:
            if taken & set(ids.values()):  # two cases about one id can't stand side by side
                found += self._run(batch)
                batch, taken = [], set()
            taken.update(ids.values())
            batch.append(_Run(self._pipeline, len(batch), case, ids))
        return found + self._run(batch)

    def _run(self, runs: Sequence[_Run]) -> list[Record | TooLong]:
        pins = _CasePins(runs, self._pipeline)
        self._pipeline.pins = self._before.pins = pins
        turns = {run: turn for run in runs if (turn := next(run.turns, None)) is not None}
        while turns:
            for pipeline, past in ((self._before, True), (self._pipeline, False)):
                chosen = {run: turn for run, turn in turns.items() if turn.past is past}
                if chosen:
                    self._take(pipeline, chosen)
                    for run in chosen:
                        run.rows = pins.rows[run.partition]
                        turn = next(run.turns, None)
                        if turn is None:
                            del turns[run]
                        else:
                            turns[run] = turn
        return [run.too_long or run.record for run in runs]

    @staticmethod
    def _take(pipeline: Pipeline, turns: Mapping[_Run, _Turn]) -> None:
        """Work on the turns of several cases at once."""
        runs = {name: run for run in turns for name in run.states}
        timers = {
            name: run.partition
            for name, run in runs.items()
            if 0 < run.states[name].due_ms <= turns[run].until_ms
        }
        events = tuple(run.row(turn.event) for run, turn in turns.items() if turn.event is not None)
        if not events and not timers:
            return
        outcome = Outcome(outbox=Outbox(moves=[]))
        work = Work(
            events=events,
            timers=timers,
            states={name: run.states[name] for name, run in runs.items()},
            until_ms={run.partition: turn.until_ms for run, turn in turns.items()},
            rates={run.partition: run.rate for run in turns},
            replay=True,
            ledgers={run.partition: run.ledger for run in turns},
        )
        for _ in pipeline.run(work, outcome):
            pass
        for action in outcome.actions:
            runs[action.customer_id].record.actions.append(action)
        for decision in outcome.decisions:
            runs[decision.customer_id].record.decisions.append(decision)
        for run in turns:
            run.record.moves.extend(outcome.outbox.moves or ())
            run.record.chosen.extend(outcome.outbox.chosen)


@dataclass(frozen=True, slots=True)
class _Turn:
    """An event, if any, and all timers up to an instant; whether before the journeys ran."""

    event: CaseEvent | None
    until_ms: int
    past: bool = False


class _Run:
    """One run of one case.

    Args:
        pipeline: over the journeys.
        partition: its own.
        case: the case.
        ids: the id of each customer, by label.

    Attributes:
        turns: what is to be worked on, one turn after the other; resumed when that is done.
        too_long: set when the case had more rows than it may have.
    """

    def __init__(self, pipeline: Pipeline, partition: int, case: Case, ids: Mapping[str, str]) -> None:
        self.partition = partition
        self.case = case
        self.ids = ids
        self.states = {ids[each.label]: starting_state(each, ids[each.label]) for each in case.customers}
        self.rate = GlobalRate()
        self.ledger = Ledger()
        self.record = Record()
        self.rows = 0
        self.too_long: TooLong | None = None
        self.turns = self._bounded_turns()
        self._pipeline = pipeline

    def _bounded_turns(self) -> Iterator[_Turn]:
        for turn in self._turns():
            if self.rows > MAX_ROWS:
                self.too_long = TooLong(f"more than {MAX_ROWS} events and timers in one case")
                return
            yield turn

    def _turns(self) -> Iterator[_Turn]:
        """Yield the case from its first event to its end."""
        case = self.case
        yield from self._past()
        for state in self.states.values():
            state.journey_due_ms = -1  # to be found out, now that there are journeys
            if state.clock_ms:
                _wake(state, case.start_ms)
        asked, pinned = self._asked(), self._pinned()
        happening: dict[int, list[CaseEvent]] = {}
        for event in case.events:
            if case.start_ms <= event.at_ms <= case.until_ms:
                happening.setdefault(event.at_ms, []).append(event)
        instants = {case.start_ms, case.until_ms, *happening, *asked, *pinned}
        for instant_ms in sorted(each for each in instants if case.start_ms <= each <= case.until_ms):
            for customer_id in pinned.get(instant_ms, ()):
                if self.states[customer_id].clock_ms:
                    _wake(self.states[customer_id], instant_ms)
            for event in happening.get(instant_ms, ()):
                yield from self._up_to(instant_ms, event)
            yield from self._up_to(instant_ms)
            for customer_id in asked.get(instant_ms, ()):
                self.record.standings[customer_id, instant_ms] = self._standing(customer_id)

    def _past(self) -> Iterator[_Turn]:
        """Let happen what happened before the journeys ran: nobody enters anything by it."""
        start_ms = self.case.start_ms
        for event in self.case.events:
            if event.at_ms < start_ms:
                yield _Turn(event, event.at_ms, past=True)
        for each in self.case.customers:
            state = self.states[self.ids[each.label]]
            if state.clock_ms or each.known:
                _wake(state, start_ms - 1)
        yield _Turn(None, start_ms - 1, past=True)

    def _up_to(self, instant_ms: int, event: CaseEvent | None = None) -> Iterator[_Turn]:
        """Yield what is due up to an instant in spans, so no turn has rows without end; then the event."""
        while True:
            due_ms = min((each.due_ms for each in self.states.values() if each.due_ms), default=instant_ms)
            if due_ms + MAX_TURN_MS >= instant_ms:
                break
            yield _Turn(None, due_ms + MAX_TURN_MS)
        yield _Turn(event, instant_ms)

    def _pinned(self) -> dict[int, set[str]]:
        """Return at which instants whose values change."""
        pinned: dict[int, set[str]] = {}
        for each in self.case.customers:
            for pin in each.pins:
                if pin.from_ms > self.case.start_ms:
                    pinned.setdefault(pin.from_ms, set()).add(self.ids[each.label])
        return pinned

    def row(self, event: CaseEvent) -> EventRow:
        """Return an event as a row of the case's partition."""
        named = msgspec.structs.replace(event.event, customer_id=self.ids[event.event.customer_id])
        return EventRow(self.partition, named, EVENT_TYPES[named.type].code, event.at_ms, event_key(named))

    def _asked(self) -> dict[int, set[str]]:
        """Return at which instants the case asks how which customers are."""
        asked: dict[int, set[str]] = {}
        for each in self.case.expect:
            at_ms = self.case.until_ms if each.at_ms is None else each.at_ms
            asked.setdefault(at_ms, set()).add(self.ids[each.label])
        return asked

    def _standing(self, customer_id: str) -> Standing:
        state, rules = self.states[customer_id], self._pipeline.rules
        positions = []
        for position in state.profile.positions:
            journey = rules.by_name.get((position.journey, position.version))
            path = step_path(journey, position.pc) if journey is not None else "removed"
            positions.append((position.journey, path))
        return Standing(
            tuple(positions), dict(state.profile.traits), self._pipeline.segments.names[state.segment]
        )


class _CasePins(Pins):
    """The values cases give their customers, by time; counts the rows of each case by the way."""

    def __init__(self, runs: Sequence[_Run], pipeline: Pipeline) -> None:
        self.rows = [0] * len(runs)
        self._by_customer = {
            run.ids[each.label]: each.pins for run in runs for each in run.case.customers if each.pins
        }
        self._columns = pipeline.space.index
        self._codes = pipeline.segments.codes

    def _pinned(self, wave: Wave) -> Iterator[tuple[int, Mapping[str, Scalar]]]:
        for row, (state, now_ms) in enumerate(zip(wave.states, wave.now_ms, strict=True)):
            for pin in self._by_customer.get(state.customer_id, ()):
                if pin.from_ms <= now_ms:
                    yield row, pin.values

    def set_values(self, wave: Wave, matrix: Floats) -> None:
        """See `Pins`."""
        for partition in wave.partitions:
            self.rows[partition] += 1
        for row, values in self._pinned(wave):
            for name, value in values.items():
                column = self._columns.get(name)
                if column is not None and name != "segment":
                    matrix[row, column] = float(value)

    def segments(self, wave: Wave, codes: Codes) -> Codes:
        """See `Pins`."""
        for row, values in self._pinned(wave):
            if "segment" in values:
                codes[row] = self._codes[str(values["segment"])]
        return codes


def _wake(state: CustomerState, instant_ms: int) -> None:
    """Have a timer for the customer at an instant, unless there is an earlier one."""
    if not 0 < state.due_ms < instant_ms:
        state.due_ms = instant_ms


def starting_state(customer: CaseCustomer, customer_id: str) -> CustomerState:
    """Return the state of a customer before anything of a case has happened.

    Args:
        customer: as the case describes them.
        customer_id: the id they go by.
    """
    state = CustomerState(customer_id)
    if not customer.known:
        return state
    profile = state.mutate()
    profile.time_zone = customer.time_zone
    profile.locale = customer.locale
    profile.last_channel = customer.last_channel
    answered_s = max(1, customer.signup_ms // 1000)  # before any answer the case itself may hold
    profile.consents = {name: answered_s if yes else -answered_s for name, yes in customer.consents.items()}
    profile.traits = dict(customer.traits)
    profile.suppressed = dict(customer.suppressed)
    profile.contacts = list(customer.contacts)
    profile.entered = dict(customer.entered)
    if customer.signup_ms:
        state.signup_ms = state.first_seen_ms = customer.signup_ms
    return state


def _without_journeys(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline that computes the same and has no journeys."""
    rules = RuleSet((), Vocabulary(features={}, columns=pipeline.space.index, segments={}))
    return Pipeline(
        rules=rules,
        space=pipeline.space,
        segments=Segments(pipeline.segments.segments, pipeline.space),
        machine=JourneyMachine(rules, pipeline.machine.settings),
        scorer=pipeline.scorer,
        series=pipeline.series,
        score_every_ms=pipeline.score_every_ms,
    )
