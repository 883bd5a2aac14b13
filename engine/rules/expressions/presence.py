"""Values that may be missing must be asked for first: `has(event.props.plan) && event.props.plan == "pro"`.

Traits and the senders' own properties are maps; reading a key that is not there is an error at run time. This
check makes the author ask first, so that it can't happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from engine.rules.expressions.cel import Kind
from engine.rules.expressions.syntax import Binary, Call, Index, Literal, Name, Node, Ternary, Unary, children


@dataclass(frozen=True, slots=True)
class Missing:
    """A read that nothing guards: the key's full name and its offset."""

    name: str
    offset: int


def unguarded(node: Node, maps: Mapping[str, Kind]) -> Iterator[Missing]:
    """Yield every read of a map's key that no `has()` (or `in`) precedes.

    Args:
        node: the expression.
        maps: the variables; those of kind `map` are looked at.
    """
    yield from _check(node, frozenset(), maps)


def _check(node: Node, known: frozenset[str], maps: Mapping[str, Kind]) -> Iterator[Missing]:
    match node:
        case Binary(operator="&&", left=left, right=right):
            yield from _check(left, known, maps)
            yield from _check(right, known | _when_true(left, maps), maps)
        case Binary(operator="||", left=left, right=right):
            yield from _check(left, known, maps)
            yield from _check(right, known | _when_false(left, maps), maps)
        case Ternary(condition=condition, then=then, otherwise=otherwise):
            yield from _check(condition, known, maps)
            yield from _check(then, known | _when_true(condition, maps), maps)
            yield from _check(otherwise, known | _when_false(condition, maps), maps)
        case Call(target=None, function="has", arguments=(Name(),)):
            return
        case _:
            name = _key(node, maps)
            if name:
                if name not in known:
                    yield Missing(name, node.start)
                return
            for child in children(node):
                yield from _check(child, known, maps)


def _key(node: Node, maps: Mapping[str, Kind]) -> str:
    """Return the full name of a map's key that a node reads, or an empty text."""
    if isinstance(node, Name) and maps.get(".".join(node.path[:-1])) == "map":
        return node.dotted
    if isinstance(node, Index) and isinstance(node.target, Name) and maps.get(node.target.dotted) == "map":
        key = node.key
        constant = isinstance(key, Literal) and isinstance(key.value, str)
        return (
            f"{node.target.dotted}.{key.value}"
            if constant and isinstance(key, Literal)
            else f"{node.target.dotted}[…]"
        )
    return ""


def _when_true(node: Node, maps: Mapping[str, Kind]) -> frozenset[str]:
    match node:
        case Call(target=None, function="has", arguments=(Name() as name,)):
            return frozenset((name.dotted,))
        case Binary(operator="in", left=Literal(value=str() as key), right=Name() as name) if (
            maps.get(name.dotted) == "map"
        ):
            return frozenset((f"{name.dotted}.{key}",))
        case Binary(operator="&&", left=left, right=right):
            return _when_true(left, maps) | _when_true(right, maps)
        case Unary(operator="!", operand=operand):
            return _when_false(operand, maps)
        case _:
            return frozenset()


def _when_false(node: Node, maps: Mapping[str, Kind]) -> frozenset[str]:
    match node:
        case Binary(operator="||", left=left, right=right):
            return _when_false(left, maps) | _when_false(right, maps)
        case Unary(operator="!", operand=operand):
            return _when_true(operand, maps)
        case _:
            return frozenset()
