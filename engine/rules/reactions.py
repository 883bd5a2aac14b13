"""Which rows can move a customer who is in journeys already, or reach a goal: no other needs a look."""

from __future__ import annotations

from dataclasses import dataclass

from engine.events import TIMER_CODE
from engine.features.profile import OpenGoal, Position, Profile
from engine.rules.journey import Journey, WaitUntil
from engine.rules.ruleset import RuleSet


@dataclass(frozen=True, slots=True)
class _Inside:
    """What moves those inside a journey, other than time.

    Args:
        codes: the event types of its exits and waits.
        segments: whether a change of segment can end a run.
        steps: length of its program.
    """

    codes: frozenset[int]
    segments: bool
    steps: int


class Reactions:
    """What the journeys of a rule set react to once a customer is inside.

    Args:
        rules: the rule set.

    Attributes:
        codes: the event types that can move anybody inside, or reach a goal.
    """

    def __init__(self, rules: RuleSet) -> None:
        self._by_segment = frozenset(rules.by_segment)
        self._migrates = bool(rules.release.moves)
        self._inside = {place: _inside(journey) for place, journey in rules.by_name.items()}
        self._goals = {
            place: each.goal.code for place, each in rules.by_name.items() if each.goal is not None
        }
        self.codes = rules.goal_codes.union(*(each.codes for each in self._inside.values()))

    def enter_by_segment(self, before: str, after: str) -> bool:
        """Tell whether a journey is entered by a change of segment."""
        return ("segment_exited", before) in self._by_segment or (
            "segment_entered",
            after,
        ) in self._by_segment

    def moves(self, profile: Profile, code: int, now_ms: int, *, changed: bool) -> bool:
        """Tell whether a row may move a customer inside a journey, or change the goals looked out for.

        Args:
            profile: the customer.
            code: the type of the row's event, or `TIMER_CODE`.
            now_ms: the row's instant.
            changed: whether the customer's segment has changed.
        """
        return any(self._goes_on(each, code, changed=changed) for each in profile.positions) or (
            code != TIMER_CODE and any(self._settles(each, code, now_ms) for each in profile.goals)
        )

    def _goes_on(self, position: Position, code: int, *, changed: bool) -> bool:
        inside = self._inside.get((position.journey, position.version))
        # who is to migrate, or whose step is gone, does so at the next row that is looked at
        if inside is None or self._migrates or position.pc >= inside.steps:
            return True
        return code in inside.codes or (changed and inside.segments)

    def _settles(self, opened: OpenGoal, code: int, now_ms: int) -> bool:
        """Whether a goal may be reached, or is forgotten: its time, or its journey, is over."""
        return now_ms >= opened.until_ms or self._goals.get((opened.journey, opened.version), code) == code


def _inside(journey: Journey) -> _Inside:
    codes = {leave.code for leave in journey.exits if not leave.segment}
    for step in journey.program:
        if isinstance(step, WaitUntil):
            codes.update(each.code for each in step.awaited)
    return _Inside(frozenset(codes), any(leave.segment for leave in journey.exits), len(journey.program))
