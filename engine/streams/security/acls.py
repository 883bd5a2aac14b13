"""ACLs on a live Kafka: those of a role are made; what a role lacks is told before it starts to work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from engine.errors import ConfigError, TransientError
from engine.streams.kafka import EMBEDDED_CLUSTER_PREFIX, KafkaSettings, cluster_metadata, open_admin
from engine.streams.security.refusals import is_refusal, refused
from engine.streams.security.rights import Right, Role

_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,  # confluent's word for the cluster
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}


def bindings_of(role: Role, principal: str) -> list[AclBinding]:
    """Return a role's rights as Kafka keeps them, for every host.

    Args:
        role: whose.
        principal: the user, as in `User:engage-worker`.
    """
    return [
        AclBinding(
            _KINDS[right.kind],
            right.name,
            ResourcePatternType.PREFIXED if right.prefixed else ResourcePatternType.LITERAL,
            principal,
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for right in role.rights
        for operation in right.operations
    ]


def apply_acls(settings: KafkaSettings, bindings: Sequence[AclBinding], timeout_s: float = 15.0) -> None:
    """Make ACLs; one that is there stays as it is.

    Args:
        settings: how to reach Kafka, as a user that may alter the cluster.
        bindings: what to make.
        timeout_s: how long the brokers may take.

    Raises:
        ConfigError: Kafka has no authorizer, or refuses us.
        TransientError: Kafka does not answer.
    """
    cluster_metadata(settings, timeout_s)
    admin = open_admin(settings)
    made = admin.create_acls(list(bindings), request_timeout=timeout_s)
    for future in made.values():
        try:
            future.result()
        except KafkaException as error:
            raise _explained(settings, error, "make ACLs") from None


def check_rights(settings: KafkaSettings, rights: Iterable[Right], timeout_s: float = 10.0) -> None:
    """Refuse to start without the rights on topics and groups that the work needs.

    Without an authorizer everybody may do everything; brokers that do not tell what one may do are believed.

    Args:
        settings: how to reach Kafka.
        rights: what is needed.
        timeout_s: how long the brokers may take.

    Raises:
        ConfigError: names every right that is missing.
        TransientError: Kafka does not answer.
    """
    metadata = cluster_metadata(settings, timeout_s)
    if (metadata.cluster_id or "").startswith(EMBEDDED_CLUSTER_PREFIX):
        return
    admin = open_admin(settings)
    named = [right for right in rights if not right.prefixed]
    allowed = _allowed(admin, named, timeout_s)
    missing: dict[tuple[str, str], list[str]] = {}
    for right in named:
        may = allowed.get((right.kind, right.name))
        for operation in right.operations:
            if may and operation not in may:
                missing.setdefault((operation, right.kind), []).append(right.name)
    if missing:
        listed = "; ".join(f"{does} on {kind} {', '.join(names)}" for (does, kind), names in missing.items())
        raise ConfigError(f"kafka: this user lacks {listed}: `engage topics acls` shows each role's rights")


def _allowed(
    admin: AdminClient, rights: Sequence[Right], timeout_s: float
) -> dict[tuple[str, str], frozenset[str]]:
    """Return what we may do on each topic and group; nothing of those that Kafka does not tell of."""
    names = {kind: [right.name for right in rights if right.kind == kind] for kind in _KINDS}
    more = {"include_authorized_operations": True, "request_timeout": timeout_s}
    topics = admin.describe_topics(TopicCollection(names["topic"]), **more)
    groups = admin.describe_consumer_groups(names["group"], **more) if names["group"] else {}
    found = {}
    for kind, futures in (("topic", topics), ("group", groups)):
        for name, future in futures.items():
            try:
                allowed = future.result().authorized_operations or ()
                found[kind, name] = frozenset(operation.name for operation in allowed)
            except KafkaException as error:
                # what is not there, such as a group nobody has joined yet, has no rights to tell
                if is_refusal(error.args[0]):
                    found[kind, name] = frozenset({"nothing"})
    return found


def _explained(settings: KafkaSettings, error: KafkaException, what: str) -> ConfigError | TransientError:
    reason = error.args[0]
    if is_refusal(reason):
        return refused(reason, settings.bootstrap)
    if reason.retriable():
        return TransientError(f"kafka does not {what} now: {reason.str()}")
    return ConfigError(f"kafka does not {what}: {reason.str()}")
