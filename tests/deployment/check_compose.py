"""The compose file by compose's own loader, its servers' settings by the servers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.streams.local.stack import ApacheKafka, ValkeyServer
from tests.deployment.prepare import TOOLS
from tests.faults.harness import Deployment

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "compose"
# The test's own: it runs on free ports of this machine.
_PLACES = ("KAFKA_ADVERTISED_", "KAFKA_CONTROLLER_", "KAFKA_LISTENER", "KAFKA_NODE_ID", "KAFKA_PROCESS_ROLES")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """Load the file as `docker compose` does: by compose-go, with its schema and its checks."""
    words = [str(TOOLS / "cmd"), "-format", "json", "compose.yaml"]
    done = subprocess.run(words, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


def test_a_wrong_file_is_found(tmp_path: Path) -> None:
    """The loader checks: a misspelt key does not pass."""
    wrong = (FOLDER / "compose.yaml").read_text("utf-8").replace("read_only:", "readonly:")
    (tmp_path / "compose.yaml").write_text(wrong, "utf-8")
    words = [str(TOOLS / "cmd"), str(tmp_path / "compose.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "readonly" in done.stderr + done.stdout


def test_every_mounted_file_is_there(services: dict[str, Any]) -> None:
    """Docker would make an empty folder of a misspelt one; and nothing listens to the world."""
    for service in services.values():
        for volume in service.get("volumes", []):
            assert volume["type"] == "volume" or Path(volume["source"]).exists(), volume["source"]
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))


def test_the_engine_s_containers_have_no_rights(services: dict[str, Any]) -> None:
    """As the chart has it."""
    for name in ("topics", "worker", "trainer"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["security_opt"] == ["no-new-privileges:true"]


def test_prometheus_reads_its_file(tmp_path: Path) -> None:
    """With the rules beside it, as they are mounted."""
    shutil.copy(FOLDER / "prometheus.yaml", tmp_path)
    shutil.copy(FOLDER.parent / "prometheus" / "engage.rules.yaml", tmp_path)
    words = ["promtool", "check", "config", str(tmp_path / "prometheus.yaml")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout


def test_the_servers_satisfy_the_engine(services: dict[str, Any], tmp_path: Path) -> None:
    """Apache Kafka takes the broker's settings, Valkey its flags, and `engage doctor` both."""
    broker = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in services["kafka"]["environment"].items()
        if not name.startswith(_PLACES)
    }
    flags = services["valkey"]["command"][1:]
    settings = {
        name: value
        for name, value in services["worker"]["environment"].items()
        if name in {"ENGAGE_KAFKA_GROUP_PROTOCOL", "ENGAGE_TOPICS_PARTITIONS"}
    }
    with ApacheKafka(settings=broker) as kafka, ValkeyServer(tmp_path / "valkey") as valkey:
        with redis.Redis.from_url(valkey.url) as client:
            for name, value in zip(flags[::2], flags[1::2], strict=True):
                client.config_set(name.removeprefix("--"), value)
        deployment = Deployment("compose", kafka.bootstrap, valkey.url, tmp_path, settings)
        assert "4 partitions each" in deployment.engage("topics", "create")
        deployment.engage("doctor")
