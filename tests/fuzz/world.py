"""Runs accepted rules on random customers, with a clock that jumps from timer to timer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from engine.events import EVENT_CLASSES, EVENT_TYPES, Event, Family, event_key
from engine.features.catalog import TEXTS
from engine.features.churn.rate import GlobalRate
from engine.features.definitions import Definitions, load_definitions
from engine.features.state import CustomerState, unpack
from engine.pipeline.core import Outcome, Pipeline, Work
from engine.pipeline.waves import EventRow
from engine.resources import shipped
from engine.rules.load import compile_sources, vocabulary_of
from engine.rules.publishing import compiled
from engine.rules.publishing.publication import JourneyFile
from engine.rules.ruleset import RuleSet
from engine.rules.scope import Vocabulary
from engine.settings import Settings
from engine.streams.wire.codec import encode_action, encode_decision
from engine.streams.wiring import pipeline_of

DAY_MS = 86_400_000
START_MS = 1_760_000_000_000
_SETTINGS = Settings()
_CUSTOMERS = ("a", "顾客", "c")
_TRAITS: tuple[dict[str, Any], ...] = (
    {},
    {"birthday": "2000-02-29", "tier": "gold"},
    {"birthday": 7, "tier": True, "trial_ends": "2026-02-30"},
    {"birthday": None},
)
_PROPS: tuple[dict[str, Any], ...] = ({}, {"product_id": "a", "n": 1}, {"tier": "gold", "n": 0.5})
_TEXTS = ("", "投诉 complaint", "furious", "a", "welcome-coupon", "winback-survey", "marketing", "email")


@lru_cache(maxsize=1)
def definitions() -> Definitions:
    """Return the shipped segments; the same object each time."""
    path = shipped("segments.yaml")
    return load_definitions(path.read_text("utf-8"), str(path))


def vocabulary(found: Definitions, rules: RuleSet | None = None) -> Vocabulary:
    """Return what rules can talk about: every feature, or only those some rules need."""
    assert found is definitions()
    return _vocabulary(None if rules is None else rules.features)


@lru_cache(maxsize=1024)  # mutated files mostly need what the file they come from needs
def _vocabulary(features: frozenset[str] | None) -> Vocabulary:
    found = definitions()
    whole = found.space()
    names = whole.names if features is None else found.space(features).names
    return vocabulary_of(whole.kinds, names, found.segments_over(whole).names, TEXTS, _SETTINGS.channels)


def compile_text(text: bytes, found: Definitions, whole: Vocabulary) -> RuleSet:
    """Check and compile one journey file.

    Raises:
        RuleErrors: it is wrong.
    """
    rules = compile_sources([("fuzzed.yaml", text)], whole)
    return RuleSet(rules.journeys, vocabulary(found, rules))


def sent_compiled(rules: RuleSet, found: Definitions) -> RuleSet:
    """Return the rules as a worker has them that takes them over compiled from a publication."""
    (journey,) = rules.journeys
    file = JourneyFile(journey.name, journey.version, "", "", "")
    packed = compiled.pack([file], {(journey.name, journey.version): journey}, "fuzz")
    sent = [compiled.decode(raw) for raw in compiled.unpack(packed, [file], "fuzz").values()]
    taken = [each for each in sent if each is not None]
    assert len(taken) == len(sent)
    return RuleSet(taken or rules.journeys, vocabulary(found, rules))


def random_event(rng: random.Random, name: str, customer_id: str, time_ms: int) -> Event:
    """Return an event of a type with random fields."""
    kind = EVENT_TYPES[name]
    by_family: dict[Family, dict[str, Any]] = {
        Family.CLICK: {"product_id": rng.choice("ab"), "price": rng.choice((0.0, 9.5, 1e12))},
        Family.ORDER: {"order_id": rng.choice(("o1", "o2")), "amount": rng.choice((1.0, 250.0, 1e12))},
        Family.SERVICE: {
            "inquiry_id": rng.choice(("q1", "q2")),
            "text": rng.choice(_TEXTS),
            "sentiment": rng.uniform(-1, 1),
        },
        Family.PROFILE: {
            "purpose": "marketing" if name.startswith("consent") else "",
            "time_zone": rng.choice(("", "Asia/Shanghai", "America/New_York")),
            "traits": rng.choice(_TRAITS),
        },
        Family.ENGAGEMENT: {"template": rng.choice(_TEXTS), "score": rng.choice((1.0, 3.0, 5.0))},
    }
    return EVENT_CLASSES[kind.family](
        id=f"{name}-{time_ms}-{rng.randrange(10**9)}",
        type=name,
        customer_id=customer_id,
        time=time_ms,
        channel=rng.choice(("", "email", "web")),
        props=rng.choice(_PROPS),
        **by_family[kind.family],
    )


def run_rules(
    rng: random.Random, rules: RuleSet, found: Definitions, types: Sequence[str] = (), rows: int = 40
) -> int:
    """Let a few customers live through random events and every timer; return how many actions were fired.

    Args:
        rng: where the choices come from.
        rules: compiled against exactly the columns they need.
        found: segments and features.
        types: event types to prefer: those the rules speak of.
        rows: how many events.
    """
    pipeline = pipeline_of(_SETTINGS, found, rules)
    states: dict[str, CustomerState] = {}
    now_ms, actions = START_MS, 0
    names = [name for name in EVENT_TYPES if name != "erasure.requested"]
    for _ in range(0, rows, len(_CUSTOMERS)):
        now_ms += rng.choice((1_000, 60_000, 3_600_000, DAY_MS, 7 * DAY_MS))
        actions += _timers(pipeline, states, now_ms)
        events = []
        for customer in rng.choices(_CUSTOMERS, k=len(_CUSTOMERS)):
            name = rng.choice(types) if types and rng.random() < 0.7 else rng.choice(names)
            event = random_event(rng, name, customer, now_ms)
            events.append(EventRow(0, event, EVENT_TYPES[name].code, now_ms, event_key(event)))
            states.setdefault(customer, CustomerState(customer))
        actions += _process(pipeline, events, {}, states, now_ms)
    return actions + _timers(pipeline, states, now_ms + 100 * DAY_MS, most=60)


def _timers(pipeline: Pipeline, states: dict[str, CustomerState], until_ms: int, most: int = 30) -> int:
    """Fire what is due, each customer's at its instant."""
    actions = 0
    for _ in range(most):
        due = {name: state.due_ms for name, state in states.items() if 0 < state.due_ms <= until_ms}
        if not due:
            break
        actions += _process(pipeline, [], dict.fromkeys(due, 0), states, until_ms)
        ahead = [name for name, due_ms in due.items() if 0 < states[name].due_ms <= due_ms]
        assert not ahead, "a timer lies ahead"
    return actions


def _process(
    pipeline: Pipeline,
    rows: list[EventRow],
    timers: dict[str, int],
    states: dict[str, CustomerState],
    now_ms: int,
) -> int:
    work = Work(
        events=rows, timers=timers, states=states, until_ms={0: now_ms}, rates={0: GlobalRate()}, replay=True
    )
    outcome: Outcome = pipeline.process(work)
    for name in {*timers, *(row.event.customer_id for row in rows)}:
        states[name] = unpack(name, states[name].pack())
    for action in outcome.actions:
        encode_action(action)
    for decision in outcome.decisions:
        encode_decision(decision)
    return len(outcome.actions)
