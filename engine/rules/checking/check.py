"""Second stage: every name, type and expression of a parsed journey against events and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import RuleErrors
from engine.events import EVENT_TYPES, PURPOSES
from engine.rules.checked import (
    CheckedArm,
    CheckedAwaited,
    CheckedBranch,
    CheckedExit,
    CheckedExpression,
    CheckedGoal,
    CheckedJourney,
    CheckedLeave,
    CheckedRun,
    CheckedSend,
    CheckedSet,
    CheckedSplit,
    CheckedStep,
    CheckedTable,
    CheckedVariant,
    CheckedWait,
    CheckedWaitUntil,
    DataValue,
)
from engine.rules.checking.expressions import check_condition, check_value, is_expression
from engine.rules.checking.segments import check_segment, check_when
from engine.rules.checking.tables import check_table
from engine.rules.checking.templates import check_template
from engine.rules.expressions.ranges import Range
from engine.rules.parsing.parsed import (
    ParsedBranch,
    ParsedEntry,
    ParsedGoal,
    ParsedJourney,
    ParsedRun,
    ParsedSend,
    ParsedSet,
    ParsedSplit,
    ParsedStep,
    ParsedTable,
    ParsedWait,
    ParsedWaitUntil,
)
from engine.rules.scope import (
    INQUIRY_FIELDS,
    Scope,
    Vocabulary,
    any_event_fields,
    event_fields,
    event_ranges,
    prefixed,
)
from engine.rules.text.source import ErrorList, Place, Placed, nearest
from engine.rules.text.yaml_nodes import Scalar

_NUMBERS = ("int", "uint", "double", "dyn")


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
            check_segment(entry.segment, self.vocabulary, self.errors)
        self._absence(entry)
        if entry.feature:
            self._crossed(entry.feature)
        where = self._where(entry.where, entry.event, with_entry=False, types=entry.events)
        when = self._when(entry.when)
        self._guards()
        exits = tuple(
            CheckedExit(self._event_code(each.event), self._where(each.where, each.event))
            for each in self.parsed.exits
            if each.segment is None
        )
        for each in self.parsed.exits:
            if each.segment is not None:
                check_segment(each.segment, self.vocabulary, self.errors)
        return CheckedJourney(
            parsed=self.parsed,
            code=code,
            where=where,
            when=when,
            at_once_where=self._where(entry.at_once_where, entry.event, with_entry=False),
            at_once_when=self._when(entry.at_once_when),
            exits=exits,
            steps=self._steps(self.parsed.steps),
            sequences={each.name.value: self._steps(each.steps) for each in self.parsed.sequences},
            per=self._per(entry),
            goal=self._goal(self.parsed.goal),
            codes=tuple(self._event_code(each) for each in entry.events[1:]),
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

    def _crossed(self, feature: Placed[str]) -> None:
        """What crosses a level is a number of the customer's."""
        name = feature.value.removeprefix("customer.")
        if feature.value.startswith("customer.") and self.vocabulary.features.get(name) == "double":
            return
        numbers = [f"customer.{each}" for each, kind in self.vocabulary.features.items() if kind == "double"]
        message = f"{feature.value[:60]!r} is not a number of the customer's"
        hint = nearest(feature.value, numbers) or "`engage features` lists them, with `customer.` before"
        self.errors.add("E0246", message, feature.place, hint)

    def _per(self, entry: ParsedEntry) -> tuple[str, ...]:
        """Return the event's field that tells runs apart, as `(name,)` or `("props", name)`."""
        if entry.per is None or entry.event is None or entry.event.value not in EVENT_TYPES:
            return ()
        fields = event_fields(entry.event.value)
        root, *path = entry.per.value.split(".")
        if root == "event" and len(path) == 1 and fields.get(path[0], "map") != "map":
            return tuple(path)
        if root == "event" and len(path) == 2 and path[0] == "props" and path[1]:
            return tuple(path)
        known = [f"event.{name}" for name, kind in fields.items() if kind != "map"]
        near = nearest(entry.per.value, known) if entry.per.value != "event.props" else ""
        hint = near or "event.FIELD or event.props.NAME"
        message = f"`per` cannot be {entry.per.value[:60]!r}: {entry.event.value} has no such field"
        self.errors.add("E0244", message, entry.per.place, hint)
        return ()

    def _goal(self, goal: ParsedGoal | None) -> CheckedGoal | None:
        if goal is None:
            return None
        code = self._event_code(goal.event)
        if code < 0:  # nothing is known of its fields
            return None
        where = self._where(goal.where, goal.event)
        value = self._goal_value(goal.value, goal.event) if goal.value is not None else None
        return CheckedGoal(code, where, goal.within_ms, value)

    def _goal_value(self, scalar: Scalar, event: Placed[str]) -> DataValue | None:
        """Check what a goal is worth: a number, constant or computed."""
        if isinstance(scalar.value, int | float) and not isinstance(scalar.value, bool):
            return scalar.value
        entry = self._entry_variables()
        variables = {**prefixed("event", event_fields(event.value)), **self.vocabulary.customer, **entry}
        roots = ("event", "customer", "entry.event") if entry else ("event", "customer")
        checked = check_value(scalar, Scope("`value`", variables, roots), self.errors)
        if checked is not None and checked.program.kind not in _NUMBERS:
            message = f"`value` of goal is a {checked.program.kind}, it must be a number"
            self.errors.add("E0245", message, scalar.place, "such as event.amount")
        return checked

    def _when(self, scalar: Scalar | None, with_entry: bool = False) -> CheckedExpression | None:
        return check_when(scalar, self._customer_scope("`when`", with_entry), self.vocabulary, self.errors)

    def _guards(self) -> None:
        consent = self.parsed.guards.consent
        if consent and consent.value not in PURPOSES:
            hint = nearest(consent.value, PURPOSES) or "purposes: " + ", ".join(PURPOSES)
            self.errors.add("E0206", f"unknown consent purpose {consent.value!r}", consent.place, hint)
        contact, known = self.parsed.guards.contact, self.vocabulary.policy.kinds
        if contact and contact.value not in known:
            hint = nearest(contact.value, known) or "kinds: " + ", ".join(sorted(known))
            self.errors.add("E0262", f"unknown kind of contact {contact.value!r}", contact.place, hint)

    def _entry_variables(self) -> dict[str, str]:
        entry = self.parsed.entry
        if entry.kind == "unanswered":
            return prefixed("entry.event", INQUIRY_FIELDS)
        if entry.kind == "unknown":  # told already; whatever `entry.event` reads, it may be right
            return prefixed("entry.event", any_event_fields())
        if entry.kind in ("event", "count") and entry.event:
            return prefixed("entry.event", self._shared_fields(entry.event))
        return {}

    def _shared_fields(self, event: Placed[str]) -> dict[str, str]:
        """Return the fields of an event; of the entry's, those that all its event types have."""
        if event.value not in EVENT_TYPES:  # told already; its fields may be right
            return any_event_fields()
        fields = event_fields(event.value)
        if event is self.parsed.entry.event:
            for other in self.parsed.entry.events[1:]:
                theirs = event_fields(other.value)
                fields = {name: kind for name, kind in fields.items() if theirs.get(name) == kind}
        return fields

    def _where(
        self,
        scalar: Scalar | None,
        event: Placed[str] | None,
        with_entry: bool = True,
        types: Sequence[Placed[str]] = (),
    ) -> CheckedExpression | None:
        """Check a condition on an event; `types` are all it is about, where they are several."""
        if scalar is None or event is None:
            return None
        variables = prefixed("event", self._shared_fields(event))
        entry = self._entry_variables() if with_entry else {}
        roots = ("event", "entry.event") if entry else ("event",)
        ranges = {**prefixed("event", event_ranges(event.value)), **(self._entry_ranges() if entry else {})}
        texts = {**_types("event.type", types or (event,)), **(self._entry_texts() if entry else {})}
        scope = Scope("`where`", {**variables, **entry}, roots, ranges, texts)
        return check_condition(scalar, scope, self.errors)

    def _value(self, scalar: Scalar, what: str) -> DataValue:
        if not is_expression(scalar):
            assert scalar.value is not None
            return scalar.value
        checked = check_value(scalar, self._customer_scope(what), self.errors)
        return checked if checked is not None else scalar.text

    def _customer_scope(self, what: str, with_entry: bool = True) -> Scope:
        entry = self._entry_variables() if with_entry else {}
        roots = ("customer", "entry.event") if entry else ("customer",)
        if not entry:
            return Scope(what, self.vocabulary.customer, roots, self.vocabulary.customer_ranges)
        ranges = {**self.vocabulary.customer_ranges, **self._entry_ranges()}
        return Scope(what, {**self.vocabulary.customer, **entry}, roots, ranges, self._entry_texts())

    def _entry_ranges(self) -> dict[str, Range]:
        event = self.parsed.entry.event
        return prefixed("entry.event", event_ranges(event.value)) if event else {}

    def _entry_texts(self) -> dict[str, frozenset[str]]:
        entry = self.parsed.entry
        if entry.kind not in ("event", "count", "unanswered") or entry.event is None:
            return {}
        return _types("entry.event.type", entry.events or (entry.event,))

    def _steps(self, steps: tuple[ParsedStep, ...]) -> tuple[CheckedStep, ...]:
        return tuple(self._step(step) for step in steps)

    def _step(self, step: ParsedStep) -> CheckedStep:
        match step:
            case ParsedSend():
                return self._send(step)
            case ParsedWait():
                return CheckedWait(step.path, step.wait_ms, step.until)
            case ParsedWaitUntil() | ParsedBranch() | ParsedSplit():
                return self._forking(step)
            case ParsedRun():
                return CheckedRun(step.path, step.sequence.value)
            case ParsedSet():
                return CheckedSet(step.path, step.trait, self._value(step.to, "a trait's value"))
            case _:
                return CheckedLeave(step.path)

    def _forking(self, step: ParsedWaitUntil | ParsedBranch | ParsedSplit) -> CheckedStep:
        match step:
            case ParsedWaitUntil():
                awaited = self._awaited(step)
                then, otherwise = self._steps(step.then), self._steps(step.otherwise)
                return CheckedWaitUntil(step.path, awaited, step.timeout_ms, step.until, then, otherwise)
            case ParsedBranch():
                arms = tuple(
                    CheckedArm(self._when(arm.when, with_entry=True), self._steps(arm.steps))
                    for arm in step.arms
                )
                return CheckedBranch(step.path, arms, self._steps(step.otherwise))
            case ParsedSplit():
                variants = tuple(
                    CheckedVariant(each.name.value, each.share, self._steps(each.steps))
                    for each in step.variants
                )
                return CheckedSplit(step.path, step.name, variants)

    def _awaited(self, step: ParsedWaitUntil) -> tuple[CheckedAwaited, ...]:
        awaited: list[CheckedAwaited] = []
        wrong: list[Place] = []
        for each in step.awaited:
            code = self._event_code(each.event)
            before = self.errors.count
            # one `where` may stand for several events: its mistakes are told once
            told = each.where is not None and each.where.place in wrong
            together = [other.event for other in step.awaited if other.where is each.where]
            where = None if told or code < 0 else self._where(each.where, each.event, types=together)
            if each.where is not None and self.errors.count > before:
                wrong.append(each.where.place)
            awaited.append(CheckedAwaited(code, where))
        return tuple(awaited)

    def _template(self, step: ParsedSend, data: tuple[tuple[str, DataValue], ...]) -> None:
        """Check the values against what the template declares."""
        templates = self.vocabulary.templates
        template = templates.get(step.template)
        if template is not None:
            places = {name: scalar.place for name, scalar in step.data}
            places |= {name.value: name.place for name in (step.table.give if step.table else ())}
            given = [(name, value, places.get(name, step.template_place)) for name, value in data]
            channels = self.vocabulary.channels
            channel = step.channel if not channels or step.channel.value in channels else None
            check_template(template, channel, step.template_place, given, self.errors)
        elif templates:
            hint = nearest(step.template, templates) or "`templates.path` says where templates are"
            message = f"unknown template {step.template!r}"
            self.errors.add("E0280", message, step.template_place, hint)

    def _send(self, step: ParsedSend) -> CheckedSend:
        channels = self.vocabulary.channels
        if channels and step.channel.value not in channels:
            hint = nearest(step.channel.value, channels) or "channels: " + ", ".join(sorted(channels))
            self.errors.add("E0206", f"unknown channel {step.channel.value!r}", step.channel.place, hint)
        before = self.errors.count
        data = tuple((name, self._value(scalar, f"`{name}`")) for name, scalar in step.data)
        table = self._table(step, step.table) if step.table is not None else None
        if table is not None:
            data += table.data
        if self.errors.count == before:
            self._template(step, data)
        row = table.row if table is not None else None
        return CheckedSend(
            step.path, step.channel.value, step.template, data, step.priority, step.expires_ms, row
        )

    def _table(self, step: ParsedSend, table: ParsedTable) -> CheckedTable | None:
        given = {name for name, _ in step.data}
        for name in table.give:
            if name.value in given:
                self.errors.add("E0233", f"{name.value!r} stands in `data` already", name.place)
        scope = self._customer_scope("a column")
        return check_table(table, scope, self.vocabulary.segments, self.errors)


def _types(name: str, events: Sequence[Placed[str]]) -> dict[str, frozenset[str]]:
    """Return that a name is one of these event types; nothing when one of them is unknown (told already)."""
    types = frozenset(each.value for each in events)
    return {name: types} if types <= EVENT_TYPES.keys() else {}
