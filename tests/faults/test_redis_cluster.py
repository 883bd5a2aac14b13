"""A whole deployment on a Redis Cluster: what the store's contract suite does not show."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from redis.cluster import RedisCluster

from engine.streams.local.stack import EmbeddedBroker
from tests.faults.harness import Deployment
from tests.redis_cluster import redis_cluster

pytestmark = [pytest.mark.faults, pytest.mark.timeout(180)]

WAIT_S = 40
HOUR_MS = 3_600_000
GREETING = """
journey: greeting
transactional: true
entry: {on: customer.signed_up}
steps:
  - {send: email, template: welcome}
"""
MISSED = """
journey: missed
transactional: true
entry:
  on: {absent: page.viewed, for: 1h, since: last}
steps:
  - {send: email, template: come-back}
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """Provide a deployment on the embedded broker and three masters, with one journey."""
    (tmp_path / "journeys").mkdir()
    (tmp_path / "journeys" / "greeting.yaml").write_text(GREETING, "utf-8")
    settings = {
        "ENGAGE_CLOCK": "live",
        "ENGAGE_RULES_PATHS": str(tmp_path / "journeys"),
        "ENGAGE_TOPICS_PARTITIONS": "4",
        "ENGAGE_CHURN_FOLLOW": "no",
    }
    with EmbeddedBroker() as broker, redis_cluster() as cluster:
        made = Deployment("clustered", broker.bootstrap, cluster.nodes[0].url, tmp_path, settings)
        made.engage("topics", "create")
        yield made


def wait_for(ready: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + WAIT_S
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_journeys_timers_and_trainer_on_a_cluster(deployment: Deployment, tmp_path: Path) -> None:
    """Actions are sent, customers on all nodes are armed for a new journey, the trainer takes its lock."""
    names = [f"客户-{number}" for number in range(24)]
    now_ms = int(time.time() * 1000)
    lines = [
        msgspec.json.encode(
            {"id": f"{kind}-{name}", "type": kind, "customer_id": name, "time": now_ms, "source": "t"}
        ).decode()
        for name in names
        for kind in ("customer.signed_up", "page.viewed")
    ]
    with RedisCluster.from_url(deployment.redis_url) as client:

        def timers() -> dict[str, float]:
            found: dict[str, float] = {}
            for number in range(deployment.partitions):
                pairs = client.zrange(f"{{{deployment.name}:{number}}}:timers", 0, -1, withscores=True)
                found |= {name.decode(): due_ms for name, due_ms in pairs}
            return found

        def armed() -> bool:
            second_s = now_ms // 1000  # absences count from the second of the last event
            due_ms = second_s * 1000 + HOUR_MS
            return {name for name, at_ms in timers().items() if at_ms == due_ms} == set(names)

        with deployment.worker():
            deployment.engage("send", "--file", "-", text="\n".join(lines))
            wait_for(lambda: len(deployment.actions()) == len(names), "an action for each sign-up")
        assert not armed()
        (tmp_path / "journeys" / "missed.yaml").write_text(MISSED, "utf-8")
        with deployment.worker(1):
            wait_for(armed, "a timer for each customer, an hour after the last page view")
            shown = deployment.engage("customer", "show", names[0], "--json")
            assert msgspec.json.decode(shown)["customer_id"] == names[0]

        lock = f"{deployment.name}:trainer:lock"
        trainer = subprocess.Popen(
            [sys.executable, "-m", "engine.cli", "trainer"],
            env=deployment.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: client.get(lock), "the trainer's lock")
            trainer.send_signal(signal.SIGTERM)
            assert trainer.wait(WAIT_S) == 0
        finally:
            trainer.kill()
            trainer.wait()
        assert client.get(lock) is None
        assert client.get(f"{deployment.name}:trainer")
