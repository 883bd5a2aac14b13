"""Customers who do nothing get timers for deadlines that rules brought after their last event."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from engine.streams.steps import arming
from engine.streams.steps.partitions import ARMED_FIELD
from tests.streams.stage import NOW_MS, Stage, event

DAY_MS = 86_400_000
PLAIN = """journey: hi
transactional: true
entry: {on: order.cancelled}
steps:
  - {send: email, template: hi}
"""
ABSENT = PLAIN.replace("{on: order.cancelled}", "{on: {absent: page.viewed, for: 3d}, reentry: always}")


def stage(folder: Path, text: str, before: Stage | None = None) -> Stage:
    """Return a worker on these journeys, with what the one before it stored."""
    folder.mkdir(exist_ok=True)
    (folder / "journey.yaml").write_text(text, "utf-8")
    return Stage(folder, None if before is None else before.server, [str(folder)])


async def arm(worker: Stage, rounds: int = 40) -> None:
    """Let the walk go on, with an idle batch now and then."""
    walk = asyncio.create_task(worker.handler.walk().run())
    for _ in range(rounds):
        await asyncio.sleep(0.005)
        worker.now_ms += 200
        await worker.work()
    walk.cancel()
    await asyncio.gather(walk, return_exceptions=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for work all the time, in small portions."""
    monkeypatch.setattr(arming, "_LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(arming, "_AHEAD", 10)


async def test_those_who_do_nothing_are_armed_once(tmp_path: Path) -> None:
    """Each gets a timer at its own deadline, fires then and not before; a restart walks no second time."""
    old = stage(tmp_path / "old", PLAIN)
    await old.own()
    names = [f"c{number}" for number in range(120)]
    await old.send(*(event("page.viewed", name) for name in names))
    assert old.timers() == {}
    worker = stage(tmp_path / "new", ABSENT, old)
    await worker.own()
    await arm(worker)
    assert worker.timers() == dict.fromkeys(names, NOW_MS + 3 * DAY_MS)
    assert worker.tap.actions() == []
    again = stage(tmp_path / "new", ABSENT, worker)
    await again.own()
    before = again.stored()
    await arm(again, 10)
    assert again.stored() == before
    again.now_ms = NOW_MS + 3 * DAY_MS
    await again.work()
    assert len(again.tap.actions()) == len(names)


async def test_a_deadline_that_lies_behind_does_not_fire(tmp_path: Path) -> None:
    """Who had been away for longer before the journey was there does not enter by being armed."""
    old = stage(tmp_path / "old", PLAIN)
    await old.own()
    await old.send(event("page.viewed", "away"))
    worker = stage(tmp_path / "new", ABSENT, old)
    worker.now_ms = NOW_MS + 9 * DAY_MS
    await worker.own()
    await arm(worker)
    assert worker.tap.actions() == []
    assert worker.timers() == {}
    assert all(ARMED_FIELD in part.fields for part in worker.server.dump().values())
