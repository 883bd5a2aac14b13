"""Workers that write actions in transactions are killed: who reads `read_committed` sees each action once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import msgspec
import pytest

from engine.streams.local.stack import ApacheKafka, ValkeyServer
from tests.chaos.feed import Feed, ReplaySource
from tests.faults.harness import Deployment, end, end_offsets

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(300)]

SEED = 4_711
CUSTOMERS = 150
KILLS = 3
PARTITIONS = 4
SETTINGS = {
    "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
    "ENGAGE_CLOCK": "replay",
    "ENGAGE_TOPICS_PARTITIONS": str(PARTITIONS),
    "ENGAGE_BATCH_MAX_RECORDS": "100",
    "ENGAGE_KAFKA_TRANSACTIONS": "yes",
}


def test_each_action_is_seen_once_whoever_is_killed(tmp_path: Path) -> None:
    """Workers are killed at random moments; each action that was decided is there, and none twice."""
    rng = random.Random(SEED)
    with ApacheKafka(tmp_path / "kafka") as kafka, ValkeyServer(tmp_path / "valkey") as valkey:
        storm = Deployment("storm", kafka.bootstrap, valkey.url, tmp_path, SETTINGS)
        storm.engage("topics", "create")
        workers = [storm.start_worker(0), storm.start_worker(1)]
        try:
            feed = Feed(kafka.bootstrap, ReplaySource(SEED, CUSTOMERS, PARTITIONS), 0)
            feed.write_now(100_000)
            feed.finish()
            ends = end_offsets(kafka.bootstrap)
            done = 0
            for kill in range(KILLS):
                done = further(storm, done, sum(ends.values()) // (KILLS + 2))
                time.sleep(rng.uniform(0, 0.2))
                victim = workers[kill % 2]
                victim.kill()
                victim.wait()
                workers[kill % 2] = storm.start_worker(kill % 2)
            storm.wait_done(ends, 120)
        finally:
            for worker in workers:
                end(worker)
        decisions = storm.decisions().values()
        decided = {name for values in decisions for value in values if (name := fired(value))}
        found = storm.actions()
        assert len(decided) > 50
        assert found.keys() == decided
        assert [name for name, values in found.items() if len(values) > 1] == []


def fired(value: bytes) -> str:
    """Return the id of the action that a decision led to; empty when to none."""
    name: str = msgspec.json.decode(value)["action_id"]
    return name


def further(deployment: Deployment, done: int, stride: int) -> int:
    """Wait until so many more records are durable."""
    deadline = time.monotonic() + 60
    while (now := sum(deployment.offsets().values())) < done + stride:
        assert time.monotonic() < deadline, f"no progress at {now} records"
        time.sleep(0.01)
    return now
