"""The dashboards in the repository are what the code makes, and the real Prometheus answers every panel."""

from __future__ import annotations

import json
import math
import re
import runpy
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from engine.metrics import METRICS
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from tests.faults.harness import Deployment, end

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "grafana"
_CODE = runpy.run_path(str(FOLDER / "dashboards.py"))
DASHBOARDS: dict[str, list[Any]] = _CODE["DASHBOARDS"]
PATIENCE_S = 60.0
RATE = "[6s]"  # Prometheus scrapes once a second here
TOPICS = {
    "page.viewed": "engage.clicks",
    "order.placed": "engage.orders",
    "inquiry.opened": "engage.service",
    "inquiry.replied": "engage.service",
}


@pytest.mark.parametrize("name", list(DASHBOARDS))
def test_a_dashboard_is_up_to_date(name: str) -> None:
    """A changed panel without `make docs` does not pass."""
    assert (FOLDER / f"engage-{name}.json").read_text("utf-8") == _CODE["text"](name)


@pytest.mark.parametrize("name", list(DASHBOARDS))
def test_a_dashboard_reads_metrics_that_exist(name: str) -> None:
    """Every name is in the table of metrics; titles are unique."""
    text = " ".join(query for panel in DASHBOARDS[name] for query in panel.queries.values())
    found = {re.sub(r"_(bucket|count|sum)$", "", each) for each in re.findall(r"\bengage_[a-z_]+", text)}
    assert found <= {metric.name for metric in METRICS}
    titles = [panel.title for panel in DASHBOARDS[name]]
    assert len(titles) == len(set(titles))


@pytest.mark.prometheus
def test_every_panel_has_data(tmp_path: Path) -> None:
    """Against a worker under a small load no query fails, and only what needs more than that is empty."""
    port = _free_port()
    settings = {"ENGAGE_CLOCK": "live", "ENGAGE_TOPICS_PARTITIONS": "4", "ENGAGE_HTTP_PORT": str(port)}
    with EmbeddedBroker() as broker, ValkeyServer(tmp_path / "valkey") as valkey:
        deployment = Deployment("panels", broker.bootstrap, valkey.url, tmp_path, settings)
        deployment.engage("topics", "create")
        with deployment.worker(), _prometheus(tmp_path, port) as address, _load(broker.bootstrap):
            missing = {
                (name, panel.title, legend): query.replace("[$__rate_interval]", RATE)
                for name, panels in DASHBOARDS.items()
                for panel in panels
                for legend, query in panel.queries.items()
            }
            excused = {
                (name, panel.title) for name, panels in DASHBOARDS.items() for panel in panels if panel.needs
            }
            for query in missing.values():
                _ask(address, query)  # none fails, also without data
            deadline = time.monotonic() + PATIENCE_S
            while time.monotonic() < deadline:
                missing = {key: query for key, query in missing.items() if not _ask(address, query)}
                if all(key[:2] in excused for key in missing):
                    break
                time.sleep(0.5)
            assert not {key for key in missing if key[:2] not in excused}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def _prometheus(folder: Path, worker_port: int) -> Iterator[str]:
    """Run Prometheus on a worker, scraping once a second; give its address."""
    port = _free_port()
    config = folder / "prometheus.json"  # JSON is YAML
    job = {"job_name": "engage", "static_configs": [{"targets": [f"127.0.0.1:{worker_port}"]}]}
    config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}), "utf-8")
    with (folder / "prometheus.log").open("ab") as output:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{address}/-/ready", timeout=5):
                break
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            assert time.monotonic() < deadline, (folder / "prometheus.log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        end(process)


def _ask(address: str, query: str) -> bool:
    """Whether a query has data that is a number; it must not fail."""
    asked = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(asked, timeout=10) as answer:
        found = json.load(answer)
    assert found["status"] == "success", (query, found)
    assert not found.get("warnings"), (query, found)
    return any(not math.isnan(float(series["value"][1])) for series in found["data"]["result"])


@contextmanager
def _load(bootstrap: str) -> Iterator[None]:
    """Send some events of several kinds, again and again."""
    stop = threading.Event()

    def run() -> None:
        producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
        turn = 0
        while not stop.wait(0.05):
            turn += 1
            customer = f"c{turn % 40}"
            for kind, topic in TOPICS.items():
                event = {"id": f"{kind}-{turn}", "type": kind, "customer_id": customer, "time": _now_ms()}
                if kind == "order.placed":
                    event |= {"order_id": f"o{turn}", "amount": 20.0}
                elif topic == "engage.service":
                    event |= {"inquiry_id": f"i{turn}", "sentiment": -0.9}
                producer.produce(topic, json.dumps(event).encode(), customer.encode())
            producer.flush(5)

    sender = threading.Thread(target=run)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
