"""One part of a chaos run: a deployment on a clock, one fault after the other, and what came of it."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from engine.resources import shipped
from tests.chaos.crew import Crew, StuckError
from tests.chaos.faults import COMMON, LIVE, Incident, Scene, plan
from tests.chaos.feed import Feed, LiveSource, ReplaySource
from tests.chaos.laws import Outcome, account, check_live, check_repeats, check_same, read_outcome
from tests.chaos.servers import python_clock, servers
from tests.chaos.takers import takers
from tests.faults.harness import Deployment, end_offsets

PLACES = 2
PARTITIONS = 4
BATCH = 300
LINK_S = 0.002  # a link's usual delay: a kill then finds something on its way
EVENTS_PER_S = 80
LIVE_CUSTOMERS = 200
THROUGH_S = 300.0
SETTLE_S = 0.5
SETTINGS = {
    "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
    "ENGAGE_TOPICS_PARTITIONS": str(PARTITIONS),
    "ENGAGE_BATCH_MAX_RECORDS": str(BATCH),
    "ENGAGE_CHURN_FOLLOW": "no",
}
IN_TRANSACTIONS = {"ENGAGE_KAFKA_TRANSACTIONS": "yes"}
Tell = Callable[[str], None]
PROBE = """
journey: probe
transactional: true
entry: {{on: {event}, reentry: always}}
steps:
  - {{send: push, template: {template}}}
"""
THANKS = """
journey: thanks
transactional: true
entry: {on: order.placed, reentry: always}
steps:
  - {send: email, template: thanks, data: {orders: customer.orders_lifetime}}
"""


@dataclass
class Part:
    """What a part of the run found.

    Args:
        clock: `replay` or `live`.
        events: how many were sent.
        actions: distinct actions.
        incidents: the faults.
        broken: laws that did not hold.
        surprises: workers that ended by themselves.
    """

    clock: str
    events: int = 0
    actions: int = 0
    incidents: list[Incident] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)


def run_replay(
    folder: Path, faults: int, minutes: float, rng: random.Random, tell: Tell, *, transactions: bool = False
) -> Part:
    """Run the demo's log and all shipped journeys on the replay clock; compare with an undisturbed run.

    Args:
        folder: for data and logs.
        faults: how many.
        minutes: no fault begins later than this.
        rng: draws everything.
        tell: takes lines of progress.
        transactions: whether actions are written in transactions.
    """
    part = Part("replay")
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / "probe.yaml"
    probe.write_text(PROBE.format(event="session.started", template="probe"), "utf-8")
    settings = SETTINGS | {
        "ENGAGE_CLOCK": "replay",
        "ENGAGE_RULES_PATHS": f"{shipped('journeys')},{probe}",
    }
    with servers(folder, PLACES) as on:
        own = settings | (IN_TRANSACTIONS if transactions else {})
        storm = Deployment("storm", on.kafka.bootstrap, on.valkey.url, folder, own)
        calm = Deployment("calm", on.kafka.bootstrap, on.valkey.url, folder, settings)
        for each in (storm, calm):
            each.engage("topics", "create")
        feed = Feed(on.kafka.bootstrap, ReplaySource(rng.randrange(2**31), None, PARTITIONS), EVENTS_PER_S)
        with takers(storm, folder) as consumers:
            scene = Scene(on, Crew(storm, on), feed, rng, consumers)
            found = inflict(scene, plan(COMMON, faults, rng), minutes, part, tell)
        tell("an undisturbed run over the same log …")
        with calm.worker():
            calm.wait_done(end_offsets(on.kafka.bootstrap), 600)
        part.broken += check_same(found, read_outcome(calm))
        if storm.decisions().keys() != calm.decisions().keys():
            part.broken.append("decisions differ")
        if storm.stored() != calm.stored():
            part.broken.append("stored states, timers or clocks differ")
    return part


def run_live(
    folder: Path, faults: int, minutes: float, rng: random.Random, tell: Tell, *, transactions: bool = False
) -> Part:
    """Run orders on the live clock, with rules from the topic and a clock that jumps.

    Args:
        folder: for data and logs.
        faults: how many.
        minutes: no fault begins later than this.
        rng: draws everything.
        tell: takes lines of progress.
        transactions: whether actions are written in transactions.
    """
    part = Part("live")
    journeys = folder / "journeys"
    journeys.mkdir(parents=True)
    (journeys / "thanks.yaml").write_text(THANKS, "utf-8")
    clock = folder / "clock"
    clock.write_text("+0\n", "utf-8")
    settings = SETTINGS | {
        "ENGAGE_CLOCK": "live",
        "ENGAGE_RULES_SOURCE": "topic",
        "ENGAGE_RULES_PATHS": str(journeys),
        "ENGAGE_RULES_AUTHOR": "chaos",
    }
    published = 0
    with servers(folder, PLACES) as on:
        own = settings | (IN_TRANSACTIONS if transactions else {})
        storm = Deployment("storm", on.kafka.bootstrap, on.valkey.url, folder, own)
        storm.engage("topics", "create")

        def publish() -> None:
            nonlocal published
            published += 1
            text = PROBE.format(event="order.placed", template=f"probe-{published}")
            (journeys / "probe.yaml").write_text(text, "utf-8")
            storm.engage("rules", "publish", "-m", f"probe {published}")

        publish()
        feed = Feed(on.kafka.bootstrap, LiveSource(LIVE_CUSTOMERS), EVENTS_PER_S)
        with takers(storm, folder) as consumers:
            scene = Scene(on, Crew(storm, on, python_clock(clock)), feed, rng, consumers, clock, publish)
            found = inflict(scene, plan(LIVE, faults, rng), minutes, part, tell)
        part.broken += check_live(found, feed.source.taken, LIVE_CUSTOMERS)
    return part


def inflict(scene: Scene, kinds: list[str], minutes: float, part: Part, tell: Tell) -> Outcome:
    """Run two workers under a stream of events, one fault after the other, until all is durable and taken.

    Args:
        scene: what faults act upon.
        kinds: names of the faults, in order.
        minutes: no fault begins later than this.
        part: takes what happened.
        tell: takes lines of progress.

    Returns:
        What the workers left behind.
    """
    on, crew, feed = scene.servers, scene.crew, scene.feed
    for link in (*on.kafka_links, *on.redis_links):
        link.mend(LINK_S)
    with closing(crew):
        for place in range(PLACES):
            crew.start(place)
        feed.start()
        crew.wait_shared()
        over_s = time.monotonic() + 60 * minutes
        for number, kind in enumerate(kinds, 1):
            if time.monotonic() > over_s:
                break
            incident = Incident(kind, time.time_ns() // 1_000_000)
            part.incidents.append(incident)
            try:
                happen(scene, incident)
            except StuckError as error:
                part.broken.append(f"fault {number}, {kind}: {error}")
                for place in range(PLACES):
                    crew.kill(place)
                    crew.start(place)
            told = f"{incident.took_s:5.1f} s  {kind}: {incident.detail}"
            tell(f"{part.clock} {number:3d}/{len(kinds)} {told}")
        feed.finish()
        ends = end_offsets(on.kafka.bootstrap)
        crew.wait_until(lambda: is_through(crew, ends), "the whole log is durable", THROUGH_S)
    found = read_outcome(crew.deployment)
    part.events, part.actions = feed.source.taken, len(found.actions)
    part.surprises = crew.surprises
    part.broken += check_letters(found.letters, feed.poisoned)
    part.broken += scene.takers.check(found.actions)
    account(part.incidents, found)
    transactions = IN_TRANSACTIONS.items() <= crew.deployment.more.items()
    part.broken += check_repeats(part.incidents, 0 if transactions else BATCH)
    return found


def happen(scene: Scene, incident: Incident) -> None:
    """Let a fault happen, and wait until all that was written by then is durable.

    Raises:
        StuckError: it does not become durable.
    """
    LIVE[incident.kind][0](scene, incident)
    time.sleep(SETTLE_S)  # what is written after the fault must come through, too
    written = dict(scene.feed.written)
    try:
        scene.crew.wait_until(lambda: is_through(scene.crew, written), "all is durable", THROUGH_S)
    finally:
        incident.took_s = time.time() - incident.began_ms / 1000


def check_letters(found: Counter[tuple[str, int, int]], poisoned: set[tuple[str, int, int]]) -> list[str]:
    """Check that the dead letters are the records nobody can read, and nothing else."""
    broken = [f"no dead letter for {place}" for place in poisoned - found.keys()]
    return broken + [f"a dead letter for {place}" for place in found.keys() - poisoned]


def is_through(crew: Crew, written: dict[tuple[str, int], int]) -> bool:
    """Tell whether the workers have made everything durable."""
    offsets = crew.deployment.offsets()
    return all(offsets[key] >= end for key, end in written.items())
