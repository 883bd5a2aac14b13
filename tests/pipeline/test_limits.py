"""Random journeys, random histories of several customers: no guard is ever broken, by a checker of its own.

The checker looks only at the actions fired, the entries decided and the events given, never at what the
engine remembers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Action, Decision, Outcome
from engine.events import EVENT_TYPES, Event, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.churn.scoring import Scorer
from engine.features.churn.snapshot import shipped_prior
from engine.features.registry import FeatureSpace
from engine.features.segments import Group, Segment, Segments
from engine.features.state import CustomerState
from engine.pipeline.core import Pipeline, Work
from engine.pipeline.waves import EventRow
from engine.rules.context import MachineSettings
from engine.rules.guards import held_out, in_control_group
from engine.rules.ledger import Ledger
from engine.rules.load import compile_sources, vocabulary_of
from engine.rules.machine import JourneyMachine
from engine.rules.policy_file import load_policy
from engine.rules.ruleset import RuleSet
from engine.rules.times.units import Cap
from engine.streams.partition import partition_of
from tests.rules.driver import DAY, HOUR, MINUTE, NOON, event

PARTITIONS = 2
CUSTOMERS = [f"c{number}" for number in range(8)]
POLICY = b"policy: [{caps: {survey: [1 per 3d], any: [3 per 4d]}}]"
POLICY_CAPS = {"survey": (Cap(1, 3 * DAY),), "any": (Cap(3, 4 * DAY),)}
GLOBAL = (Cap(2, DAY),)
SPACE = FeatureSpace()
SEGMENTS = Segments([Segment("all", 1, Group(every=True, parts=()))], SPACE)
BARE = vocabulary_of(SPACE.kinds, SPACE.names, SEGMENTS.names)
VOCABULARY = vocabulary_of(
    SPACE.kinds, SPACE.names, SEGMENTS.names, policy=load_policy("policy.yaml", POLICY, BARE)
)
RATE = Cap(3, HOUR)
SETTINGS = MachineSettings(
    global_caps=GLOBAL,
    not_matched_sample=0,
    control_group=0.2,
    rate_limits={"email": RATE},
)


@dataclass(frozen=True)
class Shape:
    """A journey as it is drawn: everything the checker has to know of it."""

    name: str
    on: str
    contact: str
    cap: Cap
    quiet: bool
    window: bool
    priority: int
    grouped: bool
    entry_cap: Cap | None
    holdout: int
    wait_h: int
    channel: str

    def text(self) -> str:
        """Return the journey file."""
        guards: dict[str, Any] = {
            "consent": "marketing",
            "contact": self.contact,
            "cap": f"[{self.cap}]",
            "priority": self.priority,
            "holdout": f"{self.holdout}%",
        }
        if self.quiet:
            guards["quiet_hours"] = "22:00-09:00"
        if self.window:
            guards["send_window"] = "[MON-FRI 10:00-16:00, SAT 10:00-12:00]"
        if self.grouped:
            guards["exclusion_group"] = "group"
        if self.entry_cap is not None:
            guards["entry_cap"] = str(self.entry_cap)
        lines = "".join(f"  {name}: {value}\n" for name, value in guards.items())
        steps = f"  - {{send: {self.channel}, template: a, expires: 3d}}\n  - wait: {self.wait_h}h\n"
        return (
            f"journey: {self.name}\nentry: {{on: {self.on}, reentry: always}}\nguards:\n{lines}"
            f"steps:\n{steps}  - {{send: email, template: b, expires: 2d}}\n"
        )


def shapes(name: str) -> st.SearchStrategy[Shape]:
    """Draw a journey."""
    return st.builds(
        Shape,
        name=st.just(name),
        on=st.sampled_from(["order.placed", "order.placed", "cart.added"]),
        contact=st.sampled_from(["promotion", "survey"]),
        cap=st.builds(Cap, st.integers(1, 3), st.sampled_from([DAY, 2 * DAY])),
        quiet=st.booleans(),
        window=st.booleans(),
        priority=st.integers(0, 3),
        grouped=st.booleans(),
        entry_cap=st.one_of(
            st.none(), st.builds(Cap, st.integers(1, 4), st.sampled_from([HOUR, DAY, 7 * DAY]))
        ),
        holdout=st.sampled_from([0, 30]),
        wait_h=st.integers(1, 30),
        channel=st.sampled_from(["email", "sms"]),
    )


happenings = st.sampled_from(
    [
        *[("order.placed", {})] * 4,
        *[("cart.added", {})] * 3,
        ("consent.withdrawn", {"purpose": "marketing"}),
        ("consent.granted", {"purpose": "marketing"}),
    ]
)
gaps = st.one_of(st.just(0), st.integers(0, MINUTE), st.integers(0, 2 * HOUR), st.integers(0, DAY))
histories = st.lists(st.tuples(gaps, st.sampled_from(CUSTOMERS), happenings), min_size=5, max_size=40)


class World:
    """The pipeline on the replay clock over some partitions, with the bookkeeping of a worker."""

    def __init__(self, rules: RuleSet) -> None:
        machine = JourneyMachine(rules, SETTINGS)
        self.pipeline = Pipeline(
            rules, SPACE, SEGMENTS, machine, Scorer(shipped_prior()), {}, score_every_ms=7 * DAY
        )
        self.states = {name: CustomerState(name) for name in CUSTOMERS}
        self.where = {name: partition_of(name.encode(), PARTITIONS) for name in CUSTOMERS}
        self.rates = {number: GlobalRate() for number in range(PARTITIONS)}
        self.ledgers = {number: Ledger(number, PARTITIONS) for number in range(PARTITIONS)}
        self.actions: list[Action] = []
        self.decisions: list[Decision] = []

    def step(self, events: list[Event], until_ms: int) -> None:
        """Work on some events, and on the timers up to an instant."""
        rows = [
            EventRow(
                self.where[each.customer_id], each, EVENT_TYPES[each.type].code, each.time, event_key(each)
            )
            for each in events
        ]
        due = {name: self.where[name] for name, each in self.states.items() if 0 < each.due_ms <= until_ms}
        until = dict.fromkeys(range(PARTITIONS), until_ms)
        work = Work(rows, due, self.states, until, self.rates, replay=True, ledgers=self.ledgers)
        outcome = self.pipeline.process(work)
        self.actions += outcome.actions
        self.decisions += outcome.decisions


def told(world: World) -> set[tuple[str, ...]]:
    """Return everything that left, without its order between customers."""
    return {(each.id, each.outcome, str(each.time), each.reason.text) for each in world.decisions} | {
        (each.id, str(each.time)) for each in world.actions
    }


def check_sliding(times: Iterable[int], caps: Iterable[Cap]) -> None:
    """Assert that no sliding window holds more than a cap allows; seconds, as contacts are kept."""
    seconds = [time // 1000 for time in times]
    for cap in caps:
        for end in seconds:
            within = sum(end - cap.window_ms // 1000 < each <= end for each in seconds)
            assert within <= cap.count, str(cap)


def check_fixed(times: Iterable[int], limit: Cap) -> None:
    """Assert that no fixed window from Monday on holds more than a limit allows."""
    counts = Counter((time - 4 * DAY) // limit.window_ms for time in times)
    assert max(counts.values(), default=0) <= limit.count, str(limit)


def check_customer(actions: list[Action], journeys: dict[str, Shape], events: list[Event]) -> None:
    """Check consent, caps of all three kinds and the hours of one customer's messages."""
    for name, shape in journeys.items():
        check_sliding([each.time for each in actions if each.journey == name], [shape.cap])
    for kind, caps in POLICY_CAPS.items():
        counted = [each.time for each in actions if kind in ("any", journeys[each.journey].contact)]
        check_sliding(counted, caps)
    check_sliding([each.time for each in actions], GLOBAL)
    answers = [each for each in events if each.type.startswith("consent.")]
    for action in actions:
        # an answer of the same instant may lie before the message or behind it
        before = [each.type for each in answers if each.time < action.time]
        at_once = [each.type for each in answers if each.time == action.time]
        assert "consent.granted" in (*before[-1:], *at_once), "consent"
        shape, local = journeys[action.journey], datetime.fromtimestamp(action.time / 1000, UTC)
        assert not shape.quiet or 9 <= local.hour < 22, "quiet hours"
        closes = {5: 12, 6: 0}.get(local.weekday(), 16)
        assert not shape.window or 10 <= local.hour < closes, "send window"


def runs_of(decisions: list[Decision]) -> Iterator[tuple[int, int]]:
    """Yield beginning and end of the runs of one customer in journeys of the group, in order of beginning."""
    open_runs: dict[tuple[str, str], int] = {}
    for each in decisions:
        run = (each.journey, each.event_id)
        if each.outcome is Outcome.ENTERED and each.step == "entry":
            open_runs[run] = each.time
        elif each.outcome in (Outcome.COMPLETED, Outcome.EXITED):
            yield open_runs.pop(run), each.time
    yield from ((begun, 2**62) for begun in open_runs.values())


def check_group(decisions: list[Decision], journeys: dict[str, Shape]) -> None:
    """Check that a customer is in different journeys of the group one after the other."""
    own = [each for each in decisions if journeys[each.journey].grouped]
    names = {each.journey for each in own}
    for name in names:
        for other in names - {name}:
            mine = list(runs_of([each for each in own if each.journey == name]))
            theirs = list(runs_of([each for each in own if each.journey == other]))
            for begin, end in mine:
                assert not any(begin < to and since < end for since, to in theirs), "exclusion group"


@settings(max_examples=60, deadline=None)
@given(st.tuples(shapes("one"), shapes("two"), shapes("three")), histories, st.data())
def test_no_guard_is_broken_and_cuts_change_nothing(
    drawn: tuple[Shape, ...], history: list[tuple[int, str, tuple[str, dict[str, Any]]]], data: st.DataObject
) -> None:
    """Every guard holds in every history, and the outcome is the same however it is cut into steps."""
    journeys = {shape.name: shape for shape in drawn}
    rules = compile_sources([(shape.name, shape.text().encode()) for shape in drawn], VOCABULARY)
    now_ms = NOON
    events = [
        event("consent.granted", now_ms, name, id=f"consent-{name}", purpose="marketing")
        for name in CUSTOMERS[1:]
    ]
    for number, (gap_ms, name, (kind, fields)) in enumerate(history):
        now_ms += gap_ms
        events.append(event(kind, now_ms, name, id=f"e{number}", **fields))
    end_ms = now_ms + 6 * DAY
    whole, cut = World(rules), World(rules)
    whole.step(events, end_ms)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events)), max_size=8)) | {0, len(events)})
    for begin, end in pairwise(cuts):
        cut.step(events[begin:end], events[end - 1].time)
    cut.step([], end_ms)
    assert told(whole) == told(cut)
    check_fixed([each.time for each in whole.actions if each.channel == "email"], RATE)
    entries: defaultdict[str, list[int]] = defaultdict(list)
    for each in whole.decisions:
        if each.step == "entry" and each.outcome in (Outcome.ENTERED, Outcome.HELD_OUT):
            entries[each.journey].append(each.time)
    for name, shape in journeys.items():
        if shape.entry_cap is not None:
            check_fixed(entries[name], shape.entry_cap)
    for name in CUSTOMERS:
        own = [each for each in whole.actions if each.customer_id == name]
        check_customer(own, journeys, [each for each in events if each.customer_id == name])
        check_group([each for each in whole.decisions if each.customer_id == name], journeys)
        assert not own or not in_control_group(SETTINGS, name)
        assert not any(held_out(rules.by_name[each.journey, 1], name) for each in own)
