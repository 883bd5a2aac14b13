"""Random deployments and random lives of their customers, on the replay clock over two partitions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from engine.actions import Action, Decision
from engine.events import EVENT_TYPES, event_key
from engine.features.catalog import TEXTS
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.changes import SegmentChange
from engine.pipeline.core import Pipeline, Work
from engine.pipeline.waves import EventRow
from engine.rules.journey import Journey
from engine.rules.ledger import Ledger
from engine.rules.load import compile_sources, vocabulary_of
from engine.rules.policy_file import load_policy
from engine.rules.release import Release
from engine.rules.ruleset import RuleSet, features_of
from engine.rules.scope import Vocabulary
from engine.settings import Settings
from engine.streams.partition import partition_of
from engine.streams.wiring import pipeline_of
from tests.fuzz.world import definitions, random_event
from tests.rules.random_journeys import TYPES, Data, random_journey
from tests.rules.random_layout import write_yaml

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START_MS = 1_761_350_400_000  # a day before the clocks of Europe go back
PARTITIONS = 2
CUSTOMERS = tuple(f"c{number}" for number in range(6))
POLICY = b"""policy:
  - {segment: new, caps: {any: [4 per 1d], care: [1 per 1d]}}
  - {segment: high_value, caps: {any: [2 per 1d]}}
  - {caps: {promotion: [9 per 7d], survey: [1 per 1d]}}
"""
OTHER_TYPES = (
    *["consent.granted"] * 10,
    "consent.withdrawn",
    "profile.updated",
    "customer.signed_up",
    "message.unsubscribed",
    "message.clicked",
    "inquiry.replied",
    "inquiry.resolved",
)
GAPS = (0, 1, SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, 11 * HOUR, DAY)
DEFINITIONS = definitions()
WHOLE = DEFINITIONS.space()


def vocabulary_with(names: Sequence[str]) -> Vocabulary:
    """Return what rules can talk about over these columns, with the contact policy above."""
    segments, channels = DEFINITIONS.segments_over(WHOLE).names, Settings().channels
    bare = vocabulary_of(WHOLE.kinds, names, segments, TEXTS, channels)
    policy = load_policy("policy.yaml", POLICY, bare)
    return vocabulary_of(WHOLE.kinds, names, segments, TEXTS, channels, policy=policy)


VOCABULARY = vocabulary_with(WHOLE.names)


def rule_set(journeys: Sequence[Journey], release: Release | None = None) -> RuleSet:
    """Return a rule set over just the columns the journeys need, as a worker has it."""
    needed = features_of(journeys) | VOCABULARY.policy.features
    return RuleSet(journeys, vocabulary_with(DEFINITIONS.space(needed).names), release)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a random deployment consists of: settings, journeys as plain data by name, the rule set."""

    settings: Settings
    journeys: dict[str, Data]
    rules: RuleSet

    def pipeline(self) -> Pipeline:
        """Put the pure core together."""
        return pipeline_of(self.settings, DEFINITIONS, self.rules)


def random_settings(rng: random.Random) -> Settings:
    """Return settings in which some limits are tight."""
    return Settings(
        clock="replay",
        global_cap=rng.choice((["2 per 1d", "9 per 7d"], ["1 per 1h"], ["6 per 1d"])),
        control_group=rng.choice(("0%", "0%", "60%")),
        rate_limits=rng.choice(({}, {"email": "2 per 1h", "sms": "1 per 1d"}, {"push": "3 per 1m"})),
    )


def random_deployment(rng: random.Random, most: int = 5) -> Deployment:
    """Think up journeys and settings."""
    journeys = {f"j{number}": random_journey(rng, f"j{number}") for number in range(rng.randint(1, most))}
    texts = [(f"{name}.yaml", write_yaml(rng, data).encode()) for name, data in journeys.items()]
    compiled = compile_sources(texts, VOCABULARY).journeys
    return Deployment(random_settings(rng), journeys, rule_set(compiled))


def random_history(rng: random.Random, rows: int, erasures: bool = False) -> list[EventRow]:
    """Return random events of the customers in the order of the log; of what changes no profile some late.

    Args:
        rng: where the choices come from.
        rows: how many.
        erasures: whether customers are forgotten now and then.
    """
    others = (*OTHER_TYPES, "erasure.requested") if erasures else OTHER_TYPES
    now_ms, found = START_MS, []
    for _ in range(rows):
        now_ms += rng.choice(GAPS)
        name = rng.choice(TYPES) if rng.random() < 0.7 else rng.choice(others)
        kind = EVENT_TYPES[name]
        late_ms = 0 if kind.mutates or rng.random() < 0.9 else rng.choice((1, MINUTE, DAY))
        event = random_event(rng, name, rng.choice(CUSTOMERS), now_ms - late_ms)
        number = partition_of(event.customer_id.encode(), PARTITIONS)
        found.append(EventRow(number, event, kind.code, now_ms, event_key(event)))
    return found


@dataclass(slots=True)
class World:
    """The pipeline with the bookkeeping of a worker.

    Args:
        pipeline: the pure core.
        states: of all customers.
        ledgers: of all partitions.
        actions: all fired so far.
        decisions: all so far.
        changes: of segments, all so far.
    """

    pipeline: Pipeline
    states: dict[str, CustomerState] = field(
        default_factory=lambda: {name: CustomerState(name) for name in CUSTOMERS}
    )
    ledgers: dict[int, Ledger] = field(
        default_factory=lambda: {number: Ledger(number, PARTITIONS) for number in range(PARTITIONS)}
    )
    rates: dict[int, GlobalRate] = field(
        default_factory=lambda: {number: GlobalRate() for number in range(PARTITIONS)}
    )
    actions: list[Action] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    changes: list[SegmentChange] = field(default_factory=list)

    def step(self, rows: Sequence[EventRow], until_ms: int) -> None:
        """Work on rows, and on the timers up to an instant."""
        due = {
            name: partition_of(name.encode(), PARTITIONS)
            for name, state in self.states.items()
            if 0 < state.due_ms <= until_ms
        }
        until = dict.fromkeys(range(PARTITIONS), until_ms)
        work = Work(rows, due, self.states, until, self.rates, replay=True, ledgers=self.ledgers)
        outcome = self.pipeline.process(work)
        self.actions += outcome.actions
        self.decisions += outcome.decisions
        self.changes += outcome.segment_changes

    def live(
        self, rows: Sequence[EventRow], sizes: Iterable[int], between: Callable[[World], None] | None = None
    ) -> None:
        """Work on the rows in steps of these sizes, over and over, then on the timers of four months.

        Args:
            rows: in order.
            sizes: at least one, positive.
            between: called after each step.
        """
        turns, left = itertools.cycle(sizes), list(rows)
        while left:
            size = next(turns)
            taken, left = left[:size], left[size:]
            self.step(taken, taken[-1].now_ms)
            if between is not None:
                between(self)
        for days in (1, 30, 120):
            self.step([], rows[-1].now_ms + days * DAY)
            if between is not None:
                between(self)

    def stored(self) -> tuple[dict[str, bytes], dict[int, bytes]]:
        """Return everything a worker would store."""
        states = {name: state.pack() for name, state in self.states.items()}
        return states, {number: ledger.to_bytes() for number, ledger in self.ledgers.items()}

    def told(self) -> dict[str, tuple[list[Action], list[Decision], list[SegmentChange]]]:
        """Return what left, by customer; between customers of a step there is no order."""
        parts = (self.actions, self.decisions, self.changes)
        found = {name: ([], [], []) for name in CUSTOMERS}  # type: ignore[var-annotated]
        for number, part in enumerate(parts):
            for each in part:  # type: ignore[attr-defined]
                found[each.customer_id][number].append(each)
        return found
