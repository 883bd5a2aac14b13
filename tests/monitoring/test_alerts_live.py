"""Alerts fire at real faults: a worker under load, a real Prometheus, and something that breaks.

The rules are those of the repository. Only how long a condition must hold (`for:`) is shortened to `HOLDS`,
so that the test need not wait five minutes; no expression and no threshold is touched.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import redis
import yaml
from confluent_kafka import Producer

from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from tests.faults.harness import Deployment
from tests.monitoring.servers import free_port, load, prometheus, query

RULES = Path(__file__).parent.parent.parent / "deploy" / "prometheus" / "engage.rules.yaml"
HOLDS = "1s"
PATIENCE_S = 240.0


def shortened(folder: Path) -> Path:
    """Write the rules with every `for:` shortened; return where."""
    rules = yaml.safe_load(RULES.read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = HOLDS
    path = folder / "rules.yaml"
    path.write_text(yaml.safe_dump(rules), "utf-8")
    return path


def firing(address: str) -> set[str]:
    """Return the alerts that fire."""
    return {series["metric"]["alertname"] for series in query(address, 'ALERTS{alertstate="firing"}')}


def wait_for(address: str, name: str, *, gone: bool = False) -> None:
    """Wait until an alert fires, or fires no more."""
    deadline = time.monotonic() + PATIENCE_S
    while (name in firing(address)) is gone:
        assert time.monotonic() < deadline, f"{name}: {'still' if gone else 'never'} fires"
        time.sleep(0.3)


@pytest.mark.ops
@pytest.mark.prometheus
@pytest.mark.timeout(900)
def test_a_fault_is_told(tmp_path: Path) -> None:
    """Poison records, Redis that does not write, gets full, hangs, goes away: each is told, till mended."""
    port = free_port()
    settings = {"ENGAGE_CLOCK": "live", "ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_HTTP_PORT": str(port)}
    with EmbeddedBroker() as broker, ValkeyServer(tmp_path / "valkey") as valkey:
        deployment = Deployment("alerts", broker.bootstrap, valkey.url, tmp_path, settings)
        deployment.engage("topics", "create")
        with (
            deployment.worker(),
            prometheus(tmp_path, port, shortened(tmp_path)) as address,
            load(broker.bootstrap),
            redis.Redis.from_url(valkey.url) as client,
        ):
            wait_for(address, "EngageNoWorkerReady", gone=True)
            settle(address)
            assert not firing(address) & {
                "EngageDeadLetters",
                "EngageRedisNotPersistent",
                "EngageWorkerNotReady",
            }

            producer = Producer({"bootstrap.servers": broker.bootstrap})
            producer.produce("engage.orders", b"{not json", b"c1")
            assert producer.flush(10) == 0
            wait_for(address, "EngageDeadLetters")

            client.config_set("appendonly", "no")
            wait_for(address, "EngageRedisNotPersistent")
            client.config_set("appendonly", "yes")
            wait_for(address, "EngageRedisNotPersistent", gone=True)

            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", int(used * 1.1))
            wait_for(address, "EngageRedisMemoryHigh")
            client.config_set("maxmemory", 0)

            pid = valkey.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)  # it takes connections and answers nothing
            wait_for(address, "EngageLagGrowing")
            os.kill(pid, signal.SIGCONT)
            wait_for(address, "EngageLagGrowing", gone=True)

            valkey.kill9()
            wait_for(address, "EngageWorkerNotReady")
            assert "EngageNoWorkerReady" in firing(address)
            valkey.restart()
            wait_for(address, "EngageNoWorkerReady", gone=True)


def settle(address: str) -> None:
    """Wait until the worker works under load."""
    deadline = time.monotonic() + PATIENCE_S
    while not query(address, "rate(engage_events_total[30s]) > 0"):
        assert time.monotonic() < deadline, "no events"
        time.sleep(0.3)
