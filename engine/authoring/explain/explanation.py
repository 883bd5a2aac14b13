"""Why a customer got something or did not: from the decision log, the state and the rules, value by value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from engine.actions import Decision, Outcome
from engine.authoring.explain.checks import Check, Contacts, Person
from engine.authoring.explain.moments import say_moment
from engine.authoring.explain.now import check_now, count_now
from engine.authoring.explain.parts import Part, judge_parts, logged_facts
from engine.authoring.explain.standing import Standing, say_event, say_standing
from engine.events import Scalar
from engine.features.churn.explanation import RiskExplanation
from engine.rules.context import MachineSettings
from engine.rules.journey import Journey, Send
from engine.rules.release import Lane
from engine.rules.ruleset import RuleSet

_AT_ENTRY = (Outcome.ENTERED, Outcome.HELD_OUT, Outcome.FIRED)


class Considered(msgspec.Struct, frozen=True, kw_only=True):
    """One instant at which a journey was considered.

    Args:
        time: the instant, ms.
        outcome: what became of it.
        version: the journey's version.
        step: path of the step, or `entry`, or `end`.
        line: its line in the rule file; 0 when the version is not among the rules any more.
        text: why, in a sentence.
        guard: the guard that decided, or empty.
        event_id: the causing event (or timer).
        event_type: its type.
        until: for deferred ones, when it is taken up again, ms; else 0.
        action_id: for fired ones, the message's id; else empty.
        values: what was seen then.
        parts: the entry's conditions, part by part, by the values seen then.
    """

    time: int
    outcome: Outcome
    version: int
    step: str
    line: int
    text: str
    guard: str
    event_id: str
    event_type: str
    until: int
    action_id: str
    values: dict[str, Scalar]
    parts: tuple[Part, ...]


class JourneyExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """A journey as seen from one customer.

    Args:
        journey: its name.
        version: the version that takes new entries; 0 when it is not among the rules any more.
        file: its file, or empty.
        considered: every instant the log tells of, oldest first.
        standing: where the customer stands in it.
        contacts: what counts against the caps now.
        goals: what still counts as its goal reached.
        checks: what would have to be so for it to fire now.
        missing: what is missing for that, in sentences.
    """

    journey: str
    version: int
    file: str
    considered: tuple[Considered, ...]
    standing: tuple[Standing, ...]
    contacts: tuple[Contacts, ...]
    goals: tuple[str, ...]
    checks: tuple[Check, ...]
    missing: tuple[str, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a customer.

    Args:
        customer_id: whom.
        now_ms: the instant everything is as of.
        since_ms: how far back was looked.
        reaches_ms: the oldest decision the topic still holds on the customer's partition; 0 = it is empty.
        sample: share of non-matching events that are logged, 0-1.
        rules: number of the publication that runs; 0 = the rules come from files.
        journeys: by name.
        risk: the churn risk taken apart; None before the first order.
    """

    customer_id: str
    now_ms: int
    since_ms: int
    reaches_ms: int
    sample: float
    rules: int
    journeys: tuple[JourneyExplanation, ...]
    risk: RiskExplanation | None = None


@dataclass(frozen=True, slots=True)
class Period:
    """What was looked at: `since_ms` asked for, `reaches_ms` the oldest decision there is (0 = none)."""

    since_ms: int
    reaches_ms: int


def explain(
    rules: RuleSet,
    settings: MachineSettings,
    person: Person,
    decisions: Iterable[Decision],
    period: Period,
    journeys: Sequence[str] = (),
) -> Explanation:
    """Explain a customer's journeys.

    Args:
        rules: the rules that run.
        settings: default zone, global caps, sampling.
        person: the customer as of now.
        decisions: theirs, oldest first.
        period: what was looked at.
        journeys: only these; empty = all that have something to say.
    """
    by_journey: dict[str, list[Decision]] = {}
    for decision in decisions:
        by_journey.setdefault(decision.journey, []).append(decision)
    entering = versions_for(rules, person.customer_id)
    names = sorted(set(journeys) if journeys else {*entering, *by_journey})
    return Explanation(
        customer_id=person.customer_id,
        now_ms=person.now_ms,
        since_ms=period.since_ms,
        reaches_ms=period.reaches_ms,
        sample=settings.not_matched_sample,
        rules=rules.release.version,
        journeys=tuple(
            _journey(name, entering.get(name), by_journey.get(name, ()), rules, settings, person)
            for name in names
        ),
    )


def _journey(
    name: str,
    journey: Journey | None,
    decisions: Iterable[Decision],
    rules: RuleSet,
    settings: MachineSettings,
    person: Person,
) -> JourneyExplanation:
    standing = tuple(
        say_standing(position, rules.by_name.get((name, position.version)))
        for position in person.profile.positions
        if position.journey == name
    )
    checks: tuple[Check, ...] = ()
    if journey is not None:
        checks = (
            *_released(journey, rules),
            *_excluded(journey, person, rules),
            *check_now(journey, person, rules.policy, settings),
        )
    return JourneyExplanation(
        journey=name,
        version=journey.version if journey is not None else 0,
        file=journey.file if journey is not None else "",
        considered=tuple(consider(each, rules) for each in decisions),
        standing=standing,
        contacts=count_now(journey, person, rules.policy, settings) if journey is not None else (),
        goals=tuple(_goals(name, person, rules)),
        checks=checks,
        missing=tuple(check.missing for check in checks if check.missing),
    )


def versions_for(rules: RuleSet, customer_id: str) -> dict[str, Journey]:
    """Return, for each journey, the version a customer would enter; the newest of one that takes nobody.

    Args:
        rules: the rules that run.
        customer_id: who; while a publication is staged, it depends on them.
    """
    found = {journey.name: journey for journey in rules.journeys}
    for (name, version), lane in rules.release.lanes.items():
        if lane is Lane.ALL or lane is rules.release.lane_of(name, customer_id):
            found[name] = rules.by_name[name, version]
    return found


def _excluded(journey: Journey, person: Person, rules: RuleSet) -> Iterator[Check]:
    """Hold a journey of an exclusion group against the runs of the others of its group."""
    for position in person.profile.positions:
        other = rules.by_name.get((position.journey, position.version))
        if other is None or other.name == journey.name or not journey.exclusion_group:
            continue
        if other.exclusion_group == journey.exclusion_group:
            run = f"is inside {other.name}, of the same group {journey.exclusion_group}"
            ranks = f"priority {other.priority} against {journey.priority}"
            if journey.priority > other.priority:
                text = f"{run}; entering would end that run ({ranks})"
                yield Check(about="exclusion_group", verdict="yes", text=text)
            else:
                text = f"{run} ({ranks}): that run must end first"
                yield Check(about="exclusion_group", verdict="no", text=text, missing=text)


def _goals(name: str, person: Person, rules: RuleSet) -> Iterator[str]:
    for open_goal in person.profile.goals:
        journey = rules.by_name.get((name, open_goal.version))
        over = open_goal.until_ms <= person.now_ms
        if open_goal.journey == name and journey is not None and journey.goal is not None and not over:
            event = say_event(journey.goal.code, journey.goal.where)
            arm = ", held out" if open_goal.held_out else ""
            yield f"{event} until {say_moment(open_goal.until_ms)} counts as reached{arm}"


def _released(journey: Journey, rules: RuleSet) -> Iterator[Check]:
    """Say when a journey lets nobody in by an operator's word."""
    if journey.name in rules.release.paused:
        text = "the journey is paused: nobody enters, messages wait"
        yield Check(about="paused", verdict="no", text=text, missing=text)
    elif (journey.name, journey.version) not in rules.release.lanes:
        text = "no version of this journey lets anybody in any more"
        yield Check(about="enabled", verdict="no", text=text, missing=text)


def consider(decision: Decision, rules: RuleSet) -> Considered:
    """Lay a decision out beside the rule it comes from.

    Args:
        decision: the decision.
        rules: the rules that run.
    """
    journey = rules.by_name.get((decision.journey, decision.version))
    return Considered(
        time=decision.time,
        outcome=decision.outcome,
        version=decision.version,
        step=decision.step,
        line=journey.lines.get(decision.step, 0) if journey is not None else 0,
        text=decision.reason.text,
        guard=decision.reason.guard,
        event_id=decision.event_id,
        event_type=decision.event_type,
        until=decision.until,
        action_id=decision.action_id,
        values=decision.reason.values,
        parts=_parts(decision, journey),
    )


def _parts(decision: Decision, journey: Journey | None) -> tuple[Part, ...]:
    if journey is None:
        return ()
    facts, said = logged_facts(decision.reason.values), decision.reason.text
    if decision.outcome == Outcome.NOT_MATCHED and decision.reason.guard in ("where", "when"):
        return judge_parts(getattr(journey, decision.reason.guard), facts, said)
    if decision.outcome in _AT_ENTRY:
        return judge_parts(journey.where, facts, said) + judge_parts(journey.when, facts, said)
    return ()


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message comes from.

    Args:
        action_id: the message's id.
        customer_id: whom it is for.
        journey: the journey.
        version: the version that caused it.
        file: the rule file, or empty when the version is not among the rules any more.
        step: path of the step.
        step_line: the step's line; 0 = not known any more.
        entry_line: the line of the entry; 0 = not known any more.
        channel: the channel, or empty when not known any more.
        template: the template, or empty when not known any more.
        time: when it was decided, ms.
        text: why, in a sentence.
        event_id: the event (or timer) that caused the entry.
        event_type: its type.
        values: what the decision saw.
        parts: the entry's conditions by those values.
        run: every decision of the same run, oldest first.
    """

    action_id: str
    customer_id: str
    journey: str
    version: int
    file: str
    step: str
    step_line: int
    entry_line: int
    channel: str
    template: str
    time: int
    text: str
    event_id: str
    event_type: str
    values: dict[str, Scalar]
    parts: tuple[Part, ...]
    run: tuple[Considered, ...]


def trace(fired: Decision, decisions: Iterable[Decision], rules: RuleSet) -> Origin:
    """Trace a message back to its event, rule and version.

    Args:
        fired: the decision that fired it.
        decisions: all of the customer's, oldest first.
        rules: the rules that run.
    """
    journey = rules.by_name.get((fired.journey, fired.version))
    steps = journey.program if journey is not None else ()
    send = next((step for step in steps if isinstance(step, Send) and step.path == fired.step), None)
    key = (fired.journey, fired.version, fired.event_id)
    return Origin(
        action_id=fired.action_id,
        customer_id=fired.customer_id,
        journey=fired.journey,
        version=fired.version,
        file=journey.file if journey is not None else "",
        step=fired.step,
        step_line=journey.lines.get(fired.step, 0) if journey is not None else 0,
        entry_line=journey.lines.get("entry", 0) if journey is not None else 0,
        channel=send.channel if send is not None else "",
        template=send.template if send is not None else "",
        time=fired.time,
        text=fired.reason.text,
        event_id=fired.event_id,
        event_type=fired.event_type,
        values=fired.reason.values,
        parts=_parts(fired, journey),
        run=tuple(
            consider(each, rules) for each in decisions if (each.journey, each.version, each.event_id) == key
        ),
    )
