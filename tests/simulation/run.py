"""Runs seeds, one after the other; a failing one says how to run it again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

import structlog

from engine.pipeline.core import Pipeline
from tests.simulation.laws import check
from tests.simulation.plan import make_plan
from tests.simulation.virtual import run
from tests.simulation.world import World

_PIPELINES: list[Pipeline] = []  # compiled once in a process


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
    orphans = check(result)
    found = Counter(result.happened)
    found["seeds"] = 1
    found["on the replay clock"] = int(result.plan.replay)
    found["records"] = sum(map(len, result.log.values()))
    found["sent"] = sum(topic.startswith("engage.actions.") for topic, *_ in result.broker.records)
    found["sent by lost steps only"] = orphans
    return found
