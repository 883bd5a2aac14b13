"""What a language must be able to say about a journey, and how conditions are said with it.

English and Chinese are two of these. A new kind of step, entry or guard is a new method here: a language that
cannot say it cannot be made.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

from engine.rules.checking.expressions import is_expression
from engine.rules.condition import conjuncts, disjuncts
from engine.rules.expressions.syntax import (
    Binary,
    Call,
    ExpressionSyntaxError,
    ListOf,
    Literal,
    Name,
    Node,
    Unary,
    parse_expression,
)
from engine.rules.parsing.parsed import (
    ParsedAwaited,
    ParsedEntry,
    ParsedExit,
    ParsedGoal,
    ParsedGuards,
    ParsedLeave,
    ParsedRow,
    ParsedRun,
    ParsedSend,
    ParsedSet,
    ParsedSplit,
    ParsedTable,
    ParsedWait,
    ParsedWaitUntil,
)
from engine.rules.text.yaml_nodes import Scalar

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_MAX_RAW = 160
_CELL = re.compile(r"(<=|>=|<|>)\s*(.+)")


class Words(ABC):
    """One language.

    Everything it returns is for people: no line breaks; what stays as written is in backquotes.
    """

    @abstractmethod
    def heading(self, name: str) -> str:
        """Return a heading: `enters`, `leaves`, `goal`, `guards`, `steps`, `owner`, `off`, `end`."""

    @abstractmethod
    def event(self, name: str) -> str:
        """Return an event type in words."""

    @abstractmethod
    def name(self, path: Sequence[str]) -> str:
        """Return a dotted name in words."""

    @abstractmethod
    def compare(self, subject: str, operator: str, constant: str) -> str:
        """Say a comparison."""

    @abstractmethod
    def flag(self, subject: str, *, wanted: bool) -> str:
        """Say that something is, or is not, so."""

    @abstractmethod
    def known(self, subject: str, *, wanted: bool) -> str:
        """Say that a value is, or is not, there."""

    @abstractmethod
    def text_test(self, subject: str, function: str, text: str) -> str:
        """Say `contains`, `startsWith`, `endsWith` or `matches`."""

    @abstractmethod
    def one_of(self, subject: str, values: Sequence[str]) -> str:
        """Say that a value is one of some."""

    @abstractmethod
    def all_of(self, parts: Sequence[str]) -> str:
        """Join what must all be so."""

    @abstractmethod
    def any_of(self, parts: Sequence[str]) -> str:
        """Join alternatives."""

    @abstractmethod
    def bracket(self, said: str) -> str:
        """Keep together what belongs together."""

    @abstractmethod
    def none_of(self, said: str) -> str:
        """Say that something is not so."""

    @abstractmethod
    def entry(self, entry: ParsedEntry) -> list[str]:
        """Say who enters and when, a sentence a point."""

    @abstractmethod
    def leaves(self, leave: ParsedExit) -> str:
        """Say what takes a customer out."""

    @abstractmethod
    def goal(self, goal: ParsedGoal) -> str:
        """Say what the journey is to bring about."""

    @abstractmethod
    def guards(self, guards: ParsedGuards, *, transactional: bool) -> list[str]:
        """Say what may hold a message or an entry back, a sentence a guard."""

    @abstractmethod
    def send(self, step: ParsedSend) -> tuple[str, list[str]]:
        """Say a message or task, and its notes."""

    @abstractmethod
    def table(self, table: ParsedTable) -> list[str]:
        """Say a decision table, a line a row."""

    @abstractmethod
    def wait(self, step: ParsedWait) -> str:
        """Say a pause."""

    @abstractmethod
    def wait_until(self, step: ParsedWaitUntil) -> tuple[str, str, str]:
        """Say a wait for events, and its two ways: it came, it did not."""

    @abstractmethod
    def branch(self) -> str:
        """Say that ways part by condition."""

    @abstractmethod
    def arm(self, when: Scalar | None) -> str:
        """Say a way of a branch; None is the one for all others."""

    @abstractmethod
    def split(self, step: ParsedSplit) -> str:
        """Say that customers are divided."""

    @abstractmethod
    def variant(self, name: str, share: float) -> str:
        """Say a way of a split; `share` is 0-1."""

    @abstractmethod
    def run(self, step: ParsedRun) -> str:
        """Say that a sequence is run."""

    @abstractmethod
    def set_trait(self, step: ParsedSet) -> str:
        """Say that a trait is written."""

    @abstractmethod
    def leave(self, step: ParsedLeave) -> str:
        """Say that the journey ends here."""

    def awaited(self, each: ParsedAwaited | ParsedExit) -> str:
        """Say an event with its condition."""
        said = self.event(each.event.value)
        return self.with_condition(said, each.where) if each.where is not None else said

    @abstractmethod
    def with_condition(self, event: str, where: Scalar) -> str:
        """Say an event for which something holds."""

    def condition(self, scalar: Scalar) -> str:
        """Say a `where` or `when` in words; what has no words of its own stays as written."""
        try:
            return self._say(parse_expression(scalar.text), scalar.text)
        except ExpressionSyntaxError:
            return code(scalar.text)

    def value(self, scalar: Scalar) -> str:
        """Say a data value: a name in words, a constant as it stands, an expression as written."""
        if not is_expression(scalar):
            return scalar.text
        node = parse_expression(scalar.text)
        while isinstance(node, Call) and node.target is None and len(node.arguments) == 1:
            node = node.arguments[0]  # int(…) and the like change the spelling only
        return self.name(node.path) if isinstance(node, Name) else code(scalar.text)

    def cell(self, column: str, text: str) -> str:
        """Say what a cell of a table asks of its column."""
        found = _CELL.fullmatch(text)
        if found:
            return self.compare(column, found[1], found[2])
        low, dots, high = text.partition("..")
        if dots:
            return self.all_of([self.compare(column, ">=", low), self.compare(column, "<", high)])
        return self.compare(column, "==", text)

    def row(self, columns: Sequence[str], row: ParsedRow) -> str:
        """Say what a row of a table asks; nothing when it takes everybody."""
        asked = zip(columns, row.cells, strict=False)
        return self.all_of([self.cell(column, cell.text) for column, cell in asked if cell.text != "any"])

    def _say(self, node: Node, text: str) -> str:
        parts = [part for part in conjuncts(node) if not _asks_first(part, node)]
        return self.all_of([self._say_part(part, text, inner=len(parts) > 1) for part in parts])

    def _say_part(self, node: Node, text: str, *, inner: bool) -> str:
        alternatives = list(disjuncts(node))
        if len(alternatives) == 1:
            return self._say_one(node, text)
        said = []
        for each in alternatives:
            several = sum(not _asks_first(part, each) for part in conjuncts(each)) > 1
            said.append(self.bracket(self._say(each, text)) if several else self._say(each, text))
        return self.bracket(self.any_of(said)) if inner else self.any_of(said)

    def _say_one(self, node: Node, text: str) -> str:
        match node:
            case Binary():
                return self._say_binary(node, text)
            case Name():
                return self.flag(self.name(node.path), wanted=True)
            case Unary(operator="!", operand=Name() as name):
                return self.flag(self.name(name.path), wanted=False)
            case Unary(operator="!", operand=operand):
                return self.none_of(self._say(operand, text))
            case Call():
                return self._say_call(node, text)
            case _:
                return code(text[node.start : node.end])

    def _say_call(self, node: Call, text: str) -> str:
        match node:
            case Call(target=None, function="has", arguments=(Name() as name,)):
                return self.known(self.name(name.path), wanted=True)
            case Call(target=Name() as name, function=function, arguments=(Literal(value=str() as tested),)):
                return self.text_test(self.name(name.path), function, tested)
            case _:
                return code(text[node.start : node.end])

    def _say_binary(self, node: Binary, text: str) -> str:
        match node:
            case Binary(operator="&&"):
                return self._say(node, text)
            case Binary(operator="in", left=Name() as name, right=ListOf(elements=elements)) if all(
                isinstance(each, Literal) for each in elements
            ):
                values = [constant(each) for each in elements if isinstance(each, Literal)]
                return self.one_of(self.name(name.path), values)
            case Binary(operator=operator, left=left, right=Literal() as literal) if operator in _FLIPPED:
                return self._compare(left, operator, literal, text)
            case Binary(operator=operator, left=Literal() as literal, right=right) if operator in _FLIPPED:
                return self._compare(right, _FLIPPED[operator], literal, text)
            case Binary(operator=operator, left=Name() as left, right=Name() as right) if (
                operator in _FLIPPED
            ):
                return self.compare(self.name(left.path), operator, self.name(right.path))
            case _:
                return code(text[node.start : node.end])

    def _compare(self, subject: Node, operator: str, literal: Literal, text: str) -> str:
        said = (
            self.name(subject.path) if isinstance(subject, Name) else code(text[subject.start : subject.end])
        )
        if isinstance(literal.value, bool) and operator in ("==", "!="):
            return self.flag(said, wanted=literal.value is (operator == "=="))
        return self.compare(said, operator, constant(literal))


def _asks_first(part: Node, whole: Node) -> bool:
    """Tell whether a part only asks whether a value is there that another part reads anyhow."""
    if not isinstance(part, Call) or part.function != "has" or part.target is not None:
        return False
    asked = part.arguments[0]
    others = [each for each in conjuncts(whole) if each is not part]
    return isinstance(asked, Name) and any(
        isinstance(each, Binary) and isinstance(each.left, Name) and each.left.path == asked.path
        for each in others
    )


def constant(literal: Literal) -> str:
    """Return a constant for people: texts in quotes, numbers without needless decimals."""
    if isinstance(literal.value, bool) or literal.value is None:
        return str(literal.value).lower()
    return f'"{literal.value}"' if isinstance(literal.value, str) else f"{literal.value:g}"


def code(text: str) -> str:
    """Return something as written, in backquotes, on one line and not endless."""
    line = " ".join(text.split())
    return f"`{line if len(line) <= _MAX_RAW else line[: _MAX_RAW - 1] + '…'}`"
