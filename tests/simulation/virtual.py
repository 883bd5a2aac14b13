"""An event loop on which waiting takes no time, and in which the same program always runs the same way."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stuck(AssertionError):  # noqa: N818 - what the program is
    """Nothing is left that could ever happen, and the program has not ended."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it; `time()` begins at 0."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        """Virtual time, s."""
        return self._now_s

    def jump(self, wait_s: float) -> None:
        """Let time pass."""
        self._now_s += wait_s


class _Jump(selectors.SelectSelector):
    """A selector that hears of nothing, and lets time pass instead of waiting."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return at once; virtual time has passed."""
        if timeout is None:
            raise Stuck("everybody waits for somebody else")
        if timeout > 0:
            self._loop.jump(timeout)
        return []


def run(program: Coroutine[Any, Any, T]) -> T:
    """Run a program to its end on a loop of its own."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(program)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
