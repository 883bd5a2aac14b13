"""A condition at run time: CEL says what it means, its column comparisons make it cheap.

A condition is a conjunction. Parts that compare one column with a constant (`customer.churn_risk >= 0.6`,
`customer.consent_marketing`, `customer.segment == "new"`) become `Comparison`s, judged for a whole batch as
arrays; what is left is the residual, judged by CEL for the rows that survive. Both together are true exactly
when CEL's own verdict on the whole is (a property test shows it).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from engine.events import Event
from engine.rules.checked import CheckedExpression
from engine.rules.expressions.cel import CelProgram, Kind, part_of
from engine.rules.expressions.syntax import Binary, Literal, Name, Node, Unary

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}


class Comparison(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A column against a constant.

    Args:
        column: dotted name, `customer.…` or `event.…`.
        operator: `< <= > >= ==`.
        constant: the constant; a segment's code, 0 or 1 for truth values.
    """

    column: str
    operator: str
    constant: float

    def at_least(self) -> tuple[tuple[int, float], ...]:
        """Return the same as one or two tests `sign * column >= threshold`, exact to the last bit."""
        constant = self.constant
        match self.operator:
            case ">=":
                return ((1, constant),)
            case ">":
                return ((1, math.nextafter(constant, math.inf)),)
            case "<=":
                return ((-1, -constant),)
            case "<":
                return ((-1, math.nextafter(-constant, math.inf)),)
            case _:
                return ((1, constant), (-1, -constant))


class Bound(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A CEL program and where its variables come from.

    Args:
        program: the program.
        sources: for each variable: its dotted name, its root (`customer`, `event`, `entry`), the name below,
            and whether it is a truth value (columns hold those as numbers).
    """

    program: CelProgram
    sources: tuple[tuple[str, str, str, bool], ...]

    def bindings(
        self,
        values: Mapping[str, Any],
        event: Event | None,
        entry: Mapping[str, Any],
        traits: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Gather the variables; one that does not exist is left out, which makes the program undefined."""
        found: dict[str, Any] = {}
        for variable, root, name, truth in self.sources:
            if root == "customer":
                value = traits if name == "traits" else values[name]
                found[variable] = value == 1 if truth else value
            elif root == "event":
                if event is not None and hasattr(event, name):
                    found[variable] = getattr(event, name)
            elif name in entry:
                found[variable] = entry[name]
        return found


class Condition(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A `where` or `when`.

    Args:
        whole: the condition as CEL.
        comparisons: the parts judged as columns.
        residual: the rest as CEL, or None when nothing is left.
        node: the tree, for sentences; offsets point into the program's text.
        parts: programs of the alternatives in `||`, by their text, for sentences.
    """

    whole: Bound
    comparisons: tuple[Comparison, ...]
    residual: Bound | None
    node: Node
    parts: Mapping[str, Bound]


def bind(program: CelProgram, kinds: Mapping[str, Kind]) -> Bound:
    """Work out once where each variable of a program comes from."""
    sources = []
    for variable in program.variables:
        root, _, name = variable.partition(".")
        if root == "entry":
            name = name.removeprefix("event.")
        sources.append((variable, root, name, kinds.get(variable) == "bool"))
    return Bound(program, tuple(sources))


def compile_condition(
    checked: CheckedExpression, kinds: Mapping[str, Kind], segments: Mapping[str, int]
) -> Condition:
    """Split a checked condition into column comparisons and the rest.

    Args:
        checked: the condition.
        kinds: dotted name to kind, of every variable it may read.
        segments: segment name to code.
    """
    comparisons: list[Comparison] = []
    rest: list[Node] = []
    for part in conjuncts(checked.node):
        comparison = comparison_of(part, kinds, segments)
        if comparison is None:
            rest.append(part)
        else:
            comparisons.append(comparison)
    whole = bind(checked.program, kinds)
    residual = None
    if rest:
        text = " && ".join(f"({checked.text[part.start : part.end]})" for part in rest)
        residual = bind(part_of(text, checked.program), kinds) if comparisons else whole
    texts = [checked.text[part.start : part.end] for part in _alternatives(checked.node)]
    parts = {
        text: whole if text == checked.text else bind(part_of(text, checked.program), kinds) for text in texts
    }
    return Condition(whole, tuple(comparisons), residual, checked.node, parts)


def conjuncts(node: Node) -> Iterator[Node]:
    """Yield the parts joined by `&&`, left to right."""
    if isinstance(node, Binary) and node.operator == "&&":
        yield from conjuncts(node.left)
        yield from conjuncts(node.right)
    else:
        yield node


def disjuncts(node: Node) -> Iterator[Node]:
    """Yield the parts joined by `||`, left to right."""
    if isinstance(node, Binary) and node.operator == "||":
        yield from disjuncts(node.left)
        yield from disjuncts(node.right)
    else:
        yield node


def _alternatives(node: Node) -> Iterator[Node]:
    """Yield every alternative of every top-level `||`, and the conjuncts themselves."""
    for part in conjuncts(node):
        yield part
        if isinstance(part, Binary) and part.operator == "||":
            yield from disjuncts(part)


def comparison_of(node: Node, kinds: Mapping[str, Kind], segments: Mapping[str, int]) -> Comparison | None:
    """Return a node as a column comparison, or None when it is none."""
    match node:
        case Name() if _is_flag(node, kinds):
            return Comparison(node.dotted, "==", 1.0)
        case Unary(operator="!", operand=Name() as name) if _is_flag(name, kinds):
            return Comparison(name.dotted, "==", 0.0)
        case Binary(operator=operator, left=Name() as name, right=Literal() as literal) if (
            operator in _FLIPPED
        ):
            return _compare(name, operator, literal, kinds, segments)
        case Binary(operator=operator, left=Literal() as literal, right=Name() as name) if (
            operator in _FLIPPED
        ):
            return _compare(name, _FLIPPED[operator], literal, kinds, segments)
        case _:
            return None


def _is_flag(name: Name, kinds: Mapping[str, Kind]) -> bool:
    return name.path[0] == "customer" and kinds.get(name.dotted) == "bool"


def _compare(
    name: Name, operator: str, literal: Literal, kinds: Mapping[str, Kind], segments: Mapping[str, int]
) -> Comparison | None:
    if name.path[0] not in ("customer", "event"):
        return None
    constant = literal.value
    if name.dotted == "customer.segment" and operator == "==" and isinstance(constant, str):
        return Comparison(name.dotted, "==", float(segments[constant])) if constant in segments else None
    if kinds.get(name.dotted) != "double" or literal.kind != "float" or not isinstance(constant, float):
        return None
    return Comparison(name.dotted, operator, constant) if math.isfinite(constant) else None
