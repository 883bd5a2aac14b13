"""Moving customers to more partitions: nobody is lost wherever it is ended, and each is where Kafka says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import redis
from confluent_kafka import Producer

from engine.errors import ConfigError, StateError, TransientError
from engine.features.churn.rate import GlobalRate
from engine.features.state import CustomerState, pack
from engine.link_settings import RedisSettings
from engine.settings import Settings
from engine.streams.local.stack import ApacheKafka, ValkeyServer
from engine.streams.partition import partition_of
from engine.streams.store.contract import PartitionWrite
from engine.streams.store.link import Command, Link, open_link
from engine.streams.store.memory import MemoryStore
from engine.streams.store.redis import RedisStore
from engine.streams.widening.event_topics import EventTopics, SentOn
from engine.streams.widening.moving import Moving
from engine.streams.widening.widen import Widening
from tests.conftest import TopicMaker
from tests.streams.transport_harness import settings_for

BEFORE, AFTER = 2, 4
CUSTOMERS = 80
DAY_S = 86_400
TOPIC = "orders"


class Topics(EventTopics):
    """Event topics without a broker."""

    def __init__(self) -> None:
        self.count = BEFORE
        self.left = 0
        self.workers: list[str] = []

    def partitions(self) -> int:
        """See `EventTopics`."""
        return self.count

    def members(self) -> list[str]:
        """See `EventTopics`."""
        return self.workers

    def behind(self, _offsets: Any, _partitions: int) -> dict[tuple[str, int], int]:
        """See `EventTopics`."""
        return {(TOPIC, 0): self.left} if self.left else {}

    def senders(self) -> list[str]:
        """See `EventTopics`."""
        return []

    def send_on(self, _offsets: Any, partitions: int) -> SentOn:
        """See `EventTopics`."""
        self.left = 0
        return SentOn({(TOPIC, number): 1000 for number in range(partitions)}, {(TOPIC, 0): 2, (TOPIC, 3): 5})

    def widen(self, partitions: int, *, validate_only: bool = False) -> None:
        """See `EventTopics`."""
        self.count = self.count if validate_only else partitions


class Mortal:
    """A link that ends the process, as `kill -9` would, at a given command."""

    def __init__(self, link: Link, calls: int) -> None:
        self._link = link
        self.calls = calls

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """See `Link`; of the commands of the last call only half get there."""
        self.calls -= 1
        if self.calls < 0:
            await self._link.send(commands[: len(commands) // 2])
            raise TransientError("killed")
        return await self._link.send(commands)

    async def close(self) -> None:
        """See `Link`."""
        await self._link.close()


def state_of(number: int) -> bytes:
    """Pack a state that tells customers apart."""
    state = CustomerState(f"c{number}")
    state.clock_ms = number + 1
    state.segment = number % 4
    state.purchases = b"p" * 40 if number % 3 else b""
    return pack(state)


async def fill(url: str) -> dict[bytes, tuple[bytes, int | None]]:
    """Write customers, as workers of two partitions would have; return state and timer of each."""
    store = RedisStore(url)
    people: dict[bytes, tuple[bytes, int | None]] = {
        f"c{number}".encode(): (state_of(number), 1_000 + number if number % 2 else None)
        for number in range(CUSTOMERS)
    }
    for partition in range(BEFORE):
        meta = await store.acquire(partition, BEFORE)
        mine = {name: each for name, each in people.items() if partition_of(name, BEFORE) == partition}
        rate = GlobalRate()
        rate.add(10_000 * DAY_S, 50, 40)
        write = PartitionWrite(
            partition,
            meta.epoch,
            states={name: state for name, (state, _) in mine.items()},
            timers={name: due for name, (_, due) in mine.items() if due},
            offsets={TOPIC: 100 + partition},
            clock_ms=5_000 + partition,
            fields={"rate": rate.to_bytes(), "armed": b'["x"]', "segments": b"{}"},
            ids=b"12345678" * (partition + 1),
        )
        await store.commit([write])
    await store.close()
    return people


@asynccontextmanager
async def widening(
    valkey: ValkeyServer, topics: Topics, calls: int = 10**9, after: int = AFTER, *, send_on: bool = False
) -> AsyncIterator[Widening]:
    """Provide a move that ends after so many calls."""
    settings = Settings(redis=RedisSettings(url=valkey.url))
    link = await open_link(valkey.url, 5.0)
    yield Widening(settings, topics, Moving(Mortal(link, calls), "engage"), after, send_on=send_on)
    await link.close()


async def check(url: str, people: dict[bytes, tuple[bytes, int | None]]) -> None:
    """Look at everything: each customer once, where it belongs; the rest divided; nothing left."""
    store = RedisStore(url)
    found: dict[bytes, tuple[bytes | None, int | None]] = {}
    known = 0
    segments: dict[str, int] = {}
    for partition in range(AFTER):
        meta = await store.acquire(partition, AFTER)
        names = [name async for name in store.customers(partition)]
        due = dict(await store.due(partition, 10**9, 10**6))
        assert due.keys() <= set(names)
        for name in names:
            assert partition_of(name, AFTER) == partition
            found[name] = (await store.get(partition, name), due.get(name))
        parent = partition % BEFORE
        assert meta.offsets == ({TOPIC: 100 + parent} if partition < BEFORE else {})
        assert meta.clock_ms == 5_000 + parent
        assert meta.current_ids == b"12345678" * (parent + 1)
        assert meta.fields["armed"] == b'["x"]'
        known += GlobalRate.from_bytes(meta.fields["rate"])._known
        for name, count in json.loads(meta.fields["segments"]).items():
            segments[name] = segments.get(name, 0) + count
    assert found == people
    assert abs(known - 40 * BEFORE) <= AFTER
    assert sum(segments.values()) == CUSTOMERS * 3 // 4  # a quarter has no segment yet
    await store.close()
    link = await open_link(url, 5.0)
    left = ["engage:widening", *(f"{{engage:{partition}}}:before" for partition in range(AFTER))]
    assert not any(await link.send([("EXISTS", key) for key in left]))
    await link.close()


async def test_ended_anywhere_it_goes_on(valkey: ValkeyServer) -> None:
    """Whatever command was the last to reach Redis: run again, all are where they belong, as they were."""
    calls, finished = 0, False
    while not finished:
        with redis.Redis.from_url(valkey.url) as client:
            client.flushall()
        people, topics = await fill(valkey.url), Topics()
        async with widening(valkey, topics, calls) as first:
            with suppress(TransientError):
                await first.run(await first.plan())
                finished = True
        async with widening(valkey, topics) as again:
            plan = await again.plan()
            assert not finished or plan.before == AFTER
            if plan.before == AFTER:
                await again.tidy()
            else:
                await again.run(plan)
        await check(valkey.url, people)
        calls += 1
    assert calls > 20


async def test_the_plan_changes_nothing_and_counts(valkey: ValkeyServer) -> None:
    """A dry run says how many are to be moved; the state is the same after it, and workers may start."""
    people, topics = await fill(valkey.url), Topics()
    async with widening(valkey, topics) as move:
        plan = await move.plan()
    moving = [name for name in people if partition_of(name, AFTER) != partition_of(name, BEFORE)]
    assert (plan.totals.customers, plan.moving_customers) == (CUSTOMERS, len(moving))
    assert plan.moving_timers == sum(1 for name in moving if people[name][1])
    store = RedisStore(valkey.url)
    await store.check_layout(BEFORE)
    await store.close()


async def test_what_stands_against_it_is_said(valkey: ValkeyServer) -> None:
    """A worker, a trainer, and records that wait are each named with what to do."""
    await fill(valkey.url)
    topics = Topics()
    topics.workers, topics.left = ["worker w: stop it"], 7
    with redis.Redis.from_url(valkey.url) as client:
        client.set("engage:trainer:lock", "host:1")
    async with widening(valkey, topics) as move:
        first, second, third = (await move.plan()).obstacles
    assert first == "worker w: stop it"
    assert second == "a trainer runs as host:1: stop it"
    assert third.endswith("stop the senders, and let the workers finish")


async def test_what_waits_in_widened_topics_can_be_sent_on(valkey: ValkeyServer) -> None:
    """Topics widened by hand while records waited: they are sent on, and the old partitions are done."""
    await fill(valkey.url)
    topics = Topics()
    topics.count, topics.left = AFTER, 7
    async with widening(valkey, topics) as move:
        (said,) = (await move.plan()).obstacles
    assert "--send-on" in said
    async with widening(valkey, topics, send_on=True) as again:
        plan = await again.plan()
        await again.run(plan)
    assert plan.sent_on == 7
    store = RedisStore(valkey.url)
    assert (await store.acquire(1, AFTER)).offsets == {TOPIC: 1000}
    assert (await store.acquire(3, AFTER)).offsets == {}
    await store.close()


@pytest.mark.kafka
async def test_marks_of_transactions_do_not_wait(apache_kafka: ApacheKafka, make_topic: TopicMaker) -> None:
    """What a sender's transactions leave at a partition's end is no record, and ends what is sent on."""
    topic = make_topic(apache_kafka, "orders", 2)
    topics = EventTopics(settings_for(apache_kafka.bootstrap, "consumer", topic, [topic]))
    sender = Producer(
        {"bootstrap.servers": apache_kafka.bootstrap, "transactional.id": topic, "log_level": 2}
    )
    place = topic, 0

    def send() -> None:
        sender.begin_transaction()
        sender.produce(topic, b"one", b"customer", partition=0)
        sender.flush(10)

    await asyncio.to_thread(sender.init_transactions, 30)
    for finish in (sender.commit_transaction, sender.abort_transaction):
        await asyncio.to_thread(send)
        await asyncio.to_thread(finish, 10)
    assert topics.ends(1) == {place: (0, 4)}
    assert topics.behind({place: 1}, 1) == {}, "two marks, and a record that was taken back"
    assert topics.behind({}, 1) == {place: 4}
    sent = topics.send_on({}, 1)
    assert sum(sent.taken.values()) == 1
    end = topics.ends(1)[place][1]
    await asyncio.to_thread(send)
    assert topics.behind({place: end}, 1) == {place: 1}, "what is not committed yet may be"
    await asyncio.to_thread(sender.abort_transaction, 10)
    assert topics.behind({place: end}, 1) == {}


@pytest.mark.parametrize("after", [1, 3, 5])
async def test_a_number_that_cannot_be_is_refused(valkey: ValkeyServer, after: int) -> None:
    """Fewer, or no multiple: customers of several partitions would come together in one."""
    await fill(valkey.url)
    async with widening(valkey, Topics(), after=after) as move:
        with pytest.raises(ConfigError, match=f"--to {after}"):
            await move.plan()


async def test_other_state_than_before_is_told(valkey: ValkeyServer) -> None:
    """A customer that changes while it is moved stops it, and no worker starts."""
    await fill(valkey.url)
    async with widening(valkey, Topics()) as move:
        plan = await move.plan()
        with redis.Redis.from_url(valkey.url) as client:
            client.delete(f"{{engage:{partition_of(b'c7', BEFORE)}}}:c:c7")
        with pytest.raises(StateError, match="not what it was"):
            await move.run(plan)
    store = RedisStore(valkey.url)
    with pytest.raises(StateError, match="being moved from 2 to 4"):
        await store.acquire(0, AFTER)
    await store.close()


@pytest.mark.parametrize("kind", ["memory", "valkey"])
async def test_another_number_of_partitions_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    """State written with 8 partitions is not given to who has 16 or 4, nor new partitions beside it."""
    store = MemoryStore() if kind == "memory" else RedisStore(request.getfixturevalue("valkey").url)
    await store.acquire(3, 8)
    await store.acquire(3, 8)
    await store.check_layout(8)
    with pytest.raises(StateError, match=r"have 16 partitions, the state was written with 8.*widen --to 16"):
        await store.acquire(3, 16)
    with pytest.raises(StateError, match="written with 8"):
        await store.check_layout(16)
    with pytest.raises(StateError, match="go back"):
        await store.acquire(3, 4)
    await store.close()
