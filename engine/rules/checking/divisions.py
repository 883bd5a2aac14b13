"""Divisions by a number of the customer's that is often 0, and that nothing asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.events import EVENT_TYPES, VISIT_CODES
from engine.rules.checking.expressions import is_expression
from engine.rules.expressions.ranges import Range
from engine.rules.expressions.syntax import Binary, Call, Name, Node, children, parse_expression, walk
from engine.rules.parsing.parsed import ParsedEntry
from engine.rules.scope import Vocabulary
from engine.rules.text.placement import place_in
from engine.rules.text.source import ErrorList
from engine.rules.text.yaml_nodes import Scalar

_DIVISIONS = ("/", "%")
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=", "in")
_INSTANT = "customer.days_since_"  # 0 for an instant only
_SEGMENT = "customer.segment"


def find_divisions(
    scalars: Sequence[Scalar], entry: ParsedEntry, vocabulary: Vocabulary, problems: ErrorList
) -> None:
    """Note divisions by what can be 0 where no condition of the journey asks for it.

    Whoever compares the number, or the segment, anywhere in the file has thought of it: nothing is said then.

    Args:
        scalars: every value of the journey.
        entry: its entry: what is counted there is not 0.
        vocabulary: knows what a number can be.
        problems: takes the warnings.
    """
    if not any(sign in scalar.text for scalar in scalars for sign in _DIVISIONS):  # as in most files
        return
    parsed = [(scalar, parse_expression(scalar.text)) for scalar in scalars if is_expression(scalar)]
    asked = {name for _, node in parsed for name in _asked(node)}
    if _SEGMENT in asked or entry.segment is not None:
        return
    if entry.feature is not None:
        asked.add(entry.feature.value)
    for scalar, node in parsed:
        for part in walk(node):
            if not isinstance(part, Binary) or part.operator not in _DIVISIONS:
                continue
            divisor = _number(part.right)
            if (
                divisor is None
                or divisor.dotted in asked
                or not _can_be_zero(divisor.dotted, entry, vocabulary)
            ):
                continue
            message = f"`{divisor.dotted}` can be 0, and nothing asks before it divides"
            hint = f"write `{divisor.dotted} > 0 && …` before it, in a value `{divisor.dotted} > 0 ? … : 0`"
            problems.warn("W0415", message, place_in(scalar, divisor.start), hint)


def _asked(node: Node) -> Iterator[str]:
    """Yield the names that are compared with something, or stand alone as a column of a table."""
    if isinstance(node, Name):
        yield node.dotted
    for part in walk(node):
        if isinstance(part, Binary) and part.operator in _COMPARISONS:
            yield from _undivided(part.left)
            yield from _undivided(part.right)


def _undivided(node: Node) -> Iterator[str]:
    """Yield the names below a side of a comparison, what divides there left out."""
    if isinstance(node, Name):
        yield node.dotted
    parts = (node.left,) if isinstance(node, Binary) and node.operator in _DIVISIONS else children(node)
    for part in parts:
        yield from _undivided(part)


def _number(node: Node) -> Name | None:
    """Return the name that divides, alone or converted."""
    match node:
        case Name():
            return node
        case Call(target=None, function="int" | "double", arguments=(Name() as name,)):
            return name
        case _:
            return None


def _can_be_zero(name: str, entry: ParsedEntry, vocabulary: Vocabulary) -> bool:
    unknown: Range = (1.0, 1.0)
    low, high = vocabulary.customer_ranges.get(name, unknown)
    types = (EVENT_TYPES.get(each.value) for each in (entry.event, *entry.events) if each is not None)
    known = [each for each in types if each is not None]
    counted = [f"customer.{each.stem}_" for each in known]
    if any(each.code in VISIT_CODES for each in known):
        counted.append("customer.visits_")
    return low <= 0.0 <= high and not name.startswith((_INSTANT, *counted))
