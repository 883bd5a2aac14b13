"""The handler when a rule raises, a server is away, or a partition is lost or rolled back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from engine import metrics as table
from engine.errors import AccessError, EngineError, StateError
from engine.features.state import CustomerState
from engine.streams.batch import Batch
from engine.streams.partition import partition_of
from engine.streams.producer import DeliveryError, OutRecord
from engine.streams.steps import holdings
from engine.streams.steps.partitions import REACHED_FIELD
from engine.streams.store.contract import PartitionFenced
from engine.streams.store.memory import MemoryStore
from tests.streams.stage import NOW_MS, PARTITIONS, Stage, down, event, place

MINUTE_MS = 60_000
PEOPLE = [f"c{number}" for number in range(8)]
HERE = next(name for name in PEOPLE if place(name) == 0)
THERE = next(name for name in PEOPLE if place(name) == 1)
T = TypeVar("T")


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    """Provide a worker that owns every partition."""
    made = Stage(tmp_path)
    await made.own()
    return made


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let retries follow each other quickly."""
    monkeypatch.setattr(holdings, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(holdings, "MAX_RETRY_S", 0.002)


def break_for(stage: Stage, customer_id: str, *, at_timers: bool = False) -> list[int]:
    """Let the machine raise for one customer, at events or at timers; count how often it did."""
    run, hits = stage.handler.pipeline.machine.run, [0]

    def broken(context: Any, outbox: Any) -> None:
        if context.state.customer_id == customer_id and (context.event is None) is at_timers:
            hits[0] += 1
            context.state.mutate().traits["half"] = True  # what was begun must not stay
            raise ZeroDivisionError("secret")
        run(context, outbox)

    stage.handler.pipeline.machine.run = broken  # type: ignore[method-assign]
    return hits


def ids(stage: Stage) -> list[str]:
    """Return the ids of the actions, as often as they were sent."""
    return sorted(action["id"] for action in stage.tap.actions())


async def waiting(stage: Stage, work: Awaitable[T], obstacle: str) -> tuple[asyncio.Task[T], str]:
    """Start work that has to wait; return it once readiness says why."""
    task = asyncio.ensure_future(work)
    for _ in range(2000):
        await asyncio.sleep(0.001)
        found = [text for text in stage.health.obstacles(stage.settings) if text.startswith(obstacle)]
        if found:
            return task, found[0]
    raise AssertionError(f"readiness never said {obstacle!r}")


# ---- a rule raises --------------------------------------------------------------------------------------


async def test_the_guilty_event_alone_is_set_aside(tmp_path: Path) -> None:
    """An event whose rules raise is set aside with the exception's type; the rest is as without it."""
    calm, stormy = Stage(tmp_path / "calm"), Stage(tmp_path / "stormy")
    for stage in (calm, stormy):
        await stage.own()
        await stage.send(*[event("order.placed", name) for name in PEOPLE if name != "c3"])
    hits = break_for(stormy, "c3")
    events = [event("order.delivered", name) for name in PEOPLE if name != "c3"] + [
        event("order.placed", "c1", 2)
    ]
    guilty = event("order.placed", "c3", 7)
    offsets = await stormy.send(*events[:4], guilty, *events[4:])
    await calm.send(*events)
    assert hits == [2], "once with the batch, once alone"
    ((value, headers),) = stormy.tap.letters()
    assert value is not None
    assert msgspec.json.decode(value)["id"] == guilty.id
    assert headers["engage-reason"] == "processing_failed"
    assert headers["engage-exception"] == "ZeroDivisionError"
    assert "secret" not in str(headers)
    assert ids(stormy) == ids(calm)
    assert offsets["engage.orders", place("c3")] == len(stormy.log["engage.orders", place("c3")])
    for number, (states, timers, _, _, fields) in stormy.stored().items():
        assert (states, timers, fields) == (*calm.stored()[number][:2], calm.stored()[number][4])
    metrics = stormy.handler._tally._metrics
    assert metrics.value(table.HANDLER_ERRORS) == 1
    assert metrics.value(table.EVENTS) == len(events) + len(PEOPLE) - 1


async def test_a_guilty_event_counts_when_it_is_sent_again(stage: Stage) -> None:
    """After a fix the resubmitted dead letter is no repeat."""
    run = stage.handler.pipeline.machine.run
    break_for(stage, "c3")
    guilty = event("order.placed", "c3")
    await stage.send(guilty, event("order.placed", "c1"))
    stage.handler.pipeline.machine.run = run  # type: ignore[method-assign]
    await stage.send(guilty)
    await stage.send(guilty)
    assert [action["customer_id"] for action in stage.tap.actions() if action["template"] == "thanks"] == [
        "c1",
        "c3",
    ]


class Killed(BaseException):
    """The process ends here."""


async def test_a_kill_between_single_records_counts_nothing_twice(tmp_path: Path) -> None:
    """Killed after some records of a failing batch were worked singly, the next worker applies the rest."""
    whole, cut = Stage(tmp_path / "whole"), Stage(tmp_path / "cut")
    events = [event("order.placed", name, number) for number in range(2) for name in PEOPLE]
    for stage in (whole, cut):
        await stage.own()
        break_for(stage, "c3")
        for each in events:
            stage.record(each)
    records = [record for place in sorted(whole.log) for record in whole.log[place]]
    await whole.work(*records)
    commits, commit = [0], cut.store.commit

    async def killed(writes: Any) -> None:
        commits[0] += 1
        if commits[0] == 6:
            raise Killed
        await commit(writes)

    cut.store.commit = killed  # type: ignore[method-assign]
    again = [record for place in sorted(cut.log) for record in cut.log[place]]
    with pytest.raises(Killed):
        await cut.handler.handle(_batch(again))
    cut.renew()
    break_for(cut, "c3")
    starts = await cut.own()
    assert not starts, "the offsets move with the last record of the step"
    await cut.work(*again)
    assert cut.stored() == whole.stored()
    assert set(ids(cut)) == set(ids(whole))


def _batch(records: list[Any]) -> Batch:
    return Batch(records, 0, 1, asyncio.get_running_loop().create_future())


async def test_a_guilty_timer_does_not_poison_its_customer(stage: Stage) -> None:
    """What is due at a timer that raises is taken out with a decision; the customer's later events pass."""
    await stage.send(
        event("order.delivered", "c3"), event("order.delivered", "c1"), event("inquiry.opened", "c3")
    )
    hits = break_for(stage, "c3", at_timers=True)
    stage.let_pass(11 * MINUTE_MS)
    await stage.send(event("page.viewed", "c3", 1, stage.now_ms), event("page.viewed", "c2", 1, stage.now_ms))
    assert hits == [2]
    assert stage.tap.letters() == []
    follow_ups = [action for action in stage.tap.actions() if action["template"] == "how-was-it"]
    assert [action["customer_id"] for action in follow_ups] == ["c1"]
    failed = [each for each in stage.tap.sent("engage.decisions") if each["reason"].get("guard") == "failed"]
    assert [(each["journey"], each["outcome"]) for each in failed] == [
        ("follow-up", "exited"),
        ("rescue", "suppressed"),
    ]
    assert "ZeroDivisionError" in failed[0]["reason"]["text"]
    state = stage.state("c3")
    assert state is not None
    assert state.profile.positions == []
    assert "half" not in state.profile.traits
    await stage.send(event("order.placed", "c3", 2, stage.now_ms))
    assert [each["customer_id"] for each in stage.tap.actions() if each["template"] == "thanks"] == ["c3"]


async def test_an_unwritable_outcome_is_set_aside(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that cannot be packed is the record's fault, not the worker's end."""

    def broken(state: Any) -> bytes:
        if state.customer_id == "c3":
            raise OverflowError("too large")
        return CustomerState.pack(state)

    monkeypatch.setattr("engine.streams.steps.writes.pack", broken)
    await stage.send(*[event("order.placed", name) for name in PEOPLE])
    ((_, headers),) = stage.tap.letters()
    assert headers["engage-exception"] == "OverflowError"
    owned = stage.handler.holdings.owned
    assert sum(part.segments.get("new", 0) for part in owned.values()) == len(PEOPLE) - 1


# ---- Kafka is away or refuses ---------------------------------------------------------------------------


async def test_nothing_is_durable_before_kafka_acknowledged(stage: Stage) -> None:
    """While Kafka does not acknowledge, readiness says so and nothing moves; then all goes on."""
    stage.tap.failures = down(4)
    task, why = await waiting(stage, stage.send(event("order.placed", "c1")), "kafka")
    assert "no answer" in why
    assert stage.state("c1") is None
    assert not task.done()
    assert await task == {("engage.orders", place("c1")): 1}
    assert stage.tap.calls == 4 + 2, "actions and the rest go on their own"
    assert [action["template"] for action in stage.tap.actions()] == ["hello", "thanks"]
    assert stage.health.obstacles(stage.settings) == []


@pytest.mark.parametrize("step", ["load", "commit"])
async def test_a_right_taken_away_is_waited_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What went through before and is refused now waits until the right is given back; nothing is lost."""
    await stage.send(event("order.placed", "c1"))
    call, refusals = getattr(stage.store, step), [AccessError("redis refuses our login") for _ in range(5)]

    async def refusing(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await call(*arguments)

    monkeypatch.setattr(stage.store, step, refusing)
    task, why = await waiting(stage, stage.send(event("order.placed", "c2")), "redis")
    assert "refuses our login" in why
    await task
    assert stage.state("c2") is not None
    assert stage.health.obstacles(stage.settings) == []


async def test_a_right_that_was_never_there_ends_the_worker(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a step has gone through once, waiting would not help."""

    async def refusing(*_: Any) -> Any:
        raise AccessError("redis: this user lacks a right")

    monkeypatch.setattr(stage.store, "commit", refusing)
    with pytest.raises(AccessError, match="lacks a right"):
        await stage.send(event("order.placed", "c1"))


async def test_actions_do_not_wait_for_the_rest(stage: Stage) -> None:
    """Actions arrive while decisions are not acknowledged yet; the state waits for both."""
    decisions, gate, send = stage.settings.topics.decisions, asyncio.Event(), stage.tap.send

    async def shut_to_decisions(records: Iterable[OutRecord]) -> list[Any]:
        waiting = list(records)
        if any(topic == decisions for topic, *_ in waiting):
            await gate.wait()
        return await send(waiting)

    stage.tap.send = shut_to_decisions  # type: ignore[method-assign]
    task = asyncio.ensure_future(stage.send(event("order.placed", "c1")))
    for _ in range(50):
        await asyncio.sleep(0)
    assert stage.tap.actions()
    assert stage.tap.sent(decisions) == []
    assert stage.state("c1") is None
    gate.set()
    assert await task == {("engage.orders", place("c1")): 1}
    assert stage.tap.sent(decisions)


async def test_what_kafka_refuses_for_good_goes_to_the_dead_letters(stage: Stage) -> None:
    """A record that no retry will help is set aside with its topic; the others arrive, the batch is done."""
    stage.tap.failures = [DeliveryError("MSG_SIZE_TOO_LARGE on topic 'engage.actions.push'", (0,), (0,))]
    offsets = await stage.send(event("order.placed", "c1"))
    assert offsets == {("engage.orders", place("c1")): 1}
    ((value, headers),) = stage.tap.letters()
    assert headers["engage-topic"] == "engage.actions.push"
    assert "MSG_SIZE_TOO_LARGE" in headers["engage-detail"]
    assert value is not None
    assert [action["template"] for action in stage.tap.actions()] == ["thanks"]
    assert stage.health.obstacles(stage.settings) == []


async def test_a_refused_dead_letter_stops_the_worker(stage: Stage) -> None:
    """When even the dead letter is refused there is nowhere left to put a record: the worker stops."""
    refusal = DeliveryError("TOPIC_AUTHORIZATION_FAILED", (0,), (0,))
    stage.tap.failures = [refusal]
    with pytest.raises(EngineError, match="refuses dead letters"):
        await stage.work(stage.raw("engage.clicks", b"a", b"rubbish"))
    assert stage.stored()[place("a")][2] == {}


# ---- Redis is away, loses, or belongs to another --------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True], ids=["down", "reply lost"])
async def test_the_worker_waits_for_redis(stage: Stage, *, lost: bool) -> None:
    """While Redis is away the batch waits and readiness says so; a write whose reply was lost counts once."""
    order = event("order.placed", "c1")
    if lost:
        await stage.send(event("page.viewed", "c1"))
        stage.server.lose_reply = True
        await stage.send(order)
    else:
        stage.server.down = True
        task, why = await waiting(stage, stage.send(order), "redis")
        assert "down" in why
        await asyncio.sleep(0.02)
        assert not task.done()
        stage.server.down = False
        assert await task == {("engage.orders", place("c1")): 1}
    state = stage.state("c1")
    assert state is not None
    assert len(state.values) == 13
    assert len(ids(stage)) == 2
    assert stage.health.obstacles(stage.settings) == []


async def test_a_customer_has_one_partition(stage: Stage) -> None:
    """What another partitioner put elsewhere is set aside, with where it belongs; the rest goes on."""
    stage.handler.intake.partitions = PARTITIONS
    await stage.work(*(stage.record(event("order.placed", HERE, number), number % 2) for number in range(6)))
    state = stage.state(HERE)
    assert state is not None
    assert len(state.values) == 3 * 13
    told = [headers for _, headers in stage.tap.letters()]
    assert [headers["engage-reason"] for headers in told] == ["key_mismatch"] * 3
    assert f"it is in partition 1, its key belongs in 0 of {PARTITIONS}" in told[0]["engage-detail"]


async def test_a_rebalance_counts_once(stage: Stage) -> None:
    """However many partitions come or go with it."""
    metrics = stage.handler._tally._metrics
    before = metrics.value(table.REBALANCES)
    places = frozenset(stage.log)
    assert len({number for _, number in places}) > 1
    await stage.handler.on_revoked(places, lost=False)
    await stage.handler.on_assigned(places)
    assert metrics.value(table.REBALANCES) == before + 2


async def test_partitions_added_while_it_runs_stop_it(stage: Stage) -> None:
    """A partition that is new would begin empty, with customers who have state elsewhere: none is taken."""
    count = stage.settings.topics.partitions
    with pytest.raises(StateError, match="the event topics were widened"):
        await stage.handler.on_assigned(frozenset({("engage.orders", count)}))
    assert count not in stage.handler.holdings.owned


async def test_a_late_writer_is_fenced(stage: Stage) -> None:
    """A worker that lost a partition writes nothing there, reports no offset, goes on with the others."""
    rival = MemoryStore(stage.server)
    await rival.acquire(0)
    offsets = await stage.send(event("order.placed", HERE), event("order.placed", THERE))
    assert offsets == {("engage.orders", 1): 1}
    assert stage.state(HERE) is None
    assert stage.state(THERE) is not None
    assert set(stage.handler.holdings.owned) == {1}
    assert await stage.send(event("order.placed", HERE, 2), event("order.placed", THERE, 2)) == {
        ("engage.orders", 1): 2
    }
    assert stage.consumer.sought == [], "its new owner has it"


async def test_a_partition_that_nobody_claims_is_taken_up_again(stage: Stage) -> None:
    """Fenced by a worker that has then lost it, too: what Kafka leaves here is not left alone for ever."""
    await MemoryStore(stage.server).acquire(0)
    records = [stage.record(event("order.placed", HERE))]
    assert await stage.work(*records) == {}
    assert set(stage.handler.holdings.owned) == {1}
    again_s = stage.handler.holdings.reclaim_in_s()
    assert again_s is not None
    assert 0 < again_s <= stage.handler.holdings.reclaim_after_s
    await stage.work()
    assert set(stage.handler.holdings.owned) == {1}, "its owner may be alive: Kafka has time to say so"
    stage.handler.holdings.reclaim_after_s = 0.0
    assert stage.handler.next_wakeup_s() == 0.0
    await stage.work()
    assert set(stage.handler.holdings.owned) == {0, 1}
    assert stage.handler.holdings.reclaim_in_s() is None
    assert merged(stage)["engage.orders", 0] == 0, "it is read again from where it is stored"
    assert await stage.work(*records) == {("engage.orders", 0): 1}
    assert stage.state(HERE) is not None


@pytest.mark.parametrize("refused", ["before", "after"])
async def test_a_fenced_partition_that_kafka_takes_away_is_not_taken_up_again(
    stage: Stage, refused: str
) -> None:
    """The usual case: its new owner is alive, and Kafka says so before a write is refused, or after."""
    held = stage.handler.holdings
    held.reclaim_after_s = 0.0
    gone = frozenset((topic, 0) for topic in stage.settings.event_topics().values())
    if refused == "before":
        await held.give_up(PartitionFenced({0}))
    await stage.handler.on_revoked(gone, lost=True)
    if refused == "after":
        await held.give_up(PartitionFenced({0}))
    assert held.reclaim_in_s() is None
    await stage.work()
    assert set(held.owned) == {1}


async def test_a_late_writer_is_fenced_in_the_middle(stage: Stage) -> None:
    """Fenced while timers and single records are worked, the other partitions' records all count."""
    await stage.send(*[event("order.delivered", name) for name in PEOPLE])
    break_for(stage, THERE)
    stage.now_ms += 11 * MINUTE_MS
    records = [stage.record(event("order.placed", name, 5, stage.now_ms)) for name in PEOPLE]
    await MemoryStore(stage.server).acquire(0)
    offsets = await stage.work(*records)
    others = [name for name in PEOPLE if place(name) == 1]
    assert offsets == {("engage.orders", 1): 2 * len(others)}
    for name in PEOPLE:
        state = stage.state(name)
        assert state is not None
        assert len(state.values) == (13 if name in others and name != THERE else 0)
    assert len(stage.tap.letters()) == 1


@pytest.mark.parametrize("trouble", ["none", "raising", "timers"])
async def test_a_roll_back_is_made_good(tmp_path: Path, trouble: str) -> None:
    """When Redis lost its last moments, partitions are read again: the outcome is undisturbed."""
    outcomes = []
    for folder, rolls_back in ((tmp_path / "calm", False), (tmp_path / "back", True)):
        stage = Stage(folder)
        await stage.own()
        if trouble == "raising":
            break_for(stage, "c3")
        await stage.send(*[event("order.delivered", name) for name in PEOPLE])
        dump = stage.server.dump()
        await stage.send(*[event("order.placed", name) for name in PEOPLE])
        if rolls_back:
            stage.server.restore(dump)
        if trouble == "timers":
            stage.now_ms += 11 * MINUTE_MS
        offsets = await stage.send(*[event("order.placed", name, 2, stage.now_ms) for name in PEOPLE])
        if rolls_back:
            assert offsets == {}
            asked = merged(stage)
            assert asked["engage.orders", 0] == len(stage.log["engage.orders", 0]) - 2 * at(0)
            assert stage.health.obstacles(stage.settings) == []
            again = [record for key, records in sorted(stage.log.items()) for record in records[asked[key] :]]
            await stage.work(*again)
        outcomes.append((stage.stored(), set(ids(stage))))
    calm, back = outcomes
    assert back[1] == calm[1]
    for number, (states, timers, offsets, _, fields) in back[0].items():
        calm[0][number][4].pop(REACHED_FIELD)  # read again, how far it is read is only known behind it
        assert (timers.keys(), offsets, fields) == (calm[0][number][1].keys(), *calm[0][number][2:5:2])
        if trouble != "timers":
            assert states == calm[0][number][0]


def at(number: int) -> int:
    """Return how many of the people are on a partition."""
    return sum(partition_of(name.encode(), PARTITIONS) == number for name in PEOPLE)


def merged(stage: Stage) -> dict[tuple[str, int], int]:
    """Return every position the consumer was sent to."""
    return {key: offset for sought in stage.consumer.sought for key, offset in sought.items()}


async def test_a_server_that_lost_everything_stops_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the whole log again, as happening now, would send it all again; the last second may be lost."""
    stage = Stage(tmp_path)
    await stage.own()
    await stage.send(*[event("order.placed", name) for name in PEOPLE])
    stage.server.restore({})
    await stage.send(event("page.viewed", HERE, 1))
    assert stage.consumer.sought, "young as it was, it is read again"
    monkeypatch.setattr(holdings, "FORGOTTEN_AFTER_S", 0.0)
    for number in (2, 3):
        await stage.send(event("page.viewed", HERE, number))
    stage.server.restore({})
    with pytest.raises(StateError, match=f"redis knows nothing of partition {place(HERE)}"):
        await stage.send(event("page.viewed", HERE, 4))


async def test_what_was_found_in_the_store_cannot_be_its_last_second(stage: Stage) -> None:
    """A worker that has come to a store with state, and written nothing yet, knows that all of it is gone."""
    await stage.send(event("order.placed", HERE))
    stage.renew()
    await stage.own()
    stage.server.restore({})
    with pytest.raises(StateError, match=f"redis knows nothing of partition {place(HERE)}"):
        await stage.send(event("page.viewed", HERE, 1))


async def test_live_state_is_not_for_the_replay_clock(tmp_path: Path) -> None:
    """A worker that was started with the wrong clock is refused; what was rebuilt on it goes on live."""
    rebuilt = Stage(tmp_path, clock="replay")
    await rebuilt.own()
    live = Stage(tmp_path, rebuilt.server)
    await live.own()
    await live.send(event("order.placed", HERE))
    wrong = Stage(tmp_path, rebuilt.server, clock="replay")
    with pytest.raises(StateError, match=f"partition {place(HERE)} is kept by workers on the live clock"):
        await wrong.own()
    await Stage(tmp_path, rebuilt.server).own()


async def test_readiness_recovers_from_a_server_that_came_back_older(stage: Stage) -> None:
    """Away first and rolled back then: once the partitions are taken up again nothing is in the way."""
    dump = stage.server.dump()
    await stage.send(event("order.placed", "c1"))
    stage.server.down = True
    task, _ = await waiting(stage, stage.send(event("order.placed", "c1", 2)), "redis")
    stage.server.restore(dump)
    stage.server.down = False
    assert await task == {}
    assert stage.health.obstacles(stage.settings) == []


async def test_paused_topics_of_a_rolled_back_partition_go_on(tmp_path: Path) -> None:
    """On the replay clock a topic that was held back is read again after a roll-back."""
    stage = Stage(tmp_path, clock="replay")
    await stage.own()
    stage.handler.holdings._paused = {("engage.orders", 0)}
    stage.consumer.paused = {("engage.orders", 0)}
    data = stage.server.partition(0)
    data.sequence += 5
    await stage.work(*[stage.raw(topic, None, b"", at=0) for topic in stage.topics.values()])
    records = [stage.record(event("order.placed", HERE))]
    for topic in stage.topics.values():
        mark = stage.raw(topic, None, b"", at=0)
        mark.extra.append(("engage-watermark", str(NOW_MS + 1).encode()))
        records.append(mark)
    await stage.work(*records)
    assert stage.consumer.sought
    assert stage.consumer.paused == set()


async def test_the_registry_being_away_is_waited_out(stage: Stage) -> None:
    """While the schema registry does not answer, no record is lost and readiness says so."""
    intake, decode, failures = stage.handler.intake, stage.handler.intake._decode, down(3)

    def flaky(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return decode(*arguments)

    intake._decode = flaky
    task, _ = await waiting(
        stage, stage.send(event("order.placed", "c1"), event("order.placed", "c2")), "schema"
    )
    await task
    assert len([each for each in stage.tap.actions() if each["template"] == "thanks"]) == 2
