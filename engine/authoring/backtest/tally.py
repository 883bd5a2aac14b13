"""What a backtest counts while it looks on; counts of partitions add up."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import xxhash

from engine.actions import Action, Decision, Outcome
from engine.features.profile import Contact
from engine.features.state import CustomerState
from engine.rules.context import MachineSettings, RowContext
from engine.rules.journey import Jump
from engine.rules.ruleset import RuleSet

DAY_MS = 86_400_000
MAX_SAMPLES = 10  # customer ids shown of a group

ENTERED, SENT, SUPPRESSED, DEFERRED = "entered", "sent", "suppressed", "deferred"
HELD_OUT, EXITED, COMPLETED, CONVERTED = "held_out", "exited", "completed", "converted"
ENTRY_STEP = "entry"
_CAPS = frozenset({"global_cap", "policy", "contact_history"})
_KINDS = {
    Outcome.SUPPRESSED: SUPPRESSED,
    Outcome.DEFERRED: DEFERRED,
    Outcome.HELD_OUT: HELD_OUT,
    Outcome.EXITED: EXITED,
    Outcome.COMPLETED: COMPLETED,
}


class Cell(NamedTuple):
    """What a count is of.

    Args:
        journey: the journey.
        what: `entered`, `sent`, `suppressed`, `deferred`, `held_out`, `exited`, `completed`, `converted`.
        detail: the guard, or the arm of a conversion; of a send `channel/template`.
        step: the step's path.
        day: days since the epoch, UTC.
        segment: the customer's segment at that moment, or empty.
    """

    journey: str
    what: str
    detail: str
    step: str
    day: int
    segment: str


class Got(NamedTuple):
    """Something a customer can get: a message, a task, or an entry.

    Args:
        journey: the journey.
        step: the step's path, or `entry`.
        channel: the channel, or empty.
        template: the template, or empty.
    """

    journey: str
    step: str
    channel: str = ""
    template: str = ""


@dataclass(slots=True)
class Tally:
    """Counts of some partitions.

    Args:
        cells: how often what happened.
        values: the value of conversions, by journey and arm.
        collisions: messages stopped by a cap that another journey's contacts had filled, by stopped journey,
            guard, and journey whose contacts counted.
        waiting: customers inside at the end, by journey and step.
        segments: customers by segment at the end.
        people: distinct customers by journey and `entered` or `sent`.
        customers: distinct customers of the log.
        events: events worked on.
        counted: of them, those from the start of the period on.
        rows: rows the pipeline worked on, timers included.
        invalid: records that are no valid event.
        duplicates: repeats.
        late: events older than the stream time.
    """

    cells: Counter[Cell] = field(default_factory=Counter)
    values: defaultdict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))
    collisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    waiting: Counter[tuple[str, str]] = field(default_factory=Counter)
    segments: Counter[str] = field(default_factory=Counter)
    people: Counter[tuple[str, str]] = field(default_factory=Counter)
    customers: int = 0
    events: int = 0
    counted: int = 0
    rows: int = 0
    invalid: int = 0
    duplicates: int = 0
    late: int = 0

    def add(self, other: Tally) -> None:
        """Add the counts of other partitions."""
        for name in ("cells", "collisions", "waiting", "segments", "people"):
            getattr(self, name).update(getattr(other, name))
        for key, value in other.values.items():
            self.values[key] += value
        for name in ("customers", "events", "counted", "rows", "invalid", "duplicates", "late"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Watcher:
    """Looks on while journeys run and counts; what lies before the period only builds state.

    Args:
        rules: the rule set.
        settings: of the machine, for its global caps.
        from_ms: start of the period.
        segments: the name of each segment code.

    Attributes:
        tally: the counts.
        got: who got what, for a comparison with another rule set.
    """

    def __init__(
        self, rules: RuleSet, settings: MachineSettings, from_ms: int, segments: Sequence[str]
    ) -> None:
        self.tally = Tally()
        self.got: defaultdict[Got, set[str]] = defaultdict(set)
        self._rules = rules
        self._windows_s = sorted({cap.window_ms // 1000 for cap in settings.global_caps})
        self._from_ms = from_ms
        self._segments = segments

    def __call__(self, context: RowContext, actions: Sequence[Action], decisions: Sequence[Decision]) -> None:
        """Count what was decided at one row."""
        if context.now_ms < self._from_ms:
            return
        where = (context.now_ms // DAY_MS, context.segment_after)
        customer = context.state.customer_id
        cells = self.tally.cells
        for action in actions:
            what = f"{action.channel}/{action.template}"
            cells[Cell(action.journey, SENT, what, action.step, *where)] += 1
            self.got[Got(action.journey, action.step, action.channel, action.template)].add(customer)
        for each in decisions:
            self._count(each, context, where)
        for name in self._silent(decisions):
            self._enter(name, customer, where)

    def _silent(self, decisions: Sequence[Decision]) -> list[str]:
        """Return the journey of each entry that is not told by itself: those that end where they begin."""
        told: set[tuple[str, str]] = set()
        passed: dict[tuple[str, str], None] = {}
        for each in decisions:
            run = (each.journey, each.event_id)
            if each.step == ENTRY_STEP:
                told.add(run)
            elif each.outcome in {Outcome.FIRED, Outcome.SUPPRESSED}:
                journey = self._rules.by_name.get((each.journey, each.version))
                if journey is not None and not journey.waits:
                    passed[run] = None
        return [run[0] for run in passed if run not in told]

    def _enter(self, journey: str, customer: str, where: tuple[int, str]) -> None:
        self.tally.cells[Cell(journey, ENTERED, "", ENTRY_STEP, *where)] += 1
        self.got[Got(journey, ENTRY_STEP)].add(customer)

    def _count(self, decision: Decision, context: RowContext, where: tuple[int, str]) -> None:
        outcome, guard = decision.outcome, decision.reason.guard
        if outcome is Outcome.ENTERED:
            if decision.step == ENTRY_STEP:
                self._enter(decision.journey, decision.customer_id, where)
            return
        if outcome == CONVERTED:
            self._convert(decision, where)
            return
        kind = _KINDS.get(outcome)
        if kind is None:
            return
        self.tally.cells[Cell(decision.journey, kind, guard, decision.step, *where)] += 1
        if kind == SUPPRESSED and guard in _CAPS:
            self._collide(decision, context.state.profile.contacts)

    def _convert(self, decision: Decision, where: tuple[int, str]) -> None:
        values = decision.reason.values
        arm = str(values.get("arm", ""))
        self.tally.cells[Cell(decision.journey, CONVERTED, arm, decision.step, *where)] += 1
        value = values.get("value", 0)
        if isinstance(value, int | float):
            self.tally.values[decision.journey, arm] += value

    def _collide(self, decision: Decision, contacts: Iterable[Contact]) -> None:
        """Note whose contacts had filled the cap; those within its window are on the customer still."""
        window_s = self._window_s(decision, contacts := list(contacts))
        after_s = decision.time // 1000 - window_s
        others = {each.journey for each in contacts if each.time_s > after_s}
        for other in others - {decision.journey}:
            self.tally.collisions[decision.journey, decision.reason.guard, other] += 1

    def _window_s(self, decision: Decision, contacts: Sequence[Contact]) -> int:
        """Return the shortest window of a cap that holds as many contacts as the decision says it saw."""
        seen = decision.reason.values.get("contacts", len(contacts))
        now_s = decision.time // 1000
        for window_s in self._windows_s:
            if sum(each.time_s > now_s - window_s for each in contacts) == seen:
                return window_s
        return max(self._windows_s, default=now_s)

    def finish(self, states: Iterable[tuple[int, CustomerState]]) -> None:
        """Look at everybody once the log is over: who waits where, who is in which segment."""
        tally = self.tally
        for _, state in states:
            tally.segments[self._segments[state.segment]] += 1
            for position in state.profile.positions:
                tally.waiting[
                    position.journey, self._step(position.journey, position.version, position.pc)
                ] += 1
        people: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for got, customers in self.got.items():
            people[got.journey, ENTERED if got.step == ENTRY_STEP else SENT] |= customers
        tally.people.update({key: len(customers) for key, customers in people.items()})

    def _step(self, name: str, version: int, pc: int) -> str:
        journey = self._rules.by_name.get((name, version))
        step = journey.program[pc] if journey is not None and pc < len(journey.program) else None
        return "end" if step is None or isinstance(step, Jump) else step.path


def sample_order(customer: str) -> int:
    """Return a number to sort customers by that has nothing to do with their names, the same each time."""
    return int(xxhash.xxh3_64_intdigest(customer.encode()))
