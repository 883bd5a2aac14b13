"""Servers for the tests: started when first asked for, shared by the session, ended with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
import redis
from confluent_kafka.admin import AdminClient, NewTopic
from hypothesis import settings as hypothesis_settings

from engine.streams.local.stack import ApacheKafka, EmbeddedBroker, RedisServer, ValkeyServer

TopicMaker = Callable[..., str]
_CREATE_TIMEOUT_S = 20.0
# How long one example takes says nothing on a machine that does other things, too. The same tree passes or
# fails each time; new examples are looked for by `make test-random`.
hypothesis_settings.register_profile("same", deadline=None, derandomize=True)
hypothesis_settings.register_profile("random", deadline=None)
hypothesis_settings.load_profile("same")


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[ApacheKafka]:
    """Apache Kafka, one for the session; tests that use it carry the mark `kafka`."""
    with ApacheKafka() as server:
        yield server


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[EmbeddedBroker]:
    """Start librdkafka's own broker, one for the session."""
    with EmbeddedBroker() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """Start Valkey with its append-only file, one for the session."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Start the system's redis-server with its append-only file, one for the session."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> ValkeyServer:
    """Provide the session's Valkey, emptied."""
    empty(valkey_server.url)
    return valkey_server


def empty(url: str) -> None:
    """Remove every key from a Redis server.

    Args:
        url: its address.
    """
    with redis.Redis.from_url(url) as client:
        client.flushall()


@pytest.fixture
def make_topic() -> TopicMaker:
    """Provide `make_topic(server, name="events", partitions=8, **config)`.

    It makes a topic with a unique name on the given broker and returns that name; `config` holds topic
    settings with `_` for `.`, for example `cleanup_policy="compact"` (the embedded broker ignores them).
    """
    return create_topic


def create_topic(
    server: ApacheKafka | EmbeddedBroker, name: str = "events", partitions: int = 8, **config: str
) -> str:
    """Make a topic with a unique name.

    Args:
        server: the broker.
        name: how the name starts.
        partitions: number of partitions.
        config: topic settings, `_` for `.`.

    Returns:
        The topic's name.
    """
    topic = f"{name}-{uuid.uuid4().hex[:8]}"
    if isinstance(server, EmbeddedBroker):
        server.create_topic(topic, partitions)
        return topic
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    settings = {key.replace("_", "."): value for key, value in config.items()}
    made = admin.create_topics(
        [NewTopic(topic, partitions, 1, config=settings)], operation_timeout=_CREATE_TIMEOUT_S
    )
    made[topic].result(_CREATE_TIMEOUT_S)
    return topic
