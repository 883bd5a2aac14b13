"""The container file's own steps, carried out; the result runs as a container would, on real traffic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import cyclonedx.schema
import jsonschema
import pytest
import redis
from referencing import Registry
from referencing.jsonschema import DRAFT7

from engine.streams.local.server import reserve_port
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from tests.deployment.stand_in import Container, Stage, carry_out

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "deploy" / "container" / "Containerfile"
PATIENCE_S = 60.0
STOP_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def stage() -> Stage:
    """Carry the file out, in some minutes."""
    return carry_out(FILE, ROOT, ROOT / ".cache" / "deploy")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start a broker and Valkey on this machine; their addresses as settings."""
    folder = tmp_path_factory.mktemp("servers")
    with EmbeddedBroker() as broker, ValkeyServer(folder / "valkey") as valkey:
        yield {
            "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap,
            "ENGAGE_REDIS_URL": valkey.url,
            "ENGAGE_TOPICS_PARTITIONS": "4",
        }


def test_hadolint_finds_nothing() -> None:
    """No advice is left that is not answered in the file."""
    done = subprocess.run(["hadolint", FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_no_shell(stage: Stage) -> None:
    """Nor a package manager, a compiler, or a program that gives rights away."""
    for name in ("sh", "bash", "dash", "apt-get", "dpkg", "pip", "uv", "gcc"):
        for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "app/bin"):
            assert not (stage.root / folder / name).exists(), f"{folder}/{name}"
    risen = [path for path in stage.root.rglob("*") if path.is_file() and path.stat().st_mode & 0o6000]
    assert not risen
    assert stage.user == "65532:65532"


def test_no_library_is_missing(stage: Stage, tmp_path: Path) -> None:
    """Every compiled module finds its libraries in the image."""
    program = (
        "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint('all there')"
    )
    names = [
        *(
            "numpy.linalg",
            "scipy.special",
            "scipy.stats",
            "river.linear_model",
            "confluent_kafka",
            "fastavro",
        ),
        *("cel_expr_python", "hdrh.histogram", "hiredis", "msgspec", "orjson", "uvloop", "xxhash", "yaml"),
        *("ssl", "sqlite3", "zoneinfo", "aiohttp", "engine.streams.worker", "engine.streams.trainer"),
    ]
    plain = Stage(stage.root, stage.environment, stage.workdir, stage.user, ["/app/bin/python"])
    assert "all there" in _ran(plain, ["-c", program, *names], tmp_path)


def test_a_worker_serves_and_stops(stage: Stage, servers: dict[str, str], tmp_path: Path) -> None:
    """On a read-only root, as a user without rights: it is ready, works, and goes within the grace period."""
    with reserve_port() as holder:
        port = holder.getsockname()[1]
        more = {**servers, "ENGAGE_HTTP_PORT": str(port)}
        _ran(stage, ["topics", "create"], tmp_path, more)
        before = _listing(stage.root)
        with stage.run(more=more, log=tmp_path / "worker.log") as worker:
            _wait(worker, lambda: _page(port, "readyz")[0] == 200)
            assert _page(port, "healthz")[0] == 200
            sent = ["send", "order.placed", "-c", "c1", "-f", "order_id=o1", "-f", "amount=20"]
            _ran(stage, sent, tmp_path, more)
            _wait(worker, lambda: json.loads(_page(port, "status")[1])["events_total"] == 1)
            os.kill(worker.pid, signal.SIGTERM)
            assert worker.process.wait(STOP_WITHIN_S) == 0, worker.log.read_text()
    assert sorted(_listing(stage.root) ^ before)[:5] == []
    for line in worker.log.read_text().splitlines():
        assert "event" in json.loads(line)


def test_a_trainer_runs_and_stops(stage: Stage, servers: dict[str, str], tmp_path: Path) -> None:
    """The same image, another command."""
    _ran(stage, ["topics", "create"], tmp_path, servers)
    with stage.run(["trainer"], servers, log=tmp_path / "trainer.log") as trainer:
        with redis.Redis.from_url(servers["ENGAGE_REDIS_URL"]) as client:
            _wait(trainer, lambda: any(client.scan_iter("*trainer*")))  # it holds its lock
        os.kill(trainer.pid, signal.SIGTERM)
        assert trainer.process.wait(STOP_WITHIN_S) == 0, trainer.log.read_text()


def _ran(stage: Stage, arguments: list[str], folder: Path, more: dict[str, str] | None = None) -> str:
    log = folder / f"{time.monotonic_ns()}.log"
    with stage.run(arguments, more, log=log) as container:
        code = container.process.wait(PATIENCE_S)
    assert code == 0, log.read_text(errors="replace")
    return log.read_text()


def _page(port: int, name: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def _wait(container: Container, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert container.process.poll() is None, container.log.read_text(errors="replace")
        assert time.monotonic() < deadline, container.log.read_text(errors="replace")
        time.sleep(0.1)


def _listing(root: Path) -> set[tuple[str, int]]:
    return {(str(path), path.lstat().st_mtime_ns) for path in root.rglob("*")}


def test_the_bill_of_materials_is_valid(tmp_path: Path) -> None:
    """`make sbom` writes CycloneDX by its schema, with every package of the image."""
    path = tmp_path / "engage.cdx.json"
    subprocess.run(["make", "sbom", f"SBOM={path}"], cwd=ROOT, check=True, timeout=PATIENCE_S)
    bill = json.loads(path.read_text("utf-8"))
    schemas = Path(cyclonedx.schema.__file__).parent / "_res"
    names = ("spdx", "jsf-0.82", "bom-1.5")
    *parts, whole = [
        json.loads((schemas / f"{name}.SNAPSHOT.schema.json").read_text("utf-8")) for name in names
    ]
    registry = Registry().with_resources([(part["$id"], DRAFT7.create_resource(part)) for part in parts])
    # without formats: their regular expressions took 25 minutes
    assert list(jsonschema.Draft7Validator(whole, registry=registry).iter_errors(bill)) == []
    assert {"confluent-kafka", "numpy", "faust-streaming"} <= {each["name"] for each in bill["components"]}
