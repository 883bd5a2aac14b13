"""Third stage: a checked journey to a flat program."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.events import EVENT_TYPES, TYPE_BY_CODE
from engine.rules.cel import Kind
from engine.rules.checked import (
    CheckedExpression,
    CheckedJourney,
    CheckedSend,
    CheckedSet,
    CheckedStep,
    CheckedWait,
    CheckedWaitUntil,
)
from engine.rules.checked import DataValue as CheckedValue
from engine.rules.condition import Bound, Condition, bind, compile_condition
from engine.rules.journey import (
    DataValue,
    Exit,
    Instruction,
    Journey,
    Jump,
    Leave,
    Send,
    SetTrait,
    Wait,
    WaitUntil,
)
from engine.rules.parsed import DEFAULT_CONTACT, ParsedEntry, step_lines
from engine.rules.scope import INQUIRY_FIELDS, Vocabulary, event_fields, prefixed
from engine.rules.sentences import say_name
from engine.rules.units import say_duration


def compile_journey(checked: CheckedJourney, vocabulary: Vocabulary) -> Journey:
    """Compile a checked journey.

    Args:
        checked: the journey.
        vocabulary: the one it was checked against.
    """
    parsed = checked.parsed
    compiler = _Compiler(vocabulary, _entry_kinds(parsed.entry))
    exits = tuple(
        Exit(each.code, TYPE_BY_CODE[each.code].name, compiler.condition(each.where, each.code))
        for each in checked.exits
    )
    compiler.steps(checked.steps, "")
    entry, guards = parsed.entry, parsed.guards
    where = compiler.condition(checked.where, checked.code)
    when = compiler.condition(checked.when, -1)
    return Journey(
        name=parsed.name.value,
        version=parsed.version,
        description=parsed.description,
        owner=parsed.owner,
        file=parsed.source.file,
        enabled=parsed.enabled,
        transactional=parsed.transactional,
        kind=entry.kind,
        code=checked.code,
        segment=entry.segment.value if entry.segment else "",
        for_ms=entry.for_ms,
        since=entry.since,
        reentry=entry.reentry,
        trigger=say_trigger(entry),
        where=where,
        when=when,
        at_once_where=compiler.condition(checked.at_once_where, checked.code),
        at_once_when=compiler.condition(checked.at_once_when, -1),
        consent=guards.consent.value if guards.consent else "",
        caps=guards.caps,
        quiet_hours=guards.quiet_hours,
        holdout=guards.holdout,
        exits=exits,
        program=tuple(compiler.program),
        correlation=tuple(sorted(compiler.correlation)),
        lines={"entry": entry.place.line, **dict(step_lines(parsed.steps))},
        contact=guards.contact.value if guards.contact else DEFAULT_CONTACT,
        send_windows=guards.send_windows,
        priority=guards.priority,
        exclusion_group=guards.exclusion_group.value if guards.exclusion_group else "",
        entry_cap=guards.entry_cap,
    )


def _entry_kinds(entry: ParsedEntry) -> dict[str, Kind]:
    if entry.kind == "unanswered":
        return prefixed("entry.event", INQUIRY_FIELDS)
    if entry.kind == "event" and entry.event:
        return prefixed("entry.event", event_fields(entry.event.value))
    return {}


def say_trigger(entry: ParsedEntry) -> str:
    """Say in words what makes a customer enter."""
    event = entry.event.value if entry.event else ""
    thing = say_name((EVENT_TYPES[event].singular,)) if event in EVENT_TYPES else event
    length = say_duration(entry.for_ms) if entry.for_ms else ""
    if entry.kind == "absent":
        return {
            "last": f"no {thing} for {length}",
            "first": f"no second {thing} within {length} of the first",
            "signup": f"no {thing} within {length} of signing up",
        }[entry.since]
    if entry.kind == "unanswered":
        return f"inquiry unanswered for {length}"
    if entry.segment:
        return f"{entry.kind.removeprefix('segment_')} segment {entry.segment.value}"
    return event.replace(".", " ").replace("_", " ")


@dataclass(slots=True)
class _Compiler:
    """Lays the steps out one behind the other, branches with jumps."""

    vocabulary: Vocabulary
    entry_kinds: dict[str, Kind]
    program: list[Instruction] = field(default_factory=list)
    correlation: set[str] = field(default_factory=set)

    def condition(self, checked: CheckedExpression | None, code: int) -> Condition | None:
        """Compile a condition over an event of type `code`, or over the customer when `code` is -1."""
        if checked is None:
            return None
        kinds = self._kinds()
        if code >= 0:
            kinds.update(prefixed("event", event_fields(TYPE_BY_CODE[code].name)))
        condition = compile_condition(checked, kinds, self.vocabulary.segments)
        self._correlate(condition.whole)
        return condition

    def _kinds(self) -> dict[str, Kind]:
        return {**self.vocabulary.customer, **self.entry_kinds}

    def _correlate(self, bound: Bound) -> None:
        self.correlation.update(name for _, root, name, _ in bound.sources if root == "entry")

    def _value(self, value: CheckedValue) -> DataValue:
        if not isinstance(value, CheckedExpression):
            return value
        bound = bind(value.program, self._kinds())
        self._correlate(bound)
        return bound

    def steps(self, steps: tuple[CheckedStep, ...], because: str) -> str:
        """Lay out a list of steps; return what has happened by its end, in words."""
        for step in steps:
            because = self._step(step, because)
        return because

    def _step(self, step: CheckedStep, because: str) -> str:
        match step:
            case CheckedSend():
                data = tuple((name, self._value(value)) for name, value in step.data)
                self.program.append(
                    Send(
                        step.path, step.channel, step.template, data, step.priority, step.expires_ms, because
                    )
                )
            case CheckedWait():
                self.program.append(Wait(step.path, step.wait_ms))
                return f"{say_duration(step.wait_ms)} later"
            case CheckedWaitUntil():
                self._wait_until(step)
                return ""
            case CheckedSet():
                self.program.append(SetTrait(step.path, step.trait, self._value(step.to)))
            case _:
                self.program.append(Leave(step.path))
        return because

    def _wait_until(self, step: CheckedWaitUntil) -> None:
        """Emit `wait; then…; jump end; otherwise…; end`."""
        at = len(self.program)
        where = self.condition(step.where, step.code)
        thing = TYPE_BY_CODE[step.code].name.replace(".", " ").replace("_", " ")
        self.program.append(Leave(step.path))  # its place is kept until the targets are known
        self.steps(step.then, f"then {thing}")
        jump_at = len(self.program)
        self.program.append(Jump(0))
        self.steps(step.otherwise, f"then no {thing} within {say_duration(step.timeout_ms)}")
        end = len(self.program)
        self.program[jump_at] = Jump(end)
        self.program[at] = WaitUntil(step.path, step.code, where, step.timeout_ms, at + 1, jump_at + 1)
