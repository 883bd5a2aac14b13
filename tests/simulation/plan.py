"""What a seed says: how the deployment is made, what comes to it, and what goes wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.link_settings import KafkaSettings
from engine.settings import (
    CacheSettings,
    IdSettings,
    PolicySettings,
    RuleSettings,
    Settings,
    TimerSettings,
    TopicSettings,
)
from tests.simulation.history import HOUR_MS, PARTITIONS, Arrival, make_arrivals

FOLDER = Path(__file__).parent
FAULTS = (
    "kill",
    "kill",
    "move",
    "move",
    "stop",
    "stop",
    "stop",
    "roll back",
    "roll back",
    "redis away",
    "reply lost",
    "commit cut",
    "kafka fails",
    "kafka refuses",
    "fetch delayed",
)
# a log's outcome follows none of these
LIVE_FAULTS = (*FAULTS, "clock jump", "clock jump", "publish", "publish", "all away", "all away", "all away")
REPLAY_S = 4.0  # during which the log of the replay clock comes in
MOMENTS_MS = (
    0,
    HOUR_MS // 2,
    2 * HOUR_MS,
    3 * HOUR_MS,
    5 * HOUR_MS,
    8 * HOUR_MS,
)  # after an event, journeys go on


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed says.

    Args:
        seed: the seed.
        replay: which clock.
        workers: how many there are.
        ahead_from: `Handler.ahead_from`.
        cached: customers a worker keeps in memory.
        remembered: ids of events a partition remembers, at least.
        faults: what goes wrong, and when, s.
        arrivals: what comes to the broker.
        transactions: whether actions are written in transactions.
    """

    seed: int
    replay: bool
    workers: int
    ahead_from: int
    cached: int
    remembered: int
    faults: list[tuple[float, str]]
    arrivals: list[Arrival]
    transactions: bool


def make_plan(seed: int) -> Plan:
    """Draw everything that is drawn before the run."""
    rng = random.Random(seed)
    replay = rng.random() < 0.5
    arrivals = make_arrivals(rng, settings_of(replay=replay).event_topics())
    count = rng.choice((0, 1, 2, 4, 8))
    kinds = FAULTS if replay else LIVE_FAULTS
    faults = sorted((_moment(rng, arrivals, replay=replay), rng.choice(kinds)) for _ in range(count))
    return Plan(
        seed=seed,
        replay=replay,
        workers=rng.choice((1, 2, 2, 3)),
        ahead_from=rng.choice((1, 1, 3, 200)),
        cached=rng.choice((0, 6, 1000)),
        remembered=rng.choice((2, 5, 1000)),
        faults=faults,
        arrivals=arrivals,
        transactions=rng.random() < 0.4,
    )


def _moment(rng: random.Random, arrivals: list[Arrival], *, replay: bool) -> float:
    """Draw when a fault comes, s; live, near an instant at which there is something to do."""
    if replay:
        return rng.random() * REPLAY_S
    at_ms = rng.choice(arrivals).at_ms + rng.choice(MOMENTS_MS)
    return max(
        0.0, at_ms / 1000 + rng.choice((-1.0, 0.0, 0.0, 0.01)) + rng.random() * rng.choice((0.01, 0.1, 1))
    )


@cache
def settings_of(
    *,
    replay: bool,
    cached: int = 0,
    remembered: int = 1000,
    published: bool = False,
    transactions: bool = False,
) -> Settings:
    """Return the deployment's settings, before or after a publication."""
    folders = ["journeys", "published"] if published else ["journeys"]
    return Settings(
        clock="replay" if replay else "live",
        kafka=KafkaSettings(transactions="yes" if transactions else "no"),
        rules=RuleSettings(paths=[str(FOLDER / folder) for folder in folders]),
        policy=PolicySettings(path=str(FOLDER / "policy.yaml")),
        topics=TopicSettings(partitions=PARTITIONS),
        global_cap=["3 per 6h"],
        cache=CacheSettings(customers=cached),
        ids=IdSettings(remembered=remembered),
        timers=TimerSettings(horizon_s=12 * 3600),
    )
