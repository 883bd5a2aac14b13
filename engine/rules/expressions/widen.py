"""Whole numbers where CEL wants a decimal one: `customer.orders_30d >= 1` is meant as `>= 1.0`.

CEL has no order between int and double. Features are doubles, and an author writes `1`; so a whole-number
literal that meets a double gets its `.0` here, before CEL sees the expression.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.rules.expressions.cel import Kind
from engine.rules.expressions.syntax import Binary, Call, ListOf, Literal, Name, Node, Ternary, Unary, walk

_NUMERIC = ("<", "<=", ">", ">=", "==", "!=", "+", "-", "*", "/")
_LOGIC = ("&&", "||", "<", "<=", ">", ">=", "==", "!=", "in")
_RESULTS: dict[str, Kind] = {
    "int": "int",
    "double": "double",
    "string": "string",
    "size": "int",
    "has": "bool",
    "matches": "bool",
    "contains": "bool",
    "startsWith": "bool",
    "endsWith": "bool",
}
_SUFFIX = ".0"


@dataclass(frozen=True, slots=True)
class Widened:
    """An expression with its literals widened.

    Args:
        text: the expression for CEL.
        inserted: offsets in the author's text behind which `.0` was put, ascending.
    """

    text: str
    inserted: tuple[int, ...]

    def author_offset(self, offset: int) -> int:
        """Return the place in the author's text for an offset in `text`."""
        ends = [at + len(_SUFFIX) * number for number, at in enumerate(self.inserted)]
        before = bisect_left(ends, offset)
        return max(offset - len(_SUFFIX) * before, self.inserted[before - 1] if before else 0)


def widen(text: str, parts: Iterable[Node], variables: Mapping[str, Kind]) -> Widened:
    """Put `.0` behind each whole number that meets a double.

    Args:
        text: the author's expression.
        parts: every node of its tree.
        variables: dotted name to kind.
    """
    offsets: set[int] = set()
    for part in parts:
        if isinstance(part, Binary) and part.operator in _NUMERIC:
            _widen_pair(part.left, part.right, text, variables, offsets)
        elif isinstance(part, Binary) and part.operator == "in" and isinstance(part.right, ListOf):
            for element in part.right.elements:
                _widen_pair(part.left, element, text, variables, offsets)
        elif isinstance(part, Ternary):
            _widen_pair(part.then, part.otherwise, text, variables, offsets)
    pieces = []
    start = 0
    for offset in sorted(offsets):
        pieces.append(text[start:offset] + _SUFFIX)
        start = offset
    return Widened("".join(pieces) + text[start:], tuple(sorted(offsets)))


def _widen_pair(left: Node, right: Node, text: str, variables: Mapping[str, Kind], offsets: set[int]) -> None:
    for one, other in ((left, right), (right, left)):
        if kind_of(one, variables) == "double" and _whole(other):
            for part in walk(other):
                if isinstance(part, Literal) and text[part.start : part.end].strip("()- \t\n").isdigit():
                    offsets.add(part.start + len(text[part.start : part.end].rstrip(") \t\n")))


def _whole(node: Node) -> bool:
    """Tell whether a node is made of whole-number literals only."""
    return all(
        (isinstance(part, Literal) and part.kind == "int")
        or (isinstance(part, Unary) and part.operator == "-")
        or (isinstance(part, Binary) and part.operator in ("+", "-", "*"))
        for part in walk(node)
    )


def kind_of(node: Node, variables: Mapping[str, Kind]) -> Kind:  # noqa: PLR0911 - one line per kind of node
    """Return the kind of value a node has, `dyn` when only CEL can tell."""
    match node:
        case Literal(kind=kind):
            return "double" if kind == "float" else kind
        case Name():
            return variables.get(node.dotted, "dyn")
        case Call(function=function):
            return _RESULTS.get(function, "dyn")
        case Unary(operator="-", operand=operand):
            return kind_of(operand, variables)
        case Unary():
            return "bool"
        case Binary(operator=operator) if operator in _LOGIC:
            return "bool"
        case Binary(left=left, right=right):
            kinds = (kind_of(left, variables), kind_of(right, variables))
            return "double" if "double" in kinds else kinds[0]
        case Ternary(then=then, otherwise=otherwise):
            kinds = (kind_of(then, variables), kind_of(otherwise, variables))
            return "double" if "double" in kinds else kinds[0]
        case _:
            return "dyn"
