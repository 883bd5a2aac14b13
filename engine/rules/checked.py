"""A journey whose every name and expression has been checked."""

from __future__ import annotations

from dataclasses import dataclass

from engine.events import Scalar as ScalarValue
from engine.rules.cel import CelProgram
from engine.rules.expression import Node
from engine.rules.parsed import ParsedJourney
from engine.rules.source import Place


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
class CheckedSend:
    """A message or task with its values."""

    path: str
    channel: str
    template: str
    data: tuple[tuple[str, DataValue], ...]
    priority: str
    expires_ms: int


@dataclass(frozen=True, slots=True)
class CheckedWait:
    """A pause."""

    path: str
    wait_ms: int


@dataclass(frozen=True, slots=True)
class CheckedWaitUntil:
    """A wait for an event, by its code."""

    path: str
    code: int
    where: CheckedExpression | None
    timeout_ms: int
    then: tuple[CheckedStep, ...]
    otherwise: tuple[CheckedStep, ...]


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


CheckedStep = CheckedSend | CheckedWait | CheckedWaitUntil | CheckedSet | CheckedLeave


@dataclass(frozen=True, slots=True)
class CheckedExit:
    """An event that takes the customer out, by its code."""

    code: int
    where: CheckedExpression | None


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
    """

    parsed: ParsedJourney
    code: int
    where: CheckedExpression | None
    when: CheckedExpression | None
    at_once_where: CheckedExpression | None
    at_once_when: CheckedExpression | None
    exits: tuple[CheckedExit, ...]
    steps: tuple[CheckedStep, ...]
