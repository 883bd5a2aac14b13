"""Drives the journey machine for one customer with a simulated clock, the way the pipeline does."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.actions import Action, Decision, Outcome
from engine.events import EVENT_CLASSES, EVENT_TYPES, TIMER_CODE, Event
from engine.features.apply import apply_event
from engine.features.catalog import TEXTS, range_of
from engine.features.registry import FeatureSpace
from engine.features.rows import RowBatch
from engine.features.state import CustomerState
from engine.pipeline.found import Found
from engine.rules.context import MachineSettings, Outbox, RowContext
from engine.rules.counts import count_event
from engine.rules.ledger import Ledger
from engine.rules.load import compile_sources, vocabulary_of
from engine.rules.machine import JourneyMachine
from engine.rules.ruleset import RuleSet
from engine.rules.scope import Vocabulary

SEGMENTS = ["", "high_value", "potential", "new", "churn_risk", "regular"]
CHANNELS = ["email", "sms", "push", "in_app", "wechat", "agent"]
SPACE = FeatureSpace()
RANGES = {each.name: known for each in SPACE.features if (known := range_of(each)) is not None}
VOCABULARY: Vocabulary = vocabulary_of(SPACE.kinds, SPACE.names, SEGMENTS, TEXTS, CHANNELS, ranges=RANGES)

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOON = 1_700_000_000_000 // DAY * DAY + 12 * HOUR  # noon UTC of some day


def rule_set(*texts: str) -> RuleSet:
    """Compile journeys given as YAML."""
    return compile_sources(
        [(f"journey{number}.yaml", text.encode()) for number, text in enumerate(texts)], VOCABULARY
    )


def event(kind: str, time: int, customer_id: str = "c1", **fields: Any) -> Event:
    """Make an event with the fields it needs."""
    event_type = EVENT_TYPES[kind]
    defaults: dict[str, Any] = {"id": f"{kind}@{time}"}
    if event_type.family == "order":
        defaults["order_id"] = f"o{time}"
    if event_type.family == "service":
        defaults["inquiry_id"] = "q1"
    fields = {**defaults, **fields}
    return EVENT_CLASSES[event_type.family](type=kind, customer_id=customer_id, time=time, **fields)


class Driver:
    """One customer, one rule set, a clock that only goes forward."""

    def __init__(
        self,
        rules: RuleSet,
        settings: MachineSettings | None = None,
        customer_id: str = "c1",
        ledger: Ledger | None = None,
        **columns: float,
    ) -> None:
        self.ledger = ledger or Ledger()
        self.rules = rules
        self.machine = JourneyMachine(rules, settings or MachineSettings(not_matched_sample=0))
        self.state = CustomerState(customer_id)
        self.outbox = Outbox()
        self.columns = columns
        self.segment = ""
        self.now_ms = 0
        self.due_ms = 0

    @property
    def actions(self) -> list[Action]:
        """All actions so far."""
        return self.outbox.actions

    @property
    def decisions(self) -> list[Decision]:
        """All decisions so far."""
        return self.outbox.decisions

    def outcomes(self, *kinds: Outcome) -> list[tuple[Outcome, str]]:
        """Return outcome and guard of the decisions of these kinds."""
        return [(each.outcome, each.reason.guard) for each in self.decisions if each.outcome in kinds]

    def templates(self) -> list[str]:
        """Return what was sent, in order."""
        return [action.template for action in self.actions]

    def send(self, kind: str, now_ms: int, **fields: Any) -> None:
        """Let an event happen, all timers before it first."""
        self.until(now_ms)
        self._row(event(kind, fields.pop("time", now_ms), self.state.customer_id, **fields), now_ms)

    def until(self, now_ms: int) -> None:
        """Let time pass; timers fire at their instants."""
        while 0 < self.due_ms <= now_ms:
            self._row(None, self.due_ms)

    def late(self, now_ms: int) -> None:
        """Let time pass while nothing runs; one timer fires at the end."""
        if 0 < self.due_ms <= now_ms:
            self._row(None, now_ms)

    def _row(self, happened: Event | None, now_ms: int) -> None:
        assert now_ms >= self.now_ms
        code = EVENT_TYPES[happened.type].code if happened is not None else TIMER_CODE
        if happened is not None:
            apply_event(self.state, happened, code, now_ms)
        clock = np.array([self.state.clock_ms], dtype=np.int64)
        self.state.clock_ms = self.now_ms = now_ms
        batch = RowBatch(
            states=[self.state],
            heads=[self.state.head],
            marks=[self.state.marks],
            values=[self.state.values],
            tiles=[self.state.tiles],
            purchases=[self.state.purchases],
            now_ms=np.array([now_ms], dtype=np.int64),
            codes=np.array([code], dtype=np.uint8),
        )
        matrix = SPACE.matrix(batch)
        for name, value in self.columns.items():
            SPACE.set_column(matrix, name, [value])
        SPACE.set_column(matrix, "segment", [float(SEGMENTS.index(self.segment))])
        found = Found(self.rules, batch, matrix, [happened], clock, batch.now_ms)
        segment = np.array([SEGMENTS.index(self.segment)], dtype=np.uint8)
        found.schedule(segment, np.array([self.due_ms]), self.machine.settings.default_time_zone)
        enough: list[int] = []
        if happened is not None:
            enough = count_event(self.rules, self.state, happened, found.counts.get(0, ()))
        values = {name: float(matrix[0, column]) for name, column in SPACE.index.items()}
        context = RowContext(
            state=self.state,
            event=happened,
            code=code,
            now_ms=now_ms,
            reached_ms=now_ms,
            values={**values, "segment": self.segment},
            segment_before=SEGMENTS[self.state.segment],
            segment_after=self.segment,
            absences=found.absences.get(0, ()),
            schedules=found.schedules.get(0, ()),
            candidates=found.by_event(0, enough),
            ledger=self.ledger,
        )
        self.machine.run(context, self.outbox)
        self.state.segment = SEGMENTS.index(self.segment)
        next_ms = int(found.next_ms[0])
        due = min(next_ms, self.machine.journey_due_ms(self.state) or next_ms)
        self.due_ms = due if due < 2**62 else 0
        assert self.due_ms == 0 or self.due_ms > now_ms, "a timer lies ahead"
