"""Loads the customers of a step: from memory where they are, the others by one read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from engine.events import Family
from engine.features.state import CustomerState, unpack
from engine.settings import Settings
from engine.streams.steps.answers import answers_s
from engine.streams.steps.finishing import Finishing
from engine.streams.steps.holdings import Holdings
from engine.streams.steps.intake import Step
from engine.streams.steps.tally import Tally
from engine.streams.store.contract import PartitionFenced, StateRolledBack, Store


class Loading:
    """The way of customers' states into memory.

    Args:
        settings: how many customers are kept in memory.
        store: has all of them.
        holdings: the partitions.
        tally: counts what was found in memory.
        finishing: the step before, whose customers stay in memory until it is durable.
    """

    def __init__(
        self, settings: Settings, store: Store, holdings: Holdings, tally: Tally, finishing: Finishing
    ) -> None:
        self._cached = settings.cache.customers
        self._service = settings.event_topics()[Family.SERVICE]
        self._store = store
        self._holdings = holdings
        self._tally = tally
        self._finishing = finishing

    async def held(
        self, step: Step, timers: Mapping[str, int]
    ) -> tuple[Step, Mapping[str, int], dict[str, CustomerState]]:
        """Load the states; what is left of the step and the timers without partitions given up meanwhile.

        Args:
            step: what is to be worked on.
            timers: customers with a timer due, and their partitions.

        Returns:
            step, timers, and the state of each of their customers.
        """
        while True:
            if gone := self._holdings.given_up:
                step = step.without(gone)
                timers = {name: number for name, number in timers.items() if number not in gone}
            try:
                states = await self._load(step, timers)
            except (PartitionFenced, StateRolledBack) as error:
                await self._finishing.settle(error)
            else:
                if any(topic == self._service for topic, _ in step.offsets):
                    step.answers_s = answers_s(step.events, states)
                return step, timers, states

    async def _load(self, step: Step, timers: Mapping[str, int]) -> dict[str, CustomerState]:
        """Return the state of every customer of the step, from the cache or by one read."""
        states: dict[str, CustomerState] = {}
        missing: dict[int, dict[str, None]] = {}
        cached = {number: owned.states for number, owned in self._holdings.owned.items()}
        for owned in self._holdings.owned.values():
            owned.evict(self._cached // len(cached), self._finishing.busy)
        of_events = [(row.event.customer_id, row.partition) for row in step.events]
        for name, number in chain(of_events, timers.items()):
            if name not in states:
                state = cached[number].get(name)
                if state is None:
                    missing.setdefault(number, {})[name] = None
                else:
                    states[name] = state
        missed = 0
        if missing:
            keys = {number: [name.encode() for name in names] for number, names in missing.items()}
            found = await self._holdings.retrying("load", lambda: self._store.load(keys))
            for number, names in missing.items():
                cache = cached[number]
                missed += len(names)
                for name, data in zip(names, found[number], strict=True):
                    state = CustomerState(name) if data is None else unpack(name, data)
                    states[name] = cache[name] = state
        self._tally.cache(len(states), missed)
        return states
