"""The commands of publishing, as an operator types them, on Kafka."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from engine.cli import app
from engine.settings import Settings, TopicSettings
from engine.streams.kafka import KafkaSettings, create_topics
from engine.streams.local.stack import ApacheKafka
from engine.streams.topics import topic_specs
from tests.rules.publishing.test_publication import BYE, CHANGED, HELLO

pytestmark = pytest.mark.kafka

FAILS = """journey: hello
cases:
  - name: it says something else
    events:
      - {at: 0s, type: order.placed}
    expect:
      - {at: 0s, send: email, template: something-else}
"""
Engage = Callable[..., Result]


@pytest.fixture
def engage(apache_kafka: ApacheKafka, tmp_path: Path) -> Engage:
    """Provide `engage rules …` against a topic of its own, with the journeys of the folder."""
    name = f"rules-{uuid.uuid4().hex[:8]}"
    settings = Settings(topics=TopicSettings(rules=name))
    create_topics(
        KafkaSettings(apache_kafka.bootstrap), [spec for spec in topic_specs(settings) if spec.name == name]
    )
    environment: dict[str, str | None] = {
        "ENGAGE_KAFKA_BOOTSTRAP_SERVERS": apache_kafka.bootstrap,
        "ENGAGE_TOPICS_RULES": name,
        "ENGAGE_RULES_PATHS": str(tmp_path),
        "ENGAGE_RULES_SOURCE": "topic",
        "ENGAGE_RULES_AUTHOR": "anna",
    }

    def run(*words: str, **more: None) -> Result:
        return CliRunner(env=environment | more).invoke(app, ["rules", *words])

    return run


def write(folder: Path, **texts: str) -> None:
    """Put journeys into the folder."""
    for name, text in texts.items():
        (folder / f"{name.replace('_', '.')}.yaml").write_text(text, "utf-8")


def test_from_the_first_publication_to_a_rollback(engage: Engage, tmp_path: Path) -> None:
    """Publish, look, stage, pause, go back: each command says what is live afterwards."""
    assert "no rules have been published yet" in engage("status").output
    write(tmp_path, hello=HELLO)
    first = engage("publish", "-m", "the first")
    assert first.exit_code == 0, first.output
    assert "version 1  live  100%  1 journey " in first.output
    assert engage("publish").exit_code == 1
    write(tmp_path, hello=CHANGED, bye=BYE)
    assert "would be version 2" in engage("publish", "--dry-run").output
    staged = engage("publish", "--to", "5%", "-m", "carefully")
    assert "version 2  live  5%" in staged.output
    assert "    + bye\n    ~ hello\n" in staged.output
    assert "hello v1  for 95%" in engage("status").output
    assert engage("stage", "100%", "--author", "otto").exit_code == 0
    paused = engage("pause", "hello", "-m", "wrong coupon")
    assert "hello v2  paused" in paused.output
    assert engage("pause", "helo").exit_code == 1
    resumed = engage("resume", "hello").output
    assert "hello v2  paused" not in resumed
    assert "messages held back go within the hour" in resumed
    assert "version 3  live  100%  1 journey " in engage("rollback", "-m", "no good").output
    shown = engage("history").output
    assert [line.split("  ")[0] for line in shown.splitlines() if line.startswith("version")] == [
        "version 3",
        "version 2",
        "version 1",
    ]
    assert "brings back 1  no good" in shown
    found = msgspec.json.decode(engage("status", "--json").output)
    assert found["live"]["version"] == 3
    assert [each["name"] for each in found["journeys"] if each["entering"]] == ["hello"]


def test_nobody_is_overruled_unseen(engage: Engage, tmp_path: Path) -> None:
    """Older copies do not take back what another author published, nor do the engine's own journeys."""
    write(tmp_path, hello=HELLO)
    assert engage("publish", "--author", "anna").exit_code == 0
    write(tmp_path, hello=CHANGED)
    assert engage("publish", "--author", "otto").exit_code == 0
    write(tmp_path, hello=HELLO, bye=BYE)
    refused = engage("publish", "--author", "anna")
    assert refused.exit_code == 1
    assert "E0614: otto changed hello in version 2" in refused.output
    assert "--over 2" in refused.output
    assert engage("publish", "--author", "anna", "--over", "1").exit_code == 1
    assert engage("publish", "--author", "anna", "--over", "2").exit_code == 0
    shipped = engage("publish", "--author", "anna", ENGAGE_RULES_PATHS=None)
    assert shipped.exit_code == 2, shipped.output
    assert "would take the place of what is live (bye, hello)" in shipped.output
    assert engage("publish", "--dry-run", "--over", "3", ENGAGE_RULES_PATHS=None).exit_code == 2
    assert "version 3  live" in engage("status").output


def test_wrong_rules_and_rules_whose_fixtures_fail_are_refused(engage: Engage, tmp_path: Path) -> None:
    """Nothing is published unless the check and the fixtures beside the journeys pass."""
    write(tmp_path, hello=HELLO.replace("order.placed", "order.plced"))
    wrong = engage("publish")
    assert wrong.exit_code == 1
    assert "E0211" in wrong.output
    write(tmp_path, hello=HELLO, hello_test=FAILS)
    failing = engage("publish")
    assert failing.exit_code == 1
    assert "E0601" in failing.output
    assert "fails: " in failing.output
    assert "no rules have been published yet" in engage("status").output


def test_a_second_person_approves(engage: Engage, tmp_path: Path) -> None:
    """With rules.approvals the author waits for somebody else, and can't be that person."""
    write(tmp_path, hello=HELLO)
    waiting = engage("publish", "--set", "rules.approvals=1")
    assert "`engage rules approve 1`" in waiting.output
    assert engage("approve", "1").exit_code == 1
    assert "version 1  live" in engage("approve", "1", "--author", "otto").output


def test_a_migration_is_checked_before_anything_is_published(engage: Engage, tmp_path: Path) -> None:
    """A map of steps must lead every step somewhere; then those inside are moved."""
    write(tmp_path, hello=HELLO + "  - wait: 2d\n  - {send: email, template: two}\n")
    engage("publish")
    write(tmp_path, hello=HELLO)
    refused = engage("publish", "--migrate", "auto")
    assert refused.exit_code == 1
    assert "say where 'steps[1]' leads" in refused.output
    steps = tmp_path / "steps.txt"
    steps.write_text("hello:\n  steps[1]: exit\n  steps[2]: exit\n", "utf-8")
    moved = engage("publish", "--migrate", str(steps))
    assert moved.exit_code == 0, moved.output
    assert engage("publish", "--migrate", str(tmp_path / "absent")).exit_code == 2
