"""What would make a journey fire now: each thing it asks for, whether it is so, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.actions import AGENT
from engine.authoring.explain.checks import Check, Contacts, Person, Verdict
from engine.authoring.explain.entry import check_entry
from engine.authoring.explain.moments import say_moment
from engine.authoring.explain.parts import judge_parts
from engine.features.profile import Contact
from engine.rules.context import MachineSettings
from engine.rules.guards import CONTROL_GROUP_TEXT, Attempt, held_out, in_control_group, judge_send
from engine.rules.journey import Journey, Send
from engine.rules.policy import ANY_KIND, Policy
from engine.rules.sentences import Facts
from engine.rules.times.units import Cap, say_duration


def check_now(
    journey: Journey, person: Person, policy: Policy, settings: MachineSettings
) -> tuple[Check, ...]:
    """Check everything a journey asks for, as of now.

    What all customers share is not asked, for who comes next gets the place; a rate limit is named.

    Args:
        journey: the version that takes new entries.
        person: the customer.
        policy: the contact policy.
        settings: default zone, global caps.
    """
    return (
        *_enabled(journey),
        *check_entry(journey, person),
        *_when(journey, person),
        *_reentry(journey, person),
        *_control_group(journey, person, settings),
        *_holdout(journey, person),
        *_sends(journey, person, policy, settings),
    )


def _enabled(journey: Journey) -> Iterator[Check]:
    if not journey.enabled:
        yield Check(
            about="enabled",
            verdict="no",
            text="the journey is not enabled: nobody enters",
            missing="the journey is switched off (`enabled: false`)",
        )


def _when(journey: Journey, person: Person) -> Iterator[Check]:
    facts = Facts(person.values, None, {}, person.profile.traits)
    for part in judge_parts(journey.when, facts):
        verdict: Verdict = "yes" if part.holds else "no"
        yield Check(about="when", verdict=verdict, text=part.text, missing="" if part.holds else part.text)


def _reentry(journey: Journey, person: Person) -> Iterator[Check]:
    if journey.per:
        yield _keys(journey, person)
        return
    profile = person.profile
    if any(each.journey == journey.name for each in profile.positions) and not _side_by_side(journey):
        text = "is inside this journey already"
        yield Check(about="reentry", verdict="no", text=text, missing=f"{text}: the run must end first")
    last_ms = profile.entered.get(journey.name)
    rule = journey.reentry
    if last_ms is None:
        never = "has not entered before" if rule.rule != "always" else "may enter each time"
        yield Check(about="reentry", verdict="yes", text=never)
    elif rule.rule == "never":
        text = f"entered on {say_moment(last_ms)}, and re-entry is never"
        yield Check(about="reentry", verdict="no", text=text, missing=text)
    elif rule.rule == "after" and person.now_ms - last_ms < rule.after_ms:
        again = say_moment(last_ms + rule.after_ms)
        text = (
            f"entered on {say_moment(last_ms)}; re-entry is after {say_duration(rule.after_ms)}: from {again}"
        )
        yield Check(about="reentry", verdict="no", text=text, missing=text)
    else:
        yield Check(about="reentry", verdict="yes", text=f"entered on {say_moment(last_ms)}; may enter again")


def _keys(journey: Journey, person: Person) -> Check:
    """Say that each key is judged for itself."""
    runs = sum(each.journey == journey.name for each in person.profile.positions)
    again = {
        "always": "each may come again",
        "never": "none comes twice",
        "after": f"each may come again after {say_duration(journey.reentry.after_ms)}",
    }[journey.reentry.rule]
    text = f"one run for each {'.'.join(journey.per)}, {again}; inside with {runs} now"
    return Check(about="reentry", verdict="open", text=text)


def _side_by_side(journey: Journey) -> bool:
    return journey.kind == "unanswered"


def _control_group(journey: Journey, person: Person, settings: MachineSettings) -> Iterator[Check]:
    if not journey.transactional and in_control_group(settings, person.customer_id):
        text = f"is {CONTROL_GROUP_TEXT}; that does not change"
        yield Check(about="control_group", verdict="no", text=text, missing=text)


def _holdout(journey: Journey, person: Person) -> Iterator[Check]:
    if not journey.holdout:
        return
    share = f"{journey.holdout * 100:g}%"
    if held_out(journey, person.customer_id):
        text = (
            f"is among the {share} who get nothing from this journey, to compare with; that does not change"
        )
        yield Check(about="holdout", verdict="no", text=text, missing=text)
    else:
        yield Check(about="holdout", verdict="yes", text=f"is not among the {share} held out")


def _sends(journey: Journey, person: Person, policy: Policy, settings: MachineSettings) -> Iterator[Check]:
    """Judge the guards of each message as if it were sent now; steps that fare alike are told once."""
    told: set[tuple[str, str]] = set()
    for step in journey.program:
        if not isinstance(step, Send):
            continue
        attempt = Attempt(
            journey=journey,
            send=step,
            customer_id=person.customer_id,
            profile=person.profile,
            facts=Facts(person.values, None, {}, person.profile.traits),
            now_ms=person.now_ms,
        )
        verdict = judge_send(attempt, policy, settings)
        what = f"{step.channel} now"
        if verdict is None:
            text = f"{what}: no guard holds it back{_rate_limit(step, journey, settings)}"
            check = Check(about="send", verdict="yes", text=text)
        elif verdict.until_ms:
            text = f"{what}: put off until {say_moment(verdict.until_ms)} ({verdict.text})"
            check = Check(about="send", verdict="open", text=text, missing=text)
        else:
            text = f"{what}: held back, {verdict.text}"
            check = Check(about="send", verdict="no", text=text, missing=text)
        if (step.channel, check.text) not in told:
            told.add((step.channel, check.text))
            yield check


def _rate_limit(step: Send, journey: Journey, settings: MachineSettings) -> str:
    """Name the limit that may yet put a message off: whether it has room depends on all customers."""
    limit = settings.rate_limits.get(step.channel)
    if limit is None or journey.transactional or step.channel == AGENT:
        return ""
    allowed = f"{limit.count} in {say_duration(limit.window_ms)} over all customers"
    return f", but the rate limit may put it off: {allowed}"


def count_now(
    journey: Journey, person: Person, policy: Policy, settings: MachineSettings
) -> tuple[Contacts, ...]:
    """Count the messages sent against each cap of a journey, of the contact policy and of the deployment.

    Args:
        journey: the journey.
        person: the customer.
        policy: the contact policy.
        settings: global caps.
    """
    if journey.transactional:
        return ()
    own = [contact for contact in person.profile.contacts if contact.journey == journey.name]
    return (
        *(_contacts("this journey", own, cap, person.now_ms) for cap in journey.caps),
        *_of_policy(journey, person, policy),
        *(
            _contacts("all journeys", person.profile.contacts, cap, person.now_ms)
            for cap in settings.global_caps
        ),
    )


def _of_policy(journey: Journey, person: Person, policy: Policy) -> Iterator[Contacts]:
    row = policy.row_of(Facts(person.values, None, {}, person.profile.traits))
    if row is None:
        return
    for kind in (journey.contact, ANY_KIND):
        contacts = [each for each in person.profile.contacts if kind in (ANY_KIND, each.kind)]
        for cap in row.caps.get(kind, ()):
            whose = f"the policy for {row.who}, {kind} contacts"
            yield _contacts(whose, contacts, cap, person.now_ms)


def _contacts(whose: str, contacts: Sequence[Contact], cap: Cap, now_ms: int) -> Contacts:
    window_s = cap.window_ms // 1000
    counted = sorted(each.time_s for each in contacts if each.time_s > now_ms // 1000 - window_s)
    free_ms = 0
    if len(counted) >= cap.count:
        free_ms = (counted[len(counted) - cap.count] + window_s) * 1000
    return Contacts(whose=whose, count=len(counted), cap=cap.count, window_ms=cap.window_ms, free_ms=free_ms)
