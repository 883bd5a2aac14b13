"""A short run of the simulation; `python -m tests.simulation` is the long one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from engine.streams.steps.partitions import OwnedPartition
from engine.streams.store.ownership import Verdict
from tests.simulation.history import START_MS
from tests.simulation.plan import LIVE_FAULTS, make_plan
from tests.simulation.reference import HOUR, Customer, quiet_until
from tests.simulation.run import Broken, never, run_seed, run_seeds, table
from tests.simulation.virtual import Stuck, run

SEEDS = 100


def test_no_seed_loses_repeats_or_invents_anything() -> None:
    """Whatever goes wrong, what is sent and stored is what the reference says; and everything goes wrong."""
    total = run_seeds(range(SEEDS))
    assert total["seeds"] == SEEDS
    assert SEEDS / 4 < total["on the replay clock"] < 3 * SEEDS / 4
    assert min(total[kind] for kind in LIVE_FAULTS) > 0
    assert total["sent"] > 5 * SEEDS


def test_a_run_says_what_it_did_not_show() -> None:
    """Seeds in which something never happened are not taken for a proof of it."""
    total = Counter({"seeds": 2, "kill": 3})
    assert "stop" in never(total)
    assert "kill" not in never(total)
    assert "kill" in table(total)


def test_a_seed_runs_the_same_way_each_time() -> None:
    """A failing seed can be run again: the plan and all that happens are the seed's."""
    for seed in range(6):
        assert make_plan(seed) == make_plan(seed)
        assert run_seed(seed) == run_seed(seed)


async def _nothing(*_: Any) -> None:
    """Do nothing."""


def _reach_all(owned: OwnedPartition, now_ms: int, _: int | None) -> None:
    """Take everything for read."""
    owned.reached_ms, owned.at_end = now_ms, True


BROKEN: dict[str, tuple[str, Any]] = {
    "decides nothing": ("engine.pipeline.core.Pipeline.run", lambda *_: iter(())),
    "knows no repeats": ("engine.streams.steps.intake.RecentIds.add", lambda *_: True),
    "sets no timers": ("engine.pipeline.walk.Walk._arm", lambda *_: None),
    "takes nothing up again": ("engine.streams.steps.holdings.RECLAIM_AFTER_S", 1e9),
    "forgets ids too early": ("engine.streams.steps.intake.RecentIds.full", property(lambda _: True)),
    "loses what is refused": ("engine.streams.steps.intake.Intake._take_other", lambda *_: None),
    "blames what is due later": ("engine.streams.steps.deciding.Deciding._goes_further", lambda *_: False),
    "judges what is not read yet": ("engine.streams.steps.partitions.OwnedPartition.reach", _reach_all),
    "takes who came meanwhile for new": ("engine.pipeline.core._met_ms", lambda _event, now_ms, _: now_ms),
    "forgets how far it was read": (
        "engine.streams.steps.partitions.OwnedPartition.met_from_ms",
        property(lambda owned: owned.reached_ms),
    ),
    "sleeps too long": ("engine.streams.steps.handler.Handler.next_wakeup_s", lambda _: 60.0),
    "leaves what others have left": ("engine.streams.transactions.relay.Relay.recover", _nothing),
    "looks at no tokens": ("engine.streams.transactions.relay.drop_sent", lambda *_: None),
    "is never fenced": ("engine.streams.store.memory.judge", lambda *_: Verdict.WRITTEN),
}
#: What only shows where several things come together.
SEEDS_OF = {"takes who came meanwhile for new": range(280, 300)}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_engine_is_found_out(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """The laws are no ornament: an engine that breaks them is found out within a few seeds."""
    monkeypatch.setattr(*BROKEN[fault])
    with pytest.raises(Broken, match=r"python -m tests\.simulation --seed"):
        run_seeds(SEEDS_OF.get(fault, range(150)))


def test_virtual_time_passes_without_waiting() -> None:
    """A day on the virtual loop is over at once, and who waits for nobody is told so."""

    async def sleep() -> float:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time()

    assert run(sleep()) == pytest.approx(86_400)
    with pytest.raises(Stuck):
        run(asyncio.Event().wait())


def test_the_reference_knows_quiet_hours() -> None:
    """Quiet hours pass midnight and end at least a minute ahead."""
    noon, late = START_MS, START_MS + 10 * HOUR + 1
    assert quiet_until((22, 6), noon) == 0
    assert quiet_until((22, 6), late) == START_MS + 18 * HOUR
    assert quiet_until((22, 6), START_MS + 18 * HOUR - 1) == START_MS + 18 * HOUR - 1 + 60_000
    assert Customer("c").next_due() == 0
