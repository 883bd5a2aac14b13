"""The Redis store on a cluster: partitions on different nodes, each still written atomically and fenced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
import redis

from engine.errors import TransientError
from engine.streams.local.server import HOST, reserve_port
from engine.streams.local.stack import ValkeyServer
from engine.streams.store.contract import PartitionFenced, PartitionWrite, StateRolledBack, retrying
from engine.streams.store.redis import RedisStore
from tests.conftest import empty

_NODES = 3
_SLOTS = 16_384
_JOIN_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[ValkeyServer]]:
    """Start a cluster of three nodes without replicas."""
    with ExitStack() as running:
        nodes, buses = [], []
        for _ in range(_NODES):
            bus = running.enter_context(reserve_port())
            buses.append(bus.getsockname()[1])
            # A node that is killed for a moment is to come back as itself, not to be voted out.
            settings = {
                "cluster-enabled": "yes",
                "cluster-port": str(buses[-1]),
                "cluster-node-timeout": "15000",
                "appendfsync": "always",
            }
            nodes.append(running.enter_context(ValkeyServer(settings=settings)))
        clients = [running.enter_context(redis.Redis.from_url(node.url)) for node in nodes]
        for number, client in enumerate(clients):
            first, after = _SLOTS * number // _NODES, _SLOTS * (number + 1) // _NODES
            run(client, "CLUSTER ADDSLOTSRANGE", first, after - 1)
            run(client, "CLUSTER MEET", HOST, nodes[0].ports[0], buses[0])
        deadline_s = time.monotonic() + _JOIN_TIMEOUT_S
        while not all(is_joined(client) for client in clients):
            assert time.monotonic() < deadline_s, "the nodes did not form a cluster"
            time.sleep(0.1)
        yield nodes


def run(client: redis.Redis, *command: str | int) -> object:
    """Run a command that redis-py would treat in its own way."""
    answer: object = client.execute_command(*command)  # type: ignore[no-untyped-call]
    return answer


def is_joined(client: redis.Redis) -> bool:
    """Tell whether a node sees all slots served."""
    info = str(run(client, "CLUSTER INFO"))
    return "'cluster_state': 'ok'" in info and f"'cluster_known_nodes': '{_NODES}'" in info


@pytest.fixture
async def stores(cluster: list[ValkeyServer]) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """Provide two stores on the emptied cluster."""
    for node in cluster:
        empty(node.url)
    pair = RedisStore(cluster[0].url), RedisStore(cluster[1].url)
    yield pair
    for store in pair:
        await store.close()


async def test_one_commit_spans_the_nodes(
    stores: tuple[RedisStore, RedisStore], cluster: list[ValkeyServer]
) -> None:
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
    for node in cluster:
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
    stores: tuple[RedisStore, RedisStore], cluster: list[ValkeyServer]
) -> None:
    """Only the partitions of the node that lost its data are rolled back."""
    store, _ = stores
    epochs = [(await store.acquire(partition)).epoch for partition in range(8)]
    with redis.Redis.from_url(cluster[0].url) as client:
        lost = {int(key.split(b":")[1].rstrip(b"}")) for key in client.keys("*:fence")}
    empty(cluster[0].url)
    with pytest.raises(StateRolledBack) as caught:
        await store.commit([PartitionWrite(p, e, states={b"a": b"1"}) for p, e in enumerate(epochs)])
    assert caught.value.partitions == lost
    assert 0 < len(lost) < 8


async def test_a_node_that_is_gone_for_a_moment_is_waited_for(
    stores: tuple[RedisStore, RedisStore], cluster: list[ValkeyServer]
) -> None:
    """While one node is down the commit is transient; when it is back the same commit counts once."""
    store, _ = stores
    epochs = [(await store.acquire(partition)).epoch for partition in range(8)]
    writes = [PartitionWrite(p, e, ids=b"12345678") for p, e in enumerate(epochs)]
    cluster[2].kill9()
    with pytest.raises(TransientError):
        await store.commit(writes)
    await asyncio.to_thread(cluster[2].start)
    await asyncio.wait_for(retrying(lambda: store.commit(writes)), _JOIN_TIMEOUT_S)
    ids = [(await store.acquire(partition)).current_ids for partition in range(8)]
    assert ids == [b"12345678"] * 8
