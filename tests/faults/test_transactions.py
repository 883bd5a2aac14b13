"""Workers that write actions in transactions are killed: who reads `read_committed` sees each action once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import msgspec
import pytest

from engine.settings import Settings
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from tests.chaos.feed import Feed, ReplaySource
from tests.faults.harness import Deployment, end, end_offsets, read_messages

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
}


def test_each_action_is_seen_once_whoever_is_killed(tmp_path: Path) -> None:
    """Workers are killed at random moments; nothing is missing, nothing is there twice, all in turn."""
    rng = random.Random(SEED)
    with ApacheKafka(tmp_path / "kafka") as kafka, ValkeyServer(tmp_path / "valkey") as valkey:
        on = SETTINGS | {"ENGAGE_KAFKA_TRANSACTIONS": "yes"}
        calm = Deployment("calm", kafka.bootstrap, valkey.url, tmp_path, SETTINGS)
        storm = Deployment("storm", kafka.bootstrap, valkey.url, tmp_path, on)
        for each in (calm, storm):
            each.engage("topics", "create")
        feed = Feed(kafka.bootstrap, ReplaySource(SEED, CUSTOMERS, PARTITIONS), 0)
        feed.write_now(100_000)
        feed.finish()
        ends = end_offsets(kafka.bootstrap)
        with calm.worker():
            calm.wait_done(ends, 120)
        workers = [storm.start_worker(0), storm.start_worker(1)]
        try:
            done, kills = 0, 0
            while kills < KILLS:
                done = further(storm, done, sum(ends.values()) // (KILLS + 2))
                time.sleep(rng.uniform(0, 0.2))
                victim = kills % 2
                workers[victim].kill()
                workers[victim].wait()
                workers[victim] = storm.start_worker(victim)
                kills += 1
            storm.wait_done(ends, 120)
        finally:
            for worker in workers:
                end(worker)
        expected, found = actions(calm), actions(storm)
        assert sum(map(len, expected.values())) > 50
        assert found == expected
        assert storm.stored() == calm.stored()


def further(deployment: Deployment, done: int, stride: int) -> int:
    """Wait until so many more records are durable."""
    deadline = time.monotonic() + 60
    while (now := sum(deployment.offsets().values())) < done + stride:
        assert time.monotonic() < deadline, f"no progress at {now} records"
        time.sleep(0.01)
    return now


def actions(deployment: Deployment) -> dict[tuple[str, str], list[str]]:
    """Return the ids of each customer's actions on each channel, in the order they are read."""
    topics = [f"{deployment.name}.actions.{channel}" for channel in Settings().channels]
    found: dict[tuple[str, str], list[str]] = {}
    for message in read_messages(deployment.bootstrap, topics):
        action = msgspec.json.decode(message.value())
        found.setdefault((action["customer_id"], action["channel"]), []).append(action["id"])
    return found
