"""A sample of `make chaos`: workers and Redis are killed, links cut, disks full; nothing is lost."""

from __future__ import annotations

import random
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.crew import Crew
from tests.chaos.faults import COMMON, RESTORED, Incident, Scene
from tests.chaos.feed import Feed, ReplaySource
from tests.chaos.laws import check_same, read_outcome
from tests.chaos.run import check_letters, is_through
from tests.chaos.servers import servers
from tests.chaos.takers import takers
from tests.faults.harness import Deployment, end_offsets

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(900)]

SEED = 20_261
CUSTOMERS = 2_100
EVENTS = 30_000
PLACES = 2
PARTITIONS = 4
# Those that cost most time, a broker that is killed and a storm of workers, only `make chaos` has.
FAULTS = {
    "kill -9 of a worker": 7,
    "kill -9 of all workers": 1,
    "SIGSTOP of a worker": 1,
    "kill -9 of Redis": 2,
    RESTORED: 1,
    "link delayed": 1,
    "link cut": 2,
    "link dead": 1,
    "disk full for the AOF": 1,
    "maxmemory reached": 1,
    "poison records": 2,
}
SESSION = {
    "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
    "ENGAGE_CLOCK": "replay",
    "ENGAGE_TOPICS_PARTITIONS": str(PARTITIONS),
}


def test_same_outcome_with_faults_as_without(tmp_path: Path) -> None:
    """20 faults change no state, lose no action, repeat only the same id; services take each action once."""
    rng = random.Random(SEED)
    with servers(tmp_path, PLACES) as on:
        calm = Deployment("calm", on.kafka.bootstrap, on.valkey.url, tmp_path, SESSION)
        small = {**SESSION, "ENGAGE_BATCH_MAX_RECORDS": "300"}
        storm = Deployment("storm", on.kafka.bootstrap, on.valkey.url, tmp_path, small)
        calm.engage("topics", "create")
        storm.engage("topics", "create")
        feed = Feed(on.kafka.bootstrap, ReplaySource(SEED, CUSTOMERS, PARTITIONS), 0)
        with takers(storm, tmp_path) as consumers, closing(Crew(storm, on)) as crew:
            for place in range(PLACES):
                crew.start(place)
            hurt(Scene(on, crew, feed, rng, consumers))
            ends = end_offsets(on.kafka.bootstrap)
            crew.wait_until(lambda: is_through(crew, ends), "the log is durable", 240)
            found = read_outcome(storm)
            assert consumers.check(found.actions) == []
        assert feed.source.taken >= EVENTS
        assert crew.surprises == []
        with calm.worker():
            calm.wait_done(ends, 240)
        expected = read_outcome(calm)
        assert len(expected.actions) > 500
        assert check_same(found, expected) == []
        assert check_letters(found.letters, feed.poisoned) == []
        assert storm.decisions().keys() == calm.decisions().keys()
        assert storm.stored() == calm.stored()


def hurt(scene: Scene) -> None:
    """Write the log piece by piece, and do something to the workers in the middle of each."""
    kinds = [kind for kind, times in FAULTS.items() for _ in range(times)]
    scene.rng.shuffle(kinds)
    crew, before, written = scene.crew, 0, 0
    crew.wait_shared()
    for kind in kinds:
        before, written = written, scene.feed.write_now(-(-EVENTS // len(kinds)))
        # never more than two pieces behind, or the last faults would meet nothing but the log
        crew.wait_until(lambda: done(crew) >= before, "the piece before the last is durable")  # noqa: B023
        time.sleep(scene.rng.uniform(0, 0.2))
        if kind == "kill -9 of a worker":  # without the burst and the waiting that COMMON has
            place = scene.rng.randrange(PLACES)
            crew.kill(place)
            crew.start(place)
        else:
            COMMON[kind][0](scene, Incident(kind, 0))
    scene.feed.finish()


def done(crew: Crew) -> int:
    """Return how many records are durable."""
    return sum(crew.deployment.offsets().values())
