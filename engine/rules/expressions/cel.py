"""The one door to the CEL library: compile, type-check, evaluate.

`cel-expr-python` is Google's own C++ runtime. Problems come back as values with line and column instead of
its `RuntimeError` with a picture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
from cel_expr_python import cel

from engine.events import Scalar
from engine.rules.limits import MAX_CACHED_EXPRESSIONS

Kind = str  # "double", "int", "string", "bool", "map" (text to anything) or "dyn"

_TYPES: dict[Kind, Any] = {
    "double": cel.Type.DOUBLE,
    "int": cel.Type.INT,
    "string": cel.Type.STRING,
    "bool": cel.Type.BOOL,
    "dyn": cel.Type.DYN,
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
}
_PROBLEM = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_STATUS = re.compile(r"\s*\[[A-Z_]+\]\s*$")


@dataclass(frozen=True, slots=True)
class CelProblem:
    """One complaint of the type checker: 1-based line and column within the expression."""

    message: str
    line: int
    column: int


class CelFailure(Exception):  # noqa: N818 - not a mistake of ours: a value made the expression undefined
    """An expression had no value for the given variables, for example a division by zero."""


class CelProgram(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A type-checked expression.

    Args:
        text: the expression.
        kind: name of its static type in lower case.
        variables: the dotted variables it reads.
        declared: the same with their kinds.
    """

    text: str
    kind: str
    variables: tuple[str, ...]
    declared: tuple[tuple[str, Kind], ...]
    _expression: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as text between processes; the copy is compiled when it is first asked."""
        return CelProgram, (self.text, self.kind, self.variables, self.declared, None)

    def _compiled(self) -> Any:
        expression = _environment(self.declared).compile(self.text)
        msgspec.structs.force_setattr(self, "_expression", expression)
        return expression

    def value(self, bindings: Mapping[str, Any]) -> Scalar:
        """Evaluate.

        Args:
            bindings: at least the variables it reads.

        Raises:
            CelFailure: the expression has no value for these variables.
        """
        result = (self._expression or self._compiled()).eval(data=bindings)
        if result.type() == cel.Type.ERROR:
            raise CelFailure(str(result.value()))
        value = result.value()
        if isinstance(value, float) and not math.isfinite(value):
            raise CelFailure(f"the value is {value}")
        if isinstance(value, bool | int | float | str):
            return value
        raise CelFailure(f"the value is a {result.type().name()}, not a scalar")

    def holds(self, bindings: Mapping[str, Any]) -> bool:
        """Tell whether a condition is true; one that has no value is not."""
        return (self._expression or self._compiled()).eval(data=bindings).value() is True


@lru_cache(maxsize=4096)
def _environment(variables: tuple[tuple[str, Kind], ...]) -> Any:
    return cel.NewEnv(variables={name: _TYPES[kind] for name, kind in variables})


def compile_cel(text: str, variables: Mapping[str, Kind]) -> CelProgram | list[CelProblem]:
    """Type-check an expression over the given variables.

    Args:
        text: the expression.
        variables: dotted names with their kinds; give only those that occur.

    Returns:
        the program, or everything that is wrong with it.
    """
    return _compile(text, tuple(sorted(variables.items())))


@lru_cache(maxsize=MAX_CACHED_EXPRESSIONS)
def _compile(text: str, kinds: tuple[tuple[str, Kind], ...]) -> CelProgram | list[CelProblem]:
    environment = _environment(kinds)
    try:
        expression = environment.compile(text)
    except RuntimeError as error:
        return _problems(str(error))
    kind = expression.return_type().name().lower()
    return CelProgram(text, kind, tuple(name for name, _ in kinds), kinds, expression)


def part_of(text: str, program: CelProgram) -> CelProgram:
    """Return a piece of a program, a condition of its own; compiled when it is first asked.

    Args:
        text: the piece; it has passed the type check as a part of the whole.
        program: the whole.
    """
    kinds = tuple((name, kind) for name, kind in program.declared if name in text)
    return CelProgram(text, "bool", tuple(name for name, _ in kinds), kinds, None)


def _problems(text: str) -> list[CelProblem]:
    found = [
        CelProblem(_STATUS.sub("", match[3]).strip(), int(match[1]), int(match[2]))
        for match in _PROBLEM.finditer(text)
    ]
    return found or [CelProblem(_STATUS.sub("", text.splitlines()[0]).strip(), 1, 1)]


def regex_problem(literal: str) -> str:
    """Return what is wrong with a regular expression given as a CEL text literal, or an empty text."""
    result = _environment(()).compile(f"''.matches({literal})").eval()
    if result.type() != cel.Type.ERROR:
        return ""
    return str(result.value()).partition("invalid regular expression: ")[2] or str(result.value())
