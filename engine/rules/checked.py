"""A journey whose every name and expression has been checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from engine.events import Scalar as ScalarValue
from engine.rules.expressions.cel import CelProgram
from engine.rules.expressions.syntax import Node
from engine.rules.parsing.parsed import ParsedJourney
from engine.rules.text.source import Place
from engine.rules.times.until import Until


@dataclass(frozen=True, slots=True)
class CheckedExpression:
    """A type-checked CEL expression.

    Args:
        text: the expression as CEL sees it (whole numbers widened).
        node: its tree; offsets point into `text`.
        program: what CEL made of it.
        place: where it stands in the file.
    """

    text: str
    node: Node
    program: CelProgram
    place: Place


DataValue = ScalarValue | CheckedExpression


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """A table as CEL.

    Args:
        data: the values it gives, by name.
        row: the number of the row chosen, from 0.
    """

    data: tuple[tuple[str, CheckedExpression], ...]
    row: CheckedExpression


@dataclass(frozen=True, slots=True)
class CheckedSend:
    """A message or task with its values, those of its table among them; `row` is the table's."""

    path: str
    channel: str
    template: str
    data: tuple[tuple[str, DataValue], ...]
    priority: str
    expires_ms: int
    row: CheckedExpression | None = None


@dataclass(frozen=True, slots=True)
class CheckedWait:
    """A pause of `wait_ms`, or, when that is 0, until `until`."""

    path: str
    wait_ms: int
    until: Until | None


@dataclass(frozen=True, slots=True)
class CheckedAwaited:
    """An event waited for, by its code."""

    code: int
    where: CheckedExpression | None


@dataclass(frozen=True, slots=True)
class CheckedWaitUntil:
    """A wait for any of several events, for `timeout_ms` or, when that is 0, until `until`."""

    path: str
    awaited: tuple[CheckedAwaited, ...]
    timeout_ms: int
    until: Until | None
    then: tuple[CheckedStep, ...]
    otherwise: tuple[CheckedStep, ...]


@dataclass(frozen=True, slots=True)
class CheckedArm:
    """One way out of a branch."""

    when: CheckedExpression | None
    steps: tuple[CheckedStep, ...]


@dataclass(frozen=True, slots=True)
class CheckedBranch:
    """The first arm that holds, else `otherwise`."""

    path: str
    arms: tuple[CheckedArm, ...]
    otherwise: tuple[CheckedStep, ...]


@dataclass(frozen=True, slots=True)
class CheckedVariant:
    """One way out of a split; `share` in hundredths of a percent."""

    name: str
    share: int
    steps: tuple[CheckedStep, ...]


@dataclass(frozen=True, slots=True)
class CheckedSplit:
    """Customers divided by weights; `name` may be empty."""

    path: str
    name: str
    variants: tuple[CheckedVariant, ...]


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """Run a sequence, by its name."""

    path: str
    sequence: str


@dataclass(frozen=True, slots=True)
class CheckedSet:
    """A trait to write."""

    path: str
    trait: str
    to: DataValue


@dataclass(frozen=True, slots=True)
class CheckedLeave:
    """The `exit` step."""

    path: str


CheckedStep = (
    CheckedSend
    | CheckedWait
    | CheckedWaitUntil
    | CheckedBranch
    | CheckedSplit
    | CheckedRun
    | CheckedSet
    | CheckedLeave
)


@dataclass(frozen=True, slots=True)
class CheckedExit:
    """An event that takes the customer out, by its code."""

    code: int
    where: CheckedExpression | None


@dataclass(frozen=True, slots=True)
class CheckedGoal:
    """What a journey is to bring about: an event by its code, and what it is worth."""

    code: int
    where: CheckedExpression | None
    within_ms: int
    value: DataValue | None


@dataclass(frozen=True, slots=True)
class CheckedJourney:
    """One journey, ready to compile.

    Args:
        parsed: what the file says: names, guards, trigger.
        code: code of the entry's event type, or -1 when it has none.
        where: the entry's condition on the event.
        when: the entry's condition on the customer.
        at_once_where: for `unanswered`, an inquiry that doesn't wait.
        at_once_when: for `unanswered`, a customer who doesn't wait.
        exits: events that take the customer out.
        steps: the steps.
        sequences: the sequences by name; their steps' paths begin with the name.
        per: the event's field that tells runs apart, as `(name,)` or `("props", name)`; or empty.
        goal: what the journey is to bring about, or None.
        codes: codes of the entry's further event types.
    """

    parsed: ParsedJourney
    code: int
    where: CheckedExpression | None
    when: CheckedExpression | None
    at_once_where: CheckedExpression | None
    at_once_when: CheckedExpression | None
    exits: tuple[CheckedExit, ...]
    steps: tuple[CheckedStep, ...]
    sequences: Mapping[str, tuple[CheckedStep, ...]]
    per: tuple[str, ...] = ()
    goal: CheckedGoal | None = None
    codes: tuple[int, ...] = ()
