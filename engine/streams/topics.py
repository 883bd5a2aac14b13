"""The topics of a deployment."""

from __future__ import annotations

from engine.rules.limits import MAX_PUBLICATION_BYTES
from engine.settings import Settings
from engine.streams.kafka import TopicSpec

#: A publication is one record; what a version is made of must stay, whatever its age.
RULES_CONFIG = {
    "cleanup.policy": "compact",
    "max.message.bytes": str(MAX_PUBLICATION_BYTES + 1_048_576),
    "retention.ms": "-1",
}


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return every topic the engine reads or writes, as it should be."""
    topics = settings.topics
    partitioned = [
        *settings.event_topics().values(),
        *settings.action_topics().values(),
        topics.decisions,
        topics.segments,
        topics.training,
    ]
    specs = [TopicSpec(name, topics.partitions, topics.replication) for name in partitioned]
    specs.append(TopicSpec(topics.dlq, 1, topics.replication))
    specs.append(TopicSpec(topics.models, 1, topics.replication, {"cleanup.policy": "compact"}))
    specs.append(TopicSpec(topics.rules, 1, topics.replication, RULES_CONFIG))
    return specs
