"""Laws of the demo's viewer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from confluent_kafka import Producer
from msgspec.structs import replace

from engine.actions import Action, Outcome, Reason
from engine.demo.watch import Showcase, StatusPoller, TopicWatcher, WatchedTopics, fetch_status
from engine.features.churn.snapshot import encode_snapshot
from engine.streams.local.stack import EmbeddedBroker
from engine.streams.models.topic import MODEL_KEY
from engine.streams.wire.codec import encode_action, encode_decision
from tests.demo.samples import action, decision, snapshot

HOST = "127.0.0.1"


def test_showcase_lets_a_person_read() -> None:
    """Items come no faster than one can read, newest first, and journeys take turns."""
    showcase: Showcase[Action] = Showcase(size=3, every_s=1.0)
    shown: list[tuple[str, ...]] = []
    for second in range(4):
        for number in range(50):
            showcase.offer(action(f"{second}-{number}", "welcome", "signed up"))
        if second == 1:
            showcase.offer(action("rare", "win-back", "no order"))
        shown.append(tuple(item.customer_id for item in showcase.items(float(second))))
        assert showcase.items(second + 0.5) == showcase.items(second + 0.6)
    assert shown[0] == ("0-49",)
    assert shown[1] == ("rare", "0-49")
    assert shown[2] == ("2-49", "rare", "0-49")
    assert shown[3] == ("3-49", "2-49", "rare")


def test_watcher_reads_actions_decisions_and_model(embedded_broker: EmbeddedBroker) -> None:
    """Actions and decisions count, variants of a split don't; what was held back is shown; a model stays."""
    topics = WatchedTopics(
        actions=("w.actions.email", "w.actions.agent"), decisions="w.decisions", models="w.models"
    )
    for topic in (*topics.actions, topics.decisions, topics.models):
        embedded_broker.create_topic(topic, 2)
    producer = Producer({"bootstrap.servers": embedded_broker.bootstrap})
    for number in range(30):
        producer.produce("w.actions.email", encode_action(action(f"{number}", "welcome", "signed up"))[0])
    producer.produce(
        "w.actions.agent", encode_action(action("7", "win-back", "no order", channel="agent"))[0]
    )
    producer.produce(
        "w.decisions", encode_decision(decision("1", "welcome", Outcome.FIRED, "", "signed up"))[0]
    )
    held = decision("2", "welcome", Outcome.SUPPRESSED, "consent", "no consent to marketing")
    producer.produce("w.decisions", encode_decision(held)[0])
    for number, step in enumerate(("entry", "steps[0].split.a")):
        entered = replace(decision(f"{number}", "win-back", Outcome.ENTERED, "", "no order"), step=step)
        producer.produce("w.decisions", encode_decision(entered)[0])
    reached = decision("7", "win-back", Outcome.CONVERTED, "", "order placed")
    reached = replace(reached, reason=Reason(text="order placed", values={"arm": "holdout", "value": 9.5}))
    producer.produce("w.decisions", encode_decision(reached)[0])
    producer.produce("w.models", b"{}", key=MODEL_KEY)
    producer.produce("w.models", encode_snapshot(snapshot()), key=MODEL_KEY, partition=0)
    assert producer.flush(10) == 0
    watcher = TopicWatcher(embedded_broker.bootstrap, topics)
    watcher.open()
    for _ in range(50):
        watcher.poll(0.1)
        if (sum(watcher.actions.values()), sum(watcher.decisions.values())) == (31, 4) and watcher.model:
            break
    watcher.close()
    assert watcher.actions == {("welcome", "email"): 30, ("win-back", "agent"): 1}
    assert watcher.decisions == {
        ("welcome", "fired", ""): 1,
        ("welcome", "suppressed", "consent"): 1,
        ("win-back", "entered", ""): 1,
        ("win-back", "converted", "holdout"): 1,
    }
    assert watcher.kept_back.items(0) == (held,)
    assert watcher.model == snapshot()
    assert watcher.first_action_at_s is not None


@pytest.fixture
def status_port() -> Iterator[int]:
    """Serve a status page with more in it than the screen knows; another path is a page that is no JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(
                b'{"events_total": 12, "latency_ms": {"p50": 1.5}, "new": [1], "model": {"version": 3}}'
            )

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_status_is_read_as_far_as_it_is_known(status_port: int) -> None:
    """Fields a newer worker adds do not matter; fields it leaves out have their defaults."""
    status = fetch_status(HOST, status_port)
    assert status is not None
    assert (status.events_total, status.latency_ms.p50, status.latency_ms.p99) == (12, 1.5, None)


def test_no_status_from_a_worker_that_is_not_there() -> None:
    """A port nobody listens on is no error: the worker may still be starting."""
    poller = StatusPoller(HOST, 1)
    poller.start()
    poller.stop()
    assert fetch_status(HOST, 1) is None
    assert poller.latest.events_total == 0
