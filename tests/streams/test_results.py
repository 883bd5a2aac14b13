"""`engage results` on real brokers: decisions and events as they stand on the topics, in Avro too."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from engine.actions import Decision
from engine.cli import app
from engine.streams.kafka import KafkaSettings, producer_config
from engine.streams.local.stack import ApacheKafka, EmbeddedBroker
from engine.streams.sender import EventSender, parse_line
from engine.streams.wire.codec import encode_decision
from tests.authoring.results.test_results import COME_BACK
from tests.conftest import create_topic
from tests.rules.driver import DAY, HOUR, NOON, Driver, rule_set

FAMILIES = ("click", "order", "service", "profile", "engagement")


class Deployment:
    """Topics, settings and one journey; decisions are written as a worker writes them."""

    def __init__(self, server: ApacheKafka | EmbeddedBroker, folder: Path, clock: str) -> None:
        self.kafka = KafkaSettings(server.bootstrap)
        self.topics = {name: create_topic(server, name, 2) for name in (*FAMILIES, "decisions")}
        journey = folder / "come-back.yaml"
        journey.write_text(COME_BACK.replace("HOLDOUT", "30%"), "utf-8")
        names = "".join(f'{name} = "{topic}"\n' for name, topic in self.topics.items())
        self.config = folder / "engage.toml"
        self.config.write_text(
            f'clock = "{clock}"\nrules.paths = ["{journey}"]\nrules.source = "files"\n'
            f'kafka.bootstrap_servers = "{server.bootstrap}"\n[topics]\npartitions = 2\n'
            f'rules = "no-{uuid.uuid4().hex}"\n{names}',
            "utf-8",
        )

    def decide(self, decisions: list[Decision]) -> None:
        """Write decisions."""
        producer = Producer(producer_config(self.kafka))
        for decision in decisions:
            value, headers = encode_decision(decision)
            producer.produce(self.topics["decisions"], value, decision.customer_id.encode(), headers=headers)
        producer.flush(10)

    def send(self, *events: dict[str, object]) -> None:
        """Write events."""
        sender = EventSender(self.kafka, {name: self.topics[name] for name in FAMILIES})
        for event in events:
            sender.send(parse_line(json.dumps(event), None))
        sender.flush()

    def ask(self, *words: str) -> Result:
        """Run the command."""
        return CliRunner().invoke(app, ["results", *words, "--config", str(self.config)])


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def server(request: pytest.FixtureRequest) -> ApacheKafka | EmbeddedBroker:
    """Provide a broker."""
    name = "apache_kafka" if request.param == "apache" else "embedded_broker"
    found: ApacheKafka | EmbeddedBroker = request.getfixturevalue(name)
    return found


def decided(at_ms: int) -> list[Decision]:
    """Return what the journey decided for forty customers, of whom every other one came back."""
    found = []
    rules = rule_set(COME_BACK.replace("HOLDOUT", "30%"))
    for number in range(40):
        driver = Driver(rules, customer_id=f"王{number}")
        driver.send("order.cancelled", at_ms)
        if number % 2:
            driver.send("order.placed", at_ms + DAY, amount=10.0)
        found += driver.decisions
    return found


def test_on_the_live_clock(server: ApacheKafka | EmbeddedBroker, tmp_path: Path) -> None:
    """The period ends now; messages, goals and the shop; a page; JSON for programs."""
    deployment = Deployment(server, tmp_path, "live")
    nothing = deployment.ask()
    assert (nothing.exit_code, "nothing has been decided yet" in nothing.output) == (2, True)
    now_ms = time.time_ns() // 1_000_000
    decisions = decided(now_ms - 40 * DAY)
    deployment.decide(decisions)
    fired = next(each for each in decisions if each.action_id)
    common = {"customer_id": fired.customer_id, "time": now_ms - 39 * DAY}
    deployment.send(
        {"id": "1", "type": "message.opened", "action_id": fired.action_id, **common},
        {"id": "2", "type": "order.placed", "order_id": "o1", "amount": 5, **common},
        {"id": "3", "type": "order.placed", "order_id": "o2", "amount": 5, **common},
        {"id": "4", "type": "inquiry.opened", "inquiry_id": "q", **common},
    )
    page = tmp_path / "results.html"
    shown = deployment.ask("--from", "60d", "--html", str(page))
    assert shown.exit_code == 0, shown.output
    for words in ("come-back", "customers reached", "Did it help?", "variants of steps[0].split", "holdout"):
        assert words in shown.output
    assert "王" not in shown.output + page.read_text("utf-8"), "a report names no customer"
    found = json.loads(deployment.ask("come-back", "--from", "60d", "--json").output)
    assert any("of all customers" in note for note in found["notes"])
    (journey,) = found["journeys"]
    treated, holdout = journey["lift"]["arms"]
    assert treated["customers"] + holdout["customers"] == 40
    assert treated["converted"] + holdout["converted"] == 20
    assert journey["entered"] == journey["reached"] == treated["customers"]
    assert sum(step["opened"] for step in journey["steps"]) == 1
    assert (found["repurchase"]["again"], found["responses"]["late"]) == (1, 1)
    empty = json.loads(deployment.ask("--from", "30d", "--json").output)
    assert empty["journeys"] == []


def test_on_the_replay_clock(server: ApacheKafka | EmbeddedBroker, tmp_path: Path) -> None:
    """The period ends with the newest decision, whenever that was replayed."""
    deployment = Deployment(server, tmp_path, "replay")
    deployment.decide(decided(NOON))
    found = json.loads(deployment.ask("--from", "2d", "--json").output)
    assert found["until"].startswith("2023-11-15T12:00")
    (journey,) = found["journeys"]
    assert (journey["undecided"], journey["lift"]["arms"]) == (40, [])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("come-bak",), 1, "did you mean come-back?"),
        (("--from", "yesterday"), 2, "write 30d, 2026-01-31"),
        (("--to", "2001-01-01"), 2, "nothing lies between"),
        (("--html", "nowhere/x.html"), 2, "there is no folder nowhere"),
        (("--html", "."), 2, "--html .: this is a folder"),
        (("--kafka", "127.0.0.1:1", "--set", "kafka.timeout_ms=500"), 3, "does not answer"),
    ],
)
def test_what_was_asked_wrongly(
    embedded_broker: EmbeddedBroker, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    """A mistake is named, with what to write."""
    deployment = Deployment(embedded_broker, tmp_path, "live")
    deployment.decide(decided(time.time_ns() // 1_000_000 - HOUR))
    answer = deployment.ask(*words)
    assert (answer.exit_code, says in answer.output) == (code, True), answer.output
