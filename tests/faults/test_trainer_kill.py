"""The trainer on Apache Kafka: killed, started twice by mistake, fed twice; no label is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import redis

from engine.events import Family
from engine.features.churn.replay import training_blocks
from engine.features.churn.snapshot import Snapshot
from engine.features.churn.trainer import TrainerCore, TrainerSettings
from engine.streams.kafka import KafkaSettings
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from engine.streams.models.topic import read_models
from engine.streams.producer import ActionProducer, OutRecord
from engine.streams.steps.sink import CLOCK_HEADER
from tests.conftest import create_topic
from tests.faults.harness import end
from tests.features.churn.samples import random_log

PARTITIONS = 2
WAIT_S = 60.0
# a lock of two seconds instead of fifteen
RUN = """
import engine.streams.trainer as trainer
trainer.LOCK_MS, trainer._RENEW_EVERY_S = 2_000, 0.3
from engine.cli import main
main()
"""


def rows() -> list[OutRecord]:
    """What workers of two partitions publish day by day."""
    found: list[OutRecord] = []
    for end_s, block in training_blocks(random_log(customers=60, days=200)):
        clock = [(CLOCK_HEADER, str(end_s * 1000).encode())]
        for partition in range(PARTITIONS):
            own = block.take(block.customers % PARTITIONS == partition)
            found.append(("", str(partition).encode(), own.encode(), clock))
    return found


def expected() -> Snapshot:
    """What one trainer learns that nothing ever happens to."""
    core = TrainerCore(TrainerSettings(partitions=1))
    for end_s, block in training_blocks(random_log(customers=60, days=200)):
        core.add_block(0, block)
        core.advance(0, end_s)
    return learned(core.snapshot())


def learned(snapshot: Snapshot) -> Snapshot:
    """Leave out what counts publications, repeats and comparisons."""
    return msgspec.structs.replace(snapshot, version=0, trial=None, progress=None)


def send(kafka: KafkaSettings, topic: str, records: list[OutRecord]) -> None:
    """Put records on the training topic."""

    async def produce() -> None:
        producer = ActionProducer(kafka)
        await producer.send([(topic, key, value, headers) for _, key, value, headers in records])
        await producer.aclose()

    asyncio.run(produce())


def wait_for(done: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.kafka
@pytest.mark.faults
@pytest.mark.timeout(240)
def test_no_label_is_lost_or_doubled(apache_kafka: ApacheKafka, valkey: ValkeyServer, tmp_path: Path) -> None:
    """Kill -9, two successors at once, and rows sent again end in the snapshot of an undisturbed trainer."""
    events = {family.value: create_topic(apache_kafka, "e", PARTITIONS) for family in Family}
    training = create_topic(apache_kafka, "training", 4)
    models = create_topic(apache_kafka, "models", 1, cleanup_policy="compact")
    prefix = f"t{uuid.uuid4().hex[:6]}"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ENGAGE_")}
    environment |= {f"ENGAGE_TOPICS_{name.upper()}": topic for name, topic in events.items()}
    environment |= {
        "ENGAGE_TOPICS_TRAINING": training,
        "ENGAGE_TOPICS_MODELS": models,
        "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": apache_kafka.bootstrap,
        "ENGAGE_REDIS_URL": valkey.url,
        "ENGAGE_REDIS_PREFIX": prefix,
        "ENGAGE_CHURN_PUBLISH_EVERY_S": "1",
    }

    def start(number: int) -> subprocess.Popen[bytes]:
        with (tmp_path / f"trainer-{number}.log").open("wb") as output:
            words = [sys.executable, "-c", RUN, "trainer"]
            return subprocess.Popen(words, env=environment, stdout=output, stderr=output)

    kafka = KafkaSettings(apache_kafka.bootstrap)
    records = rows()
    third = len(records) // 3
    send(kafka, training, records[:third])
    processes = [start(0)]
    try:
        with redis.Redis.from_url(valkey.url) as client:
            wait_for(lambda: client.get(f"{prefix}:trainer") is not None)
        # what a worker sends again after a crash of its own, behind what it had sent
        send(kafka, training, records[third // 2 : 2 * third])
        wait_for(lambda: read_models(kafka, models).newest is not None)
        processes[0].kill()
        processes[0].wait()
        processes += [start(1), start(2)]
        send(kafka, training, [*records[third:], *records[: third // 2]])
        wait_for(lambda: any(process.poll() is not None for process in processes[1:]))
        refused = next(number for number in (1, 2) if processes[number].poll() is not None)
        assert processes[refused].poll() == 2
        assert "another trainer runs" in (tmp_path / f"trainer-{refused}.log").read_text("utf-8")

        def newest() -> Snapshot | None:
            return read_models(kafka, models).newest

        wanted = expected()
        wait_for(lambda: (found := newest()) is not None and found.cut_off_s == wanted.cut_off_s)
        found = newest()
        assert found is not None
        assert learned(found) == wanted
        assert found.progress is not None
        assert found.progress.late_rows > 0
    finally:
        for process in processes:
            end(process)
