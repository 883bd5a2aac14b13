"""A customer's page shows what is stored, computed as the engine would, and fences nobody."""

from __future__ import annotations

import time

import pytest

from engine.config import load_settings
from engine.features.churn.purchases import update_purchase
from engine.features.profile import Inquiry, OpenGoal, Position
from engine.features.state import CustomerState
from engine.settings import Settings
from engine.streams.customer import CustomerView, read_customer
from engine.streams.local.stack import EmbeddedBroker, ValkeyServer
from engine.streams.partition import partition_of
from engine.streams.store.contract import PartitionWrite
from engine.streams.store.redis import RedisStore
from engine.streams.wiring import kafka_settings

NAME = "客户-7"
NOW_S = int(time.time())


@pytest.fixture
def settings(embedded_broker: EmbeddedBroker, valkey: ValkeyServer) -> Settings:
    """Settings of a stack whose event topics have 6 partitions."""
    topic = f"clicks-{time.monotonic_ns()}"
    embedded_broker.create_topic(topic, 6)
    return load_settings(
        {
            "kafka.bootstrap_servers": embedded_broker.bootstrap,
            "redis.url": valkey.url,
            "topics.click": topic,
            "topics.models": f"{topic}-models",
        },
        environ={},
    )


def _state() -> CustomerState:
    state = CustomerState(NAME)
    state.clock_ms = NOW_S * 1000
    state.first_seen_ms = (NOW_S - 86_400) * 1000
    for ago_s in (50_000, 10_000):
        state.record(8, NOW_S - ago_s, 20.5)
        state.purchases = update_purchase(state.purchases or None, NOW_S - ago_s, 20.5)
    profile = state.mutate()
    profile.consents["marketing"] = NOW_S
    profile.inquiries["i1"] = Inquiry(NOW_S * 1000, "e1")
    profile.positions.append(Position("welcome", 1, "", 1, NOW_S * 1000, (NOW_S + 60) * 1000, "e2"))
    profile.goals.append(OpenGoal("welcome", 1, "", NOW_S * 1000, (NOW_S + 60) * 1000, "e2"))
    return state


async def _read(settings: Settings) -> CustomerView | None:
    return await read_customer(settings, kafka_settings(settings, "test"), NAME)


async def test_the_page_shows_what_is_stored(settings: Settings) -> None:
    """Features, consents, inquiries and positions are those of the stored state, on its partition."""
    store = RedisStore(settings.redis.url, settings.redis.prefix)
    partition = partition_of(NAME.encode(), 6)
    meta = await store.acquire(partition)
    data = _state().pack()
    await store.commit([PartitionWrite(partition, meta.epoch, states={NAME.encode(): data})])
    view = await _read(settings)
    assert view is not None
    assert (view.partition, view.state_bytes) == (partition, len(data))
    values = {feature.name: feature.value for feature in view.features}
    assert values["orders_24h"] == 2
    assert values["spend_lifetime"] == 41
    assert values["consent_marketing"] is True
    assert 0 < view.churn_risk < 1
    assert values["churn_risk"] == view.churn_risk
    assert view.profile["inquiries"]["i1"]["event_id"] == "e1"
    assert view.profile["positions"][0]["journey"] == "welcome"
    assert view.profile["goals"][0]["until_ms"] == (NOW_S + 60) * 1000
    # the worker still owns the partition: looking does not fence it
    await store.commit([PartitionWrite(partition, meta.epoch, states={NAME.encode(): None})])
    await store.close()
    assert await _read(settings) is None
