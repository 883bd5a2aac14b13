"""Mutated event records: each is refused with a reason of the closed list, or accepted and runs."""

from __future__ import annotations

import copy
import json
import random
import time
from collections import Counter
from typing import Any

import msgspec

from engine.errors import InvalidEvent
from engine.events import EVENT_TYPES, DeadLetterReason, Event, Family, event_key
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState
from engine.pipeline.core import Outcome, Pipeline, Work
from engine.pipeline.waves import EventRow
from engine.settings import Settings
from engine.streams.wire.avro import encode_avro_single_object
from engine.streams.wire.codec import Decoder, encode_action, encode_decision
from engine.streams.wiring import build_pipeline
from tests.fuzz.mutate import mutate_bytes, mutate_text
from tests.fuzz.world import START_MS, random_event

MAX_S = 1.0
TIMER_S = 0.005  # an event of 1990 brings decades of weekly timers with it
BATCH = 500
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "a", "顾客", "\ud800", "x" * 1025, [], {}, [1], {"a": 1}, "2026-01-01T00:00:00Z", "UTC",
    "marketing", 631_152_000_000, START_MS,
)  # fmt: skip
_WORDS = (
    '"id"',
    '"type"',
    '"time"',
    '"props"',
    "1e309",
    "-1",
    "null",
    "[]",
    "{}",
    "true",
    '"\\ud800"',
    "1" * 30,
)


def fuzz(seed: int, count: int) -> Counter[str]:
    """Decode so many mutated records, JSON and Avro; let what is accepted run through the pipeline.

    Args:
        seed: the same seed mutates the same way.
        count: how many.

    Raises:
        AssertionError: one crashed or took over a second of processor time; its bytes are in the message.
    """
    rng = random.Random(seed)
    decoder, pipeline = Decoder("replay"), build_pipeline(Settings())
    valid = _records(rng)
    results: Counter[str] = Counter()
    waiting: list[Event] = []
    for number in range(count):
        family, key, data = _mutated(rng, valid)
        begun_s, allowed_s = time.process_time(), MAX_S
        try:
            waiting.append(decoder.decode(family, data, key, START_MS))
            results["accepted"] += 1
            if len(waiting) == BATCH:
                outcome = _run(pipeline, waiting)
                results["actions"] += len(outcome.actions)
                allowed_s += TIMER_S * outcome.timers_fired
                waiting.clear()
        except InvalidEvent as error:
            results[DeadLetterReason(error.reason)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}, record {number}: {type(error).__name__}\n{data!r}") from error
        took_s = time.process_time() - begun_s
        assert took_s < allowed_s, f"seed {seed}, record {number} took {took_s:.1f} s\n{data!r}"
    results["actions"] += len(_run(pipeline, waiting).actions)
    return results


def _records(rng: random.Random) -> list[tuple[Family, bytes, bytes]]:
    """Return valid records of every type: family, key, JSON; and the same as Avro."""
    found = []
    for number, (name, kind) in enumerate(EVENT_TYPES.items()):
        customer = f"c{number}" if number % 2 else f"顾客{number}"
        event = random_event(rng, name, customer, START_MS + number)
        found.append((kind.family, customer.encode(), msgspec.json.encode(event)))
        found.append((kind.family, customer.encode(), encode_avro_single_object(event)))
    return found


def _mutated(rng: random.Random, valid: list[tuple[Family, bytes, bytes]]) -> tuple[Family, bytes, bytes]:
    family, key, data = rng.choice(valid)
    if rng.random() < 0.1:
        family = rng.choice(list(Family))
    if rng.random() < 0.05:
        key = mutate_bytes(rng, key)
    if rng.random() < 0.2:
        return family, key, data
    if data[:1] == b"{" and rng.random() < 0.5:
        return family, key, _other_value(rng, data)
    if data[:1] == b"{" and rng.random() < 0.7:
        return family, key, mutate_text(rng, [data.decode()], _WORDS).encode("utf-8", "surrogatepass")
    return family, key, mutate_bytes(rng, data)


def _other_value(rng: random.Random, data: bytes) -> bytes:
    """Put other values into one or two fields; the record stays JSON."""
    fields = json.loads(data)
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.choice((fields, fields, fields.setdefault("props", {})))
        if isinstance(place, dict):
            place[rng.choice([*place, "extra"])] = copy.deepcopy(rng.choice(_VALUES))
    return json.dumps(fields).encode("utf-8", "surrogatepass")


def _run(pipeline: Pipeline, events: list[Event]) -> Outcome:
    """Process a batch the way a step does: each customer's state, rows in order of time."""
    ordered = sorted(events, key=lambda event: event.time)
    rows = [EventRow(0, each, EVENT_TYPES[each.type].code, each.time, event_key(each)) for each in ordered]
    states = {each.customer_id: CustomerState(each.customer_id) for each in ordered}
    until = {0: max((each.time for each in ordered), default=START_MS)}
    work = Work(events=rows, timers={}, states=states, until_ms=until, rates={0: GlobalRate()}, replay=True)
    outcome = pipeline.process(work)
    for state in states.values():
        state.pack()
    for action in outcome.actions:
        encode_action(action)
    for decision in outcome.decisions:
        encode_decision(decision)
    return outcome
