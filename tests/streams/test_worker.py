"""What the worker sees of itself once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from engine.events import Family
from engine.streams import worker
from engine.streams.health import WorkerHealth
from engine.streams.intake import Intake
from tests.streams.test_intake import T0, decode, log_of

SILENT = ("orders", 0)


@pytest.fixture
def waiting() -> Intake:
    """Give an intake on the replay clock that holds a click and waits for orders."""
    intake = Intake({"clicks": Family.CLICK, "orders": Family.ORDER}, decode, replay=True, ids_remembered=10)
    intake.assign(0, 0, b"", b"")
    intake.add(log_of("clicks", f"a@{T0}"), T0)
    return intake


@pytest.mark.parametrize(
    ("lag", "silent", "waits"),
    [
        ({("clicks", 0): 3, SILENT: 0, ("clicks", 1): 9}, [SILENT], 3),
        ({("clicks", 0): 3, SILENT: 2}, [], 0),
    ],
)
def test_a_topic_with_records_to_read_is_not_silent(
    waiting: Intake, lag: Mapping[tuple[str, int], int], silent: list[tuple[str, int]], waits: int
) -> None:
    """Only a topic read to its end is silent, and only the lag of its partition waits for it."""
    now_s = 0.0
    health = WorkerHealth(lambda: now_s)
    worker.look_for_silence(waiting, lag, health)
    now_s = 31.0
    assert list(health.silences()) == silent
    assert health.waiting_records == waits


async def test_a_silence_is_logged_once(waiting: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it lasts, one warning names topic and partition; while it is short, none does."""
    monkeypatch.setattr(worker, "WATCH_EVERY_S", 0)
    now_s, told = 0.0, []

    async def ping() -> None:
        nonlocal now_s
        now_s += 10
        told.append(len(logs))
        if now_s > 60:
            raise asyncio.CancelledError

    app: Any = SimpleNamespace(batches=SimpleNamespace(lag=lambda: {("clicks", 0): 1, SILENT: 0}))
    store: Any = SimpleNamespace(ping=ping)
    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await worker._watch(app, store, waiting, WorkerHealth(lambda: now_s))
    assert told == [0, 0, 0, 0, 1, 1, 1]
    assert (logs[0]["topic"], logs[0]["partition"], logs[0]["log_level"]) == (*SILENT, "warning")
