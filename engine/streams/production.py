"""What Kafka must be set to for the promises to hold when machines fail: wanted, and found live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource

from engine.errors import ConfigError
from engine.rules.times.units import say_duration
from engine.settings import Settings
from engine.streams.kafka import (
    EMBEDDED_CLUSTER_PREFIX,
    KafkaSettings,
    TopicSpec,
    cluster_metadata,
    open_admin,
)
from engine.streams.topics import topic_specs
from engine.streams.transactions.names import TRANSACTION_TIMEOUT_MS

DAY_MS = 86_400_000
COPIES = 3
MAX_BROKERS_ASKED = 16
LONG_SESSION_MS = 10_000
_UNKNOWN_TEXT = "cannot be seen by this user"
_GIVE = "look as the role viewer or operator; `engage topics acls` gives them DescribeConfigs"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic's setting, and why.

    Args:
        name: in Kafka's words.
        value: as Kafka writes it.
        why: what would go wrong otherwise.
    """

    name: str
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something on the brokers that is not as it should be.

    Args:
        severe: whether the engine can't work so; else it works until something fails.
        text: what was found, and where.
        remedy: what to do.
    """

    severe: bool
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Plan:
    """A topic as it should be made, and the reason of each of its settings."""

    spec: TopicSpec
    wanted: tuple[Wanted, ...]


def plan_of(settings: Settings, retention_days: int) -> list[Plan]:
    """Return every topic as production needs it.

    Args:
        settings: names; copies of each partition, where they are set.
        retention_days: how long events are kept.
    """
    copies = settings.topics.replication if "topics.replication" in settings.origins else COPIES
    plans = []
    for spec in topic_specs(settings):
        wanted = (*_durable(copies), *_kept(settings, spec, retention_days))
        config = dict(spec.config) | {each.name: each.value for each in wanted}
        plans.append(Plan(replace(spec, replication=copies, config=config), wanted))
    return plans


def _durable(copies: int) -> Iterator[Wanted]:
    least = max(1, copies - 1)
    yield Wanted(
        "min.insync.replicas",
        str(least),
        f"an acknowledged record is on {least} of {copies} brokers: one may go, and nothing is lost",
    )
    yield Wanted(
        "unclean.leader.election.enable", "false", "no broker that lags behind leads: it would lose records"
    )


def _kept(settings: Settings, spec: TopicSpec, retention_days: int) -> Iterator[Wanted]:
    """Yield how long a topic keeps what it is given."""
    topics, name = settings.topics, spec.name
    if name in (topics.models, topics.rules):
        yield Wanted("cleanup.policy", "compact", "the last record of each key stays, whatever its age")
        yield Wanted("segment.ms", str(DAY_MS), "the segment in writing is not compacted: a new one a day")
        yield Wanted(
            "delete.retention.ms", str(7 * DAY_MS), "who was away for a week still sees what was removed"
        )
        if name == topics.rules:
            size = spec.config["max.message.bytes"]
            yield Wanted("max.message.bytes", size, "a publication is one record")
        return
    yield Wanted("cleanup.policy", "delete", "every record counts, not the last of each customer")
    days, why = _days(settings, name, retention_days)
    yield Wanted("retention.ms", str(days * DAY_MS), why)
    yield Wanted(
        "segment.ms", str(DAY_MS), "whole segments are removed: what is too old is gone within a day"
    )


def _days(settings: Settings, name: str, retention_days: int) -> tuple[int, str]:
    topics = settings.topics
    if name in settings.event_topics().values():
        return retention_days, "the longest backtest, and the oldest backup of Redis you would go back to"
    if name == topics.decisions:
        return retention_days, "`engage explain` and `engage results` look back as far as they go"
    if name in settings.action_topics().values():
        return 7, "consumers may be away for a week"
    if name == topics.training:
        return 2 * settings.churn.horizon_days, "a trainer that lost its state learns anew from them"
    return 30, "time to mend the cause and replay" if name == topics.dlq else "consumers that begin late"


def enough_brokers(kafka: KafkaSettings, plans: Sequence[Plan], timeout_s: float = 10.0) -> None:
    """Refuse copies that have no broker to lie on.

    Raises:
        ConfigError: there are fewer brokers than copies.
        TransientError: Kafka does not answer.
    """
    metadata = cluster_metadata(kafka, timeout_s)
    copies = max(plan.spec.replication for plan in plans)
    there = len(metadata.brokers)
    if there < copies:
        raise ConfigError(
            f"{copies} copies of each partition need {copies} brokers, this cluster has {there};"
            f" add brokers, or give up safety with --set topics.replication={there}"
        )


def flaws(
    settings: Settings, kafka: KafkaSettings, retention_days: int, timeout_s: float = 10.0
) -> list[Flaw] | None:
    """Look at topics and brokers; what is the same on many is told once.

    Args:
        settings: all settings.
        kafka: how to reach Kafka, as a user that may describe settings.
        retention_days: how long events must be kept.
        timeout_s: how long the brokers may take.

    Returns:
        What is wrong; None for the embedded broker, which keeps nothing and has no settings.

    Raises:
        ConfigError: the brokers refuse us.
        TransientError: Kafka does not answer.
    """
    metadata = cluster_metadata(kafka, timeout_s)
    if (metadata.cluster_id or "").startswith(EMBEDDED_CLUSTER_PREFIX):
        return None
    admin = open_admin(kafka)
    plans = [plan for plan in plan_of(settings, retention_days) if plan.spec.name in metadata.topics]
    return [
        *_copies(plans, metadata),
        *_topic_flaws(admin, plans, timeout_s),
        *_broker_flaws(settings, admin, metadata, timeout_s),
    ]


def _copies(plans: Sequence[Plan], metadata: ClusterMetadata) -> Iterator[Flaw]:
    single, behind = [], []
    for plan in plans:
        partitions = metadata.topics[plan.spec.name].partitions.values()
        if any(len(partition.replicas) < COPIES for partition in partitions):
            single.append(plan.spec.name)
        if any(len(partition.isrs) < len(partition.replicas) for partition in partitions):
            behind.append(plan.spec.name)
    if single:
        yield Flaw(
            False,
            f"fewer than {COPIES} copies of each partition: {_names(single)}",
            "kafka-reassign-partitions.sh makes more; `engage topics create --production` does for new ones",
        )
    if behind:
        yield Flaw(
            False, f"copies that lag behind their leader: {_names(behind)}", "is a broker down or full?"
        )


def _topic_flaws(admin: AdminClient, plans: Sequence[Plan], timeout_s: float) -> Iterator[Flaw]:
    found = _configs(admin, ConfigResource.Type.TOPIC, [plan.spec.name for plan in plans], timeout_s)
    wrong: dict[tuple[str, str, Wanted], list[str]] = {}
    for plan in plans:
        values = found.get(plan.spec.name)
        for wanted in plan.wanted if values else ():
            value = (values or {}).get(wanted.name, "")
            if not _good_enough(wanted, value):
                wrong.setdefault((wanted.name, value, wanted), []).append(plan.spec.name)
    for (name, value, wanted), topics in wrong.items():
        change = f"kafka-configs.sh --alter --topic TOPIC --add-config {name}={wanted.value}"
        is_, should = _said(name, value), _said(name, wanted.value)
        yield Flaw(False, f"{name} is {is_}, wanted {should} ({wanted.why}): {_names(topics)}", change)
    if plans and not found:
        yield Flaw(False, f"settings of topics: {_UNKNOWN_TEXT}", _GIVE)


def _said(name: str, value: str) -> str:
    """Return a value as Kafka writes it, and in words where it is a time."""
    return f"{value} ({say_duration(int(value))})" if name.endswith(".ms") and value.isdecimal() else value


def _good_enough(wanted: Wanted, value: str) -> bool:
    if wanted.name in {"min.insync.replicas", "max.message.bytes"}:
        return int(value or 0) >= int(wanted.value)
    if wanted.name == "retention.ms":
        return int(value or 0) == -1 or int(value or 0) >= int(wanted.value)
    # a matter of housekeeping, not of safety
    return wanted.name in {"segment.ms", "delete.retention.ms"} or value == wanted.value


def _broker_flaws(
    settings: Settings, admin: AdminClient, metadata: ClusterMetadata, timeout_s: float
) -> Iterator[Flaw]:
    brokers = [str(number) for number in sorted(metadata.brokers)[:MAX_BROKERS_ASKED]]
    found = _configs(admin, ConfigResource.Type.BROKER, brokers, timeout_s)
    if not found:
        yield Flaw(False, f"settings of brokers: {_UNKNOWN_TEXT}", _GIVE)
        return
    told: dict[Flaw, list[str]] = {}
    for broker, values in found.items():
        for flaw in _one_broker(settings, values, len(metadata.brokers)):
            told.setdefault(flaw, []).append(broker)
    for flaw, where in told.items():
        yield replace(flaw, text=f"{flaw.text} on broker {', '.join(where)}")


def _one_broker(settings: Settings, values: Mapping[str, str], brokers: int) -> Iterator[Flaw]:
    if values.get("unclean.leader.election.enable") == "true":
        yield Flaw(
            False,
            "unclean.leader.election.enable is true: acknowledged records may be lost",
            "set unclean.leader.election.enable=false",
        )
    if values.get("auto.create.topics.enable") == "true":
        yield Flaw(
            False,
            "auto.create.topics.enable is true: a wrong name becomes a topic with one copy",
            "set auto.create.topics.enable=false",
        )
    if settings.kafka.group_protocol == "consumer":
        yield from _session(values, "group.consumer.session.timeout.ms")
    else:
        low, high = (int(values.get(f"group.{end}.session.timeout.ms", 0)) for end in ("min", "max"))
        wanted = settings.kafka.session_timeout_ms
        if low and not low <= wanted <= high:
            yield Flaw(
                True,
                f"kafka.session_timeout_ms is {wanted}, allowed are {low} to {high}: no worker could join",
                "set kafka.session_timeout_ms between them, or group.*.session.timeout.ms on the brokers",
            )
    copies = int(values.get("offsets.topic.replication.factor", COPIES))
    if copies < COPIES and brokers >= COPIES:
        yield Flaw(
            False,
            f"offsets.topic.replication.factor is {copies}: with a broker go the groups it held",
            f"set offsets.topic.replication.factor={COPIES} before the first group",
        )
    if settings.kafka.transactions == "yes":
        yield from _transactions(values, brokers)


def _transactions(values: Mapping[str, str], brokers: int) -> Iterator[Flaw]:
    log, needed = "transaction.state.log", {"replication.factor": COPIES, "min.isr": COPIES - 1}
    for name, wanted in needed.items():
        found = int(values.get(f"{log}.{name}", wanted))
        if found < wanted and brokers >= COPIES:
            yield Flaw(
                False,
                f"{log}.{name} is {found}: while one broker is away no action can be sent",
                f"set {log}.{name}={wanted} before the first transaction",
            )
    longest_ms = int(values.get("transaction.max.timeout.ms", TRANSACTION_TIMEOUT_MS))
    if longest_ms < TRANSACTION_TIMEOUT_MS:
        yield Flaw(
            True,
            f"transaction.max.timeout.ms is {longest_ms}: too short for a transaction of ours",
            f"set transaction.max.timeout.ms={TRANSACTION_TIMEOUT_MS} or more",
        )


def _session(values: Mapping[str, str], name: str) -> Iterator[Flaw]:
    found = int(values.get(name, 0))
    if found > LONG_SESSION_MS:
        yield Flaw(
            False,
            f"{name} is {found}: a killed worker's partitions stand still for so long",
            f"set {name}=6000 and group.consumer.min.session.timeout.ms no higher",
        )


def _configs(
    admin: AdminClient, kind: ConfigResource.Type, names: Sequence[str], timeout_s: float
) -> dict[str, dict[str, str]]:
    """Return the settings of topics or brokers; of those that we may not see, nothing."""
    found: dict[str, dict[str, str]] = {}
    # librdkafka asks one broker a call
    groups = [[name] for name in names] if kind is ConfigResource.Type.BROKER else [list(names)]
    for group in groups:
        if not group:
            continue
        asked = [ConfigResource(kind, name) for name in group]
        for resource, future in admin.describe_configs(asked, request_timeout=timeout_s).items():
            try:
                entries = future.result()
            except KafkaException:
                continue
            found[resource.name] = {name: entry.value or "" for name, entry in entries.items()}
    return found


def _names(topics: Sequence[str]) -> str:
    shown = ", ".join(topics[:3])
    return shown if len(topics) <= 3 else f"{shown} and {len(topics) - 3} more"
