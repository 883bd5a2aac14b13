"""Third stage: a checked journey to a flat program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.events import TYPE_BY_CODE, say_type
from engine.rules.checked import (
    CheckedBranch,
    CheckedExpression,
    CheckedGoal,
    CheckedJourney,
    CheckedRun,
    CheckedSend,
    CheckedSet,
    CheckedSplit,
    CheckedStep,
    CheckedWait,
    CheckedWaitUntil,
)
from engine.rules.checked import DataValue as CheckedValue
from engine.rules.condition import Bound, Condition, bind, compile_condition
from engine.rules.expressions.cel import Kind
from engine.rules.journey import (
    Arm,
    Awaited,
    Branch,
    DataValue,
    Exit,
    Goal,
    Instruction,
    Journey,
    Jump,
    Leave,
    Send,
    SetTrait,
    Split,
    Variant,
    Wait,
    WaitUntil,
)
from engine.rules.parsing.branches import WHOLE
from engine.rules.parsing.parsed import DEFAULT_CONTACT, ParsedEntry, part_lines
from engine.rules.scope import INQUIRY_FIELDS, Vocabulary, event_fields, prefixed
from engine.rules.sentences import say_plainly
from engine.rules.times.units import say_duration
from engine.rules.triggers import say_trigger


def compile_journey(checked: CheckedJourney, vocabulary: Vocabulary) -> Journey:
    """Compile a checked journey.

    Args:
        checked: the journey.
        vocabulary: the one it was checked against.
    """
    parsed = checked.parsed
    compiler = _Compiler(vocabulary, _entry_kinds(parsed.entry), parsed.name.value, checked.sequences)
    exits = tuple(
        Exit(each.code, TYPE_BY_CODE[each.code].name, compiler.condition(each.where, each.code))
        for each in checked.exits
    ) + tuple(Exit(-1, each.event.value, None, each.segment.value) for each in parsed.exits if each.segment)
    compiler.steps(checked.steps, "")
    goal = _goal(checked.goal, vocabulary, compiler)
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
        at_least=entry.at_least,
        schedule=entry.schedule.plain if entry.schedule else "",
        zone=entry.zone,
        per=checked.per,
        goal=goal,
        lines=part_lines(parsed),
        contact=guards.contact.value if guards.contact else DEFAULT_CONTACT,
        send_windows=guards.send_windows,
        priority=guards.priority,
        exclusion_group=guards.exclusion_group.value if guards.exclusion_group else "",
        entry_cap=guards.entry_cap,
        codes=(checked.code, *checked.codes),
        feature=entry.feature.value.removeprefix("customer.") if entry.feature else "",
        level=entry.level,
        until=entry.until,
    )


def _entry_kinds(entry: ParsedEntry) -> dict[str, Kind]:
    if entry.kind == "unanswered":
        return prefixed("entry.event", INQUIRY_FIELDS)
    if entry.kind in ("event", "count") and entry.event:
        return prefixed("entry.event", event_fields(entry.event.value))
    return {}


def _goal(checked: CheckedGoal | None, vocabulary: Vocabulary, compiler: _Compiler) -> Goal | None:
    """Compile a goal; the fields of the entry event it needs are kept with it and with the position."""
    if checked is None:
        return None
    own = _Compiler(vocabulary, compiler.entry_kinds, compiler.journey, {})
    where = own.condition(checked.where, checked.code)
    value = own.value(checked.value, checked.code) if checked.value is not None else None
    compiler.correlation |= own.correlation
    event_type = TYPE_BY_CODE[checked.code].name
    return Goal(checked.code, event_type, where, checked.within_ms, value, tuple(sorted(own.correlation)))


@dataclass(slots=True)
class _Compiler:
    """Lays the steps out one behind the other, branches with jumps, sequences where they are run.

    Args:
        vocabulary: features and segments.
        entry_kinds: the fields of the entry event.
        journey: the journey's name.
        sequences: its sequences by name.
        prefix: what goes before the path of a step: where the sequence it stands in is run.
        program: the instructions so far.
        correlation: the fields of the entry event asked for so far.
    """

    vocabulary: Vocabulary
    entry_kinds: dict[str, Kind]
    journey: str
    sequences: Mapping[str, tuple[CheckedStep, ...]]
    prefix: str = ""
    program: list[Instruction] = field(default_factory=list)
    correlation: set[str] = field(default_factory=set)

    def condition(self, checked: CheckedExpression | None, code: int) -> Condition | None:
        """Compile a condition over an event of type `code`, or over the customer when `code` is -1."""
        if checked is None:
            return None
        condition = compile_condition(checked, self._kinds(code), self.vocabulary.segments)
        self._correlate(condition.whole)
        return condition

    def _kinds(self, code: int = -1) -> dict[str, Kind]:
        event = prefixed("event", event_fields(TYPE_BY_CODE[code].name)) if code >= 0 else {}
        return {**self.vocabulary.customer, **self.entry_kinds, **event}

    def _correlate(self, bound: Bound) -> None:
        self.correlation.update(name for _, root, name, _ in bound.sources if root == "entry")

    def value(self, value: CheckedValue, code: int = -1) -> DataValue:
        """Compile a value, which may name fields of an event of type `code` unless that is -1."""
        if not isinstance(value, CheckedExpression):
            return value
        bound = bind(value.program, self._kinds(code))
        self._correlate(bound)
        return bound

    def steps(self, steps: tuple[CheckedStep, ...], because: str) -> str:
        """Lay out a list of steps; return what has happened by its end, in words."""
        for step in steps:
            because = self._step(step, because)
        return because

    def _step(self, step: CheckedStep, because: str) -> str:
        path = self.prefix + step.path
        match step:
            case CheckedSend():
                self._send(step, because)
            case CheckedWait():
                self.program.append(Wait(path, step.wait_ms, step.until))
                return f"at {step.until}" if step.until else f"{say_duration(step.wait_ms)} later"
            case CheckedWaitUntil():
                self._wait_until(step)
                return ""
            case CheckedBranch():
                return self._branch(step, because)
            case CheckedSplit():
                return self._split(step, because)
            case CheckedRun():
                return self._run(step, because)
            case CheckedSet():
                self.program.append(SetTrait(path, step.trait, self.value(step.to)))
            case _:
                self.program.append(Leave(path))
        return because

    def _send(self, step: CheckedSend, because: str) -> None:
        data = tuple((name, self.value(value)) for name, value in step.data)
        path = self.prefix + step.path
        row = bind(step.row.program, self._kinds()) if step.row is not None else None
        self.program.append(
            Send(path, step.channel, step.template, data, step.priority, step.expires_ms, because, row)
        )

    def _wait_until(self, step: CheckedWaitUntil) -> None:
        """Emit `wait; then…; jump end; otherwise…; end`."""
        path = self.prefix + step.path
        awaited = tuple(Awaited(each.code, self.condition(each.where, each.code)) for each in step.awaited)
        names = [say_type(TYPE_BY_CODE[each.code].name) for each in awaited]
        thing = " or ".join(dict.fromkeys(names))
        limit = f"until {step.until}" if step.until else f"within {say_duration(step.timeout_ms)}"
        at = self._keep_place(path)
        self.steps(step.then, f"then {thing}")
        jump_at = self._keep_place(path)
        self.steps(step.otherwise, f"then no {thing} {limit}")
        self.program[jump_at] = Jump(len(self.program))
        self.program[at] = WaitUntil(path, awaited, step.timeout_ms, step.until, at + 1, jump_at + 1)

    def _branch(self, step: CheckedBranch, because: str) -> str:
        """Emit `branch; arm…; jump end; …; else…; end`."""
        path = self.prefix + step.path
        at = self._keep_place(path)
        arms, jumps = [], []
        for number, arm in enumerate(step.arms):
            when = self.condition(arm.when, -1)
            assert when is not None
            arms.append(Arm(f"{path}.branch[{number}]", when, len(self.program)))
            self.steps(arm.steps, _joined(because, f"as {say_plainly(when)}"))
            jumps.append(self._keep_place(path))
        else_pc = len(self.program)
        self.steps(step.otherwise, because)
        self.program[at] = Branch(path, tuple(arms), else_pc)
        return self._join(jumps, at, because)

    def _split(self, step: CheckedSplit, because: str) -> str:
        """Emit `split; variant…; jump end; …; end`."""
        path = self.prefix + step.path
        at = self._keep_place(path)
        variants, jumps = [], []
        total = 0
        for each in step.variants:
            total += each.share
            variant_path = f"{path}.split.{each.name}"
            variants.append(Variant(variant_path, each.name, total / WHOLE, len(self.program)))
            self.steps(each.steps, because)
            jumps.append(self._keep_place(path))
        key = ("split", self.journey, step.name or path)
        self.program[at] = Split(path, step.name, key, tuple(variants))
        return self._join(jumps, at, because)

    def _run(self, step: CheckedRun, because: str) -> str:
        outside = self.prefix
        self.prefix = f"{outside}{step.path}.run."
        because = self.steps(self.sequences[step.sequence], because)
        self.prefix = outside
        return because

    def _keep_place(self, path: str) -> int:
        """Put something where an instruction comes whose targets are not known yet."""
        self.program.append(Leave(path))
        return len(self.program) - 1

    def _join(self, jumps: list[int], since: int, because: str) -> str:
        """Let the ways of a branch meet here; return what has happened by then, if it is the same for all."""
        for at in jumps:
            self.program[at] = Jump(len(self.program))
        waited = any(isinstance(each, Wait | WaitUntil) for each in self.program[since:])
        return "" if waited else because


def _joined(because: str, more: str) -> str:
    return f"{because}; {more}" if because else more
