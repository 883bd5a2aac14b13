"""Which customers' timers are due: from memory, and from the store where memory does not reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from engine.settings import Settings
from engine.streams.steps.holdings import Holdings
from engine.streams.steps.partitions import OwnedPartition
from engine.streams.store.contract import Store

REPLAY_HORIZON_MS = 7 * 86_400_000
# Timers taken into one step, the earliest first. Live, few go along with events, so that no event waits for a
# million timers that are due at once. On the replay clock timers come before the events behind them.
TIMERS_BESIDE_EVENTS, TIMERS_ALONE, TIMERS_REPLAYED = 100, 250, 5_000
UNBOUNDED = 2**31  # the replay clock bounds a step's timers by its span of time instead


class DueTimers:
    """Lists due timers over all partitions of the worker.

    Args:
        settings: horizon of the timers in memory, and which clock.
        store: has all of them.
        holdings: the partitions.
        settle: waits until the store knows every timer decided so far.
    """

    def __init__(
        self, settings: Settings, store: Store, holdings: Holdings, settle: Callable[[], Awaitable[None]]
    ) -> None:
        self._timers = settings.timers
        self._replay = settings.clock == "replay"
        self._store = store
        self._holdings = holdings
        self._settle = settle

    async def of(self, until_ms: Mapping[int, int], limit: int) -> dict[str, int]:
        """List customers with a timer due, earliest first, and their partitions.

        Args:
            until_ms: for each partition, the instant up to which a timer is due.
            limit: most customers listed.
        """
        found: list[tuple[int, str, int]] = []
        for number, until in until_ms.items():
            owned = self._holdings.owned.get(number)
            if owned is None or number in self._holdings.given_up:
                continue
            # live, memory is used up first: the timers of a long stop are then read once, not once a chunk
            if owned.timers.needs_load(until) and (self._replay or not owned.timers.due(until, 1)):
                await self._settle()
                if number in self._holdings.given_up:
                    continue
                await self._load(owned, until)
            found.extend((due_ms, name, number) for name, due_ms in owned.timers.due(until, limit))
        found.sort()
        return {name: number for _, name, number in found[:limit]}

    async def _load(self, owned: OwnedPartition, until_ms: int) -> None:
        """Move the horizon of the timers in memory past `until_ms`, or as far as the bound on them allows."""
        most = UNBOUNDED if self._replay else self._timers.max_loaded
        span_ms = REPLAY_HORIZON_MS if self._replay else self._timers.horizon_s * 1000
        horizon_ms = until_ms + span_ms
        found = await self._holdings.retrying(
            "timers", lambda: self._store.due(owned.number, horizon_ms, most)
        )
        if len(found) >= most:
            horizon_ms = found[-1][1] - 1
        owned.timers.extend(((name.decode(), due_ms) for name, due_ms in found), horizon_ms)
