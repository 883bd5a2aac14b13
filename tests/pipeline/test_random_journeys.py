"""Random journeys of every kind in random histories: no guard is broken, and no cut changes anything."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipeline.checker import Checker
from tests.pipeline.histories import World, random_deployment, random_history

seeds = st.integers(0, 2**32)


def check_groups(world: World) -> None:
    """Assert that of an exclusion group a customer is inside one journey at most."""
    for state in world.states.values():
        inside: dict[str, set[str]] = {}
        for position in state.profile.positions:
            journey = world.pipeline.rules.by_name[position.journey, position.version]
            inside.setdefault(journey.exclusion_group, set()).add(journey.name)
        inside.pop("", None)
        assert all(len(names) == 1 for names in inside.values()), "exclusion group"


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_no_guard_is_broken_by_any_journey(seed: int) -> None:
    """Consent, suppression, caps, policy, hours, groups and limits hold, whatever the journeys do."""
    rng = random.Random(seed)
    deployment, rows = random_deployment(rng), random_history(rng, 60)
    world = World(deployment.pipeline())
    world.live(rows, [rng.choice((1, 7))], check_groups)
    Checker(deployment, rows, world).check()


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_cuts_change_nothing_for_any_journey(seed: int) -> None:
    """One row at a time, any sizes, or all at once: the same actions, decisions and stored bytes."""
    rng = random.Random(seed)
    deployment, rows = random_deployment(rng), random_history(rng, 50, erasures=True)
    one = World(deployment.pipeline())
    one.live(rows, [1])
    for sizes in ([rng.randint(1, 20) for _ in range(5)], [len(rows)]):
        other = World(deployment.pipeline())
        other.live(rows, sizes)
        assert other.stored() == one.stored()
        assert other.told() == one.told()


def test_the_histories_are_eventful() -> None:
    """Random journeys send, wait, convert, exit and are held back by every guard: the laws say something."""
    outcomes, guards = Counter[str](), Counter[str]()
    for seed in range(40):
        rng = random.Random(seed)
        deployment, rows = random_deployment(rng), random_history(rng, 60)
        world = World(deployment.pipeline())
        world.live(rows, [20])
        outcomes.update(each.outcome for each in world.decisions)
        guards.update(each.reason.guard for each in world.decisions)
    assert min(outcomes[each] for each in ("fired", "entered", "completed", "exited", "converted")) > 5
    judged = (
        "consent", "suppression", "cap", "policy", "global_cap", "quiet_hours", "send_window", "rate_limit",
        "exclusion_group", "entry_cap", "control_group", "holdout", "trait", "exit",
    )  # fmt: skip
    assert len(guards.keys() & set(judged)) >= len(judged) - 2, guards
