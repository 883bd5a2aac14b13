"""Runs a case through the pipeline on a clock of its own: timers fire at their exact instants.

Nothing is loaded, sent or stored; the code that decides is the code that runs live.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from engine.actions import Action, Decision
from engine.authoring.fixtures import MAX_ROWS, Case, CaseCustomer, CaseEvent, Pin
from engine.errors import EngineError
from engine.events import EVENT_TYPES, Scalar, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.segments import Segments
from engine.features.state import CustomerState
from engine.pipeline.core import Outcome, Pipeline, SegmentChange, Work
from engine.pipeline.pins import Codes, Floats, Pins
from engine.pipeline.waves import EventRow, Wave
from engine.rules.context import Move, Outbox
from engine.rules.machine import JourneyMachine
from engine.rules.ruleset import RuleSet
from engine.rules.runner import step_path
from engine.rules.scope import Vocabulary

_PARTITION = 0


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
        segment_changes: in order.
        moves: which way runs went.
        standings: (customer id, instant ms) to how they were then, where the case asks.
        rows: how many rows were worked on.
    """

    actions: list[Action] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    segment_changes: list[SegmentChange] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    standings: dict[tuple[str, int], Standing] = field(default_factory=dict)
    rows: int = 0


class TooLong(EngineError):  # noqa: N818 - an ending, not a mistake of ours
    """A case has more rows than `MAX_ROWS`."""


class Simulation:
    """Runs cases, one after the other.

    Args:
        pipeline: over the journeys that run; it is used for nothing else.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._before = _without_journeys(pipeline)

    def run(self, case: Case, ids: Mapping[str, str]) -> Record:
        """Run a case.

        Args:
            case: the case.
            ids: the id of each customer, by label.

        Returns:
            What came of it.

        Raises:
            TooLong: a journey needs more timers than a case may have.
        """
        return _Run(self._pipeline, self._before, case, ids).record()


class _Run:
    """One run of one case."""

    def __init__(self, pipeline: Pipeline, before: Pipeline, case: Case, ids: Mapping[str, str]) -> None:
        self._pipeline = pipeline
        self._before = before
        self._case = case
        self._ids = ids
        self._states = {ids[each.label]: starting_state(each, ids[each.label]) for each in case.customers}
        self._rates = {_PARTITION: GlobalRate()}
        self._record = Record()
        pins = _CasePins({ids[each.label]: each.pins for each in case.customers}, pipeline)
        pipeline.pins = before.pins = pins

    def record(self) -> Record:
        """Run the case from its first event to its end."""
        case = self._case
        self._fill_the_past()
        for state in self._states.values():
            if state.clock_ms:
                self._wake(state, case.start_ms)
        asked = self._asked()
        happening: dict[int, list[CaseEvent]] = {}
        for event in case.events:
            if case.start_ms <= event.at_ms <= case.until_ms:
                happening.setdefault(event.at_ms, []).append(event)
        pinned = {
            pin.from_ms: None for each in case.customers for pin in each.pins if pin.from_ms > case.start_ms
        }
        instants = {case.start_ms, case.until_ms, *happening, *asked, *pinned}
        for instant_ms in sorted(each for each in instants if case.start_ms <= each <= case.until_ms):
            if instant_ms in pinned:
                self._wake_pinned(instant_ms)
            for event in happening.get(instant_ms, ()):
                self._process(self._pipeline, event, instant_ms)
            self._process(self._pipeline, None, instant_ms)
            for customer_id in asked.get(instant_ms, ()):
                self._record.standings[customer_id, instant_ms] = self._standing(customer_id)
        return self._record

    def _fill_the_past(self) -> None:
        """Let happen what happened before the journeys ran: nobody enters anything by it."""
        start_ms = self._case.start_ms
        for event in self._case.events:
            if event.at_ms < start_ms:
                self._process(self._before, event, event.at_ms)
        for each in self._case.customers:
            state = self._states[self._ids[each.label]]
            if state.clock_ms or each.known:
                self._wake(state, start_ms - 1)
        self._process(self._before, None, start_ms - 1)
        for state in self._states.values():
            state.journey_due_ms = -1  # to be found out, now that there are journeys

    @staticmethod
    def _wake(state: CustomerState, instant_ms: int) -> None:
        """Have a timer for the customer at an instant, unless there is an earlier one."""
        if not 0 < state.due_ms < instant_ms:
            state.due_ms = instant_ms

    def _wake_pinned(self, instant_ms: int) -> None:
        for each in self._case.customers:
            state = self._states[self._ids[each.label]]
            if state.clock_ms and any(pin.from_ms == instant_ms for pin in each.pins):
                self._wake(state, instant_ms)

    def _process(self, pipeline: Pipeline, event: CaseEvent | None, until_ms: int) -> None:
        """Work on an event and on all timers up to an instant."""
        timers = {name: _PARTITION for name, each in self._states.items() if 0 < each.due_ms <= until_ms}
        if event is None and not timers:
            return
        outcome = Outcome(outbox=Outbox(moves=self._record.moves))
        work = Work(
            events=() if event is None else (self._row(event),),
            timers=timers,
            states=self._states,
            until_ms={_PARTITION: until_ms},
            rates=self._rates,
            replay=True,
        )
        for _ in pipeline.run(work, outcome):
            if self._record.rows + outcome.timers_fired > MAX_ROWS:
                raise TooLong(f"more than {MAX_ROWS} events and timers in one case")
        self._record.rows += outcome.timers_fired + (event is not None)
        if pipeline is self._pipeline:
            self._record.actions.extend(outcome.actions)
            self._record.decisions.extend(outcome.decisions)
            self._record.segment_changes.extend(outcome.segment_changes)

    def _row(self, event: CaseEvent) -> EventRow:
        named = msgspec.structs.replace(event.event, customer_id=self._ids[event.event.customer_id])
        return EventRow(_PARTITION, named, EVENT_TYPES[named.type].code, event.at_ms, event_key(named))

    def _asked(self) -> dict[int, set[str]]:
        """Return at which instants the case asks how which customers are."""
        asked: dict[int, set[str]] = {}
        for each in self._case.expect:
            at_ms = self._case.until_ms if each.at_ms is None else each.at_ms
            asked.setdefault(at_ms, set()).add(self._ids[each.label])
        return asked

    def _standing(self, customer_id: str) -> Standing:
        state, rules = self._states[customer_id], self._pipeline.rules
        positions = []
        for position in state.profile.positions:
            journey = rules.by_name.get((position.journey, position.version))
            path = step_path(journey, position.pc) if journey is not None else "removed"
            positions.append((position.journey, path))
        return Standing(
            tuple(positions), dict(state.profile.traits), self._pipeline.segments.names[state.segment]
        )


class _CasePins(Pins):
    """The values a case gives its customers, by time."""

    def __init__(self, by_customer: Mapping[str, tuple[Pin, ...]], pipeline: Pipeline) -> None:
        self._by_customer = {name: pins for name, pins in by_customer.items() if pins}
        self._columns = pipeline.space.index
        self._codes = pipeline.segments.codes

    def _rows(self, wave: Wave) -> Iterator[tuple[int, Mapping[str, Scalar]]]:
        for row, (state, now_ms) in enumerate(zip(wave.states, wave.now_ms, strict=True)):
            for pin in self._by_customer.get(state.customer_id, ()):
                if pin.from_ms <= now_ms:
                    yield row, pin.values

    def set_values(self, wave: Wave, matrix: Floats) -> None:
        """See `Pins`."""
        for row, values in self._rows(wave):
            for name, value in values.items():
                column = self._columns.get(name)
                if column is not None and name != "segment":
                    matrix[row, column] = float(value)

    def segments(self, wave: Wave, codes: Codes) -> Codes:
        """See `Pins`."""
        for row, values in self._rows(wave):
            if "segment" in values:
                codes[row] = self._codes[str(values["segment"])]
        return codes


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
