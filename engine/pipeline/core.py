"""The pure core: rows in; states, actions, decisions, timers and training rows out.

No server, no clock, no randomness: `now` comes with the rows, so a backtest and the tests run the code that
runs live.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from engine.actions import Action, Decision
from engine.events import EVENT_TYPES, Event
from engine.features.apply import record_event
from engine.features.churn.activity import activity_of
from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.purchases import unpack_many
from engine.features.churn.rate import GlobalRate
from engine.features.churn.scoring import Scorer
from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.segments import Segments
from engine.features.series import Series
from engine.features.state import CustomerState
from engine.pipeline.before import Before, look_ahead, timers_before
from engine.pipeline.changes import SegmentChange
from engine.pipeline.found import Found
from engine.pipeline.ordered import Ahead, OrderedWaves
from engine.pipeline.pins import Pins
from engine.pipeline.training import Scored, count_purchases, freeze, move_scores, rates_of, scored_at_s
from engine.pipeline.value import fill_value
from engine.pipeline.walk import Walk
from engine.pipeline.waves import ERASURE, MUTATES, EventRow, Wave, Waves
from engine.rules.context import Outbox
from engine.rules.ledger import Ledger
from engine.rules.machine import JourneyMachine
from engine.rules.ruleset import RuleSet

Floats = npt.NDArray[np.float64]
Int64s = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint8]

NEVER_MS = 2**62
_INQUIRY_CODES = frozenset(
    EVENT_TYPES[name].code for name in ("inquiry.opened", "inquiry.replied", "inquiry.resolved")
)


@dataclass(slots=True)
class Work:
    """One step's input.

    Args:
        events: in order; rows of one partition in the partition's order.
        timers: customers with a timer due, and their partitions.
        states: the state of every customer named in `events` and `timers`; changed in place.
        until_ms: for each partition, the instant the step goes up to.
        rates: the global purchase rate of each partition; updated in place.
        replay: which clock.
        learn: whether rows are frozen for the trainer.
        ledgers: each partition's part in limits over all customers; updated in place. Left out, nothing has
            been counted before this step.
        reached_ms: for each partition, deadlines are judged up to here; left out, up to each row's instant.
            Live clock only: what came behind it may not have been read yet.
        met_from_ms: for each partition, an instant up to which everything had been worked on before this
            step; 0 or left out = not known. Who is met for the first time is judged from then on.
    """

    events: Sequence[EventRow]
    timers: Mapping[str, int]
    states: Mapping[str, CustomerState]
    until_ms: Mapping[int, int]
    rates: Mapping[int, GlobalRate]
    replay: bool
    learn: bool = True
    ledgers: Mapping[int, Ledger] = field(default_factory=lambda: defaultdict(Ledger))
    reached_ms: Mapping[int, int] | None = None
    met_from_ms: Mapping[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """One step's output.

    Args:
        touched: customers whose state changed, and their partitions.
        erased: customers whose state is to be deleted.
        erased_from: partition and segment of each erased customer who was in one.
        outbox: actions and decisions in order.
        segment_changes: in order.
        training: rows for the trainer, for each partition.
        timers_fired: how many timer rows there were.
        waves: how many waves the step took.
    """

    touched: dict[str, int] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    erased_from: list[tuple[int, str]] = field(default_factory=list)
    outbox: Outbox = field(default_factory=Outbox)
    segment_changes: list[SegmentChange] = field(default_factory=list)
    training: dict[int, list[TrainingBlock]] = field(default_factory=dict)
    timers_fired: int = 0
    waves: int = 0

    @property
    def actions(self) -> list[Action]:
        """Actions to send."""
        return self.outbox.actions

    @property
    def decisions(self) -> list[Decision]:
        """Decisions to log."""
        return self.outbox.decisions


class Pipeline:
    """Works on steps with one rule set, one set of features and the current model.

    Args:
        rules: compiled journeys.
        space: feature columns.
        segments: segment definitions.
        machine: the journey machine over `rules`.
        scorer: the churn model; replaced between steps when a new snapshot arrives.
        series: declared series by the code of the event type they watch.
        score_every_ms: time between two scores of a customer who does nothing.
    """

    def __init__(
        self,
        rules: RuleSet,
        space: FeatureSpace,
        segments: Segments,
        machine: JourneyMachine,
        scorer: Scorer,
        series: Mapping[int, Sequence[Series]],
        score_every_ms: int,
    ) -> None:
        self.rules = rules
        self.space = space
        self.segments = segments
        self.machine = machine
        self.scorer = scorer
        self.series = series
        self.score_every_ms = score_every_ms
        self.pins = Pins()
        self._walk = Walk(machine, space, segments.names)
        self._min_delay_ms = min(machine.min_delay_ms, score_every_ms, segments.min_change_ms)

    def switch(self, other: Pipeline) -> None:
        """Go on with the rules of another pipeline of this deployment, between two steps.

        What states in memory know of their journeys (`CustomerState.journey_due_ms`) must be forgotten by the
        caller if open inquiries are judged differently.

        Args:
            other: made for the new rules, with the columns they need; the model stays this one's.
        """
        self.rules = other.rules
        self.space = other.space
        self.segments = other.segments
        self.machine = other.machine
        self._walk = other._walk
        self._min_delay_ms = other._min_delay_ms

    def use(self, machine: JourneyMachine) -> None:
        """Let another machine over the same rules decide, as one with somebody looking on."""
        self.machine = machine
        self._walk = Walk(machine, self.space, self.segments.names)

    def process(self, work: Work) -> Outcome:
        """Work on one step.

        Args:
            work: see `Work`; the states in it are changed in place.

        Returns:
            The outcome; on an exception the states are no longer valid and must be loaded anew.
        """
        outcome = Outcome()
        for _ in self.run(work, outcome):
            pass
        return outcome

    def run(self, work: Work, outcome: Outcome) -> Iterator[None]:
        """Do what `process` does, with pauses in which the caller may do something else.

        Args:
            work: see `Work`; nobody else may touch the states in it before the end.
            outcome: an empty one; whole at the end.
        """
        count_purchases(work.events, work.states, work.rates)
        step = (work.events, work.timers, work.states, work.until_ms)
        # where customers compete for room, the order of their rows counts; live, they come in order anyway
        if work.replay and self.machine.limited:
            for wave in OrderedWaves(*step, ahead=Ahead(self._min_delay_ms, self.rules.scheduled)):
                yield from self._wave(wave, work, outcome)
        else:
            waves = Waves(*step, replay=work.replay, reached_ms=work.reached_ms)
            for wave in waves:
                undone = yield from self._wave(wave, work, outcome)
                for first, end in undone:
                    waves.put_back(wave, first, end)

    def _wave(
        self, wave: Wave, work: Work, outcome: Outcome
    ) -> Generator[None, None, Sequence[tuple[int, int]]]:
        """Work on the rows of one wave at once; return which of them came too early and were undone."""
        outcome.waves += 1
        batch, before = self._apply(wave, work, outcome)
        yield
        matrix = self.space.matrix(batch)
        scored = self._score(batch, matrix, wave, work)
        yield
        self.pins.set_values(wave, matrix)
        segment_codes = self.pins.segments(wave, self.segments.classify(matrix))
        self.space.set_column(matrix, "segment", segment_codes)
        found = self._find(wave, batch, matrix, segment_codes, before)
        yield
        undone = self._walk.rows(
            wave,
            before,
            matrix,
            segment_codes.tolist(),
            found,
            work.ledgers,
            outcome.outbox,
            outcome.segment_changes,
        )
        for first, _ in undone:
            before.go_back(batch, first)
        if work.learn and scored is not None:
            freeze(wave, scored, segment_codes, undone, outcome.training)
        return undone

    def _find(
        self, wave: Wave, batch: RowBatch, matrix: Floats, segment_codes: Codes, before: Before
    ) -> Found:
        """Judge what can be judged for all rows at once."""
        clock_ms, after_ms = np.array(before.clock_ms, np.int64), np.array(before.clock_after_ms, np.int64)
        found = Found(self.rules, batch, matrix, wave.events, clock_ms, after_ms)
        found.change_by(self.segments.next_change_ms(matrix, batch.now_ms))
        if self.rules.scheduled:
            due_ms = np.fromiter(timers_before(wave.states), np.int64, len(wave))
            found.schedule(segment_codes, due_ms, self.machine.settings.default_time_zone)
        return found

    def _apply(self, wave: Wave, work: Work, outcome: Outcome) -> tuple[RowBatch, Before]:
        """Record each row's event; keep the state's bytes as of that row, and what was before it.

        A profile is changed later, row by row (`Walk`); what its columns will be then is seen on a shadow.
        """
        heads, marks, values, tiles, purchases = [], [], [], [], []
        replay, met_from_ms, before = work.replay, work.met_from_ms, Before(reached_ms=wave.now_ms)
        if not replay and work.reached_ms is not None:
            before.reached_ms = [work.reached_ms[number] for number in wave.partitions]
        clocks, afterwards = before.clock_ms, before.clock_after_ms
        firsts, scores = before.first_seen_ms, before.next_score_ms
        shadows: dict[str, CustomerState] = {}
        for number, (state, event, code, now_ms, reached_ms) in enumerate(
            zip(wave.states, wave.events, wave.codes, wave.now_ms, before.reached_ms, strict=True)
        ):
            shown = shadows.get(state.customer_id, state) if shadows else state
            clocks.append(state.clock_ms)
            if replay:  # on the live clock no row comes too early
                firsts.append(state.first_seen_ms)
                scores.append(state.next_score_ms)
            if event is None:
                outcome.timers_fired += 1
            elif code == ERASURE:
                self._erase(wave.partitions[number], state, outcome)
            else:
                over = record_event(state, event, code, self.series)
                if code in MUTATES or shown is not state:
                    shown = look_ahead(state, event, code, now_ms, shadows)
                if over:
                    state.fold(now_ms, shown.profile.time_zone)
                if not state.next_score_ms and state.purchases:
                    state.next_score_ms = now_ms + self.score_every_ms
                if outcome.erased:
                    outcome.erased.discard(state.customer_id)
            known_ms = state.clock_ms or _met_ms(event, now_ms, met_from_ms.get(wave.partitions[number], 0))
            state.clock_ms = max(known_ms, reached_ms)
            afterwards.append(state.clock_ms)
            heads.append(shown.head)
            marks.append(state.marks)
            values.append(state.values)
            tiles.append(state.tiles)
            purchases.append(state.purchases)
        outcome.touched.update(
            zip([state.customer_id for state in wave.states], wave.partitions, strict=True)
        )
        batch = RowBatch(
            states=wave.states,
            heads=heads,
            marks=marks,
            values=values,
            tiles=tiles,
            purchases=purchases,
            now_ms=np.array(wave.now_ms, np.int64),
            codes=np.array(wave.codes, np.uint8),
        )
        return batch, before

    def _erase(self, partition: int, state: CustomerState, outcome: Outcome) -> None:
        if state.segment:
            outcome.erased_from.append((partition, self.segments.names[state.segment]))
        state.forget()
        outcome.erased.add(state.customer_id)

    def _score(self, batch: RowBatch, matrix: Floats, wave: Wave, work: Work) -> Scored | None:
        """Score the customers who have bought; return what the model learns from."""
        risk, scored = np.zeros(len(wave)), None
        buyers = np.flatnonzero(np.fromiter(map(len, batch.purchases), np.int64, len(wave)))
        if len(buyers):
            stats = unpack_many(b"".join(batch.purchases), np.ones(len(buyers), np.bool_))
            codes = batch.codes[buyers]
            now_s = scored_at_s(wave, buyers, codes, batch.now_ms[buyers])
            rates = rates_of(wave, buyers, batch.now_ms[buyers] // 1000, work.rates)
            activity = activity_of(self.space, matrix, None if len(buyers) == len(wave) else buyers)
            risk[buyers], sheet = self.scorer.score_with_features(
                stats, now_s.astype(np.float64), rates, activity
            )
            fill_value(self.space, matrix, self.scorer, buyers, stats, now_s, rates, activity)
            chosen = move_scores(wave, buyers, codes, self.score_every_ms)
            scored = Scored(buyers, codes, now_s, sheet, chosen)
        self.space.set_column(matrix, "churn_risk", risk)
        return scored


def _met_ms(event: Event | None, now_ms: int, met_from_ms: int) -> int:
    """Return from when on deadlines are judged of a customer met for the first time; none before comes up.

    What came while nobody read it is met as late as it is read: what it has made due meanwhile still counts.

    Args:
        event: what they are met by; None = by something else.
        now_ms: the row's instant.
        met_from_ms: up to here everything had been worked on, so the event came later; 0 = not known.
    """
    if event is None or not met_from_ms:
        return now_ms
    return min(now_ms, max(met_from_ms, event.time))
