"""Work on many things in several processes: checking a thousand files keeps every core busy."""

from __future__ import annotations

import gc
import multiprocessing as mp
import os
import pickle
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_PARTS: Final = 60
"""Parts a process does of equal ones; all tickets for them fit a pipe."""
_TICKET: Final = struct.Struct("<I")
_PROTOCOL: Final = pickle.HIGHEST_PROTOCOL


def processes_for(items: int, *, worth: int, most: int = 8) -> int:
    """Return how many processes are worth starting: one where the system cannot fork, or for few items.

    Args:
        items: how many there are.
        worth: fewer items than this are quicker done than a process is started for them.
        most: bound on the processes.
    """
    if "fork" not in mp.get_all_start_methods():
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), items // worth, most))


def spread(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> list[Result]:
    """Apply a function to every item; only for programs that have no threads of their own.

    Args:
        work: gives results that can be pickled, and leaves no cycles that hold much.
        items: to work on.
        processes: how many work on them, this one among them. What one that dies leaves undone is done here.

    Returns:
        The results in the order of the items.
    """
    with _without_collections():
        if processes == 1:
            return [work(item) for item in items]
        context = mp.get_context("fork")  # the others begin with all that was read and imported here
        # Whoever is done takes what is next: cores that others use too are not equally fast.
        size = -(-len(items) // (processes * _PARTS)) or 1
        parts = _Parts(items, size)
        receivers: list[Connection] = []
        helpers = []
        for _ in range(processes - 1):
            receiver, sender = context.Pipe(duplex=False)
            helper = context.Process(target=_work_there, args=(work, parts, sender), daemon=True)
            with warnings.catch_warnings():
                # the threads that Python warns of are those of numpy's linear algebra, idle, made for forks
                warnings.simplefilter("ignore", DeprecationWarning)
                helper.start()
            sender.close()
            receivers.append(receiver)
            helpers.append(helper)
        done = {start: parts.worked(work, start) for start in parts.taken()}
        for receiver, helper in zip(receivers, helpers, strict=True):
            done.update(_received(receiver))
            helper.join()
        in_order = [done[start] if start in done else parts.worked(work, start) for start in parts.starts]
    return [each for part in in_order for each in part]


class _Parts(Generic[Item]):
    """Items in parts that processes take in turn, by way of a pipe: none that dies can hold the others up."""

    def __init__(self, items: Sequence[Item], size: int) -> None:
        self.starts = range(0, len(items), size)
        self._items = items
        self._tickets, tickets = os.pipe()
        os.write(tickets, b"".join(_TICKET.pack(start) for start in self.starts))
        os.close(tickets)

    def taken(self) -> Iterator[int]:
        """Yield where the parts begin that this process takes."""
        while ticket := os.read(self._tickets, _TICKET.size):
            yield _TICKET.unpack(ticket)[0]
        os.close(self._tickets)

    def worked(self, work: Callable[[Item], Result], start: int) -> list[Result]:
        """Return what came of one part."""
        return [work(item) for item in self._items[start : start + self.starts.step]]


def _work_there(work: Callable[[Item], Result], parts: _Parts[Item], sender: Connection) -> None:
    # pickled part by part, so that it is done while the others still work
    found = [pickle.dumps((start, parts.worked(work, start)), _PROTOCOL) for start in parts.taken()]
    sender.send_bytes(pickle.dumps(found, _PROTOCOL))


def _received(receiver: Connection) -> dict[int, Any]:
    """Return the parts another process has worked on; none when it died before."""
    with receiver:
        try:
            parts: list[bytes] = pickle.loads(receiver.recv_bytes())  # noqa: S301 - from a fork of this process
        except EOFError:
            return {}
    return dict(pickle.loads(part) for part in parts)  # noqa: S301


@contextmanager
def _without_collections() -> Iterator[None]:
    """Let Python not look for cycles: what is made here are many objects that stay."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
