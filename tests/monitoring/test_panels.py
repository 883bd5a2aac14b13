"""Every panel with what it needs: guards at work, a customer gone for long, a snapshot that was tried."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from engine.config import load_settings
from engine.demo.data import build_log
from engine.settings import Settings
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from engine.streams.producer import ActionProducer, OutRecord
from engine.streams.trainer import Trainer
from engine.streams.wiring import kafka_settings
from tests.faults.harness import Deployment
from tests.monitoring.servers import free_port, load, now_ms, prometheus
from tests.monitoring.test_dashboards import DASHBOARDS, RATE, has_data
from tests.streams.replay import replay, write_log

PARTITIONS = 4
PATIENCE_S = 240.0
LEARNED = "learned.training"  # rows of other years than the worker's own: of a topic of their own
HELD_BACK = {
    "unasked.yaml": """
journey: unasked
entry: {on: page.viewed, reentry: always}
guards: {consent: marketing}
steps:
  - {send: email, template: hello}
""",
    "at-night.yaml": """
journey: at-night
entry: {on: page.viewed, reentry: always}
guards: {quiet_hours: 00:00-23:59}
steps:
  - {send: push, template: hello}
""",
}


def rows() -> list[OutRecord]:
    """Return the training rows of a year and a half of some customers."""
    settings = Settings(clock="replay")
    log = write_log(settings, list(build_log(seed=3, customers=80).events()), PARTITIONS)
    _, tap = asyncio.run(replay(settings, log, seed=1, most=500))
    return [record for record in tap.records if record[0] == settings.topics.training]


def train(settings: Settings, records: list[OutRecord]) -> None:
    """Let a trainer learn rows, and publish what it learned."""
    kafka = kafka_settings(settings, "test")

    async def send() -> dict[int, int]:
        producer = ActionProducer(kafka)
        sent = await producer.send([(LEARNED, key, value, headers) for _, key, value, headers in records])
        await producer.aclose()
        ends: dict[int, int] = {}
        for place in sent:
            ends[place.partition] = max(ends.get(place.partition, 0), place.offset + 1)
        return ends

    ends = asyncio.run(send())
    trainer = Trainer(settings, kafka, PARTITIONS)
    thread = threading.Thread(target=lambda: asyncio.run(trainer.run()))
    thread.start()
    try:
        wait_for(lambda: trainer._offsets == ends, "the trainer has read everything")
    finally:
        trainer.stopped = True
        thread.join(PATIENCE_S)


def wait_for(holds: Callable[[], object], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.mark.ops
@pytest.mark.prometheus
@pytest.mark.timeout(900)
def test_no_panel_is_empty(tmp_path: Path) -> None:
    """Whatever a panel needs, once it is there Prometheus answers each of its queries with numbers."""
    port = free_port()
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    for name, text in HELD_BACK.items():
        (journeys / name).write_text(text)
    settings = {
        "ENGAGE_CLOCK": "live",
        "ENGAGE_TOPICS_PARTITIONS": str(PARTITIONS),
        "ENGAGE_HTTP_PORT": str(port),
        "ENGAGE_RULES_PATHS": f"{Path(__file__).parents[2] / 'deploy' / 'journeys'},{journeys}",
        "ENGAGE_CHURN_FOLLOW": "yes",
        "ENGAGE_REDIS_TIMEOUT_MS": "1000",
    }
    with EmbeddedBroker() as broker, ValkeyServer(tmp_path / "valkey") as valkey:
        deployment = Deployment("panels", broker.bootstrap, valkey.url, tmp_path, settings)
        deployment.engage("topics", "create")
        of_trainer = deployment.environment | {"ENGAGE_TOPICS_TRAINING": LEARNED}
        Deployment("learned", broker.bootstrap, valkey.url, tmp_path, of_trainer).engage("topics", "create")
        with deployment.worker(), prometheus(tmp_path, port) as address, load(broker.bootstrap):
            gone(broker.bootstrap)
            train(load_settings(environ=of_trainer), rows())
            hang(valkey)
            missing = {
                (name, panel.title, legend): text.replace("[$__rate_interval]", RATE)
                for name, panels in DASHBOARDS.items()
                for panel in panels
                for legend, text in panel.queries.items()
            }
            deadline = time.monotonic() + PATIENCE_S
            while missing and time.monotonic() < deadline:
                missing = {key: text for key, text in missing.items() if not has_data(address, text)}
                time.sleep(0.5)
            assert not missing


def hang(valkey: ValkeyServer) -> None:
    """Let Redis stand still for longer than the worker waits for an answer."""
    pid = valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    os.kill(pid, signal.SIGCONT)


def gone(bootstrap: str) -> None:
    """Send the last order of a customer who has stayed away for half a year since."""
    order = {
        "id": "long-ago",
        "type": "order.placed",
        "customer_id": "gone",
        "time": now_ms() - 180 * 86_400_000,
    }
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    producer.produce("engage.orders", json.dumps(order | {"order_id": "o", "amount": 20.0}).encode(), b"gone")
    assert producer.flush(10) == 0
