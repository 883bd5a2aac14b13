"""On the replay clock the outcome is a function of the log, whatever happens to the worker."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from engine.demo.data import build_log
from engine.settings import CacheSettings, IdSettings, Settings
from engine.streams.store_memory import MemoryServer
from tests.streams.replay import Log, Tap, replay, write_log

# Few remembered ids, so that their generations turn over many times within the log.
SETTINGS = Settings(clock="replay", ids=IdSettings(remembered=300))
PARTITIONS = 2


def outcome(server: MemoryServer, tap: Tap) -> tuple[dict[int, Any], dict[str, bytes]]:
    """Return everything stored, and every action and decision by id."""
    sent: dict[str, bytes] = {}
    for topic, _, value, _ in tap.records:
        if topic.startswith("engage.actions.") or topic == "engage.decisions":
            assert value is not None
            name = msgspec.json.decode(value)["id"]
            assert sent.setdefault(name, value) == value, "a repeated id must be the same to the byte"
    stored = {
        number: (part.states, part.timers, part.offsets, part.clock_ms, part.fields, part.current_ids)
        for number, part in server.dump().items()
    }
    return stored, sent


@pytest.fixture(scope="module")
def log() -> Log:
    """A year and a half of some customers."""
    events = list(build_log(seed=7, customers=60).events())
    assert len(events) > 800
    return write_log(SETTINGS, events, PARTITIONS)


async def test_batches_and_crashes_change_nothing(log: Log) -> None:
    """Batch sizes, interleavings and lost memories leave the same state bytes and the same action ids."""
    expected = outcome(*await replay(SETTINGS, log, seed=0, most=10_000))
    assert len(expected[1]) > 100
    for seed, most, crashes in ((1, 3, 0), (2, 40, 12), (3, 400, 5)):
        found = outcome(*await replay(SETTINGS, log, seed=seed, most=most, crashes=crashes))
        assert found[1].keys() == expected[1].keys()
        assert found == expected


@pytest.mark.parametrize("customers", [200_000, 2], ids=["all cached", "hardly any cached"])
async def test_working_ahead_changes_nothing(log: Log, customers: int) -> None:
    """Deciding the next step while the last becomes durable, through kills and a Redis that forgets."""
    settings = msgspec.structs.replace(SETTINGS, cache=CacheSettings(customers=customers))
    expected = outcome(*await replay(SETTINGS, log, seed=0, most=10_000))
    for seed, most, crashes, rollbacks in ((1, 5, 0, 0), (2, 40, 12, 0), (12, 5, 0, 12), (8, 5, 12, 12)):
        found = outcome(
            *await replay(
                settings, log, seed=seed, most=most, crashes=crashes, rollbacks=rollbacks, ahead=True
            )
        )
        assert found == expected
