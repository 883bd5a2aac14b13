"""Random journeys, published, staged, migrated, paused and rolled back amid random lives of customers."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.actions import Outcome
from engine.rules.publishing.bundle import BundleCompiler
from engine.rules.publishing.publication import Pause, Resume, Stage, open_contents
from engine.rules.publishing.refused import Refused
from engine.rules.publishing.requests import release_of
from engine.rules.release import OUT, OUT_PC, moved, standing
from engine.rules.ruleset import RuleSet
from engine.settings import Settings
from engine.streams.wiring import pipeline_of
from tests.pipeline.histories import DAY, DEFINITIONS, VOCABULARY, World, random_history, rule_set
from tests.rules.publishing.desk import Desk
from tests.rules.random_journeys import Data, random_journey
from tests.rules.random_layout import write_yaml

NAMES = ("j0", "j1", "j2")
Runs = set[tuple[str, str, str, str]]


def simple(rng: random.Random, name: str) -> Data:
    """Think up a journey that many enter and that keeps them for a while."""
    journey = random_journey(rng, name)
    while not isinstance(journey["entry"]["on"], str):
        journey = random_journey(rng, name)
    journey.pop("guards", None)
    journey["entry"] = {key: value for key, value in journey["entry"].items() if key in ("on", "per")}
    journey["entry"]["reentry"] = "always"
    last = [{"wait": "1h"}, {"send": "push", "template": "t0"}]
    return {**journey, "steps": [*journey["steps"], *last]}


class Author:
    """Publishes journeys of these names and changes them again and again.

    Args:
        rng: where the choices come from.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.desk = Desk()
        self.desk.compiler = BundleCompiler(VOCABULARY)
        self.journeys: dict[str, Data] = {name: simple(rng, name) for name in NAMES}
        self.done: Counter[str] = Counter()
        self.desk.publish(*self.texts())

    def texts(self) -> list[str]:
        """Return the journeys as files; a journey may be left out."""
        return [write_yaml(self.rng, data) for data in self.journeys.values()]

    def rules(self) -> RuleSet:
        """Return what is live, as a worker runs it."""
        found = self.desk.found
        assert found.live is not None
        contents = open_contents(found.live.record)
        compiled = self.desk.compiled(contents)
        version, share = found.live.publish.version, found.live.share
        release = release_of(contents, compiled, version=version, share=share, paused=found.paused)
        return rule_set(list(compiled.values()), release)

    def operate(self) -> None:
        """Do anything an author can do; what is refused changes nothing."""
        what = self.rng.choice(
            ("publish", "publish", "migrate", "migrate", "stage", "rollback", "pause", "resume")
        )
        try:
            getattr(self, f"_{what}")()
        except Refused:
            what = "refused"
        self.done[what] += 1

    def _publish(self) -> None:
        self._change()
        self.desk.publish(*self.texts(), share=self.rng.choice((0.3, 1.0, 1.0, 1.0)))

    def _migrate(self) -> None:
        name = self._change()
        compiled = [each for each in self.rules().journeys if each.name == name]
        leave = self.rng.random() < 0.7
        steps = {path: OUT for each in compiled for path in standing(each) if leave}
        self.desk.publish(*self.texts(), migrate={name: steps})

    def _change(self) -> str:
        name = self.rng.choice(NAMES)
        before = self.journeys.get(name) or simple(self.rng, name)
        extra = {"send": "email", "template": f"t{self.rng.randrange(99)}"}
        changed: Data = {
            **before,
            "steps": self.rng.choice(([extra, *before["steps"]], [*before["steps"], extra])),
        }
        self.journeys[name] = self.rng.choice((changed, changed, simple(self.rng, name)))
        if self.rng.random() < 0.1:
            del self.journeys[name]
        return name

    def _stage(self) -> None:
        live = self.desk.found.live
        assert live is not None
        self.desk.append(Stage(version=live.publish.version, share=1.0, author="a", time_ms=0))

    def _rollback(self) -> None:
        self.desk.rollback(self.rng.choice(sorted(self.desk.found.versions)))

    def _pause(self) -> None:
        self.desk.append(Pause(journey=self.rng.choice(NAMES), author="a", time_ms=0))

    def _resume(self) -> None:
        self.desk.append(Resume(journey=self.rng.choice(NAMES), author="a", time_ms=0))


def switch(world: World, rules: RuleSet) -> None:
    """Let a world go on with other rules, as a worker does between two steps."""
    world.pipeline.switch(pipeline_of(Settings(clock="replay"), DEFINITIONS, rules))
    for state in world.states.values():
        state.journey_due_ms = -1


def runs_of(world: World) -> Runs:
    """Return every run somebody is inside of."""
    return {
        (name, each.journey, each.instance, each.event_id)
        for name, state in world.states.items()
        for each in state.profile.positions
    }


def check_positions(world: World) -> None:
    """Assert that each position stands where one can stand, or is led there, or belongs to what is gone."""
    rules = world.pipeline.rules
    for state in world.states.values():
        for position in state.profile.positions:
            at = [(position.version, position.pc)]
            at += moved(rules.release.moves, position.journey, *at[0])
            version, pc = at[-1]
            journey = rules.by_name.get((position.journey, version))
            assert journey is None or pc == OUT_PC or pc in standing(journey).values(), position
            assert 0 < state.due_ms <= position.due_ms, "its timer is set"


def check_ends(before: Runs, world: World, first: int) -> None:
    """Assert that no run has gone without a word."""
    over = {
        (each.customer_id, each.journey, each.event_id)
        for each in world.decisions[first:]
        if each.outcome in (Outcome.COMPLETED, Outcome.EXITED)
    }
    gone = {(name, journey, event_id) for name, journey, _, event_id in before - runs_of(world)}
    assert gone <= over


def live_through(seed: int, rows: int = 50) -> tuple[World, Author]:
    """Let customers live while an author publishes; check after each step."""
    rng = random.Random(seed)
    author, history = Author(rng), random_history(rng, rows)
    world = World(pipeline_of(Settings(clock="replay"), DEFINITIONS, author.rules()))
    while history:
        size = rng.randint(1, 12)
        taken, history = history[:size], history[size:]
        before, first = runs_of(world), len(world.decisions)
        world.step(taken, taken[-1].now_ms)
        check_ends(before, world, first)
        author.operate()
        switch(world, author.rules())
        check_positions(world)
    before, first = runs_of(world), len(world.decisions)
    world.step([], taken[-1].now_ms + 60 * DAY)
    check_ends(before, world, first)
    check_positions(world)
    return world, author


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_is_published_no_run_is_lost(seed: int) -> None:
    """At any point of any history publications leave positions valid, and no run ends without a decision."""
    live_through(seed)


def test_authors_do_everything_and_customers_feel_it() -> None:
    """Every operation comes about, and runs end because they are moved out or wait for want of a resume."""
    done, guards = Counter[str](), Counter[str]()
    for seed in range(8):
        world, author = live_through(seed)
        done += author.done
        guards.update(each.reason.guard for each in world.decisions)
    assert {"publish", "migrate", "stage", "rollback", "pause", "resume", "refused"} <= done.keys()
    assert guards["version"] > 0 < guards["paused"], guards
