"""What happens to a few customers within two days: made from a seed, with repeats, delays and rubbish."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from engine.events import EVENT_CLASSES, EVENT_TYPES, DeadLetterReason, Event
from engine.streams.partition import partition_of
from engine.streams.wire.avro import encode_avro_single_object
from engine.streams.wire.codec import encode_json
from tests.simulation.poison import AT_ONCE, LATER, refused
from tests.streams.replay import MemoryRecord

PARTITIONS = 3
START_MS = 1_768_219_200_000  # noon UTC of a Monday
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
SPAN_MS = 30 * HOUR_MS  # of the events
DRAIN_MS = 30 * HOUR_MS  # longer than anything they begin
EVENTS = 22
REPEATED, RUBBISH, AVRO = 0.15, 0.06, 0.2
RAISING, RAISING_LATER = 0.08, 0.08  # of the orders

# How often each comes. A session (`_views`) is three views or so within the journey's two hours.
_WEIGHTS = {
    "customer.signed_up": 3,
    "consent.granted": 5,
    "consent.withdrawn": 1,
    "order.placed": 6,
    "views": 4,
    "page.viewed": 2,
    "inquiry.opened": 4,
    "inquiry.replied": 3,
    "inquiry.resolved": 2,
    "message.responded": 2,
    "erasure.requested": 1,
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A record as it comes to the broker.

    Args:
        at_ms: when, since the beginning.
        topic: where; with the key it tells the partition.
        key: its key.
        value: its value.
        event: what is in it; None for what cannot be read.
        reason: why it belongs to the dead letters; empty for what does not.
    """

    at_ms: int
    topic: str
    key: bytes
    value: bytes
    event: Event | None
    reason: str = ""


def make_arrivals(rng: random.Random, topics: dict[str, str]) -> list[Arrival]:
    """Make what happens, in the order in which it arrives.

    Args:
        rng: everything comes from it.
        topics: topic of each event family.
    """
    customers = [f"c{rng.randrange(100)}" for _ in range(rng.randint(1, 4))]
    bursts = sorted(rng.randrange(SPAN_MS) for _ in range(rng.randint(3, 8)))
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
    arrivals: list[Arrival] = []
    for name in customers:
        if rng.random() < 0.8:  # without consent nothing much is sent
            at_ms = rng.choice((0, 0, *bursts))
            granted = _event("consent.granted", name, len(arrivals), at_ms, purpose="marketing")
            arrivals += _arrive(rng, topics, granted, 0)
    while len(arrivals) < EVENTS:
        kind, name = rng.choices(kinds, weights)[0], rng.choice(customers)
        for each in ["product.viewed"] * rng.randint(2, 4) if kind == "views" else [kind]:
            at_ms = rng.choice(bursts) + rng.choice((0, 0, rng.randrange(10), rng.randrange(120))) * MINUTE_MS
            late_ms = rng.choice((0, 0, 0, rng.randrange(60_000), rng.randrange(2 * HOUR_MS)))
            arrivals += _arrive(rng, topics, _random_event(rng, each, name, len(arrivals), at_ms), late_ms)
    arrivals.sort(key=lambda each: each.at_ms)
    return arrivals


def _arrive(rng: random.Random, topics: dict[str, str], event: Event, late_ms: int) -> list[Arrival]:
    """Let an event arrive, perhaps twice, perhaps beside a record that is refused."""
    topic, key = topics[EVENT_TYPES[event.type].family], event.customer_id.encode()
    at_ms = event.time - START_MS + late_ms
    value = encode_avro_single_object(event) if rng.random() < AVRO else encode_json(event)
    # at this event a rule raises; a repeat of it may be found to be one or not, so there is none
    fails = getattr(event, "order_id", "").startswith(AT_ONCE)
    reason = DeadLetterReason.PROCESSING_FAILED if fails else ""
    found = [Arrival(at_ms, topic, key, value, event, reason)]
    if rng.random() < REPEATED and not fails:
        again_ms = at_ms + rng.choice((0, rng.randrange(1000), rng.randrange(5 * HOUR_MS)))
        found.append(Arrival(again_ms, topic, key, value, event))
    if rng.random() < RUBBISH:
        broken, why = refused(rng, event)
        found.append(Arrival(at_ms, topic, key, broken, None, why))
    return found


def _random_event(rng: random.Random, kind: str, name: str, number: int, at_ms: int) -> Event:
    """Make an event of a kind; inquiries and orders are few, so that what belongs together meets."""
    own: dict[str, Any] = {}
    family = EVENT_TYPES[kind].family.value
    if family == "order":
        kind_of = rng.choices(("", AT_ONCE, LATER), (1 - RAISING - RAISING_LATER, RAISING, RAISING_LATER))[0]
        own = {"order_id": f"{kind_of}o{number}", "amount": float(rng.randint(1, 99))}
    elif family == "service":
        own = {"inquiry_id": f"{name}-i{rng.randrange(3)}"}
    elif kind.startswith("consent"):
        own = {"purpose": "marketing"}
    return _event(kind, name, number, at_ms, **own)


def _event(kind: str, name: str, number: int, at_ms: int, **own: Any) -> Event:
    time_ms = (START_MS + at_ms) // 1000 * 1000
    made: Event = EVENT_CLASSES[EVENT_TYPES[kind].family](
        id=f"e{number}", type=kind, customer_id=name, time=time_ms, source="shop", **own
    )
    return made


def append(log: dict[tuple[str, int], list[MemoryRecord]], arrival: Arrival) -> tuple[str, int]:
    """Append a record to its partition, as a producer would; return where."""
    place = (arrival.topic, partition_of(arrival.key, PARTITIONS))
    records = log[place]
    records.append(MemoryRecord((*place, len(records)), (arrival.key, arrival.value)))
    return place
