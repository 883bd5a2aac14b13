"""What each role may do in Kafka: the least that suffices, each right with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.settings import Settings
from engine.streams.transactions.names import sender_prefix, tokens_group

CLUSTER = "kafka-cluster"


@dataclass(frozen=True, slots=True)
class Right:
    """Something a role may do.

    Args:
        kind: of what: `topic`, `group`, `cluster` or `transactional-id`.
        name: its name; of what is `prefixed`, how the names start.
        operations: in Kafka's words; reading and writing a topic include describing it.
        why: the reason.
        prefixed: whether `name` stands for every name that starts so.
    """

    kind: Literal["topic", "group", "cluster", "transactional-id"]
    name: str
    operations: tuple[str, ...]
    why: str
    prefixed: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """Who talks to Kafka for one purpose.

    Args:
        name: `worker`, `trainer`, …
        meaning: who that is.
        rights: what it may do.
    """

    name: str
    meaning: str
    rights: tuple[Right, ...]

    @property
    def principal(self) -> str:
        """The user that Kafka knows it by, unless told."""
        return f"User:engage-{self.name}"


def roles_of(settings: Settings) -> dict[str, Role]:
    """Return every role, by name.

    Args:
        settings: names of topics, channels and group.
    """
    topics = settings.topics
    events = [*settings.event_topics().values()]
    actions = [*settings.action_topics().values()]
    outputs = [*actions, topics.decisions, topics.segments]
    everything = [*events, *outputs, topics.training, topics.dlq, topics.models, topics.rules]
    seen = "it reads what has been published"
    # Clients that read partitions by hand still ask where their group would be.
    readers = Right("group", settings.kafka.group, ("DESCRIBE",), "they ask for it, and never join", True)
    rows = [
        Role(
            "worker",
            "`engage worker`",
            (
                *_topics(events, ["READ"], "events come in"),
                *_topics(outputs, ["WRITE"], "what it decides goes out"),
                *_topics([topics.training], ["WRITE"], "rows for the trainer"),
                *_topics([topics.dlq], ["WRITE"], "records nobody can read"),
                *_topics([topics.models, topics.rules], ["READ"], seen),
                Right("group", settings.kafka.group, ("READ",), "workers share the partitions"),
                *_in_transactions(settings),
                readers,
            ),
        ),
        Role(
            "trainer",
            "`engage trainer`",
            (
                *_topics([topics.training], ["READ"], "rows to learn from"),
                *_topics([topics.models], ["READ", "WRITE"], "snapshots, its own and what operators decided"),
                *_topics(events, ["DESCRIBE"], "it checks how many partitions there are"),
                readers,
            ),
        ),
        Role(
            "author",
            "`engage rules publish`, `backtest`, `evaluate`, `results`: who writes journeys",
            (
                *_topics([topics.rules], ["READ", "WRITE"], "what is published"),
                *_topics(events, ["READ"], "backtests read past events"),
                *_topics([topics.decisions], ["READ"], "results are told from decisions"),
                *_topics([topics.models], ["READ"], seen),
                readers,
            ),
        ),
        Role(
            "producer",
            "services that send events, `engage send`",
            tuple(_topics(events, ["WRITE"], "events come in")),
        ),
        Role(
            "consumer",
            "services that carry actions out",
            (
                *_topics(outputs, ["READ"], "actions, decisions, segment changes"),
                Right("group", f"{settings.kafka.group}-actions", ("READ",), "their own groups", True),
            ),
        ),
        Role(
            "viewer",
            "operators who look: `engage tail`, `explain`, `customer show`, `dlq list`, `doctor`",
            (
                *_topics(everything, ["READ", "DESCRIBE_CONFIGS"], "everything can be looked at"),
                Right("cluster", CLUSTER, ("DESCRIBE", "DESCRIBE_CONFIGS"), "settings of the brokers"),
                readers,
            ),
        ),
        Role(
            "operator",
            "operators who act: also `engage dlq replay`, `model promote`, `freeze`, `partitions widen`",
            (
                *_topics(events, ["WRITE"], "records sent again, customers erased"),
                *_topics(events, ["ALTER"], "more partitions"),
                *_topics([topics.models], ["WRITE"], "decisions about the churn model"),
                *_topics(everything, ["READ", "DESCRIBE_CONFIGS"], "everything can be looked at"),
                Right("cluster", CLUSTER, ("DESCRIBE", "DESCRIBE_CONFIGS"), "settings of the brokers"),
                readers,
            ),
        ),
        Role(
            "admin",
            "`engage topics create`, `engage topics acls --apply`",
            (
                *_topics(
                    everything,
                    ["CREATE", "DESCRIBE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS"],
                    "topics and their settings",
                ),
                Right(
                    "cluster", CLUSTER, ("ALTER", "DESCRIBE", "DESCRIBE_CONFIGS"), "ACLs; brokers' settings"
                ),
            ),
        ),
    ]
    return {role.name: role for role in rows}


def _topics(names: Iterable[str], operations: Sequence[str], why: str) -> Iterable[Right]:
    return (Right("topic", name, tuple(operations), why) for name in names)


def _in_transactions(settings: Settings) -> Iterable[Right]:
    if settings.kafka.transactions == "no":
        return
    group = settings.kafka.group
    yield Right("transactional-id", sender_prefix(group), ("WRITE",), "actions in transactions", True)
    yield Right("group", tokens_group(group), ("READ",), "which transactions were committed")


def commands_of(role: Role, principal: str) -> list[str]:
    """Return the rights as lines for Kafka's own tool `kafka-acls.sh`.

    Args:
        role: whose rights.
        principal: the user, as in `User:engage-worker`.
    """
    by_shape: dict[tuple[str, tuple[str, ...], bool], list[str]] = {}
    for right in role.rights:
        by_shape.setdefault((right.kind, right.operations, right.prefixed), []).append(right.name)
    lines = []
    for (kind, operations, prefixed), names in by_shape.items():
        where = ["--cluster"] if kind == "cluster" else [f"--{kind} {name}" for name in names]
        pattern = ["--resource-pattern-type prefixed"] if prefixed else []
        asked = [f"--operation {_CAMEL[operation]}" for operation in operations]
        user = f"--allow-principal '{principal}'"
        lines.append(" ".join(["kafka-acls.sh $KAFKA --add", user, *asked, *pattern, *where]))
    return lines


_CAMEL: Mapping[str, str] = {
    "ALTER": "Alter",
    "ALTER_CONFIGS": "AlterConfigs",
    "CREATE": "Create",
    "DESCRIBE": "Describe",
    "DESCRIBE_CONFIGS": "DescribeConfigs",
    "READ": "Read",
    "WRITE": "Write",
}
