"""The Redis store on a cluster: partitions on different nodes, each still written atomically and fenced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from engine.errors import TransientError
from engine.streams.store.contract import PartitionFenced, PartitionWrite, StateRolledBack, retrying
from engine.streams.store.redis import RedisStore
from tests.conftest import empty
from tests.redis_cluster import Cluster
from tests.streams.backings import ServerBacking

_BACK_TIMEOUT_S = 30.0


@pytest.fixture
async def stores(cluster: Cluster) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """Provide two stores on the emptied cluster, each told of another node."""
    backing = ServerBacking(cluster.nodes, cluster.announced)
    backing.restore([{}] * len(cluster.nodes))
    await backing.start()
    pair = RedisStore(cluster.nodes[0].url), RedisStore(cluster.nodes[1].url)
    yield pair
    for store in pair:
        await store.close()
    await backing.stop()


async def test_one_commit_spans_the_nodes(stores: tuple[RedisStore, RedisStore], cluster: Cluster) -> None:
    """Partitions of one commit lie on all nodes and are read back by another worker."""
    store, other = stores
    epochs = [(await store.acquire(partition)).epoch for partition in range(8)]
    await store.commit(
        [
            PartitionWrite(
                p, e, states={b"a": b"%d" % p, b"b": None}, timers={b"a": p}, offsets={"t": p}, ids=b"1"
            )
            for p, e in enumerate(epochs)
        ]
    )
    read = await store.load({partition: [b"a", b"b"] for partition in range(8)})
    assert read == {partition: [b"%d" % partition, None] for partition in range(8)}
    assert [(await other.acquire(partition)).offsets for partition in range(8)] == [
        {"t": p} for p in range(8)
    ]
    assert [await other.due(partition, 9, 9) for partition in range(8)] == [[(b"a", p)] for p in range(8)]
    assert [[name async for name in other.customers(p)] for p in range(8)] == [[b"a"]] * 8
    for node in cluster.nodes:
        with redis.Redis.from_url(node.url) as client:
            assert client.dbsize()
    assert (await store.health()).cluster


async def test_fencing_holds_on_a_cluster(stores: tuple[RedisStore, RedisStore]) -> None:
    """The partition that was lost is refused, those on other nodes are written."""
    old, new = stores
    epochs = [(await old.acquire(partition)).epoch for partition in range(8)]
    await new.acquire(5)
    with pytest.raises(PartitionFenced) as caught:
        await old.commit([PartitionWrite(p, e, states={b"a": b"late"}) for p, e in enumerate(epochs)])
    assert caught.value.partitions == {5}
    found = [await new.get(partition, b"a") for partition in range(8)]
    assert found == [None if partition == 5 else b"late" for partition in range(8)]


async def test_one_node_gone_back_in_time_is_noticed(
    stores: tuple[RedisStore, RedisStore], cluster: Cluster
) -> None:
    """Only the partitions of the node that lost its data are rolled back."""
    store, _ = stores
    epochs = [(await store.acquire(partition)).epoch for partition in range(8)]
    with redis.Redis.from_url(cluster.nodes[0].url) as client:
        lost = {int(key.split(b":")[1].rstrip(b"}")) for key in client.keys("*:fence")}
    empty(cluster.nodes[0].url)
    with pytest.raises(StateRolledBack) as caught:
        await store.commit([PartitionWrite(p, e, states={b"a": b"1"}) for p, e in enumerate(epochs)])
    assert caught.value.partitions == lost
    assert 0 < len(lost) < 8


async def test_a_node_that_is_gone_for_a_moment_is_waited_for(
    stores: tuple[RedisStore, RedisStore], cluster: Cluster
) -> None:
    """While one node is down the commit is transient; when it is back the same commit counts once."""
    store, _ = stores
    epochs = [(await store.acquire(partition)).epoch for partition in range(8)]
    writes = [PartitionWrite(p, e, ids=b"12345678") for p, e in enumerate(epochs)]
    cluster.nodes[2].kill9()
    with pytest.raises(TransientError):
        await store.commit(writes)
    await asyncio.to_thread(cluster.nodes[2].start)
    await asyncio.wait_for(retrying(lambda: store.commit(writes)), _BACK_TIMEOUT_S)
    ids = [(await store.acquire(partition)).current_ids for partition in range(8)]
    assert ids == [b"12345678"] * 8
