"""Checks one CEL expression: syntax, names, types, values that may be missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.rules.checked import CheckedExpression
from engine.rules.expressions.cel import CelProblem, Kind, compile_cel, regex_problem
from engine.rules.expressions.presence import unguarded
from engine.rules.expressions.ranges import Oddity, cost_of, find_oddities_in, range_of
from engine.rules.expressions.syntax import (
    Binary,
    Call,
    ExpressionSyntaxError,
    Literal,
    Name,
    Node,
    parse_expression,
    walk,
)
from engine.rules.expressions.widen import Widened, widen
from engine.rules.limits import MAX_EXPRESSION_COST
from engine.rules.scope import Scope
from engine.rules.text.placement import place_in
from engine.rules.text.slips import plain_spelling
from engine.rules.text.source import ErrorList, nearest
from engine.rules.text.yaml_nodes import Scalar

ROOTS = ("customer", "event", "entry")
_OPERATORS = {"_&&_": "&&", "_||_": "||", "!_": "!", "-_": "-", "@in": "in", "_?_:_": "?:", "_[_]": "[]"}
_SPELLINGS = {
    "and": "write && for and",
    "or": "write || for or",
    "not": "write ! for not",
    "=": "write == for equal",
}
_VERDICTS = {
    "never": ("W0403", "can never be true"),
    "always": ("W0404", "is always true"),
    "contradiction": ("W0405", "contradicts what stands before it"),
}
_SCALARS = ("bool", "int", "uint", "double", "string", "dyn")


@dataclass(frozen=True, slots=True)
class _Names:
    """The declared variables an expression reads, and whether every name in it is known."""

    variables: dict[str, Kind]
    clean: bool


def check_condition(scalar: Scalar, scope: Scope, errors: ErrorList) -> CheckedExpression | None:
    """Check a `when` or `where`: it must be a truth value.

    Args:
        scalar: the YAML value.
        scope: the names it may use.
        errors: takes what is wrong.
    """
    checked = _check(scalar, scope, errors)
    if checked is None:
        return None
    if checked.program.kind not in ("bool", "dyn"):
        message = f"{scope.what} is a {checked.program.kind}, it must be true or false"
        errors.add("E0304", message, scalar.place, "compare it with something")
        return None
    return checked


def check_value(scalar: Scalar, scope: Scope, errors: ErrorList) -> CheckedExpression | None:
    """Check an expression that gives a message value or trait: text, number or truth value."""
    checked = _check(scalar, scope, errors)
    if checked is not None and checked.program.kind not in _SCALARS:
        message = f"{scope.what} is a {checked.program.kind}, it must be a text, number or truth value"
        errors.add("E0304", message, scalar.place)
        return None
    return checked


def is_expression(scalar: Scalar) -> bool:
    """Tell whether a data value is meant as CEL: it parses and names something of a known root."""
    if not isinstance(scalar.value, str):
        return False
    try:
        node = parse_expression(scalar.text)
    except ExpressionSyntaxError:
        return False
    return any(isinstance(part, Name) and len(part.path) > 1 and part.path[0] in ROOTS for part in walk(node))


def _check(scalar: Scalar, scope: Scope, errors: ErrorList) -> CheckedExpression | None:
    text = scalar.text
    try:
        node = parse_expression(text)
    except ExpressionSyntaxError as error:
        spelling = _SPELLINGS.get(text[error.offset :].split(" ", 1)[0].strip("()"), "")
        if not spelling and not text[error.offset : error.offset + 1].isalnum():
            spelling = plain_spelling(text[error.offset :])
        errors.add("E0301", error.message, place_in(scalar, error.offset), spelling)
        return None
    before = errors.count
    parts = tuple(walk(node))
    names = _names(parts, scalar, scope, errors)
    _regexes(parts, scalar, errors)
    _zero_divisors(parts, scalar, errors)
    for missing in unguarded(node, scope.variables):
        hint = f"ask first: has({missing.name}) && …"
        errors.add("E0306", f"`{missing.name}` may be missing", place_in(scalar, missing.offset), hint)
    widened = widen(text, parts, names.variables)
    compiled = compile_cel(widened.text, names.variables)
    if isinstance(compiled, list):
        for problem in compiled:
            _complain(problem, scalar, widened, errors)
        return None
    if errors.count > before:
        return None
    _warn(node, parts, scalar, scope, errors)
    return CheckedExpression(widened.text, parse_expression(widened.text), compiled, scalar.place)


def _warn(node: Node, parts: Sequence[Node], scalar: Scalar, scope: Scope, errors: ErrorList) -> None:
    """Note what is right by its types, but hardly meant."""
    names = [part.dotted for part in parts if isinstance(part, Name)]
    certain = frozenset(name for name in names if scope.variables.get(name, "dyn") not in ("dyn", "map"))
    for oddity in find_oddities_in(node, scope.ranges, certain, scope.texts):
        said = scalar.text[oddity.node.start : oddity.node.end].strip()
        code, verdict = _VERDICTS[oddity.kind]
        errors.warn(
            code, f"`{said[:60]}` {verdict}", place_in(scalar, oddity.node.start), _seen(oddity, scope)
        )
    cost = cost_of(node)
    if cost > MAX_EXPRESSION_COST:
        message = f"{scope.what} costs about {cost}, the budget is {MAX_EXPRESSION_COST}"
        hint = "shorten its regular expressions, or ask for something cheap first"
        errors.warn("W0411", message, scalar.place, hint)


def _seen(oddity: Oddity, scope: Scope) -> str:
    """Say the range, or the texts, of the first name a verdict rests on."""
    if oddity.kind == "contradiction":
        return "the two can never hold together"
    for part in walk(oddity.node):
        if isinstance(part, Name) and part.dotted in scope.texts:
            return f"{part.dotted} is {' or '.join(sorted(scope.texts[part.dotted]))} here"
        if isinstance(part, Name) and part.dotted in scope.ranges:
            low, high = scope.ranges[part.dotted]
            return (
                f"{part.dotted} is {low:g} to {high:g}"
                if high < math.inf
                else f"{part.dotted} is {low:g} or more"
            )
    return ""


def _names(parts: Sequence[Node], scalar: Scalar, scope: Scope, errors: ErrorList) -> _Names:
    used: dict[str, Kind] = {}
    clean = True
    for part in parts:
        if not isinstance(part, Name):
            continue
        variable = _variable(part, scope.variables)
        if variable:
            used[variable] = scope.variables[variable]
        else:
            clean = False
            # Declared as anything, CEL goes on and finds what else is wrong.
            used[part.dotted] = "dyn"
            _unknown(part, scalar, scope, errors)
    return _Names(used, clean)


def _variable(name: Name, variables: Mapping[str, Kind]) -> str:
    """Return the declared variable a name begins with, or an empty text."""
    for length in range(len(name.path), 0, -1):
        dotted = ".".join(name.path[:length])
        if dotted in variables:
            return dotted
    return ""


def _unknown(name: Name, scalar: Scalar, scope: Scope, errors: ErrorList) -> None:
    place = place_in(scalar, name.start)
    root = name.path[0]
    if root in ROOTS and not any(allowed.split(".")[0] == root for allowed in scope.roots):
        hint = "usable here: " + (", ".join(scope.roots) or "nothing but constants")
        errors.add("E0305", f"`{root}` cannot be used in {scope.what}", place, hint)
        return
    hint = nearest(name.dotted, scope.variables)
    if not hint and root not in ROOTS:
        hint = f'a text needs quotes: "{name.dotted}"'
    errors.add("E0302", f"unknown name `{name.dotted}`", place, hint)


def _regexes(parts: Sequence[Node], scalar: Scalar, errors: ErrorList) -> None:
    for part in parts:
        if isinstance(part, Call) and part.function == "matches" and part.arguments:
            pattern = part.arguments[-1]
            if isinstance(pattern, Literal) and pattern.kind == "string":
                problem = regex_problem(scalar.text[pattern.start : pattern.end])
                if problem:
                    message = f"not a regular expression: {problem}"
                    errors.add("E0307", message, place_in(scalar, pattern.start))


def _zero_divisors(parts: Sequence[Node], scalar: Scalar, errors: ErrorList) -> None:
    for part in parts:
        if not isinstance(part, Binary) or part.operator not in ("/", "%"):
            continue
        if range_of(part.right, {}) == (0.0, 0.0):
            divisor = scalar.text[part.right.start : part.right.end].strip()
            message = f"`{part.operator} {divisor[:60]}` divides by zero"
            hint = "a constant there is 1 or more, such as / 100"
            errors.add("E0308", message, place_in(scalar, part.right.start), hint)


def _same_kind(arguments: str) -> str:
    """Say how to bring the arguments of an operator, such as `(double, string)`, to one kind."""
    if "string" in arguments and ("int" in arguments or "double" in arguments):
        return 'a number has no quotes, a text has them: 5 is a number, "5" a text; string(…) makes a text'
    if "int" in arguments and "double" in arguments:
        return "give both the same kind with double(…) or int(…)"
    if "bool" in arguments:
        return "true and false are compared with == and != alone, and joined by && and ||"
    return "both sides must be of one kind: int(…), double(…) and string(…) convert"


def _complain(problem: CelProblem, scalar: Scalar, widened: Widened, errors: ErrorList) -> None:
    lines = widened.text.split("\n")
    offset = sum(len(line) + 1 for line in lines[: problem.line - 1]) + problem.column - 1
    place = place_in(scalar, widened.author_offset(offset))
    message, hint, code = problem.message, "", "E0303"
    if message.startswith("found no matching overload for"):
        _, function, _, arguments, *_ = message.split("'")
        operator = _OPERATORS.get(function, function.strip("_"))
        message = f"`{operator}` does not work on {arguments}"
        hint = _same_kind(arguments)
    elif message.startswith("undeclared reference to"):
        message, code = f"unknown function `{message.split(chr(39))[1]}`", "E0302"
    elif message.startswith("Syntax error"):
        code = "E0301"
    errors.add(code, message, place, hint)
