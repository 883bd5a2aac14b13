"""One contract for every store: in memory, on Valkey, on Redis, on a cluster of three masters."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable

import pytest

from engine.errors import TransientError
from engine.streams.local.redis import redis_binary
from engine.streams.store.contract import (
    PartitionFenced,
    PartitionMeta,
    PartitionWrite,
    StateRolledBack,
    Store,
)
from engine.streams.store.redis import RedisStore
from tests.redis_cluster import Cluster
from tests.streams.backings import Backing, MemoryBacking, ServerBacking

_KINDS = ["memory", "valkey", *(["redis"] if redis_binary() else []), "cluster"]


@pytest.fixture(params=_KINDS)
async def backing(request: pytest.FixtureRequest) -> AsyncIterator[Backing]:
    """Provide each kind of store in turn, empty."""
    if request.param == "memory":
        yield MemoryBacking()
        return
    if request.param == "cluster":
        cluster: Cluster = request.getfixturevalue("cluster")
        made = ServerBacking(cluster.nodes, cluster.announced)
    else:
        made = ServerBacking([request.getfixturevalue(f"{request.param}_server")])
    made.restore([{}] * len(made.nodes))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def new_store(backing: Backing) -> AsyncIterator[Callable[[], Store]]:
    """Provide a maker of stores that are closed with the test."""
    made: list[Store] = []

    def make() -> Store:
        made.append(backing.new_store())
        return made[-1]

    yield make
    for store in made:
        await store.close()


async def test_a_new_partition_is_empty(new_store: Callable[[], Store]) -> None:
    """A partition nobody has written has no offsets, no stream time, no ids, no customers."""
    store = new_store()
    meta = await store.acquire(3)
    assert meta == PartitionMeta(3, meta.epoch, {}, 0, {}, b"", b"")
    assert await store.load({3: [b"a", b"b"]}) == {3: [None, None]}
    assert await store.due(3, 10**15, 10) == []
    assert [customer async for customer in store.customers(3)] == []


async def test_a_commit_is_read_back_whole(new_store: Callable[[], Store]) -> None:
    """Everything one commit writes is there for the next owner, and untouched things stay."""
    first = new_store()
    epoch = (await first.acquire(0)).epoch
    await first.commit(
        [
            PartitionWrite(
                0,
                epoch,
                states={b"a": b"\x00state\xff", b"b": b""},
                timers={b"a": 1_700_000_000_123},
                offsets={"clicks": 7, "orders": 2**40},
                clock_ms=1_700_000_000_000,
                fields={"rate": b"\x00\x01"},
                ids=b"12345678",
            )
        ]
    )
    await first.commit([PartitionWrite(0, epoch, states={b"c": b"3"}, offsets={"clicks": 8})])
    second = new_store()
    meta = await second.acquire(0)
    assert meta.epoch > epoch
    assert meta.offsets == {"clicks": 8, "orders": 2**40}
    assert (meta.clock_ms, meta.fields) == (1_700_000_000_000, {"rate": b"\x00\x01"})
    assert (meta.current_ids, meta.previous_ids) == (b"12345678", b"")
    assert await second.load({0: [b"c", b"x", b"a", b"b"]}) == {0: [b"3", None, b"\x00state\xff", b""]}
    assert await second.due(0, 1_700_000_000_123, 10) == [(b"a", 1_700_000_000_123)]
    assert await second.get(0, b"a") == b"\x00state\xff"


async def test_one_commit_writes_several_partitions(new_store: Callable[[], Store]) -> None:
    """Partitions do not see each other's customers."""
    store = new_store()
    epochs = [(await store.acquire(partition)).epoch for partition in range(8)]
    writes = [PartitionWrite(p, epoch, states={b"same": b"%d" % p}) for p, epoch in enumerate(epochs)]
    await store.commit(writes)
    read = await store.load({partition: [b"same"] for partition in range(8)} | {2: []})
    assert read == {p: [] if p == 2 else [b"%d" % p] for p in range(8)}


async def test_an_empty_commit_and_an_empty_read_are_fine(new_store: Callable[[], Store]) -> None:
    """Nothing to do is not an error."""
    store = new_store()
    await store.commit([])
    assert await store.load({}) == {}


@pytest.mark.parametrize("customer", ["客户-1", "naïve ö", "a{b}:c:*?[x]", "x" * 128, " \n\t"])
async def test_any_customer_id_keeps_its_state(new_store: Callable[[], Store], customer: str) -> None:
    """Ids are bytes: no character in them means anything to the store."""
    store, name = new_store(), customer.encode()
    epoch = (await store.acquire(1)).epoch
    await store.commit([PartitionWrite(1, epoch, states={name: b"s"}, timers={name: 5})])
    assert await store.load({1: [name]}) == {1: [b"s"]}
    assert await store.due(1, 5, 1) == [(name, 5)]
    assert [found async for found in store.customers(1)] == [name]


async def test_big_batches_go_in_one_commit(new_store: Callable[[], Store]) -> None:
    """More customers than Lua's stack holds are written, timed and erased in one step."""
    store, count = new_store(), 12_000
    names = [b"customer-%d" % number for number in range(count)]
    epoch = (await store.acquire(0)).epoch
    states: dict[bytes, bytes | None] = {name: os.urandom(200) for name in names}
    timers: dict[bytes, int | None] = {name: number for number, name in enumerate(names)}
    await store.commit([PartitionWrite(0, epoch, states=states, timers=timers)])
    assert await store.load({0: names}) == {0: list(states.values())}
    assert await store.due(0, count, count) == [(name, number) for number, name in enumerate(names)]
    gone = PartitionWrite(0, epoch, states=dict.fromkeys(names[1:]), timers=dict.fromkeys(names[1:]))
    await store.commit([gone])
    assert [customer async for customer in store.customers(0)] == names[:1]
    assert await store.due(0, count, count) == [(names[0], 0)]


async def test_erasure_leaves_nothing_of_a_customer(new_store: Callable[[], Store], backing: Backing) -> None:
    """A state and a timer set to None are gone from the server, key and value."""
    store = new_store()
    epoch = (await store.acquire(0)).epoch
    await store.commit([PartitionWrite(0, epoch, states={b"zoe": b"s", b"b": b"s"}, timers={b"zoe": 5})])
    await store.commit([PartitionWrite(0, epoch, states={b"zoe": None}, timers={b"zoe": None})])
    assert await store.load({0: [b"zoe", b"b"]}) == {0: [None, b"s"]}
    assert await store.due(0, 9, 9) == []
    if isinstance(backing, ServerBacking):
        assert not backing.keys("*zoe*")


async def test_timers_come_due_in_order(new_store: Callable[[], Store]) -> None:
    """Due timers are listed earliest first, ties by id, none after the instant, no more than asked for."""
    store = new_store()
    epoch = (await store.acquire(0)).epoch
    timers: dict[bytes, int | None] = {b"late": 300, b"b": 100, b"a": 100, b"c": 200, b"moved": 50}
    await store.commit([PartitionWrite(0, epoch, timers=timers)])
    await store.commit([PartitionWrite(0, epoch, timers={b"moved": 250, b"none": None})])
    assert await store.due(0, 250, 10) == [(b"a", 100), (b"b", 100), (b"c", 200), (b"moved", 250)]
    assert await store.due(0, 299, 2) == [(b"a", 100), (b"b", 100)]
    assert await store.due(0, 99, 10) == []


async def test_ids_keep_two_generations(new_store: Callable[[], Store]) -> None:
    """Ids are appended; a rotation after them drops the generation before the last."""
    store = new_store()
    epoch = (await store.acquire(0)).epoch
    for ids, rotate in ((b"1", False), (b"2", True), (b"3", True), (b"4", False), (b"5", False)):
        await store.commit([PartitionWrite(0, epoch, ids=ids, rotate_ids=rotate)])
    meta = await store.acquire(0)
    assert (meta.current_ids, meta.previous_ids) == (b"45", b"3")
    await store.commit([PartitionWrite(0, meta.epoch, ids=b"6", rotate_ids=True)])
    meta = await store.acquire(0)
    assert (meta.current_ids, meta.previous_ids) == (b"", b"456")


async def test_a_late_writer_is_fenced(new_store: Callable[[], Store]) -> None:
    """A worker that lost a partition can neither write to it nor read from it; its other partitions go on."""
    old, new = new_store(), new_store()
    epochs = {partition: (await old.acquire(partition)).epoch for partition in (0, 1)}
    epoch = (await new.acquire(0)).epoch
    late = [
        PartitionWrite(p, e, states={b"a": b"late"}, offsets={"t": 9}, ids=b"x") for p, e in epochs.items()
    ]
    with pytest.raises(PartitionFenced) as caught:
        await old.commit(late)
    assert caught.value.partitions == {0}
    assert await old.get(0, b"a") is None
    assert await old.get(1, b"a") == b"late"
    await new.commit([PartitionWrite(0, epoch, states={b"a": b"new"})])
    with pytest.raises(PartitionFenced):
        await old.commit(late[:1])
    with pytest.raises(PartitionFenced):
        await old.load({0: [b"a"]})
    meta = await new.acquire(0)
    assert (meta.offsets, meta.current_ids) == ({}, b"")


async def test_a_read_notices_the_new_owner(new_store: Callable[[], Store]) -> None:
    """A worker that lost its partition learns it at the next read already."""
    old, new = new_store(), new_store()
    await old.acquire(0)
    await new.acquire(0)
    with pytest.raises(PartitionFenced, match="another worker owns partition 0"):
        await old.load({0: [b"a"]})


async def test_a_released_partition_is_closed(new_store: Callable[[], Store]) -> None:
    """After release the store itself refuses, also when nobody else has acquired the partition."""
    store = new_store()
    epoch = (await store.acquire(0)).epoch
    store.release(0)
    with pytest.raises(PartitionFenced):
        await store.commit([PartitionWrite(0, epoch, states={b"a": b"1"})])
    with pytest.raises(PartitionFenced):
        await store.load({0: [b"a"]})
    assert await store.get(0, b"a") is None


async def test_writing_under_an_old_epoch_of_ones_own_is_fenced(new_store: Callable[[], Store]) -> None:
    """Work begun before a partition was lost and won back must not be written, and the new claim stands."""
    store = new_store()
    before = (await store.acquire(0)).epoch
    epoch = (await store.acquire(0)).epoch
    with pytest.raises(PartitionFenced):
        await store.commit([PartitionWrite(0, before, states={b"a": b"old"})])
    await store.commit([PartitionWrite(0, epoch, states={b"a": b"new"})])
    assert await store.get(0, b"a") == b"new"


async def test_a_commit_repeated_after_a_lost_reply_counts_once(
    new_store: Callable[[], Store], backing: Backing
) -> None:
    """When a commit went through and its reply was lost, repeating it changes nothing, not even the ids."""
    store = new_store()
    epochs = [(await store.acquire(partition)).epoch for partition in (0, 1)]
    await store.commit([PartitionWrite(0, epochs[0]), PartitionWrite(1, epochs[1], ids=b"0")])
    backing.lose_next_reply()
    writes = [
        PartitionWrite(p, epoch, states={b"a": b"1"}, ids=b"12345678") for p, epoch in enumerate(epochs)
    ]
    with pytest.raises(TransientError):
        await store.commit(writes)
    assert await store.get(0, b"a") == b"1"
    await store.commit(writes)
    await store.commit([PartitionWrite(p, e, ids=b"!") for p, e in enumerate(epochs)])
    assert (await store.acquire(0)).current_ids == b"12345678!"
    assert (await store.acquire(1)).current_ids == b"012345678!"


async def test_an_old_commit_arriving_late_is_fenced(
    new_store: Callable[[], Store], backing: Backing
) -> None:
    """A commit given up after a lost reply cannot undo what the next owner writes."""
    old, new = new_store(), new_store()
    epoch = (await old.acquire(0)).epoch
    await old.commit([PartitionWrite(0, epoch, offsets={"t": 1})])  # the server knows the script by now
    backing.lose_next_reply()
    write = PartitionWrite(0, epoch, states={b"a": b"old"}, offsets={"t": 5})
    with pytest.raises(TransientError):
        await old.commit([write])
    assert await new.get(0, b"a") == b"old"
    meta = await new.acquire(0)
    await new.commit([PartitionWrite(0, meta.epoch, states={b"a": b"new"})])
    with pytest.raises(PartitionFenced):
        await old.commit([write])
    assert await new.get(0, b"a") == b"new"


async def test_a_store_restored_from_before_is_noticed_at_the_commit(
    new_store: Callable[[], Store], backing: Backing
) -> None:
    """Lost commits are noticed although the epoch is the same; a fresh acquisition goes on from there."""
    store = new_store()
    epoch = (await store.acquire(0)).epoch
    await store.acquire(1)
    await store.commit([PartitionWrite(0, epoch, states={b"a": b"1"}, offsets={"t": 1})])
    dump = backing.dump()
    await store.commit([PartitionWrite(0, epoch, states={b"a": b"2"}, offsets={"t": 2})])
    backing.restore(dump)
    with pytest.raises(StateRolledBack) as caught:
        await store.commit([PartitionWrite(0, epoch, states={b"b": b"3"}, offsets={"t": 3})])
    assert (caught.value.partitions, caught.value.fenced) == (frozenset({0}), frozenset())
    meta = await store.acquire(0)
    assert (meta.epoch > epoch, meta.offsets) == (True, {"t": 1})
    assert await store.load({0: [b"a", b"b"], 1: [b"a"]}) == {0: [b"1", None], 1: [None]}


async def test_a_store_restored_from_before_is_noticed_at_the_read(
    new_store: Callable[[], Store], backing: Backing
) -> None:
    """No decision is made on states older than what was written."""
    store = new_store()
    epoch = (await store.acquire(0)).epoch
    dump = backing.dump()
    await store.commit([PartitionWrite(0, epoch, states={b"a": b"2"})])
    backing.restore(dump)
    with pytest.raises(StateRolledBack, match="went back in time for partition 0"):
        await store.load({0: [b"a"]})


async def test_an_emptied_store_is_noticed(new_store: Callable[[], Store], backing: Backing) -> None:
    """A server that came back without any data is a store gone back in time, not a fresh one."""
    store = new_store()
    dump = backing.dump()
    epoch = (await store.acquire(0)).epoch
    backing.restore(dump)
    with pytest.raises(StateRolledBack):
        await store.commit([PartitionWrite(0, epoch, states={b"a": b"1"})])
    assert await store.get(0, b"a") is None


async def test_an_epoch_never_repeats_even_when_its_draw_was_lost(
    new_store: Callable[[], Store], backing: Backing
) -> None:
    """Two owners of which one was forgotten by a restored server are still told apart."""
    old, new = new_store(), new_store()
    dump = backing.dump()
    epoch = (await old.acquire(0)).epoch
    backing.restore(dump)
    assert (await new.acquire(0)).epoch > epoch
    with pytest.raises(PartitionFenced):
        await old.commit([PartitionWrite(0, epoch, states={b"a": b"old"})])


async def test_health_names_the_server(new_store: Callable[[], Store], backing: Backing) -> None:
    """Health tells persistence, eviction policy and clock, for the doctor."""
    store = new_store()
    await store.ping()
    health = await store.health()
    assert (health.eviction_policy, health.role) == ("noeviction", "master")
    if isinstance(backing, ServerBacking):
        assert (health.server, health.cluster) == (backing.nodes[0].name, backing.is_cluster)
    else:
        assert (health.server, health.cluster) == ("memory", False)
    assert abs(health.clock_ms - time.time() * 1000) < 5000
    if isinstance(backing, ServerBacking):
        assert (health.aof_enabled, health.aof_write_ok) == (True, True)
        assert isinstance(store, RedisStore)
        fsync = "always" if backing.is_cluster else "everysec"
        assert await store.configuration() == {"appendfsync": fsync}
        assert health.used_memory_bytes > 0
        assert int(health.version.split(".")[0]) >= 7


async def test_another_commit_in_place_of_an_unknown_one_is_our_mistake(
    new_store: Callable[[], Store], backing: Backing
) -> None:
    """After an unknown outcome only the same commit may follow; another would be taken for its repeat."""
    store = new_store()
    epoch = (await store.acquire(0)).epoch
    backing.lose_next_reply()
    with pytest.raises(TransientError):
        await store.commit([PartitionWrite(0, epoch, states={b"a": b"1"})])
    with pytest.raises(AssertionError, match="repeated as it was"):
        await store.commit([PartitionWrite(0, epoch, states={b"a": b"2"})])
