"""A condition taken apart: what each part saw, what it asked for, and whether it held."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import msgspec

from engine.rules.condition import Bound, Condition, conjuncts, disjuncts
from engine.rules.expressions.syntax import Binary, Literal, Name, Node, Unary
from engine.rules.sentences import Facts, as_written, find_said, say_name

_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_WORDS = {"==": "", "!=": "other than "}
_MAX_TEXT = 120


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a condition.

    Args:
        text: in words, with the value seen and the one asked for.
        holds: whether it held; None when a value it reads is not known.
    """

    text: str
    holds: bool | None


def judge_parts(condition: Condition | None, facts: Facts, sentence: str = "") -> tuple[Part, ...]:
    """Judge each of the parts joined by `&&`.

    Args:
        condition: the condition, or None.
        facts: values to judge by.
        sentence: why it was decided so, in the words of the log, which tell of parts the values don't; a part
            of which neither tells is neither true nor false.
    """
    if condition is None:
        return ()
    return tuple(_part(condition, node, facts, sentence) for node in conjuncts(condition.node))


def logged_facts(values: Mapping[str, Any]) -> Facts:
    """Return the facts a decision saw, as far as its values tell.

    Args:
        values: a decision's `reason.values`.
    """
    event: dict[str, Any] = {}
    entry: dict[str, Any] = {}
    customer: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith("event."):
            event[name.removeprefix("event.")] = value
        elif name.startswith("entry.event."):
            entry[name.removeprefix("entry.event.")] = value
        else:
            customer[name] = value
    seen: Any = SimpleNamespace(**event)
    return Facts(customer, seen, entry, _Nothing())


class _Nothing(dict[str, Any]):
    """Traits nobody knows: a part that reads them is not judged."""


def _part(condition: Condition, node: Node, facts: Facts, sentence: str) -> Part:
    holds, seen = _holds(condition, node, facts), ""
    told = find_said(node, condition, sentence) if holds is None else None
    if told is not None:
        holds, seen = told.holds, told.value
    alternatives = list(disjuncts(node))
    if len(alternatives) == 1:
        return Part(text=_say(condition, node, facts, holds, seen), holds=holds)
    parts = [_part(condition, each, facts, sentence) for each in alternatives]
    if holds or (holds is None and any(part.holds for part in parts)):
        true = [part.text for part in parts if part.holds]
        return Part(text=" or ".join(true), holds=True)
    said = "; or ".join(part.text for part in parts)
    return Part(text=f"none of these: {said}" if holds is False else said, holds=holds)


def _holds(condition: Condition, node: Node, facts: Facts) -> bool | None:
    bound = condition.parts.get(_text(condition, node))
    if bound is None or not _known(bound, facts):
        return None
    return bound.program.holds(bound.bindings(facts.values, facts.event, facts.entry, facts.traits))


def _known(bound: Bound, facts: Facts) -> bool:
    for _, root, name, _ in bound.sources:
        if root == "customer":
            known = not isinstance(facts.traits, _Nothing) if name == "traits" else name in facts.values
        elif root == "event":
            known = facts.event is not None and hasattr(facts.event, name)
        else:
            known = name in facts.entry
        if not known:
            return False
    return True


def _text(condition: Condition, node: Node) -> str:
    return condition.whole.program.text[node.start : node.end]


def _say(condition: Condition, node: Node, facts: Facts, holds: bool | None, seen: str) -> str:
    match node:
        case Binary(operator=operator, left=Name() as name, right=Literal() as literal) if (
            operator in _FLIPPED and literal.value is not None
        ):
            return _say_comparison(name, operator, literal, facts, holds, seen)
        case Binary(operator=operator, left=Literal() as literal, right=Name() as name) if (
            operator in _FLIPPED and literal.value is not None
        ):
            return _say_comparison(name, _FLIPPED[operator], literal, facts, holds, seen)
        case Name():
            return _say_flag(node, facts, wanted=True, holds=holds)
        case Unary(operator="!", operand=Name() as name):
            return _say_flag(name, facts, wanted=False, holds=holds)
        case _:
            text = as_written(_text(condition, node))
            short = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
            verdict = {True: "holds", False: "does not hold", None: "is not known from the log"}[holds]
            return f"`{short}` {verdict}"


def _say_flag(name: Name, facts: Facts, *, wanted: bool, holds: bool | None) -> str:
    said = say_name(name.path)
    if holds is None:
        return f"{said} must be {_bool(wanted)}; what it was is not in the log"
    if holds:
        return f"{said} is {_bool(wanted)}"
    if _is_unset(name, facts):
        return f"{said} is not set, must be {_bool(wanted)}"
    return f"{said} is {_bool(not wanted)}, must be {_bool(wanted)}"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _say_comparison(
    name: Name, operator: str, literal: Literal, facts: Facts, holds: bool | None, seen: str
) -> str:
    asked, said = _constant(literal.value), say_name(name.path)
    wanted = f"{_WORDS.get(operator, operator + ' ')}{asked}"
    value = _value_of(name, facts)
    if holds is None:
        return f"{said} must be {wanted}; what it was is not in the log"
    if holds and operator == "==":
        return f"{said} is {asked}"
    if _is_unset(name, facts):
        return f"{said} is not set, must be {wanted}"
    if isinstance(value, str):
        # what a customer wrote stays out; a segment is a name of ours
        seen = f'"{value}"' if name.dotted == "customer.segment" else ""
    elif value is not None:
        seen = _number(value, asked)
    if holds:
        return f"{said} is {seen or 'that'} ({wanted})"
    return f"{said} is {seen or 'something else'}, must be {wanted}"


def _value_of(name: Name, facts: Facts) -> Any:
    root, *path = name.path
    if root == "customer" and path[0] == "traits":
        return facts.traits.get(path[-1])
    if root == "customer":
        return facts.values.get(path[0])
    if root == "event":
        return getattr(facts.event, path[0], None) if len(path) == 1 else None
    return facts.entry.get(path[-1])


def _is_unset(name: Name, facts: Facts) -> bool:
    """Tell whether a name is a trait that a customer, all of whose traits are known, does not have."""
    is_trait = name.path[:2] == ("customer", "traits")
    return is_trait and not isinstance(facts.traits, _Nothing) and name.path[-1] not in facts.traits


def _constant(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return _bool(value) if isinstance(value, bool) else f"{value:g}"


def _number(value: float, asked: str) -> str:
    """Write a value with as few decimals as tell it apart from what was asked for."""
    if isinstance(value, bool):
        return _bool(value)
    for digits in (2, 4):
        text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
        if text != asked or text == f"{value:g}":
            return text
    return f"{value:.6g}"
