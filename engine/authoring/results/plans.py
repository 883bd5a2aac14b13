"""What results need to know of a rule set: goals, and what each step sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from engine.events import say_type
from engine.rules.journey import Journey, Send
from engine.rules.times.units import say_duration


class Plan(NamedTuple):
    """What is known of a journey from its file.

    Args:
        within_ms: how long after the entry its goal counts; 0 = it has none.
        goal: the goal in words.
        sends: channel and template of each send step, by path.
        tells: whether every entry is a decision, also the control group's; a journey that neither waits nor
            has a goal tells of messages only, and a transactional one has no control group.
    """

    within_ms: int
    goal: str
    sends: Mapping[str, tuple[str, str]]
    tells: bool


def plans_of(journeys: Iterable[Journey]) -> dict[tuple[str, int], Plan]:
    """Return what is known of journeys, by name and version."""
    return {(each.name, each.version): _plan(each) for each in journeys}


def _plan(journey: Journey) -> Plan:
    sends = {step.path: (step.channel, step.template) for step in journey.program if isinstance(step, Send)}
    goal = journey.goal
    if goal is None:
        return Plan(0, "", sends, journey.waits and not journey.transactional)
    said = f"{say_type(goal.event_type)} within {say_duration(goal.within_ms)}"
    return Plan(goal.within_ms, said, sends, not journey.transactional)
