"""What production needs of Kafka is planned with reasons, made, and held against live brokers."""

from __future__ import annotations

import json
import uuid

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.settings import Settings
from engine.streams import production
from engine.streams.local.stack import ApacheKafka
from engine.streams.production import plan_of

TOPICS = (
    *("click", "order", "service", "profile", "engagement"),
    *("decisions", "segments", "dlq", "training", "models", "rules"),
)


def settings_of(bootstrap: str) -> dict[str, str]:
    """Return settings with topics of their own."""
    name = f"p{uuid.uuid4().hex[:8]}"
    names = {f"ENGAGE_TOPICS_{kind.upper()}": f"{name}.{kind}" for kind in TOPICS}
    return {
        **names,
        "ENGAGE_TOPICS_ACTIONS_PREFIX": f"{name}.actions.",
        "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "ENGAGE_TOPICS_PARTITIONS": "2",
        "ENGAGE_KAFKA_TIMEOUT_MS": "20000",
    }


def engage(environ: dict[str, str], *arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, list(arguments), env=environ)


def test_every_setting_has_a_reason() -> None:
    """Three copies, two acknowledge; events outlast the backtest; models and rules are compacted for ever."""
    plans = {plan.spec.name: plan for plan in plan_of(Settings(), 120)}
    assert all(each.why for plan in plans.values() for each in plan.wanted)
    assert {plan.spec.replication for plan in plans.values()} == {3}
    assert {plan.spec.config["min.insync.replicas"] for plan in plans.values()} == {"2"}
    assert plans["engage.clicks"].spec.config["retention.ms"] == str(120 * 86_400_000)
    rules = plans["engage.rules"].spec.config
    assert (rules["cleanup.policy"], rules["retention.ms"]) == ("compact", "-1")
    assert int(rules["max.message.bytes"]) > 8 * 1024 * 1024
    assert plans["engage.models"].spec.config["cleanup.policy"] == "compact"
    assert plans["engage.training"].spec.config["retention.ms"] == str(180 * 86_400_000)


@pytest.mark.kafka
def test_topics_for_production_are_planned_made_and_checked(apache_kafka: ApacheKafka) -> None:
    """One broker is refused for three copies; with one copy, made so, the check finds only that."""
    environ = settings_of(apache_kafka.bootstrap)
    planned = engage(environ, "topics", "create", "--production", "--dry-run")
    assert planned.exit_code == 2, planned.output  # as without --dry-run, but the plan is seen
    assert "this cluster has 1; add brokers" in planned.output
    assert "min.insync.replicas=2\n    why: an acknowledged record is on 2 of 3 brokers" in planned.output
    assert "17 to be created, 0 already there" in planned.output
    refused = engage(environ, "topics", "create", "--production")
    assert refused.exit_code == 2
    assert "3 copies of each partition need 3 brokers, this cluster has 1; add brokers" in refused.output

    one = environ | {"ENGAGE_TOPICS_REPLICATION": "1"}
    made = engage(one, "topics", "create", "--production", "--retention-days", "100", "--json")
    assert made.exit_code == 0, made.output
    assert len(json.loads(made.output)["created"]) == 17
    found = checked(one)
    # the shared broker of the tests holds no value of its own for these
    assert [text for text in found if not text.startswith("fewer than 3 copies")] == []

    alter(apache_kafka, environ["ENGAGE_TOPICS_ORDER"], "retention.ms", "86400000")
    alter(apache_kafka, environ["ENGAGE_TOPICS_RULES"], "cleanup.policy", "delete")
    found = checked(one)
    order, rules = environ["ENGAGE_TOPICS_ORDER"], environ["ENGAGE_TOPICS_RULES"]
    short = "retention.ms is 86400000 (1 day), wanted 7776000000 (90 days)"
    assert any(text.startswith(short) and order in text for text in found), found
    assert any(
        text.startswith("cleanup.policy is delete, wanted compact") and rules in text for text in found
    )

    impatient = engage(one | {"ENGAGE_KAFKA_SESSION_TIMEOUT_MS": "1800000"}, "topics", "check")
    assert impatient.exit_code == 0, impatient.output  # the broker's own maximum is half an hour
    sloppy = engage(one | {"ENGAGE_KAFKA_GROUP_PROTOCOL": "consumer"}, "doctor", "--json")
    assert "group.consumer.session.timeout.ms" not in sloppy.output, "1500 ms is short enough"


@pytest.mark.kafka
def test_careless_topics_are_told_with_a_remedy(apache_kafka: ApacheKafka) -> None:
    """Topics made by other means lack what production needs; each flaw is told once, for all topics."""
    environ = settings_of(apache_kafka.bootstrap)
    assert engage(environ, "topics", "create").exit_code == 0
    output = engage(environ, "topics", "check", "--json").output
    findings = json.loads(output)["findings"]
    assert all(finding["remedy"] for finding in findings)
    texts = [finding["text"] for finding in findings]
    assert sum(text.startswith("min.insync.replicas is 1, wanted 2") for text in texts) == 1
    assert any("retention.ms is 604800000" in text for text in texts)
    doctor = engage(environ, "doctor", "--json").output
    assert any(finding["text"].startswith("min.insync.replicas is 1") for finding in json.loads(doctor))


def checked(environ: dict[str, str]) -> list[str]:
    """Return what `topics check` finds wrong."""
    done = engage(environ, "topics", "check", "--json")
    assert done.exit_code == 0, done.output
    findings = json.loads(done.output)["findings"]
    return [finding["text"] for finding in findings if finding["verdict"] != "ok"]


def alter(server: ApacheKafka, topic: str, name: str, value: str) -> None:
    """Set a topic's setting."""
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    admin.incremental_alter_configs([resource])[resource].result(20)


def test_brokers_are_held_to_what_transactions_need() -> None:
    """Their log has three copies, and our timeout is allowed; one broker alone is not told about copies."""
    careless = {"transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1"}
    short = {"transaction.max.timeout.ms": "10000"}
    assert [flaw.severe for flaw in production._transactions(careless | short, 3)] == [False, False, True]
    assert list(production._transactions(careless, 1)) == []
