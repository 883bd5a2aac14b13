"""The Redis store when its server dies, loses data, is full or foreign."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
import redis

from engine.errors import StateError, TransientError
from engine.streams.local.redis import redis_binary
from engine.streams.local.stack import RedisServer, ValkeyServer
from engine.streams.store.contract import (
    META_FORMAT,
    PartitionFenced,
    PartitionWrite,
    StateRolledBack,
    retrying,
)
from engine.streams.store.redis import RedisStore


@pytest.fixture(params=["valkey", *(["redis"] if redis_binary() else [])])
def server(request: pytest.FixtureRequest) -> Iterator[ValkeyServer | RedisServer]:
    """Provide a server of the test's own, to kill."""
    # Synced before each reply: what a kill may lose is then up to the test.
    settings = {"appendfsync": "always"}
    with (ValkeyServer if request.param == "valkey" else RedisServer)(settings=settings) as made:
        yield made


async def test_a_store_waits_for_its_server_and_goes_on(server: ValkeyServer | RedisServer) -> None:
    """While the server is gone calls are transient; once it is back the commit goes through, still fenced."""
    store, other = RedisStore(server.url), RedisStore(server.url)
    epochs = [(await store.acquire(partition)).epoch for partition in (0, 1)]
    await store.commit([PartitionWrite(0, epochs[0], ids=b"a")])
    server.kill9()
    waits: list[float] = []
    write = PartitionWrite(0, epochs[0], states={b"a": b"1"}, ids=b"b")
    going_on = asyncio.create_task(
        retrying(lambda: store.commit([write]), lambda _, wait_s: waits.append(wait_s))
    )
    await asyncio.sleep(3)
    assert not going_on.done()
    await asyncio.to_thread(server.start)
    await asyncio.wait_for(going_on, 5)
    assert waits[:5] == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert max(waits) == 1.0
    await other.acquire(1)
    with pytest.raises(PartitionFenced):
        await store.commit([PartitionWrite(1, epochs[1], states={b"a": b"late"})])
    assert (await other.acquire(0)).current_ids == b"ab"
    await store.close()
    await other.close()


async def test_a_server_that_lost_its_last_second_is_noticed(server: ValkeyServer | RedisServer) -> None:
    """When the end of the append-only file is lost in a crash, the next commit says so."""
    store = RedisStore(server.url)
    epoch = (await store.acquire(0)).epoch
    await store.commit([PartitionWrite(0, epoch, states={b"a": b"1"}, offsets={"t": 1})])
    (log,) = server.folder.glob("appendonlydir/*.incr.aof")
    kept_bytes = log.stat().st_size
    await store.commit([PartitionWrite(0, epoch, states={b"a": b"2"}, offsets={"t": 2})])
    server.kill9()
    # In the middle of the second commit: what it is cut off in must not be there by half.
    os.truncate(log, kept_bytes + 40)
    server.start()
    write = PartitionWrite(0, epoch, states={b"a": b"3"}, offsets={"t": 3})
    with pytest.raises(StateRolledBack):
        await asyncio.wait_for(retrying(lambda: store.commit([write])), 10)
    assert (await store.acquire(0)).offsets == {"t": 1}
    assert await store.load({0: [b"a"]}) == {0: [b"1"]}
    await store.close()


async def test_a_full_server_is_transient_and_writes_nothing_by_half(
    server: ValkeyServer | RedisServer,
) -> None:
    """A server out of memory refuses the whole commit; with room again the same commit goes through."""
    store = RedisStore(server.url)
    epoch = (await store.acquire(0)).epoch
    write = PartitionWrite(0, epoch, states={b"a": b"1"}, timers={b"a": 1}, offsets={"t": 1})
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(TransientError, match="cannot carry out"):
            await store.commit([write])
        assert await store.get(0, b"a") is None
        client.config_set("maxmemory", 0)
    await store.commit([write])
    assert (await store.acquire(0)).offsets == {"t": 1}
    await store.close()


async def test_a_newer_meta_format_is_refused(server: ValkeyServer | RedisServer) -> None:
    """A partition written by a newer engine is left alone, with both formats named."""
    store = RedisStore(server.url)
    epoch = (await store.acquire(0)).epoch
    with redis.Redis.from_url(server.url) as client:
        client.hset("{engage:0}:meta", "format", META_FORMAT + 1)
        with pytest.raises(StateError, match=rf"meta format {META_FORMAT + 1}, known is {META_FORMAT}"):
            await store.acquire(0)
        assert client.get("{engage:0}:fence") == f"{epoch} 0".encode()
    await store.close()


async def test_a_foreign_key_is_a_lasting_error(server: ValkeyServer | RedisServer) -> None:
    """What the server will never carry out is not retried for ever."""
    store = RedisStore(server.url)
    with redis.Redis.from_url(server.url) as client:
        client.set("{engage:0}:timers", "not a sorted set")
    with pytest.raises(StateError, match="redis refused a command"):
        await store.due(0, 1, 1)
    await store.close()


async def test_a_cancelled_call_leaves_no_reply_behind(server: ValkeyServer | RedisServer) -> None:
    """After a call was cancelled half way, the next one reads its own reply."""
    store = RedisStore(server.url)
    epoch = (await store.acquire(0)).epoch
    await store.commit([PartitionWrite(0, epoch, states={b"a": b"1"})])
    for _ in range(20):
        call = asyncio.create_task(store.ping())
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await store.get(0, b"a") == b"1"
    await store.close()


async def test_a_wrong_address_is_transient() -> None:
    """No server at all reads as one that does not answer; the message has its address, not its password."""
    store = RedisStore("redis://:secret@127.0.0.1:1/0")
    told = r"redis at '127\.0\.0\.1:1' does not answer: connection refused"
    with pytest.raises(TransientError, match=told) as caught:
        await store.ping()
    assert "secret" not in str(caught.value)
    await store.close()
