"""What goes wrong in a simulated deployment: each fault, and how it passes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.simulation.history import HOUR_MS, PARTITIONS
from tests.simulation.plan import settings_of
from tests.simulation.rules import rules_of

if TYPE_CHECKING:
    from tests.simulation.worker import Worker
    from tests.simulation.world import World

LOST_S = 1.0  # of the store, at most
IN_THE_MIDDLE = 0.5  # of the faults that hit a worker wait for one that sends in a transaction
PATIENCE_S = 3600.0
SKEWS_MS = (-HOUR_MS, -1000, 1000, HOUR_MS)


class Faults:
    """Lets things go wrong.

    Args:
        world: the deployment.
        rng: draws how.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self._acts: dict[str, Callable[[], Coroutine[Any, Any, bool]]] = {
            "kill": self._kill,
            "all away": self._all_away,
            "move": self._rebalance,
            "stop": self._stop,
            "roll back": self._roll_back,
            "redis away": self._redis_away,
            "reply lost": self._lose_reply,
            "commit cut": self._cut_commit,
            "kafka fails": self._kafka_fails,
            "kafka refuses": self._kafka_refuses,
            "fetch delayed": self._delay_fetch,
            "clock jump": self._jump,
            "publish": self._publish,
        }

    async def act(self, kind: str) -> None:
        """Let one fault happen and pass; count it if it did happen."""
        if await self._acts[kind]():
            self._world.happened[kind] += 1

    # ---- workers ----------------------------------------------------------------------------------------

    async def _kill(self) -> bool:
        """Kill a worker; the group notices, and after a while there is another one."""
        world = self._world
        worker = await self._sending()
        if not world.workers:
            return False
        await world.end(worker or self._rng.choice(world.workers))
        await asyncio.sleep(self._rng.choice((0.0, 0.1, 3.0, 600.0)))
        world.join()
        world.share_out()
        return True

    async def _all_away(self) -> bool:
        """Kill all workers, and let nobody be there for longer than some deadlines."""
        world, count = self._world, len(self._world.workers)
        for worker in list(world.workers):
            await world.end(worker)
        await asyncio.sleep(self._rng.choice((1800.0, 7200.0, 20_000.0, 90_000.0)))
        for _ in range(count):
            world.join()
        world.share_out()
        return bool(count)

    async def _sending(self) -> Worker | None:
        """Half the time wait for the next transaction, and return who sends it."""
        if self._rng.random() < IN_THE_MIDDLE:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._world.broker.sending.wait()
                    await asyncio.sleep(self._rng.random() * self._rng.choice((0.001, 0.05, 0.5)))
        sending = [each for each in self._world.running() if each.sending]
        return self._rng.choice(sending) if sending else None

    async def _rebalance(self) -> bool:
        """Move a partition, as when a worker comes or goes: away from one and to one, be it the same."""
        world, number = self._world, self._rng.randrange(PARTITIONS)
        before, running = world.owners.get(number), world.running()
        if before is None or before not in running:
            return False
        after = self._rng.choice(running)
        world.owners[number] = after  # nobody else may give it away meanwhile
        gone = before.tell(world.places(number), take=False)
        await world.done(gone, before)
        if after in world.workers and world.owners.get(number) is after:
            after.tell(world.places(number), take=True)
        return True

    async def _stop(self) -> bool:
        """Stop a worker for longer than the group waits; it wakes in the middle of what it did."""
        world, worker = self._world, await self._sending()
        running = world.running()
        if len(running) < 2:
            return False
        worker = worker or self._rng.choice(running)
        worker.link.running.clear()
        await asyncio.sleep(self._rng.random())
        lost = [number for number, owner in world.owners.items() if owner is worker]
        told = [worker.tell(world.places(number), take=False, lost=True) for number in lost]
        for number in lost:
            del world.owners[number]
        world.share_out()
        await asyncio.sleep(self._rng.choice((0.0, 0.05, 1.0, 900.0)))
        worker.link.running.set()
        for order in told:
            await world.done(order, worker)
        world.share_out()
        return True

    async def _jump(self) -> bool:
        """Let a worker's clock be wrong for a while."""
        if not self._world.workers:
            return False
        worker = self._rng.choice(self._world.workers)
        worker.skew_ms = self._rng.choice(SKEWS_MS)
        worker.poked.set()
        await asyncio.sleep(self._rng.choice((0.1, 60.0, 1800.0, 18_000.0)))
        worker.skew_ms = 0
        worker.poked.set()
        return True

    async def _publish(self) -> bool:
        """Publish rules: each worker goes over when it has them ready."""
        world = self._world
        if world.published:
            return False
        world.published = True
        rules = rules_of(settings_of(replay=False, published=True))
        for worker in world.workers:
            asyncio.get_running_loop().call_later(self._rng.random(), worker.publish, rules)
        return True

    # ---- the store --------------------------------------------------------------------------------------

    async def _roll_back(self) -> bool:
        """Let the store lose up to a second of its writes, soon after one of them."""
        world = self._world
        world.committed.clear()
        try:
            async with asyncio.timeout(self._rng.choice((0.0, 3600.0))):
                await world.committed.wait()
            await asyncio.sleep(self._rng.random() * LOST_S)
        except TimeoutError:
            pass
        return world.roll_back(self._rng)

    async def _redis_away(self) -> bool:
        self._world.server.down = True
        await asyncio.sleep(self._rng.choice((0.01, 0.5, 5.0)))
        self._world.server.down = False
        return True

    async def _lose_reply(self) -> bool:
        self._world.server.lose_reply = True
        return True

    async def _cut_commit(self) -> bool:
        self._world.server.cut_after = self._rng.choice((0, 1, 1, 2))
        return True

    # ---- Kafka ------------------------------------------------------------------------------------------

    async def _kafka_fails(self) -> bool:
        self._world.broker.failures += self._rng.randint(1, 4)
        return True

    async def _kafka_refuses(self) -> bool:
        self._world.broker.refusals += 1
        return True

    async def _delay_fetch(self) -> bool:
        """Let the records of a partition, or of one topic of it, come late, behind those of the others."""
        world = self._world
        late = sorted(world.places(self._rng.randrange(PARTITIONS)))
        late = self._rng.choice((late, [self._rng.choice(late)]))
        world.hidden.update(late)
        await asyncio.sleep(self._rng.choice((0.5, 5.0, 600.0, 7200.0)))
        world.hidden.difference_update(late)
        world.poke()
        return True
