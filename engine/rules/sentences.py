"""Says in plain words why a condition held or did not, with the values it saw."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from engine.events import Event, Scalar
from engine.rules.condition import Condition, conjuncts, disjuncts
from engine.rules.expressions.syntax import Binary, Call, Literal, Name, Node, Unary, walk
from engine.rules.journey import Journey

_WINDOW = re.compile(r"_(\d+)([hd])$")
_TWO_WINDOWS = re.compile(r"_(\d+)d_(\d+)d$")
# a whole number that has got its `.0` (`widen`); what stands in quotes is left alone
_WIDENED = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?<![\w.])(\d+)\.0(?![\w.])""")
_MONTH = re.compile(r"_month_(\d)$")
_MONTHS = ("this month", "last month")  # then "2 months ago"
_COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
_ARITHMETIC = frozenset({"+", "-", "*", "/"})
_OPERATOR = re.compile(r"\\ ((?:[<>]=?|[!=]=)\\ )")  # in an escaped text
_MAX_PIECE = 60
_MAX_VALUES = 16
_MAX_PLAIN = 120


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What a condition is judged on.

    Args:
        values: the customer's feature values by name.
        event: the event of the row, or None.
        entry: the entry event's fields.
        traits: the customer's traits.
    """

    values: Mapping[str, Any]
    event: Event | None = None
    entry: Mapping[str, Any] = {}
    traits: Mapping[str, Any] = {}

    def holds(self, condition: Condition) -> bool:
        """Judge the whole condition by CEL."""
        whole = condition.whole
        return whole.program.holds(whole.bindings(self.values, self.event, self.entry, self.traits))

    def rest_holds(self, condition: Condition) -> bool:
        """Judge what the columns left over."""
        rest = condition.residual
        if rest is None:
            return True
        return rest.program.holds(rest.bindings(self.values, self.event, self.entry, self.traits))


def say_condition(condition: Condition, facts: Facts) -> str:
    """Say why a condition that holds does: its parts with the values, of alternatives those that hold."""
    pieces = []
    for part in conjuncts(condition.node):
        alternatives = list(disjuncts(part))
        if len(alternatives) > 1:
            true = [each for each in alternatives if _part_holds(condition, each, facts)]
            pieces.append(" or ".join(_say(each, condition, facts) for each in true or alternatives))
        else:
            pieces.append(_say(part, condition, facts))
    return " and ".join(pieces)


def say_plainly(condition: Condition) -> str:
    """Say what a condition asks, without the values of anybody."""
    pieces = [
        " or ".join(_say(each, condition, None) for each in disjuncts(part))
        for part in conjuncts(condition.node)
    ]
    return _cut(" and ".join(pieces), _MAX_PLAIN)


class Said(msgspec.Struct, frozen=True, gc=False):
    """What a sentence says of a part of a condition: whether it held, and the number seen, if any."""

    holds: bool
    value: str


def find_said(part: Node, condition: Condition, sentence: str) -> Said | None:
    """Find a part of a condition in the sentence of a decision; None when it says nothing of it.

    Args:
        part: of the condition.
        condition: the condition.
        sentence: what `say_condition` or `say_mismatch` made, perhaps among other words.
    """
    words = re.escape(_say(part, condition, None))
    if isinstance(part, Binary) and isinstance(part.left, Name) and isinstance(part.right, Literal):
        words = _OPERATOR.sub(r"\\ (?P<value>\\S+ )?\1", words, count=1)
    found = re.search(rf"(?:^|; | and | or )(?P<not>not: )?{words}(?= and | or |;|$)", sentence)
    if found is None:
        return None
    return Said(found["not"] is None, (found.groupdict().get("value") or "").strip())


def say_mismatch(condition: Condition, facts: Facts) -> str:
    """Say which parts of a condition did not hold."""
    failed = [part for part in conjuncts(condition.node) if not _part_holds(condition, part, facts)]
    return " and ".join(f"not: {_say(part, condition, facts)}" for part in failed[:3])


def seen_values(condition: Condition, facts: Facts) -> dict[str, Scalar]:
    """Return the numbers, truth values and segment the condition reads; texts of events stay out."""
    found: dict[str, Scalar] = {}
    for part in walk(condition.node):
        if isinstance(part, Name) and len(found) < _MAX_VALUES:
            value = _value(part, facts)
            if isinstance(value, bool | int | float) or part.dotted == "customer.segment":
                name = part.dotted.removeprefix("customer.")
                found[name] = round(value, 6) if isinstance(value, float) else value
    return found


def entry_values(journey: Journey, facts: Facts) -> dict[str, Scalar]:
    """Return what a journey's entry conditions read: those on the event first, then those on the customer.

    Args:
        journey: the journey.
        facts: at the row of the entry.
    """
    found: dict[str, Scalar] = {}
    for condition in (journey.where, journey.when):
        if condition is not None:
            found.update(seen_values(condition, facts))
    return found


def _part_holds(condition: Condition, part: Node, facts: Facts) -> bool:
    bound = condition.parts.get(condition.whole.program.text[part.start : part.end])
    if bound is None:
        return True
    return bound.program.holds(bound.bindings(facts.values, facts.event, facts.entry, facts.traits))


def _say(node: Node, condition: Condition, facts: Facts | None) -> str:
    match node:
        case Binary(operator=operator, left=Name() as name, right=Literal() as literal):
            return _say_comparison(name, operator, literal, facts)
        case Binary(operator=operator, left=left, right=right) if operator in _COMPARISONS:
            sides = _side(left, facts), _side(right, facts)
            return f"{sides[0]} {operator} {sides[1]}" if all(sides) else _written(node, condition)
        case Name():
            truth = facts is None or _value(node, facts) is True
            return f"{say_name(node.path)} is {'true' if truth else 'false'}"
        case Unary(operator="!", operand=Name() as name):
            return f"{say_name(name.path)} is false"
        case Call(target=Name() as name, function=function, arguments=(Literal(value=str() as text),)):
            return f'{say_name(name.path)} {_verb(function)} "{_cut(text, 40)}"'
        case _:
            return _written(node, condition)


def _written(node: Node, condition: Condition) -> str:
    return _cut(as_written(condition.whole.program.text[node.start : node.end]), _MAX_PIECE)


def _side(node: Node, facts: Facts | None) -> str:
    """Say one side of a comparison of numbers, each with its value; empty for what has no words."""
    match node:
        case Name():
            value = _value(node, facts) if facts is not None else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                return f"{say_name(node.path)} {say_number(value)}"
            return say_name(node.path) if facts is None else ""
        case Literal(value=int() | float() as number):
            return say_number(number)
        case Binary(operator=operator, left=left, right=right) if operator in _ARITHMETIC:
            sides = _side(left, facts), _side(right, facts)
            return f"{sides[0]} {operator} {sides[1]}" if all(sides) else ""
        case _:
            return ""


def _say_comparison(name: Name, operator: str, literal: Literal, facts: Facts | None) -> str:
    if isinstance(literal.value, str):
        verb = {"==": "is", "!=": "is not"}.get(operator, operator)
        return f'{say_name(name.path)} {verb} "{_cut(literal.value, 40)}"'
    value = _value(name, facts) if facts is not None else None
    said = f"{say_number(value)} " if isinstance(value, int | float) and not isinstance(value, bool) else ""
    constant = say_number(literal.value) if isinstance(literal.value, int | float) else str(literal.value)
    if operator == "==" and said.strip() in (constant, ""):
        return f"{say_name(name.path)} is {constant}"
    return f"{say_name(name.path)} {said}{operator} {constant}"


def _verb(function: str) -> str:
    words = {
        "contains": "contains",
        "startsWith": "begins with",
        "endsWith": "ends with",
        "matches": "matches",
    }
    return words.get(function, function)


def _value(name: Name, facts: Facts) -> Any:
    root, *path = name.path
    if root == "customer" and len(path) == 1 and path[0] != "traits":
        return facts.values[path[0]]
    if root == "event" and len(path) == 1 and facts.event is not None:
        return getattr(facts.event, path[0], None)
    if root == "entry" and len(path) == 2:
        return facts.entry.get(path[1])
    return None


def say_name(path: Iterable[str]) -> str:
    """Return a name in words: `customer.orders_30d` is "orders in 30 days"."""
    parts = [part for part in path if part not in ("customer", "event", "entry", "props", "traits")]
    name = parts[-1] if parts else ""
    if name.endswith("_lifetime"):
        return name.removesuffix("_lifetime").replace("_", " ") + " in total"
    month = _MONTH.search(name)
    if month:
        back = int(month[1])
        when = _MONTHS[back] if back < len(_MONTHS) else f"{back} months ago"
        return f"{name[: month.start()]} {when}".replace("_", " ")
    two = _TWO_WINDOWS.search(name)
    if two:
        return f"{name[: two.start()]} of {two[1]} to {two[2]} days".replace("_", " ")
    window = _WINDOW.search(name)
    if window:
        unit = {"h": "hour", "d": "day"}[window[2]] + ("" if window[1] == "1" else "s")
        return f"{name[: window.start()]} in {window[1]} {unit}".replace("_", " ")
    return name.replace("_", " ")


def as_written(text: str) -> str:
    """Return a program's text with whole numbers as people write them: `50`, not `50.0`."""
    return _WIDENED.sub(lambda found: found[1] or found[2], text)


def say_number(value: float) -> str:
    """Return a number as people read it: whole ones without a point, others with two decimals."""
    if isinstance(value, int) or value.is_integer():
        return str(int(value)) if abs(value) < 1e15 else f"{value:g}"
    return f"{value:.2f}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
