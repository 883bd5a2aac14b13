"""Topics are checked before the start, and properties that guarantees rest on cannot be changed."""

from __future__ import annotations

import uuid

import pytest

from engine.errors import ConfigError, TransientError
from engine.streams.kafka import (
    KafkaSettings,
    TopicSpec,
    check_topics,
    consumer_config,
    create_topics,
    producer_config,
)
from tests.streams.transport_harness import Lane


def test_missing_topics_are_refused(lane: Lane) -> None:
    """A missing topic stops the start with its name and the command that helps; it may be there soon."""
    settings = lane.settings()
    assert check_topics(settings, lane.topics) == lane.partitions
    with pytest.raises(TransientError, match=r"nowhere.*engage topics create"):
        check_topics(settings, [*lane.topics, "nowhere"])


@pytest.mark.kafka
def test_unequal_partition_counts_are_refused(request: pytest.FixtureRequest) -> None:
    """Event topics with different partition counts would tear customers apart: the start is refused."""
    settings = KafkaSettings(request.getfixturevalue("apache_kafka").bootstrap)
    names = [f"uneven-{uuid.uuid4().hex[:8]}" for _ in range(2)]
    made = create_topics(
        settings, [TopicSpec(name, count) for name, count in zip(names, (2, 3), strict=True)]
    )
    assert made == names
    with pytest.raises(ConfigError, match=f"{names[0]}=2, {names[1]}=3"):
        check_topics(settings, names)
    assert create_topics(settings, [TopicSpec(names[0], 2)]) == []


def test_topics_are_checked_against_a_silent_broker() -> None:
    """Without a broker the check says so instead of naming topics as missing."""
    with pytest.raises(TransientError, match="does not answer"):
        check_topics(KafkaSettings("127.0.0.1:9", extra={"log_level": 0}), ["any"], timeout_s=0.2)


@pytest.mark.parametrize(
    "name", ["enable.auto.commit", "partition.assignment.strategy", "group.remote.assignor"]
)
def test_guarantees_cannot_be_configured_away(name: str) -> None:
    """A property the guarantees rest on is refused by name."""
    with pytest.raises(ConfigError, match=name):
        consumer_config(KafkaSettings("x", extra={name: "y"}))


def test_tls_and_sasl_reach_every_client() -> None:
    """Any librdkafka property is passed through to the consumer and the producer."""
    extra = {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "ssl.ca.location": "/ca.pem"}
    settings = KafkaSettings("x", extra=extra)
    assert extra.items() <= consumer_config(settings).items()
    assert extra.items() <= producer_config(settings).items()
