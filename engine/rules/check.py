"""Second stage: every name, type and expression of a parsed journey against events and features."""

from __future__ import annotations

from dataclasses import dataclass

from engine.errors import RuleErrors
from engine.events import EVENT_TYPES, PURPOSES
from engine.rules.check_expression import check_condition, check_value, is_expression
from engine.rules.checked import (
    CheckedExit,
    CheckedExpression,
    CheckedJourney,
    CheckedLeave,
    CheckedSend,
    CheckedSet,
    CheckedStep,
    CheckedWait,
    CheckedWaitUntil,
    DataValue,
)
from engine.rules.expression import Binary, Literal, Name, walk
from engine.rules.parsed import (
    ParsedEntry,
    ParsedJourney,
    ParsedSend,
    ParsedSet,
    ParsedStep,
    ParsedWait,
    ParsedWaitUntil,
)
from engine.rules.placement import place_in
from engine.rules.scope import INQUIRY_FIELDS, Scope, Vocabulary, event_fields, prefixed
from engine.rules.source import ErrorList, Placed, nearest
from engine.rules.yaml_nodes import Scalar

AGENT = "agent"  # the channel of tasks for people


def check_journey(parsed: ParsedJourney, vocabulary: Vocabulary) -> CheckedJourney:
    """Check a journey against what exists.

    Args:
        parsed: the journey.
        vocabulary: features, segments, channels.

    Raises:
        RuleErrors: with every problem found.
    """
    errors = ErrorList(parsed.source.file)
    journey = find_problems(parsed, vocabulary, errors)
    if errors.errors:
        raise RuleErrors(errors.in_order())
    return journey


def find_problems(parsed: ParsedJourney, vocabulary: Vocabulary, errors: ErrorList) -> CheckedJourney:
    """Check a journey, noting every problem; the result may be compiled only when there are none.

    Args:
        parsed: the journey.
        vocabulary: features, segments, channels.
        errors: takes every problem.
    """
    return _Checker(parsed, vocabulary, errors).journey()


@dataclass(frozen=True, slots=True)
class _Checker:
    parsed: ParsedJourney
    vocabulary: Vocabulary
    errors: ErrorList

    def journey(self) -> CheckedJourney:
        entry = self.parsed.entry
        code = self._event_code(entry.event) if entry.event else -1
        if entry.segment:
            self._segment(entry.segment)
        self._absence(entry)
        where = self._where(entry.where, entry.event, with_entry=False) if entry.where else None
        when = self._when(entry.when)
        self._guards()
        exits = tuple(
            CheckedExit(self._event_code(each.event), self._where(each.where, each.event))
            for each in self.parsed.exits
        )
        return CheckedJourney(
            parsed=self.parsed,
            code=code,
            where=where,
            when=when,
            at_once_where=self._where(entry.at_once_where, entry.event, with_entry=False),
            at_once_when=self._when(entry.at_once_when),
            exits=exits,
            steps=self._steps(self.parsed.steps),
        )

    def _event_code(self, event: Placed[str]) -> int:
        known = EVENT_TYPES.get(event.value)
        if known is None:
            hint = nearest(event.value, EVENT_TYPES)
            self.errors.add("E0211", f"unknown event type {event.value[:60]!r}", event.place, hint)
            return -1
        return known.code

    def _absence(self, entry: ParsedEntry) -> None:
        """Absence is read off the recency features: they must exist."""
        known = EVENT_TYPES.get(entry.event.value) if entry.kind == "absent" and entry.event else None
        if known is None or entry.event is None:
            return
        needed = {"last": f"days_since_{known.singular}", "first": f"days_since_first_{known.singular}"}
        feature = needed.get(entry.since, "days_since_signup")
        if feature not in self.vocabulary.features:
            message = (
                f"`absent: {known.name}` cannot count since {entry.since}: there is no feature {feature}"
            )
            self.errors.add("E0206", message, entry.event.place)

    def _segment(self, segment: Placed[str]) -> None:
        if segment.value not in self.vocabulary.segments:
            hint = nearest(segment.value, self.vocabulary.segments) or "see the segments file"
            self.errors.add("E0212", f"unknown segment {segment.value[:60]!r}", segment.place, hint)

    def _when(self, scalar: Scalar | None) -> CheckedExpression | None:
        if scalar is None:
            return None
        scope = Scope("`when`", self.vocabulary.customer, ("customer",))
        when = check_condition(scalar, scope, self.errors)
        if when is not None:
            self._compared_segments(when, scalar)
        return when

    def _compared_segments(self, when: CheckedExpression, scalar: Scalar) -> None:
        """A comparison with a segment that does not exist could never be true."""
        for part in walk(when.node):
            if not isinstance(part, Binary) or part.operator not in ("==", "!=", "in"):
                continue
            sides = (part.left, part.right)
            if not any(isinstance(side, Name) and side.dotted == "customer.segment" for side in sides):
                continue
            for constant in (each for side in sides for each in walk(side) if isinstance(each, Literal)):
                if isinstance(constant.value, str) and constant.value not in self.vocabulary.segments:
                    hint = nearest(constant.value, self.vocabulary.segments) or "see the segments file"
                    place = place_in(scalar, max(scalar.text.find(constant.value) - 1, 0))
                    self.errors.add("E0212", f"unknown segment {constant.value[:60]!r}", place, hint)

    def _guards(self) -> None:
        consent = self.parsed.guards.consent
        if consent and consent.value not in PURPOSES:
            hint = nearest(consent.value, PURPOSES) or "purposes: " + ", ".join(PURPOSES)
            self.errors.add("E0206", f"unknown consent purpose {consent.value!r}", consent.place, hint)
        contact, known = self.parsed.guards.contact, self.vocabulary.contacts
        if contact and known and contact.value not in known:
            hint = nearest(contact.value, known) or "kinds: " + ", ".join(sorted(known))
            self.errors.add("E0262", f"unknown kind of contact {contact.value!r}", contact.place, hint)

    def _entry_variables(self) -> dict[str, str]:
        entry = self.parsed.entry
        if entry.kind == "unanswered":
            return prefixed("entry.event", INQUIRY_FIELDS)
        if entry.kind == "event" and entry.event:
            return prefixed("entry.event", event_fields(entry.event.value))
        return {}

    def _where(
        self, scalar: Scalar | None, event: Placed[str] | None, with_entry: bool = True
    ) -> CheckedExpression | None:
        if scalar is None or event is None:
            return None
        variables = prefixed("event", event_fields(event.value))
        entry = self._entry_variables() if with_entry else {}
        roots = ("event", "entry.event") if entry else ("event",)
        return check_condition(scalar, Scope("`where`", {**variables, **entry}, roots), self.errors)

    def _value(self, scalar: Scalar, what: str) -> DataValue:
        if not is_expression(scalar):
            assert scalar.value is not None
            return scalar.value
        entry = self._entry_variables()
        variables = {**self.vocabulary.customer, **entry}
        roots = ("customer", "entry.event") if entry else ("customer",)
        checked = check_value(scalar, Scope(what, variables, roots), self.errors)
        return checked if checked is not None else scalar.text

    def _steps(self, steps: tuple[ParsedStep, ...]) -> tuple[CheckedStep, ...]:
        return tuple(self._step(step) for step in steps)

    def _step(self, step: ParsedStep) -> CheckedStep:
        match step:
            case ParsedSend():
                return self._send(step)
            case ParsedWait():
                return CheckedWait(step.path, step.wait_ms)
            case ParsedWaitUntil():
                return CheckedWaitUntil(
                    step.path,
                    self._event_code(step.event),
                    self._where(step.where, step.event),
                    step.timeout_ms,
                    self._steps(step.then),
                    self._steps(step.otherwise),
                )
            case ParsedSet():
                return CheckedSet(step.path, step.trait, self._value(step.to, "a trait's value"))
            case _:
                return CheckedLeave(step.path)

    def _send(self, step: ParsedSend) -> CheckedSend:
        channels = self.vocabulary.channels
        if channels and step.channel.value not in channels:
            hint = nearest(step.channel.value, channels) or "channels: " + ", ".join(sorted(channels))
            self.errors.add("E0206", f"unknown channel {step.channel.value!r}", step.channel.place, hint)
        data = tuple((name, self._value(scalar, f"`{name}`")) for name, scalar in step.data)
        return CheckedSend(step.path, step.channel.value, step.template, data, step.priority, step.expires_ms)
