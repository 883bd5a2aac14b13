"""Working one step ahead: the next batch is decided while the last one becomes durable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import EngineError
from engine.events import Event
from engine.streams.batch import Batch
from engine.streams.producer import DeliveryError, OutRecord
from engine.streams.store.memory import MemoryStore
from tests.streams.replay import MemoryRecord
from tests.streams.stage import Stage, event, place

PEOPLE = [f"c{number}" for number in range(8)]


class Gate:
    """A way of records to Kafka that can be shut."""

    def __init__(self, stage: Stage) -> None:
        self.open = asyncio.Event()
        self.waiting = 0
        self._send = stage.tap.send
        stage.tap.send = self.send  # type: ignore[method-assign]

    async def send(self, records: Iterable[OutRecord]) -> list[Any]:
        """Wait until the gate is open."""
        self.waiting += 1
        await self.open.wait()
        return await self._send(records)


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    """Provide a worker that owns every partition and always works ahead."""
    made = Stage(tmp_path)
    made.handler.ahead_from = 1
    await made.own()
    return made


async def hand_over(stage: Stage, *events: Event | MemoryRecord) -> dict[tuple[str, int], int]:
    """Hand one batch over as the transport does; return what was reported with it."""
    records: list[Any] = [each if isinstance(each, MemoryRecord) else stage.record(each) for each in events]
    finished = asyncio.get_running_loop().create_future()
    await stage.handler.handle(Batch(records, time.perf_counter_ns(), 1, finished))
    return dict(finished.result())


async def turns(awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
    """Begin something and let it come as far as it can."""
    task = asyncio.ensure_future(awaitable)
    for _ in range(50):
        await asyncio.sleep(0)
    return task


async def test_the_next_batch_is_decided_but_sends_nothing_yet(stage: Stage) -> None:
    """A batch ends before its effects are durable; the next one's leave only after that."""
    gate = Gate(stage)
    assert await hand_over(stage, event("order.placed", "c1")) == {}
    second = await turns(hand_over(stage, event("order.placed", "c2")))
    assert not second.done()
    assert gate.waiting == 2, "the first's actions and the rest; the second is decided, not sent"
    gate.open.set()
    assert await second == {("engage.orders", place("c1")): 1}
    await stage.handler.settle()
    assert list(dict.fromkeys(action["customer_id"] for action in stage.tap.actions())) == ["c1", "c2"]


async def test_offsets_are_reported_without_another_batch(stage: Stage) -> None:
    """When no batch follows, the consumer is told as soon as the effects are durable."""
    gate = Gate(stage)
    await hand_over(stage, event("order.placed", "c1"))
    assert stage.consumer.reported == {}
    assert not stage.handler.settled()
    gate.open.set()
    for _ in range(50):
        await asyncio.sleep(0)
    assert stage.consumer.reported == {("engage.orders", place("c1")): 1}
    assert stage.handler.settled()


async def test_partitions_go_only_when_what_was_decided_on_them_is_durable(stage: Stage) -> None:
    """A rebalance waits for the step in flight, so that the next owner finds it."""
    gate = Gate(stage)
    await hand_over(stage, event("order.placed", "c1"))
    revoking = await turns(stage.handler.on_revoked(frozenset(stage.log), lost=False))
    assert not revoking.done()
    gate.open.set()
    await revoking
    assert stage.state("c1") is not None


async def test_a_failure_is_told_although_no_batch_comes(stage: Stage) -> None:
    """What can't be made durable at all wakes the worker, and stops it."""
    stage.tap.failures = [DeliveryError("refused", (0,), (0,))]
    await turns(hand_over(stage, stage.raw("engage.clicks", b"a", b"rubbish")))
    assert stage.handler.next_wakeup_s() == 0.0
    with pytest.raises(EngineError, match="refuses dead letters"):
        await hand_over(stage)


async def test_a_rule_that_raises_ahead_spoils_nothing(stage: Stage) -> None:
    """The guilty record of a batch decided ahead is found on the states the batch before it left."""
    gate = Gate(stage)
    await hand_over(stage, *[event("order.placed", name) for name in PEOPLE])
    run = stage.handler.pipeline.machine.run

    def broken(context: Any, outbox: Any) -> None:
        if context.state.customer_id == "c3":
            raise ZeroDivisionError
        run(context, outbox)

    stage.handler.pipeline.machine.run = broken  # type: ignore[method-assign]
    second = await turns(hand_over(stage, *[event("order.placed", name, 2) for name in PEOPLE]))
    gate.open.set()
    await second
    await stage.handler.settle()
    assert len(stage.tap.letters()) == 1
    for name in PEOPLE:
        state = stage.state(name)
        assert state is not None
        assert len(state.values) == (13 if name == "c3" else 26)


async def test_a_rule_that_raises_on_what_is_not_ours_any_more_accuses_nobody(stage: Stage) -> None:
    """What failed ahead on a partition that turns out to be another worker's is left to that worker."""
    here = next(name for name in PEOPLE if place(name) == 0)
    gate = Gate(stage)
    await hand_over(stage, event("order.placed", here))
    await MemoryStore(stage.server).acquire(0)

    def broken(context: Any, outbox: Any) -> None:
        raise ZeroDivisionError

    stage.handler.pipeline.machine.run = broken  # type: ignore[method-assign]
    second = await turns(hand_over(stage, event("order.placed", here, 2)))
    gate.open.set()
    await second
    await stage.handler.settle()
    assert stage.tap.letters() == []
    assert set(stage.handler.holdings.owned) == {1}
