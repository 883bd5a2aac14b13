"""Entries by count: the times of the events counted, kept with the customer until there are enough."""

from __future__ import annotations

from collections.abc import Sequence

from engine.events import Event
from engine.features.profile import MAX_COUNTED
from engine.features.state import CustomerState
from engine.rules.journey import Journey
from engine.rules.keys import instance_of, kept_as
from engine.rules.ruleset import RuleSet
from engine.rules.sentences import Facts


def count_event(rules: RuleSet, state: CustomerState, event: Event, candidates: Sequence[int]) -> list[int]:
    """Note an event with the journeys that count it.

    It is enough when the latest `at_least` of the events counted happened within the journey's time of each
    other; by the times they happened at, so that a late one counts where it belongs.

    Args:
        rules: the rule set.
        state: the customer; the profile is changed.
        event: the row's event.
        candidates: indices of the journeys whose comparisons held.

    Returns:
        those of the candidates for which it is enough now, in order.
    """
    facts = Facts({}, event)
    enough = []
    for index in candidates:
        journey = rules.journeys[index]
        if not rules.takes(index, state.customer_id):
            continue
        if journey.where is not None and not facts.rest_holds(journey.where):
            continue
        instance = instance_of(journey, event)
        if instance is not None and _note(state, journey, kept_as(journey, instance), event.time):
            enough.append(index)
    return enough


def use_up(state: CustomerState, journey: Journey, instance: str) -> None:
    """Forget the events counted so far, for a journey has begun by them."""
    state.note().counts.pop(kept_as(journey, instance), None)


def _note(state: CustomerState, journey: Journey, name: str, time_ms: int) -> bool:
    """Keep the last times but one of those that would be enough; tell whether it is enough."""
    kept = state.profile.counts.get(name, [])
    times = sorted([*kept, time_ms])
    times = [each for each in times if each > times[-1] - journey.for_ms][-journey.at_least :]
    staying = times[1 - journey.at_least :]
    if staying != kept:
        counts = state.note().counts
        if not kept and len(counts) >= MAX_COUNTED:
            del counts[min(counts, key=lambda each: (counts[each][-1], each))]
        counts[name] = staying
    return len(times) == journey.at_least
