"""More partitions for the event topics, with the state moved along; ended in the middle, it goes on.

Kafka puts a customer on another partition as soon as there are more of them, so the state has to follow
before anybody works on. Nothing may run meanwhile. The number becomes a multiple of what it was: the
customers of a partition are then divided among it and new ones, and nobody else's come in between.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from engine.errors import ConfigError, StateError
from engine.features.churn.rate import GlobalRate
from engine.features.churn.trainer_state import widen_trainer
from engine.rules.ledger import Ledger
from engine.settings import Settings
from engine.streams.files import definitions_of
from engine.streams.kafka import KafkaSettings
from engine.streams.partition import partition_of
from engine.streams.security.links import redis_options
from engine.streams.steps.partitions import LEDGER_FIELD, RATE_FIELD, SEGMENTS_FIELD
from engine.streams.store.link import open_link
from engine.streams.store.redis import RedisStore
from engine.streams.trainer import Checkpoint
from engine.streams.transactions.outbox import OUTBOX_FIELD
from engine.streams.widening.census import Census, Found, Totals
from engine.streams.widening.event_topics import EventTopics, SentOn, in_words
from engine.streams.widening.moving import Meta, Moving

MAX_PARTITIONS = 1024


class Note(msgspec.Struct, frozen=True):
    """The move under way, kept beside the state.

    Args:
        before: partitions there were.
        after: partitions there will be.
        totals: of everything, before the first customer was moved.
    """

    before: int
    after: int
    totals: Totals


@dataclass(slots=True)
class Plan:
    """What a move would do, and what stands against it.

    Args:
        before: partitions the state was written with.
        after: partitions there will be.
        topic_partitions: what the event topics have.
        resumed: whether a move was begun before.
        totals: of everything there is.
        moving_customers: customers that are to change their partition.
        moving_timers: timers that are to.
        obstacles: why it can't be done now, a line each.
        sent_on: how many records were sent again, once it is done.
    """

    before: int
    after: int
    topic_partitions: int
    resumed: bool = False
    totals: Totals = field(default_factory=Totals)
    moving_customers: int = 0
    moving_timers: int = 0
    obstacles: list[str] = field(default_factory=list)
    sent_on: int = 0


class Widening:
    """Widens the event topics of a deployment and moves its state.

    Args:
        settings: all settings.
        topics: the event topics.
        moving: the state in Redis.
        after: how many partitions there are to be.
        on_progress: told what is done, and how many customers.
        send_on: send what waits in the old partitions again, to where its customers belong.
    """

    def __init__(
        self,
        settings: Settings,
        topics: EventTopics,
        moving: Moving,
        after: int,
        on_progress: Callable[[str, int], None] = lambda _what, _done: None,
        *,
        send_on: bool = False,
    ) -> None:
        self._send_on = send_on
        self._settings = settings
        self._moving = moving
        self._after = after
        self._topics = topics
        self._on_progress = on_progress

    async def plan(self) -> Plan:
        """Look at everything and change nothing.

        Raises:
            ConfigError: the number cannot be had, or not by this user.
            StateError: the state is no state of this deployment, or was written in several ways.
        """
        has = self._topics.partitions()
        before, resumed = await self._before(has)
        plan = Plan(before, self._after, has, resumed)
        self._check_number(plan)
        if plan.before == plan.after:
            return plan
        self._topics.widen(plan.after, validate_only=True)
        found = await self._count(plan.after, "counted")
        note = await self._note()
        plan.totals = found.totals if note is None else note.totals
        plan.moving_customers, plan.moving_timers = found.wrong_customers, found.wrong_timers
        plan.obstacles = await self._obstacles(plan)
        return plan

    async def run(self, plan: Plan) -> Totals:
        """Do what `plan` said; called again after an end in the middle, it goes on.

        Returns:
            What was found in its new place.

        Raises:
            StateError: something is not as it was; the state stays marked, and no worker starts on it.
            ConfigError: Kafka refuses.
        """
        assert not plan.obstacles
        before, after = plan.before, plan.after
        for number in range(after):
            await self._moving.mark(number, f"{before}>{after}")
        if await self._moving.note() is None:
            note = Note(before, after, plan.totals)
            await self._moving.leave_note(msgspec.json.encode(note))
        self._topics.widen(after)
        sent_on = SentOn({}, {})
        if self._send_on:
            sent_on = self._topics.send_on(await self._moving.offsets(before), before)
            plan.sent_on = sum(sent_on.taken.values())
        await self._move(before, after)
        found = await self._count(after, "verified")
        await self._check(found)
        await self._divide(before, after, found, sent_on.until)
        trainer, _ = await self._moving.trainer()
        if trainer is not None:
            await self._moving.set_trainer(_widened(trainer, after))
        mine = Counter(await self._moving.offsets(before)) + Counter(sent_on.taken)
        if late := in_words(self._topics.behind(mine, before)):
            raise StateError(f"{late}: a sender was not stopped; stop it, then again with --send-on")
        await self._moving.finish(after)
        return found.totals

    async def tidy(self) -> None:
        """Remove what a move that was ended at its very end has left."""
        await self._moving.tidy(self._after)

    async def _note(self) -> Note | None:
        note = await self._moving.note()
        return None if note is None else msgspec.json.decode(note, type=Note)

    async def _before(self, has: int) -> tuple[int, bool]:
        """Return with how many partitions the state was written, and whether a move was begun."""
        written = {each for each in await self._moving.written(max(has, self._after)) if each}
        marks = {each for each in written if ">" in each}
        if not marks:
            if len(written) > 1:
                raise StateError(f"state of {' and '.join(sorted(written))} partitions: restore a backup")
            return int(written.pop()) if written else has, False
        before, _, after = min(marks).partition(">")
        if int(after) != self._after:
            raise ConfigError(
                f"a move from {before} to {after} was begun: finish it first, with --to {after}"
            )
        if not written <= {before, after, f"{before}>{after}"}:
            raise StateError(f"state of {' and '.join(sorted(written))} partitions: restore a backup")
        return int(before), True

    def _check_number(self, plan: Plan) -> None:
        before, after, has = plan.before, plan.after, plan.topic_partitions
        if after < before:
            raise ConfigError(f"--to {after}: kafka takes no partition away, there are {before}")
        if after % before or after > MAX_PARTITIONS:
            possible = ", ".join(str(before * times) for times in (2, 3, 4))
            raise ConfigError(
                f"--to {after}: no multiple of the {before} there are ({possible}, up to {MAX_PARTITIONS})"
            )
        if has not in {before, after}:
            raise ConfigError(f"the event topics have {has} partitions, the state was written with {before}")

    async def _obstacles(self, plan: Plan) -> list[str]:
        found = [*self._topics.members()]
        _, holder = await self._moving.trainer()
        if holder is not None:
            found.append(f"a trainer runs as {holder.decode()}: stop it")
        waiting = in_words(self._topics.behind(await self._moving.offsets(plan.before), plan.before))
        if waiting and not self._send_on:
            way = (
                "no worker can any more: --send-on"
                if plan.topic_partitions > plan.before or plan.resumed
                else ("stop the senders, and let the workers finish")
            )
            found.append(f"{waiting}: {way}")
        found += await asyncio.to_thread(self._topics.senders)
        return found

    async def _count(self, partitions: int, what: str) -> Found:
        """Go through everything once."""
        census = Census(partitions)
        async for number, names in self._moving.customers(partitions):
            done = 0
            for name, data in await self._moving.states(number, names):
                done = census.add_state(number, name, data)
            self._on_progress(what, done)
        for number in range(partitions):
            async for page in self._moving.timers(number):
                for name, due in page:
                    census.add_timer(number, name, due)
        return census.close()

    async def _move(self, before: int, after: int) -> None:
        done = 0
        async for number, names in self._moving.customers(after):
            leaving = [name for name in names if partition_of(name, after) != number]
            if leaving:
                states = dict(await self._moving.states(number, leaving))
                await self._moving.move_states(number, states, after)
                done += len(states)
                self._on_progress("moved", done)
        for number in range(before):
            async for page in self._moving.timers(number):
                away = {name: due for name, due in page if partition_of(name, after) != number}
                await self._moving.move_timers(number, away, after)

    async def _check(self, found: Found) -> None:
        note = await self._note()
        assert note is not None
        if found.wrong_customers or found.wrong_timers or found.totals != note.totals:
            raise StateError(
                f"not what it was: {found.totals}, before {note.totals}, "
                f"{found.wrong_customers} customers and {found.wrong_timers} timers in a wrong place; "
                "restore the backup from before"
            )

    async def _divide(
        self, before: int, after: int, found: Found, sent_on: Mapping[tuple[str, int], int]
    ) -> None:
        """Give each partition its part of what belongs to no single customer."""
        definitions = definitions_of(self._settings)
        names = definitions.segments_over(definitions.space(())).names
        for parent in range(before):
            numbers = range(parent, after, before)
            was = await self._moving.before(parent)
            ledger = Ledger.split(was.fields.get(LEDGER_FIELD, b""), len(numbers))
            rates: list[bytes] = []
            if blob := was.fields.get(RATE_FIELD):
                parts = GlobalRate.from_bytes(blob).split([found.buyers[number] for number in numbers])
                rates = [part.to_bytes() for part in parts]
            for place, number in enumerate(numbers):
                counts = found.segments.get(number, Counter())
                segments = {names[code]: count for code, count in sorted(counts.items()) if names[code]}
                fields = dict(was.fields) | {SEGMENTS_FIELD: msgspec.json.encode(segments)}
                fields |= {LEDGER_FIELD: ledger} if ledger else {}
                fields |= {RATE_FIELD: rates[place]} if rates else {}
                if number != parent:
                    fields.pop(OUTBOX_FIELD, None)  # the parent sends it, once
                moved = {topic: end for (topic, of), end in sent_on.items() if of == parent}
                offsets = dict(was.offsets) | moved if number == parent else {}
                await self._moving.write(
                    number, Meta(offsets, was.clock_ms, fields, was.current_ids, was.previous_ids)
                )


def _widened(payload: bytes, partitions: int) -> bytes:
    checkpoint = msgspec.msgpack.decode(payload, type=Checkpoint)
    return msgspec.msgpack.encode(Checkpoint(widen_trainer(checkpoint.core, partitions), checkpoint.offsets))


async def widen(
    settings: Settings,
    kafka: KafkaSettings,
    after: int,
    *,
    dry_run: bool,
    send_on: bool = False,
    on_progress: Callable[[str, int], None] = lambda _what, _done: None,
) -> tuple[Plan, Totals | None]:
    """Widen the event topics and move the state, or say what that would do.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.
        after: how many partitions there are to be.
        dry_run: change nothing.
        send_on: send what waits in the old partitions again, to where its customers belong.
        on_progress: told what is done, and how many customers.

    Returns:
        The plan, and what was found in its new place; None while there are obstacles, or in a dry run.

    Raises:
        EngineError: it can't be done; the message says why.
    """
    redis = settings.redis
    link = await open_link(redis.url, redis.timeout_ms / 1000, redis_options(redis))
    try:
        widening = Widening(
            settings, EventTopics(kafka), Moving(link, redis.prefix), after, on_progress, send_on=send_on
        )
        plan = await widening.plan()
        if plan.before == plan.after and not dry_run:
            await widening.tidy()
        if dry_run or plan.obstacles or plan.before == plan.after:
            return plan, None
        return plan, await widening.run(plan)
    finally:
        await link.close()


@dataclass(frozen=True, slots=True)
class Backlog:
    """What has not been worked on.

    Args:
        partitions: how many there are.
        waiting: how many records wait.
        words: the same in words; empty when none does.
        begun: the partitions Redis knows of something that has been.
    """

    partitions: int
    waiting: int
    words: str
    begun: frozenset[int]


async def backlog(settings: Settings, kafka: KafkaSettings) -> Backlog:
    """Tell how many partitions there are and what has not been worked on.

    Args:
        settings: all settings.
        kafka: how to reach Kafka.

    Raises:
        StateError: the state was written with another number.
    """
    topics = EventTopics(kafka)
    count = topics.partitions()
    redis = settings.redis
    store = RedisStore.of(redis)
    try:
        await store.check_layout(count)
    finally:
        await store.close()
    link = await open_link(redis.url, redis.timeout_ms / 1000, redis_options(redis))
    try:
        offsets = await Moving(link, redis.prefix).offsets(count)
        behind = topics.behind(offsets, count)
        return Backlog(count, sum(behind.values()), in_words(behind), frozenset(n for _, n in offsets))
    finally:
        await link.close()
