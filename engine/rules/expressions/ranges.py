"""What comparisons can be, given each value's range: never true, always true, at odds with one another.

Ranges come from the feature table and the event schema: counts are 0 or more, probabilities 0 to 1; of some
texts it is known what they can be. Checks
are sound, not complete: what they warn of is so; much that is so they cannot see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.rules.expressions.syntax import Binary, Call, ListOf, Literal, Name, Node, Unary, children

Range = tuple[float, float]
Texts = Mapping[str, frozenset[str]]
ANY: Range = (-math.inf, math.inf)
_NO_TEXTS: Texts = {}

_OPPOSITE = {"<": ">=", ">=": "<", ">": "<=", "<=": ">", "==": "!=", "!=": "=="}
_MIRRORED = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "==": "==", "!=": "!="}


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something a condition can never or must always be.

    Args:
        kind: `never`, `always` or `contradiction`.
        node: the part that shows it.
    """

    kind: str
    node: Node


@dataclass(frozen=True, slots=True)
class Atom:
    """A name compared with a constant, as it must be for the whole to hold."""

    name: str
    operator: str
    constant: str | float
    node: Node


@dataclass(slots=True)
class _Values:
    """What is left of a value after some comparisons."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    equal: str | None = None
    unequal: set[str | float] = field(default_factory=set)

    def take(self, atom: Atom) -> bool:
        """Narrow by one comparison; return whether anything is left."""
        if isinstance(atom.constant, str):
            return self._take_text(atom.operator, atom.constant)
        if atom.operator in (">", ">=", "=="):
            bound, is_open = atom.constant, atom.operator == ">"
            self.low, self.low_open = max((self.low, self.low_open), (bound, is_open))
        if atom.operator in ("<", "<=", "=="):
            bound, is_open = atom.constant, atom.operator == "<"
            if bound < self.high or (bound == self.high and is_open):
                self.high, self.high_open = bound, is_open
        if atom.operator == "!=":
            self.unequal.add(atom.constant)
        if self.low == self.high:
            return not (self.low_open or self.high_open or self.low in self.unequal)
        return self.low < self.high

    def _take_text(self, operator: str, constant: str) -> bool:
        if operator == "!=":
            self.unequal.add(constant)
        elif operator == "==":
            if self.equal is not None and self.equal != constant:
                return False
            self.equal = constant
        return self.equal is None or self.equal not in self.unequal


def find_oddities_in(
    node: Node, ranges: Mapping[str, Range], certain: frozenset[str], texts: Texts = _NO_TEXTS
) -> Iterator[Oddity]:
    """Yield what a condition can never or must always be.

    Args:
        node: the condition.
        ranges: dotted name to the lowest and highest value it can have.
        certain: dotted names that always have a value of one type; only of these something holds always.
        texts: dotted name to the texts it can be, where they are known.
    """
    if isinstance(node, Binary) and node.operator in ("&&", "||"):
        positive = node.operator == "&&"
        atoms = list(atoms_of(node, positive=positive))
        at_odds = contradiction(atoms)
        if at_odds is not None and positive:
            yield Oddity("contradiction", at_odds.node)
        elif at_odds is not None and all(atom.name in certain for atom in atoms):
            yield Oddity("always", node)
    else:
        verdict = "never" if _is_never_text(node, texts) else _verdict(node, ranges, certain)
        if verdict:
            yield Oddity(verdict, node)
    for part in _parts(node):
        yield from find_oddities_in(part, ranges, certain, texts)


def _parts(node: Node) -> Iterator[Node]:
    """Yield the parts to look at by themselves: of a chain of `&&` or `||` its members, not sub-chains."""
    if not (isinstance(node, Binary) and node.operator in ("&&", "||")):
        yield from children(node)
        return
    for side in (node.left, node.right):
        if isinstance(side, Binary) and side.operator == node.operator:
            yield from _parts(side)
        else:
            yield side


def _verdict(node: Node, ranges: Mapping[str, Range], certain: frozenset[str]) -> str:
    if not isinstance(node, Binary) or node.operator not in _MIRRORED:
        return ""
    left, right = range_of(node.left, ranges), range_of(node.right, ranges)
    if left is None or right is None:
        return ""
    if _always(node.operator, left, right):
        known = all(part.dotted in certain for part in _names(node))
        return "always" if known else ""
    return "never" if _always(_OPPOSITE[node.operator], left, right) else ""


def _is_never_text(node: Node, texts: Texts) -> bool:
    """Tell whether a text is asked to be what it never is, or not to be what it always is."""
    match node:
        case Binary(operator="==" | "!=" | "in" as operator, left=Name() as name, right=right):
            pass
        case Binary(operator="==" | "!=" as operator, left=right, right=Name() as name):
            pass
        case _:
            return False
    possible = texts.get(name.dotted)
    constants = right.elements if isinstance(right, ListOf) else (right,)
    asked = frozenset(each.value for each in constants if isinstance(each, Literal))
    if possible is None or len(asked) < len(constants) or not all(isinstance(each, str) for each in asked):
        return False
    return possible <= asked if operator == "!=" else not possible & asked


def _names(node: Node) -> Iterator[Name]:
    if isinstance(node, Name):
        yield node
    for child in children(node):
        yield from _names(child)


def _always(operator: str, left: Range, right: Range) -> bool:
    match operator:
        case "<":
            return left[1] < right[0]
        case "<=":
            return left[1] <= right[0]
        case ">":
            return left[0] > right[1]
        case ">=":
            return left[0] >= right[1]
        case "==":
            return left[0] == left[1] == right[0] == right[1]
        case _:
            return left[1] < right[0] or left[0] > right[1]


def range_of(  # noqa: PLR0911 - one line per kind of node
    node: Node, ranges: Mapping[str, Range]
) -> Range | None:
    """Return the lowest and highest value a numeric expression can have, or None when nothing is known."""
    match node:
        case Literal(value=bool()):
            return None
        case Literal(value=int() | float() as value):
            return float(value), float(value)
        case Name():
            return ranges.get(node.dotted)
        case Unary(operator="-", operand=operand):
            inner = range_of(operand, ranges)
            return (-inner[1], -inner[0]) if inner else None
        case Call(target=None, function="double", arguments=(only,)):
            return range_of(only, ranges)
        case Call(target=None, function="int", arguments=(only,)):
            inner = range_of(only, ranges)
            return (_whole(inner[0]), _whole(inner[1])) if inner else None
        case Call(function="size"):
            return 0.0, math.inf
        case Binary(operator="+" | "-" as operator, left=left, right=right):
            return _sum(range_of(left, ranges), range_of(right, ranges), 1 if operator == "+" else -1)
        case _:
            return None


def _whole(value: float) -> float:
    return float(math.trunc(value)) if math.isfinite(value) else value


def _sum(left: Range | None, right: Range | None, sign: int) -> Range | None:
    if left is None or right is None:
        return None
    other = right if sign == 1 else (-right[1], -right[0])
    return left[0] + other[0], left[1] + other[1]


def contradiction(atoms: list[Atom]) -> Atom | None:
    """Return the first comparison that cannot hold together with those before it."""
    left: dict[str, _Values] = {}
    for atom in atoms:
        if not left.setdefault(atom.name, _Values()).take(atom):
            return atom
    return None


def atoms_of(node: Node, *, positive: bool = True) -> Iterator[Atom]:
    """Yield the comparisons that must all hold for a condition to be true (or, negated, false)."""
    match node:
        case Binary(operator="&&" | "||" as operator, left=left, right=right):
            if (operator == "&&") == positive:
                yield from atoms_of(left, positive=positive)
                yield from atoms_of(right, positive=positive)
        case Unary(operator="!", operand=operand):
            yield from atoms_of(operand, positive=not positive)
        case Binary(operator=operator, left=left, right=right) if operator in _MIRRORED:
            if isinstance(right, Name):
                left, right, operator = right, left, _MIRRORED[operator]
            constant = _constant(right)
            if isinstance(left, Name) and constant is not None:
                sign = operator if positive else _OPPOSITE[operator]
                yield Atom(left.dotted, sign, constant, node)
        case Name():
            yield Atom(node.dotted, "==", 1.0 if positive else 0.0, node)
        case _:
            return


def _constant(node: Node) -> str | float | None:
    match node:
        case Literal(value=bool() as value):
            return float(value)
        case Literal(value=str() | int() | float() as value):
            return value if isinstance(value, str) else float(value)
        case Unary(operator="-", operand=Literal(value=int() | float() as value)):
            return -float(value)
        case _:
            return None


_WEIGHTS = {"matches": 10, "contains": 8, "startsWith": 4, "endsWith": 4, "has": 2, "size": 4}


def cost_of(node: Node) -> int:
    """Estimate what one evaluation costs: about as many microseconds, on a text of 500 characters.

    A name, constant or operator counts 1, a search in a text 8, a regular expression 10 and one more for each
    of its characters.
    """
    cost = 1
    if isinstance(node, Call):
        cost = _WEIGHTS.get(node.function, 2)
        if node.function == "matches" and node.arguments and isinstance(node.arguments[-1], Literal):
            cost += len(str(node.arguments[-1].value or ""))
    return cost + sum(cost_of(child) for child in children(node))
