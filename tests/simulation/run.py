"""Runs seeds, one after the other; a failing one says how to run it again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

import structlog

from engine.events import DeadLetterReason
from engine.pipeline.core import Pipeline
from tests.simulation.laws import check
from tests.simulation.plan import LIVE_FAULTS, make_plan
from tests.simulation.servers import is_action
from tests.simulation.virtual import run
from tests.simulation.world import COUNTED, World

_PIPELINES: list[Pipeline] = []  # compiled once in a process


#: What has to happen within a thousand seeds, or they show less than they seem to.
EXPECTED = (
    *dict.fromkeys(LIVE_FAULTS),
    *(f"dead letter: {reason}" for reason in DeadLetterReason),
    *COUNTED.values(),
    "on the replay clock",
    "in transactions",
    "seen: taken up again",
    "counted again, forgotten",
    "deadlines held back",
    "met late",
    "suppressed: cap",
    "suppressed: global_cap",
    "suppressed: consent",
    "deferred: quiet_hours",
    "tried again: acquire",
    "tried again: load",
    "tried again: timers",
    "tried again: commit",
    "tried again: produce",
    "seen: outboxes sent for others",
)


def never(total: Counter[str]) -> list[str]:
    """Return what never happened although it should have.

    Args:
        total: what happened in some thousand seeds.
    """
    return [name for name in EXPECTED if not total[name]]


def table(total: Counter[str]) -> str:
    """Lay out what happened, a line each, in all and for a hundred seeds."""
    names = sorted(total.keys() | set(EXPECTED))
    lines = [f"{name:40} {total[name]:>12,} {100 * total[name] / total['seeds']:>10.1f}" for name in names]
    return "\n".join([f"{'':40} {'in all':>12} {'100 seeds':>10}", *lines])


class Broken(AssertionError):  # noqa: N818 - what the law is
    """A law does not hold at a seed."""


def run_seeds(seeds: Iterable[int]) -> Counter[str]:
    """Run seeds.

    Args:
        seeds: which ones.

    Returns:
        what happened, by name, over all of them.

    Raises:
        Broken: at the first seed at which a law does not hold.
    """
    before = structlog.get_config()
    # of each fault the engine tells, a hundred thousand times
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    total = Counter[str]()
    try:
        for seed in seeds:
            try:
                total += run_seed(seed)
            except Exception as error:
                raise Broken(f"seed {seed} (python -m tests.simulation --seed {seed}): {error}") from error
    finally:
        structlog.configure(**before)
    return total


def run_seed(seed: int) -> Counter[str]:
    """Run one seed; returns and raises as `run_seeds`, but the error is the law's own."""
    result = run(World(make_plan(seed), _PIPELINES).run())
    found = check(result) + Counter(result.happened)
    found["seeds"] = 1
    found["on the replay clock"] = int(result.plan.replay)
    found["in transactions"] = int(result.plan.transactions)
    found["records"] = sum(map(len, result.log.values()))
    found["sent"] = sum(is_action(topic) for topic, *_ in result.broker.records)
    return found
