"""The brokers and group protocols the transport's contract suite runs on."""

from __future__ import annotations

import uuid

import pytest

from engine.streams.kafka import EMBEDDED_PARTITIONS, KafkaSettings, TopicSpec, create_topics
from tests.streams.transport_harness import Lane


@pytest.fixture(
    params=[
        "embedded-classic",
        pytest.param("apache-classic", marks=pytest.mark.kafka),
        pytest.param("apache-consumer", marks=pytest.mark.kafka),
    ]
)
def lane(request: pytest.FixtureRequest) -> Lane:
    """Provide fresh topics on each broker and protocol."""
    broker, protocol = request.param.split("-")
    server = request.getfixturevalue("apache_kafka" if broker == "apache" else "embedded_broker")
    topics = (f"clicks-{uuid.uuid4().hex[:8]}", f"orders-{uuid.uuid4().hex[:8]}")
    partitions = 6 if broker == "apache" else EMBEDDED_PARTITIONS
    create_topics(KafkaSettings(server.bootstrap), [TopicSpec(topic, partitions) for topic in topics])
    return Lane(server.bootstrap, protocol, topics, partitions)
