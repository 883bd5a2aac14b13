"""A real worker while Redis or Kafka dies, a worker is killed, or it is told to stop: nothing is lost."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from engine.streams.local.stack import ApacheKafka, ValkeyServer
from tests.faults.harness import Deployment, end_offsets

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(240)]

REDIS_AWAY_S = 10.0
KAFKA_AWAY_S = 2.0
TAKEOVER_S = 10.0
CUSTOMERS = 40
EVENTS = 300
THANKS = """
journey: thanks
transactional: true
entry: {on: order.placed, reentry: always}
steps:
  - {send: email, template: thanks}
"""


@dataclass
class Site:
    """Servers, a deployment on them, and what has been sent."""

    kafka: ApacheKafka
    valkey: ValkeyServer
    live: Deployment
    sent: int = 0

    def send(self) -> None:
        """Send orders of many customers, as a user would from a file."""
        now_ms = int(time.time() * 1000)
        lines = []
        for number in range(self.sent, self.sent + EVENTS):
            order = {"type": "order.placed", "order_id": f"o{number}", "amount": 1.0, "source": "test"}
            order |= {"id": f"e{number}", "customer_id": f"c{number % CUSTOMERS}", "time": now_ms}
            lines.append(msgspec.json.encode(order).decode())
        self.live.engage("send", "--file", "-", text="\n".join(lines))
        self.sent += EVENTS

    def wait_done(self, timeout_s: float = 60) -> None:
        """Wait until all that was sent is durable."""
        self.live.wait_done(end_offsets(self.kafka.bootstrap), timeout_s)

    def check_actions(self) -> None:
        """Check that every order had its action, and a repeat of it only the same id."""
        found = [msgspec.json.decode(values[0]) for values in self.live.actions().values()]
        causes = sorted(action["event_id"] for action in found)
        assert causes == sorted(f"e{number}" for number in range(self.sent))

    def ready(self, number: int) -> tuple[int, str]:
        """Ask a worker whether it is ready: status and text; 0 while it does not listen."""
        return self.ask(number, "readyz")

    def lag(self, number: int) -> tuple[float, float]:
        """Ask a worker how far it is behind: records of all its partitions, and the oldest's age in s."""
        found: dict[str, list[float]] = {"engage_lag_records": [], "engage_lag_seconds": []}
        for family in text_string_to_metric_families(self.ask(number, "metrics")[1]):
            if family.name in found:
                found[family.name] = [sample.value for sample in family.samples]
        records, seconds = found.values()
        return sum(records), max(seconds, default=0.0)

    def ask(self, number: int, path: str) -> tuple[int, str]:
        """Ask a worker over HTTP: status and text; 0 while it does not listen."""
        log = (self.live.folder / f"live-{number}.log").read_text(errors="replace")
        ports = re.findall(r"worker listens.*?port\S*?=\D*?(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", log))
        if not ports:
            return 0, log[-500:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[-1]}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


def until(condition: Callable[[], bool], timeout_s: float, what: Callable[[], object]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start Apache Kafka and Valkey of this module's own: they are killed here."""
    folder = tmp_path_factory.mktemp("site")
    journey = folder / "thanks.yaml"
    journey.write_text(THANKS, "utf-8")
    settings = {
        "ENGAGE_CLOCK": "live",
        "ENGAGE_RULES_PATHS": str(journey),
        "ENGAGE_TOPICS_PARTITIONS": "4",
        "ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer",
        "ENGAGE_CHURN_FOLLOW": "no",
    }
    with ApacheKafka(folder / "kafka") as kafka, ValkeyServer(folder / "valkey") as valkey:
        live = Deployment("live", kafka.bootstrap, valkey.url, folder, settings)
        live.engage("topics", "create")
        yield Site(kafka, valkey, live)


@pytest.fixture
def worker(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until it is ready."""
    with site.live.worker(0) as process:
        until(lambda: site.ready(0)[0] == 200, 40, lambda: site.ready(0))
        yield process


def test_redis_gone_for_ten_seconds(site: Site, worker: subprocess.Popen[bytes]) -> None:
    """While Redis is gone the worker waits and readiness says so; then it goes on, and nothing is lost."""
    site.send()
    site.valkey.kill9()
    gone_s = time.monotonic()
    site.send()
    until(lambda: site.ready(0)[0] == 503, 8, lambda: site.ready(0))
    assert "redis" in site.ready(0)[1]
    time.sleep(max(0.0, gone_s + REDIS_AWAY_S - time.monotonic()))
    assert worker.poll() is None
    site.valkey.start()
    site.wait_done()
    until(lambda: site.ready(0)[0] == 200, 10, lambda: site.ready(0))
    site.check_actions()


def test_redis_hangs(site: Site, worker: subprocess.Popen[bytes]) -> None:
    """While Redis takes connections and answers nothing, what waits in Kafka is told: records and seconds."""
    site.send()
    site.wait_done()
    pid = site.valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            site.send()
        until(lambda: site.lag(0)[0] == 2 * EVENTS, 15, lambda: site.lag(0))
        until(lambda: site.lag(0)[1] > 5, 15, lambda: site.lag(0))
        assert worker.poll() is None
    finally:
        os.kill(pid, signal.SIGCONT)
    site.wait_done()
    until(lambda: site.lag(0) == (0, 0), 10, lambda: site.lag(0))
    site.check_actions()


def test_a_worker_without_redis_takes_no_partition(site: Site, worker: subprocess.Popen[bytes]) -> None:
    """One that alone cannot reach Redis leaves all partitions to others, says why, and stops when told."""
    lost = site.live.start_worker(7, {"ENGAGE_REDIS_URL": "redis://127.0.0.1:1/0"})
    try:
        until(lambda: site.ready(7)[0] == 503, 40, lambda: site.ready(7))
        assert "redis at '127.0.0.1:1' does not answer" in site.ready(7)[1]
        site.send()
        site.wait_done()
        time.sleep(3)  # an hour would show no more: it has not asked the group for anything
        assert msgspec.json.decode(site.ask(0, "status")[1])["partitions"] == [0, 1, 2, 3]
        assert lost.poll() is None
    finally:
        lost.terminate()
        assert lost.wait(20) == 0
    assert worker.poll() is None
    site.check_actions()


def test_kafka_killed_and_started_again(site: Site, worker: subprocess.Popen[bytes]) -> None:
    """When the broker dies and comes back, the worker goes on by itself, and nothing is lost."""
    site.send()
    site.kafka.kill9()
    time.sleep(KAFKA_AWAY_S)
    site.kafka.start()
    site.send()
    site.wait_done()
    assert worker.poll() is None
    until(lambda: site.ready(0)[0] == 200, 20, lambda: site.ready(0))
    site.check_actions()


def test_another_worker_takes_over(site: Site, worker: subprocess.Popen[bytes]) -> None:
    """After kill -9 of a worker the other one has its partitions, and is through its events, within 10 s."""
    with site.live.worker(1):
        until(lambda: site.ready(1)[0] == 200, 40, lambda: site.ready(1))
        site.send()
        worker.kill()
        killed_s = time.monotonic()
        site.send()
        site.wait_done(killed_s + TAKEOVER_S - time.monotonic())
        print(f"through {time.monotonic() - killed_s:.1f} s after the kill, sending included")  # noqa: T201
    site.check_actions()


def test_a_stop_is_in_order(site: Site, worker: subprocess.Popen[bytes]) -> None:
    """On SIGTERM the worker finishes its batch, commits its offsets to Kafka and ends with code 0."""
    site.send()
    worker.terminate()
    assert worker.wait(20) == 0
    durable = site.live.offsets()
    consumer = Consumer({"bootstrap.servers": site.kafka.bootstrap, "group.id": "live"})
    try:
        parts = [TopicPartition(topic, number) for topic, number in durable]
        mirrored = {(each.topic, each.partition): each.offset for each in consumer.committed(parts, 10)}
    finally:
        consumer.close()
    assert mirrored == dict(durable)
    with site.live.worker(1):
        site.wait_done()
    site.check_actions()
