"""What the demo's screen shows: one immutable value, gathered from the worker, the feeder and the topics."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import msgspec

from engine.actions import Action, Decision, Outcome
from engine.demo.feed import Progress
from engine.features.churn.snapshot import Snapshot
from engine.rules.goals import HELD_OUT, TREATED


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Engine latency over the last seconds; None before the first batch.

    Args:
        p50: median, ms.
        p99: 99th percentile, ms.
    """

    p50: float | None = None
    p99: float | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The worker's page `/status`, as far as the screen shows it (see `engine.streams.health`)."""

    clock_ms: int = 0
    ready: bool = False
    obstacles: list[str] = []
    events_total: int = 0
    events_per_s: float = 0.0
    latency_ms: Latency = Latency()
    customers: int = 0
    segments: dict[str, int] = {}
    dead_letters: dict[str, int] = {}
    duplicates: int = 0
    timers: int = 0
    lag: int = 0

    @property
    def settled(self) -> int:
        """Events the worker has dealt with, the repeated and the refused included."""
        return self.events_total + self.duplicates + sum(self.dead_letters.values())


class Arm(NamedTuple):
    """How many of those who entered a journey reached its goal.

    Args:
        entered: entries.
        reached: goals reached.
    """

    entered: int
    reached: int

    @property
    def share(self) -> float | None:
        """Share that reached the goal; None when nobody entered."""
        return self.reached / self.entered if self.entered else None


class Phase(StrEnum):
    """Where the demo stands."""

    STARTING = "starting"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class View:
    """Everything the screen shows at one moment.

    Args:
        phase: where the demo stands.
        elapsed_s: since the start.
        status: the worker's figures.
        feed: the feeder's progress, or None before its first report.
        actions: actions read from the action topics, by journey and channel.
        decisions: decisions read, by journey, outcome, and the guard that decided; of goals reached the arm.
        shown: the actions picked to be shown, newest first.
        kept_back: decisions not to send picked to be shown, newest first.
        first_action_s: when the first action was read, or None.
        model: the newest model snapshot, or None.
    """

    phase: Phase
    elapsed_s: float
    status: Status
    feed: Progress | None
    actions: dict[tuple[str, str], int]
    decisions: dict[tuple[str, str, str], int]
    shown: tuple[Action, ...]
    kept_back: tuple[Decision, ...]
    first_action_s: float | None
    model: Snapshot | None

    @property
    def actions_total(self) -> int:
        """Actions read from the topics."""
        return sum(self.actions.values())

    def by_journey(self) -> dict[str, int]:
        """Return the number of actions of each journey, most first."""
        total: dict[str, int] = {}
        for (journey, _), count in self.actions.items():
            total[journey] = total.get(journey, 0) + count
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def held_back(self) -> dict[str, int]:
        """Return how often each guard suppressed or held out, and how often one deferred; most first."""
        total: dict[str, int] = {}
        for (_, outcome, guard), count in self.decisions.items():
            if outcome in (Outcome.SUPPRESSED, Outcome.HELD_OUT):
                total[guard] = total.get(guard, 0) + count
            elif outcome == Outcome.DEFERRED:
                total["deferred"] = total.get("deferred", 0) + count
        return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))

    def goals(self) -> dict[str, tuple[Arm, Arm]]:
        """Return treated and held-out customers of each journey whose goal anybody has reached."""
        entered: dict[tuple[str, str], int] = {}
        reached: dict[tuple[str, str], int] = {}
        for (journey, outcome, what), count in self.decisions.items():
            if outcome in (Outcome.ENTERED, Outcome.HELD_OUT):
                arm = TREATED if outcome == Outcome.ENTERED else HELD_OUT
                entered[journey, arm] = entered.get((journey, arm), 0) + count
            elif outcome == Outcome.CONVERTED:
                reached[journey, what] = count
        return {
            name: (
                Arm(entered.get((name, TREATED), 0), reached.get((name, TREATED), 0)),
                Arm(entered.get((name, HELD_OUT), 0), reached.get((name, HELD_OUT), 0)),
            )
            for name in sorted({journey for journey, _ in reached})
        }
