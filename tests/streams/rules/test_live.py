"""Published rules with a whole worker on Kafka and Valkey, as an operator sees it."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config import load_settings
from engine.events import EVENT_TYPES
from engine.rules.guards import share_of
from engine.rules.publishing.requests import pause_request, resume_request, stage_request
from engine.streams.kafka import KafkaSettings
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from engine.streams.producer import ActionProducer
from engine.streams.rules.desk import RuleDesk
from engine.streams.wire.codec import encode_json
from tests.faults.harness import Deployment, end
from tests.rules.driver import event
from tests.rules.publishing.test_publication import CHANGED, HELLO

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

WAIT_S = 120.0  # on a machine that is busy with other tests
AMOUNT: dict[str, dict[str, Any]] = {"order.placed": {"amount": 9.5}}
PATH = """journey: path
entry: {on: cart.added, reentry: always}
steps:
  - {send: push, template: one}
  - wait_until: {on: cart.removed, timeout: 2d}
    then:
      - {send: push, template: two}
"""
OTHER = PATH.replace("template: two", "template: other")


class Live:
    """A worker and its journeys.

    Args:
        deployment: its settings and topics.
        journeys: folder of its journeys.
        port: of its pages.
    """

    def __init__(self, deployment: Deployment, journeys: Path, port: int) -> None:
        self.deployment = deployment
        self.journeys = journeys
        self.settings = load_settings(environ=deployment.environment)
        self.desk = RuleDesk(self.settings, KafkaSettings(deployment.bootstrap), "anna")
        self.port = port

    def write(self, **texts: str) -> None:
        """Write journeys."""
        for name, text in texts.items():
            (self.journeys / f"{name}.yaml").write_text(text, "utf-8")

    def publish(self, share: float = 1.0, *, migrate: bool = False) -> None:
        """Publish what is written."""
        self.desk.send(self.desk.draft("", share, {} if migrate else None))

    def running(self) -> dict[str, Any]:
        """Return what the worker says of its rules."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status", timeout=5) as answer:
            return dict(json.loads(answer.read())["rules"])

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the worker says something of its rules; no event comes meanwhile."""
        _until(lambda: holds(self.running()))

    def send(self, kind: str, *customers: str) -> None:
        """Send an event for each customer."""
        topic = self.settings.event_topics()[EVENT_TYPES[kind].family]
        now_ms = int(time.time() * 1000)
        events = [
            event(kind, now_ms, each, id=uuid.uuid4().hex, source="test", **AMOUNT.get(kind, {}))
            for each in customers
        ]

        async def produce() -> None:
            producer = ActionProducer(self.desk._kafka)
            await producer.send(
                [(topic, each.customer_id.encode(), encode_json(each), None) for each in events]
            )
            await producer.aclose()

        asyncio.run(produce())

    def seen(self) -> dict[str, list[str]]:
        """Return the templates sent, by customer, in order."""
        found: dict[str, list[str]] = {}
        actions = [msgspec.json.decode(values[0]) for values in self.deployment.actions().values()]
        for action in sorted(actions, key=lambda each: int(each["time"])):
            found.setdefault(action["customer_id"], []).append(action["template"])
        return found


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            if holds():
                return
        except OSError:
            pass  # the worker's pages are not there yet
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def live(apache_kafka: ApacheKafka, valkey: ValkeyServer, tmp_path: Path) -> Live:
    """Provide a deployment with topics of its own; its worker is started by the test."""
    name = f"live-{uuid.uuid4().hex[:8]}"
    journeys = tmp_path / "journeys"
    journeys.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    families = ("CLICK", "ORDER", "SERVICE", "PROFILE", "ENGAGEMENT", "RULES")
    more = {f"ENGAGE_TOPICS_{family}": f"{name}.{family.lower()}" for family in families} | {
        "ENGAGE_RULES_PATHS": str(journeys),
        "ENGAGE_RULES_SOURCE": "topic",
        "ENGAGE_RULES_AUTHOR": "anna",
        "ENGAGE_TOPICS_PARTITIONS": "2",
        "ENGAGE_CHURN_FOLLOW": "no",
        "ENGAGE_HTTP_PORT": str(port),
    }
    deployment = Deployment(name, apache_kafka.bootstrap, valkey.url, tmp_path / "logs", more)
    deployment.engage("topics", "create")
    return Live(deployment, journeys, port)


def test_from_version_to_version(live: Live) -> None:
    """A stage takes its share, a pause stops, a migration moves those inside; a restart changes nothing."""
    live.write(hello=HELLO.replace("entry", "transactional: true\nentry", 1))
    live.write(path=PATH.replace("entry", "transactional: true\nentry", 1))
    live.publish()
    worker = live.deployment.start_worker()
    try:
        live.until(lambda rules: rules["version"] == 1)
        live.send("order.placed", "first")
        live.send("cart.added", "first")
        _until(lambda: sorted(live.seen().get("first", [])) == ["hello", "one"])

        live.write(hello=CHANGED.replace("entry", "transactional: true\nentry", 1))
        live.publish(0.5)
        live.until(lambda rules: (rules["version"], rules["share"]) == (2, 0.5))
        crowd = [f"c{number}" for number in range(30)]
        live.send("order.placed", *crowd)
        _until(lambda: len(live.seen()) == 1 + len(crowd))
        new = {each for each in crowd if share_of("stage", "hello", each) < 0.5}
        assert {name: live.seen()[name] for name in crowd} == {
            name: ["hi" if name in new else "hello"] for name in crowd
        }

        live.desk.operate(lambda found: stage_request(found, 1.0, "anna", live.desk.now_ms()))
        live.desk.operate(lambda found: pause_request(found, "hello", "anna", live.desk.now_ms(), ""))
        live.until(lambda rules: (rules["share"], rules["paused"]) == (1.0, ["hello"]))
        live.send("order.placed", "late")
        live.send("cart.added", "late")
        _until(lambda: "late" in live.seen())
        assert live.seen()["late"] == ["one"]

        end(worker)
        worker = live.deployment.start_worker()
        live.until(lambda rules: (rules["version"], rules["paused"]) == (2, ["hello"]))
        live.write(path=OTHER.replace("entry", "transactional: true\nentry", 1))
        live.publish(migrate=True)
        live.until(lambda rules: rules["version"] == 3)
        live.send("cart.removed", "first", "late")
        _until(lambda: live.seen()["first"][-1] == live.seen()["late"][-1] == "other")
        live.desk.operate(lambda found: resume_request(found, "hello", "anna", live.desk.now_ms(), ""))
        live.until(lambda rules: rules["paused"] == [])
        live.send("order.placed", "late")
        _until(lambda: live.seen()["late"] == ["one", "other", "hi"])
        live.desk.send(live.desk.draft_rollback(1, ""))
        live.until(lambda rules: rules["version"] == 4)
        live.send("order.placed", "last")
        _until(lambda: live.seen().get("last") == ["hello"])
    finally:
        end(worker)
