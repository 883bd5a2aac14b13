"""Goals: what a customer who entered a journey did for it to count as a success.

They are kept apart from the run: it may be over when the goal is reached, and a customer in the holdout has
none.
"""

from __future__ import annotations

from engine.actions import Outcome, Reason
from engine.events import Scalar, say_type
from engine.features.profile import MAX_GOALS, OpenGoal, Position
from engine.rules.condition import Bound
from engine.rules.expressions.cel import CelFailure
from engine.rules.journey import Goal, Journey
from engine.rules.runner import Runner
from engine.rules.sentences import Facts
from engine.rules.times.units import say_duration

TREATED, HELD_OUT = "treated", "holdout"


def open_goal(runner: Runner, journey: Journey, position: Position, *, held_out: bool) -> None:
    """Begin to look out for a journey's goal, in place of an earlier entry's.

    Without room the one that ends first makes some.

    Args:
        runner: the row.
        journey: the journey entered.
        position: the run that begins, or would begin.
        held_out: whether the customer gets nothing from the journey.
    """
    goal = journey.goal
    if goal is None:
        return
    now_ms = runner.context.now_ms
    event = {name: value for name, value in position.event.items() if name in (*goal.correlation, "type")}
    opened = OpenGoal(
        journey=journey.name,
        version=journey.version,
        instance=position.instance,
        entered_ms=now_ms,
        until_ms=now_ms + goal.within_ms,
        event_id=position.event_id,
        event=event,
        held_out=held_out,
    )
    profile = runner.context.state.note()
    kept = [
        each
        for each in profile.goals
        if each.until_ms > now_ms and (each.journey, each.instance) != (journey.name, position.instance)
    ]
    if len(kept) >= MAX_GOALS:
        kept.remove(min(kept, key=lambda each: each.until_ms))
    profile.goals = [*kept, opened]


def reach_goals(runner: Runner) -> None:
    """Tell which goals the row's event is; each is told once."""
    context = runner.context
    event = context.event
    if event is None:
        return
    kept = []
    for opened in context.state.profile.goals:
        journey = runner.rules.by_name.get((opened.journey, opened.version))
        if journey is None or journey.goal is None or context.now_ms >= opened.until_ms:
            continue
        if not _is_reached(runner, journey.goal, opened):
            kept.append(opened)
            continue
        _tell(runner, journey.goal, opened)
    if len(kept) < len(context.state.profile.goals):
        context.state.note().goals = kept


def _is_reached(runner: Runner, goal: Goal, opened: OpenGoal) -> bool:
    """Whether the row's event is the one hoped for; one that happened before the entry is not."""
    event = runner.context.event
    if event is None or runner.context.code != goal.code or event.time < opened.entered_ms:
        return False
    return goal.where is None or _facts(runner, opened).holds(goal.where)


def _facts(runner: Runner, opened: OpenGoal) -> Facts:
    return Facts(runner.values, runner.context.event, opened.event, runner.context.state.profile.traits)


def _tell(runner: Runner, goal: Goal, opened: OpenGoal) -> None:
    thing = say_type(goal.event_type)
    values: dict[str, Scalar] = {"arm": HELD_OUT if opened.held_out else TREATED}
    value = _value(runner, goal, opened)
    if value is not None:
        values["value"] = value
    run = Position(
        journey=opened.journey,
        version=opened.version,
        instance=opened.instance,
        pc=0,
        entered_ms=opened.entered_ms,
        due_ms=0,
        event_id=opened.event_id,
        event=opened.event,
    )
    reason = Reason(text=f"{thing} within {say_duration(goal.within_ms)} of the entry", values=values)
    runner.decide(run, "goal", Outcome.CONVERTED, reason)


def _value(runner: Runner, goal: Goal, opened: OpenGoal) -> float | None:
    """Return what reaching the goal is worth; None when it can't be computed or is no number."""
    value = goal.value
    if isinstance(value, Bound):
        facts = _facts(runner, opened)
        try:
            value = value.program.value(value.bindings(facts.values, facts.event, facts.entry, facts.traits))
        except CelFailure:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
