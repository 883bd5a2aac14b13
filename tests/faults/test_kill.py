"""Kill workers and Redis at random moments: nothing is lost, nothing is done twice under another id."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from engine.demo.data import build_log
from engine.demo.feed import Feeder, FeedSettings
from engine.events import Family
from engine.settings import Settings
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from tests.faults.harness import Deployment, end, end_offsets

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(900)]

SEED = 20_261
CUSTOMERS = 3_500
LEAST_EVENTS = 50_000
WORKER_KILLS = 22
REDIS_KILLS = 2
SESSION = {
    "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
    "ENGAGE_CLOCK": "replay",
    "ENGAGE_TOPICS_PARTITIONS": "4",
}


def write_log(bootstrap: str) -> int:
    """Write the replayed log with its watermarks; return how many events it has."""
    import threading  # noqa: PLC0415 - only the feeder's stop signal

    log = build_log(seed=SEED, customers=CUSTOMERS)
    topics = {Family(family): topic for family, topic in Settings().event_topics().items()}
    settings = FeedSettings(bootstrap=bootstrap, topics=topics, group="none", duration_s=0, max_ahead=0)
    Feeder(settings, log, lambda _progress: None, threading.Event()).run()
    return len(log)


def test_same_outcome_with_kills_as_without(tmp_path: Path) -> None:
    """20 kills of workers and 2 of Redis change no state, lose no action, repeat only the same id."""
    rng = random.Random(SEED)
    with ApacheKafka(tmp_path / "kafka") as kafka, ValkeyServer(tmp_path / "valkey") as valkey:
        calm = Deployment("calm", kafka.bootstrap, valkey.url, tmp_path, SESSION)
        small = {**SESSION, "ENGAGE_BATCH_MAX_RECORDS": "300"}
        storm = Deployment("storm", kafka.bootstrap, valkey.url, tmp_path, small)
        calm.engage("topics", "create")
        storm.engage("topics", "create")
        events = write_log(kafka.bootstrap)
        assert events >= LEAST_EVENTS
        ends = end_offsets(kafka.bootstrap)
        with calm.worker():
            calm.wait_done(ends, 240)

        kills = run_storm(storm, valkey, rng, sum(ends.values()))
        with storm.worker(8), storm.worker(9):
            storm.wait_done(ends, 240)
        assert kills >= (WORKER_KILLS, REDIS_KILLS)

        expected, found = calm.actions(), storm.actions()
        assert len(expected) > 500
        assert found.keys() == expected.keys()
        for name, values in found.items():
            assert set(values) == set(expected[name]), "a repeat must be the same action to the byte"
        assert all(len(values) == 1 for values in expected.values())
        assert storm.decisions().keys() == calm.decisions().keys()
        assert storm.stored() == calm.stored()


def run_storm(storm: Deployment, valkey: ValkeyServer, rng: random.Random, records: int) -> tuple[int, int]:
    """Kill one of two workers each time some progress was made; twice Redis. Returns how many of each."""
    workers = [storm.start_worker(0), storm.start_worker(1)]
    worker_kills = redis_kills = 0
    redis_at = set(rng.sample(range(3, WORKER_KILLS - 2), REDIS_KILLS))
    stride = records // (WORKER_KILLS + REDIS_KILLS + 4)
    mark = 0
    try:
        while worker_kills < WORKER_KILLS:
            mark = wait_progress(storm, mark, stride)
            time.sleep(rng.uniform(0, 0.1))
            if worker_kills in redis_at:
                redis_at.discard(worker_kills)
                valkey.kill9()
                time.sleep(rng.uniform(0, 1.0))
                valkey.restart()
                redis_kills += 1
                continue
            victim = rng.randrange(2)
            workers[victim].kill()
            workers[victim].wait()
            worker_kills += 1
            workers[victim] = storm.start_worker(victim)
    finally:
        for worker in workers:
            end(worker)
    return worker_kills, redis_kills


def wait_progress(storm: Deployment, mark: int, stride: int) -> int:
    """Wait until `stride` more records are durable, whoever did them; return the new mark."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done = sum(storm.offsets().values())
        if done >= mark + stride:
            return done
        time.sleep(0.01)
    raise AssertionError(f"no progress for 60 s at {mark} records")
