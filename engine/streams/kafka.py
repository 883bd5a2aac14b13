"""Kafka settings, topic checks and topic creation, shared by the consumer and the producer side."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, NewTopic

from engine.errors import ConfigError, TransientError
from engine.streams.security.refusals import LinkErrors, refuse_hidden, refused

TopicPartition: TypeAlias = tuple[str, int]

#: What the broker inside librdkafka calls itself; it creates topics on demand and refuses CreateTopics.
EMBEDDED_CLUSTER_PREFIX = "mockCluster"

#: The partition count of every topic of the embedded broker; it cannot be changed.
EMBEDDED_PARTITIONS = 4

#: Properties that the guarantees of the transport rest on; settings may not override them.
RESERVED_CONSUMER_PROPERTIES = frozenset(
    {
        "enable.auto.commit",
        "enable.auto.offset.store",
        "group.id",
        "group.protocol",
        "group.remote.assignor",
        "partition.assignment.strategy",
    }
)
RESERVED_PRODUCER_PROPERTIES = frozenset({"acks", "partitioner", "transactional.id"})
_FIRST_PATIENCE_S = 0.5


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """How the engine talks to Kafka.

    Args:
        bootstrap: broker addresses, `host:port` separated by commas.
        group_id: consumer group of the workers.
        topics: event topics, all read by one subscription; equal partition counts.
        group_protocol: `consumer` (KIP-848, Kafka 4.0 and later, incremental) or `classic` (any broker).
        client_id: name in the broker's logs and metrics.
        batch_max_records: most records of one batch.
        poll_max_s: longest wait of one poll without records and without a due timer.
        session_timeout_ms: silence after which the broker gives a worker's partitions away (`classic`;
            with `consumer` the broker's own setting rules).
        max_poll_interval_ms: a worker stuck in one batch for longer loses its partitions.
        fetch_min_bytes: the broker waits for this much, or for `fetch_wait_max_ms`.
        fetch_wait_max_ms: longest time the broker holds a fetch back.
        queued_max_kbytes: bound of what librdkafka fetches ahead.
        commit_interval_s: time between two mirrored commits of our offsets.
        drain_timeout_s: longest wait for the batch in flight when stopping.
        delivery_timeout_ms: time after which an unacknowledged action counts as failed.
        live: whether the live clock is on: batches tell how far partitions are read, and the worker stops at
            a partition that the group has offsets of, but the listener knows nothing of.
        idempotence: whether the producer removes duplicates of its own retries.
        extra: further librdkafka properties (TLS, SASL, ...) for every client.
    """

    bootstrap: str
    group_id: str = "engage"
    topics: tuple[str, ...] = ()
    group_protocol: Literal["consumer", "classic"] = "consumer"
    client_id: str = "engage"
    batch_max_records: int = 2_000
    poll_max_s: float = 0.1
    session_timeout_ms: int = 6_000
    max_poll_interval_ms: int = 120_000
    fetch_min_bytes: int = 16_384
    fetch_wait_max_ms: int = 2
    queued_max_kbytes: int = 16_384
    commit_interval_s: float = 1.0
    drain_timeout_s: float = 10.0
    delivery_timeout_ms: int = 10_000
    live: bool = False
    idempotence: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def common_config(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of every client: addresses, TLS, SASL.

    Args:
        settings: how to reach Kafka.

    Returns:
        librdkafka properties.
    """
    return {
        "bootstrap.servers": settings.bootstrap,
        "client.id": settings.client_id,
        "socket.nagle.disable": True,
        # The default wait after a failed connection attempt doubles up to 10 s: longer than a takeover.
        "reconnect.backoff.max.ms": 1_000,
        "log.connection.close": False,
        # Every failed attempt to connect would be an error line of its own, twenty a second; what matters
        # reaches us as an exception or through the error callback.
        "log_level": 2,
    } | dict(settings.extra)


def consumer_config(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of the worker's consumer.

    Args:
        settings: how to reach Kafka; `extra` may add properties, not the reserved ones.

    Returns:
        librdkafka properties.

    Raises:
        ConfigError: `extra` overrides a reserved property.
    """
    _refuse_reserved(settings.extra, RESERVED_CONSUMER_PROPERTIES)
    group: dict[str, Any] = {"group.id": settings.group_id, "group.protocol": settings.group_protocol}
    if settings.group_protocol == "consumer":
        # Of the broker's two assignors only `range` keeps partition p of all topics on one worker.
        group["group.remote.assignor"] = "range"
    else:
        # Of librdkafka's three only `range` does; it is eager (docs/decisions/002-co-partitioning.md).
        group["partition.assignment.strategy"] = "range"
        group["session.timeout.ms"] = settings.session_timeout_ms
        group["heartbeat.interval.ms"] = max(100, min(3_000, settings.session_timeout_ms // 4))
    fetch = {
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "max.poll.interval.ms": settings.max_poll_interval_ms,
        "fetch.min.bytes": settings.fetch_min_bytes,
        "fetch.wait.max.ms": settings.fetch_wait_max_ms,
        # After a full queue librdkafka waits this long before it fetches again; its default is a second.
        "fetch.queue.backoff.ms": 1,
        "queued.max.messages.kbytes": settings.queued_max_kbytes,
    }
    return group | fetch | common_config(settings)


def producer_config(settings: KafkaSettings) -> dict[str, Any]:
    """Properties of a producer whose records land where Java clients would put them.

    Args:
        settings: how to reach Kafka.

    Returns:
        librdkafka properties.

    Raises:
        ConfigError: `extra` overrides a reserved property.
    """
    _refuse_reserved(settings.extra, RESERVED_PRODUCER_PROPERTIES)
    consumer_only = ("fetch.", "group.", "session.", "max.poll.", "enable.partition.eof", "auto.offset.")
    common = {
        name: value for name, value in common_config(settings).items() if not name.startswith(consumer_only)
    }
    return {
        "acks": "all",
        "enable.idempotence": settings.idempotence,
        "partitioner": "murmur2_random",
        # Long enough for a batch to be handed over, so that it goes out as one request per partition.
        "linger.ms": 0.5,
        "delivery.timeout.ms": settings.delivery_timeout_ms,
    } | common


def _refuse_reserved(extra: Mapping[str, Any], reserved: frozenset[str]) -> None:
    wrong = sorted(reserved & extra.keys())
    if wrong:
        raise ConfigError(f"kafka property {wrong[0]!r} is set by the engine and cannot be overridden")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be.

    Args:
        name: topic.
        partitions: partition count.
        replication: copies of each partition; -1 leaves it to the broker.
        config: topic properties, for example `{"cleanup.policy": "compact"}`.
    """

    name: str
    partitions: int
    replication: int = -1
    config: Mapping[str, str] = field(default_factory=dict)


def check_topics(
    settings: KafkaSettings,
    event_topics: Sequence[str],
    other_topics: Sequence[str] = (),
    timeout_s: float = 10.0,
) -> int:
    """Refuse to start on missing topics or on event topics that are not partitioned alike.

    Args:
        settings: how to reach Kafka.
        event_topics: topics that must all exist with equal partition counts.
        other_topics: topics that must exist (actions, decisions, dead letters).
        timeout_s: how long the broker may take.

    Returns:
        The partition count of the event topics.

    Raises:
        ConfigError: the counts differ, or this user may not see a topic.
        TransientError: the broker does not answer, or a topic is not there yet.
    """
    counts = partition_counts(settings, timeout_s)
    missing = [topic for topic in dict.fromkeys((*event_topics, *other_topics)) if topic not in counts]
    if missing:
        if is_secured(settings):
            refuse_hidden(open_admin(settings), missing, timeout_s)
        names = ", ".join(missing)
        raise TransientError(f"topics missing in kafka: {names}; create them with `engage topics create`")
    by_topic = {topic: counts[topic] for topic in event_topics}
    if len(set(by_topic.values())) > 1:
        listed = ", ".join(f"{topic}={count}" for topic, count in by_topic.items())
        raise ConfigError(
            f"event topics need equal partition counts, found {listed}; "
            "one worker must own a customer across all topics, `engage topics create` makes them equal"
        )
    return next(iter(by_topic.values()), 0)


def is_secured(settings: KafkaSettings) -> bool:
    """Tell whether the link is encrypted, or we log in."""
    return str(settings.extra.get("security.protocol", "plaintext")).lower() != "plaintext"


def partition_counts(settings: KafkaSettings, timeout_s: float = 10.0) -> dict[str, int]:
    """Partition count of every topic of the cluster.

    Args:
        settings: how to reach Kafka.
        timeout_s: how long the broker may take.

    Returns:
        Topic to partition count.

    Raises:
        TransientError: the broker does not answer.
    """
    metadata = cluster_metadata(settings, timeout_s)
    return {name: len(topic.partitions) for name, topic in metadata.topics.items() if topic.error is None}


def create_topics(settings: KafkaSettings, specs: Iterable[TopicSpec], timeout_s: float = 15.0) -> list[str]:
    """Create the topics that do not exist yet.

    The embedded broker creates a topic when a client first asks for it, always with
    `EMBEDDED_PARTITIONS` partitions; the asked-for count and properties do not reach it.

    Args:
        settings: how to reach Kafka.
        specs: the topics wanted.
        timeout_s: how long the broker may take.

    Returns:
        Names of the topics created, in order.

    Raises:
        ConfigError: the broker refuses a topic.
        TransientError: the broker does not answer.
    """
    metadata = cluster_metadata(settings, timeout_s)
    admin = open_admin(settings)
    wanted = [spec for spec in specs if spec.name not in metadata.topics]
    if (metadata.cluster_id or "").startswith(EMBEDDED_CLUSTER_PREFIX):
        for spec in wanted:
            admin.list_topics(spec.name, timeout=timeout_s)
        return [spec.name for spec in wanted]
    if wanted:
        _create(admin, wanted, timeout_s)
        _await_topics(settings, {spec.name for spec in wanted}, timeout_s)
    return [spec.name for spec in wanted]


def _create(admin: AdminClient, specs: Sequence[TopicSpec], timeout_s: float) -> None:
    requests = [
        NewTopic(spec.name, spec.partitions, spec.replication, config=dict(spec.config)) for spec in specs
    ]
    for name, future in admin.create_topics(
        requests, operation_timeout=timeout_s, request_timeout=timeout_s
    ).items():
        try:
            future.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                continue
            if reason.retriable() or reason.code() == KafkaError._TIMED_OUT:  # noqa: SLF001 - confluent's name
                raise TransientError(f"topic {name!r} not created: {reason.str()}") from error
            raise ConfigError(f"kafka refuses topic {name!r}: {reason.str()}") from error


def _await_topics(settings: KafkaSettings, names: set[str], timeout_s: float) -> None:
    """Wait until metadata shows the topics: a producer that asks too early caches their absence."""
    attempts = max(1, int(timeout_s / 0.05))
    for _ in range(attempts):
        topics = cluster_metadata(settings, timeout_s).topics
        if all(name in topics and topics[name].error is None and topics[name].partitions for name in names):
            return
        time.sleep(0.05)
    raise TransientError(f"topics created but not visible after {timeout_s} s: {', '.join(sorted(names))}")


def open_admin(settings: KafkaSettings, errors: LinkErrors | None = None) -> AdminClient:
    """Open a client that asks and orders.

    Args:
        settings: how to reach Kafka.
        errors: told of what goes wrong with the connections.

    Raises:
        ConfigError: librdkafka refuses a property, for example a file that holds no certificate.
    """
    more = {} if errors is None else {"error_cb": errors.note}
    try:
        return AdminClient(common_config(settings) | more)
    except KafkaException as error:
        raise refused(error.args[0], settings.bootstrap) from None


def cluster_metadata(settings: KafkaSettings, timeout_s: float = 10.0) -> ClusterMetadata:
    """Ask for brokers and topics; wrong credentials and certificates are told at once.

    Args:
        settings: how to reach Kafka.
        timeout_s: how long the brokers may take.

    Raises:
        ConfigError: the brokers refuse us, or we them.
        TransientError: the brokers do not answer.
    """
    errors = LinkErrors()
    admin = open_admin(settings, errors)
    ends_s = time.monotonic() + timeout_s
    patience_s = _FIRST_PATIENCE_S
    while True:
        left_s = ends_s - time.monotonic()
        try:
            return admin.list_topics(timeout=max(0.01, min(patience_s, left_s)))
        except KafkaException as error:
            admin.poll(0)  # hands out what went wrong with the connections
            errors.check(settings.bootstrap)
            if left_s <= patience_s:
                reason = errors.hint or error.args[0].str()
                raise TransientError(f"kafka at {settings.bootstrap!r} does not answer: {reason}") from error
        patience_s *= 2


def keys(partitions: Iterable[confluent_kafka.TopicPartition]) -> frozenset[TopicPartition]:
    """Partitions as librdkafka names them, in the engine's form."""
    return frozenset((partition.topic, partition.partition) for partition in partitions)


def named(
    partitions: Iterable[TopicPartition], offsets: Mapping[TopicPartition, int] | None = None
) -> list[confluent_kafka.TopicPartition]:
    """Partitions in librdkafka's form, sorted.

    Args:
        partitions: topic and number of each.
        offsets: where to start; one that is missing starts at the earliest record.

    Returns:
        One object each.
    """
    known = offsets or {}
    return [
        confluent_kafka.TopicPartition(*p, known.get(p, confluent_kafka.OFFSET_BEGINNING))
        for p in sorted(partitions)
    ]


def assign_from_start(consumer: confluent_kafka.Consumer, topic: str, most: int | None = None) -> bool:
    """Let a consumer read a topic from its start; tell whether the topic and the broker are there.

    Args:
        consumer: in no group.
        topic: what it is to read.
        most: how many partitions, the first ones; None = all.
    """
    try:
        found = consumer.list_topics(topic, timeout=5).topics[topic]
    except (KafkaException, KeyError):
        return False
    if found.error is not None or not found.partitions:
        return False
    start = confluent_kafka.OFFSET_BEGINNING
    numbers = sorted(found.partitions)[:most]
    consumer.assign([confluent_kafka.TopicPartition(topic, number, start) for number in numbers])
    return True
