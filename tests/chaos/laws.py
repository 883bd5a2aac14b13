"""What must hold after a chaos run, and what it cost."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Message

from engine.settings import Settings
from engine.streams.wire.letters import PREFIX
from tests.chaos.faults import HIT, RESTORED, Incident
from tests.faults.harness import Deployment, read_messages

MOST_HIT = 2  # workers that a fault hits, if nothing else is said
IN_FLIGHT_MS = 100  # what a killed worker had handed to its socket may still be stamped so much later


@dataclass
class Outcome:
    """What a deployment left behind.

    Args:
        actions: records of each action id, in the order they were appended.
        letters: topic, partition, offset of the dead letters, as often as they are there.
    """

    actions: dict[str, list[Message]] = field(default_factory=dict)
    letters: Counter[tuple[str, int, int]] = field(default_factory=Counter)


def read_outcome(deployment: Deployment) -> Outcome:
    """Read a deployment's actions and dead letters."""
    outcome = Outcome()
    topics = [f"{deployment.name}.actions.{channel}" for channel in Settings().channels]
    found = read_messages(deployment.bootstrap, topics)
    for message in sorted(found, key=lambda each: (each.timestamp()[1], each.offset())):
        outcome.actions.setdefault(msgspec.json.decode(message.value())["id"], []).append(message)
    for message in read_messages(deployment.bootstrap, [deployment.topics["dlq"]]):
        headers = dict(message.headers())
        place = [headers[PREFIX + name].decode() for name in ("topic", "partition", "offset")]
        outcome.letters[place[0], int(place[1]), int(place[2])] += 1
    return outcome


def account(incidents: Sequence[Incident], outcome: Outcome) -> None:
    """Note with each fault what it cost: repeats, and the time of a takeover."""
    begins = [incident.began_ms for incident in incidents]
    first_ms: dict[int, list[int]] = defaultdict(list)
    causes: dict[int, set[str]] = defaultdict(set)
    for messages in outcome.actions.values():
        for number, message in enumerate(messages):
            stamp_ms = message.timestamp()[1]
            first_ms[message.partition()].append(stamp_ms)
            place = bisect.bisect_right(begins, stamp_ms) - 1
            if place >= 0:
                incidents[place].actions += 1
                if number:
                    incidents[place].repeated += 1
                    causes[place].add(msgspec.json.decode(message.value())["event_id"])
    for place, events in causes.items():
        incidents[place].repeated_events = len(events)
    for stamps in first_ms.values():
        stamps.sort()
    for incident in incidents:
        after_ms = incident.began_ms + IN_FLIGHT_MS
        firsts = [
            stamps[at]
            for number in incident.moved
            if (at := bisect.bisect_left(stamps := first_ms[number], after_ms)) < len(stamps)
        ]
        if firsts:
            incident.takeover_s = (max(firsts) - incident.began_ms) / 1000


def check_repeats(incidents: Sequence[Incident], batch: int) -> list[str]:
    """Check that a fault repeats the actions of one batch at most, of each worker that it hits.

    A Redis that goes back in time repeats all that was done since, by nature.

    Args:
        incidents: the faults, accounted for.
        batch: records of one batch at most; 0 = nothing is repeated, for actions are in transactions.
    """
    return [
        f"{incident.kind}: actions of {incident.repeated_events} events repeated"
        for incident in incidents
        if incident.kind != RESTORED and incident.repeated_events > batch * HIT.get(incident.kind, MOST_HIT)
    ]


def check_live(outcome: Outcome, orders: int, customers: int) -> list[str]:
    """Check the live clock's laws: each order has its one action, and counted once in the state.

    Args:
        outcome: what is there.
        orders: how many were sent; number n was of customer `n % customers`.
        customers: how many.

    Returns:
        What is broken.
    """
    ids: dict[tuple[str, str], set[str]] = defaultdict(set)
    counts: dict[str, set[int]] = defaultdict(set)
    for name, messages in outcome.actions.items():
        for message in messages:
            action = msgspec.json.decode(message.value())
            ids[action["journey"], action["event_id"]].add(name)
            if action["journey"] == "thanks":
                counts[action["event_id"]].add(action["data"]["orders"])
    broken = [
        f"{journey}: no action for order {number}"
        for journey in ("thanks", "probe")
        for number in range(orders)
        if (journey, f"e{number}") not in ids
    ]
    broken += [f"{key} has {len(names)} ids" for key, names in ids.items() if len(names) > 1]
    for number in range(orders):
        found = counts[f"e{number}"]
        if found and found != {number // customers + 1}:
            broken.append(f"order {number} was counted as {sorted(found)}, not {number // customers + 1}")
    return broken


def check_same(found: Outcome, expected: Outcome) -> list[str]:
    """Check the replay clock's laws: what is there is what an undisturbed run left, to the byte."""
    broken = [f"action {name} is missing" for name in expected.actions.keys() - found.actions.keys()]
    broken += [f"action {name} is too much" for name in found.actions.keys() - expected.actions.keys()]
    for name in found.actions.keys() & expected.actions.keys():
        values = {message.value() for message in found.actions[name]}
        if values != {message.value() for message in expected.actions[name]}:
            broken.append(f"action {name} differs")
    if any(len(messages) > 1 for messages in expected.actions.values()):
        broken.append("the undisturbed run repeated an action")
    return broken
