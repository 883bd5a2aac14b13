"""A worker under a small load and a Prometheus that scrapes it, for what is tried against the real thing."""

from __future__ import annotations

import json
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

from confluent_kafka import Producer

from tests.faults.harness import end

PATIENCE_S = 180.0
TOPICS = {
    "page.viewed": "engage.clicks",
    "order.placed": "engage.orders",
    "inquiry.opened": "engage.service",
    "inquiry.replied": "engage.service",
}


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def prometheus(folder: Path, worker_port: int, rules: Path | None = None) -> Iterator[str]:
    """Run Prometheus on a worker, looking and judging once a second; give its address."""
    port = free_port()
    config = folder / "prometheus.json"  # JSON is YAML
    job = {"job_name": "engage", "static_configs": [{"targets": [f"127.0.0.1:{worker_port}"]}]}
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    files = [] if rules is None else [str(rules)]
    config.write_text(json.dumps({"global": every, "rule_files": files, "scrape_configs": [job]}), "utf-8")
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


@contextmanager
def load(bootstrap: str) -> Iterator[None]:
    """Send some events of several kinds, again and again."""
    stop = threading.Event()

    def run() -> None:
        producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
        turn = 0
        while not stop.wait(0.05):
            turn += 1
            customer = f"c{turn % 40}"
            for kind, topic in TOPICS.items():
                event = {"id": f"{kind}-{turn}", "type": kind, "customer_id": customer, "time": now_ms()}
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


def now_ms() -> int:
    """Return the wall clock."""
    return time.time_ns() // 1_000_000


def query(address: str, text: str) -> list[dict[str, Any]]:
    """Return the series of a query; it must not fail, nor warn."""
    asked = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': text})}"
    with urllib.request.urlopen(asked, timeout=10) as answer:
        found = json.load(answer)
    assert found["status"] == "success", (text, found)
    assert not found.get("warnings"), (text, found)
    series: list[dict[str, Any]] = found["data"]["result"]
    return series
