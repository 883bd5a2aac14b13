"""Arming customers who do nothing, after rules brought deadlines nobody has a timer for.

A customer's timer is set when something happens to them. For an `absent`, `schedule` or `unanswered` entry
that is new, each partition's owner therefore walks over its customers once and lets each have a row of its
own: it fires nothing that lies behind, it only sets the timer anew. What a partition is armed for is stored
with it; a walk that is interrupted begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping

import structlog

from engine.errors import TransientError
from engine.features.state import CustomerState
from engine.rules.ruleset import RuleSet
from engine.streams.steps.holdings import Holdings
from engine.streams.steps.partitions import OwnedPartition
from engine.streams.store.contract import Store

log = structlog.get_logger(__name__)

PER_S = 500  # customers armed a second
AT_ONCE = 50
_AHEAD = 1_000  # ids read ahead of the rows
_LOOK_EVERY_S = 0.2


class Arming:
    """Walks over the customers of partitions whose deadlines are not armed.

    Args:
        store: has the customers.
        holdings: the partitions.
        rules: the rules in use.
    """

    def __init__(self, store: Store, holdings: Holdings, rules: Callable[[], RuleSet]) -> None:
        self._store = store
        self._holdings = holdings
        self._rules = rules
        self._found: deque[str] = deque()
        self._walked: OwnedPartition | None = None
        self._done = False
        self._for: frozenset[str] = frozenset()
        self._next_ms = 0

    @property
    def ready(self) -> bool:
        """Whether there are customers that may be armed, or a walk to close."""
        walked = self._walked
        return bool(walked is not None and walked.reached_ms) if self._found else self._done

    def due_ms(self) -> int:
        """Return when the next customers may be armed."""
        return self._next_ms

    def take(self, now_ms: int) -> dict[str, int]:
        """Return customers to give a row now, and their partition."""
        walked = self._walked
        if walked is None or now_ms < self._next_ms or not self._owns(walked) or not walked.reached_ms:
            return {}
        self._next_ms = now_ms + AT_ONCE * 1000 // PER_S
        names = [self._found.popleft() for _ in range(min(AT_ONCE, len(self._found)))]
        return dict.fromkeys(names, walked.number)

    def finished(self) -> OwnedPartition | None:
        """Return the partition whose customers have all been armed, once."""
        walked = self._walked
        if walked is None or not self._done or self._found:
            return None
        self._walked, self._done = None, False
        if not self._owns(walked):
            return None
        walked.armed = self._for
        return walked

    async def run(self) -> None:
        """Look for partitions that are not armed for the rules, and walk over their customers; never ends."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._walked is not None and self._owns(self._walked):
                continue
            triggers = self._rules().triggers
            missing = (each for each in self._holdings.owned.values() if not triggers <= each.armed)
            owned = next(missing, None)
            if owned is not None:
                await self._walk(owned, triggers)

    async def _walk(self, owned: OwnedPartition, triggers: frozenset[str]) -> None:
        self._walked, self._for, self._done = owned, triggers, False
        self._found.clear()
        count = 0
        with contextlib.suppress(TransientError):
            async for customer in self._store.customers(owned.number):
                self._found.append(customer.decode())
                count += 1
                while len(self._found) >= _AHEAD and self._owns(owned):  # noqa: ASYNC110 - two conditions
                    await asyncio.sleep(_LOOK_EVERY_S)
                if not self._owns(owned):
                    break
            else:
                self._done = True
                log.info("arming customers", partition=owned.number, customers=count)
                return
        self._found.clear()
        self._walked = None

    def _owns(self, owned: OwnedPartition) -> bool:
        return self._holdings.owned.get(owned.number) is owned


def wake(
    states: Mapping[str, CustomerState], names: Mapping[str, int], reached_ms: Mapping[int, int]
) -> None:
    """Let customers have a row now that sets their timer; nothing that lies behind fires at it.

    Args:
        states: changed in memory; the row makes it durable.
        names: whom, and their partition; one whose timer is due anyway is left alone.
        reached_ms: up to which instant deadlines are judged, by partition.
    """
    for name, number in names.items():
        state, at_ms = states[name], reached_ms[number]
        if state.clock_ms and not 0 < state.due_ms <= at_ms:
            state.due_ms, state.clock_ms = at_ms, max(at_ms, state.clock_ms)
