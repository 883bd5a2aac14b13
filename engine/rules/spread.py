"""Work on many things in several processes: checking a thousand files keeps every core busy."""

from __future__ import annotations

import multiprocessing as mp
import os
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
        work: gives results that can be pickled.
        items: to work on.
        processes: how many work on them, this one among them. What one that dies leaves undone is done here.

    Returns:
        The results in the order of the items.
    """
    shares = [items[number::processes] for number in range(processes)]
    context = mp.get_context("fork")  # the others begin with all that was read and imported here
    receivers: list[Connection] = []
    helpers = []
    for share in shares[1:]:
        receiver, sender = context.Pipe(duplex=False)
        helper = context.Process(target=_work_there, args=(work, share, sender), daemon=True)
        with warnings.catch_warnings():
            # the threads that Python warns of are those of numpy's linear algebra, idle and made for forks
            warnings.simplefilter("ignore", DeprecationWarning)
            helper.start()
        sender.close()
        receivers.append(receiver)
        helpers.append(helper)
    done = [[work(item) for item in shares[0]]]
    for share, receiver, helper in zip(shares[1:], receivers, helpers, strict=True):
        done.append(_received(receiver) or [work(item) for item in share])
        helper.join()
    return [done[at % processes][at // processes] for at in range(len(items))]


def _work_there(work: Callable[[Item], Result], share: Sequence[Item], sender: Connection) -> None:
    sender.send([work(item) for item in share])


def _received(receiver: Connection) -> list[Result] | None:
    """Return what another process has found, or None when it died before."""
    with receiver:
        try:
            found: list[Result] = receiver.recv()
        except EOFError:
            return None
    return found
