"""Runs a Faust app until somebody stops it or it crashes; the last batch is finished and committed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any

from engine.streams.transport import EngageApp


async def run(
    app: EngageApp,
    stop: asyncio.Event | None = None,
    ready: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Run the app until SIGTERM, SIGINT or `stop`; the last batch is finished and committed.

    Args:
        app: from `create_app`.
        stop: stops the app when set, besides the signals.
        ready: what must be waited for before the group is joined.

    Raises:
        BaseException: what made the app crash, as it was raised.
    """
    stop = stop or asyncio.Event()
    with _signals(asyncio.get_running_loop(), stop):
        if ready is None or await _before(stop, ready()):
            await _run(app, stop)


async def _before(stop: asyncio.Event, work: Awaitable[None]) -> bool:
    """Wait for work to be done; return False when a stop comes first."""
    working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        working.result()
    for each in (working, stopped):
        each.cancel()
    await asyncio.gather(working, stopped, return_exceptions=True)
    return not stop.is_set()


async def _run(app: EngageApp, stop: asyncio.Event) -> None:
    # Faust's start returns only after the first assignment, so it runs beside.
    starting = asyncio.ensure_future(app.start())
    waits = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(app.wait_until_stopped())]
    try:
        pending = {starting, *waits}
        while not any(wait.done() for wait in waits) and not _failed(starting):
            await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            pending.discard(starting)
    finally:
        for wait in waits:
            wait.cancel()
        await app.stop()
        starting.cancel()
        await asyncio.gather(starting, *waits, return_exceptions=True)
    if app.crash_reason is not None:
        raise app.crash_reason
    if _failed(starting):
        starting.result()


def _failed(task: asyncio.Future[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> Any:
    """SIGTERM and SIGINT set `stop`; only the main thread can have them."""
    taken = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, RuntimeError):
            loop.add_signal_handler(number, stop.set)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
