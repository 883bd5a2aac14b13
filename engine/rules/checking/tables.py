"""Checks the `table` of a `send` step and says it in CEL."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from engine.rules.checked import CheckedExpression, CheckedTable
from engine.rules.checking.expressions import check_value, is_expression
from engine.rules.expressions.cel import CelProgram, compile_cel
from engine.rules.expressions.syntax import ListOf, Name
from engine.rules.limits import MAX_TABLE_CHARS
from engine.rules.parsing.parsed import ParsedRow, ParsedTable
from engine.rules.scope import Scope
from engine.rules.text.source import ErrorList, nearest
from engine.rules.text.yaml_nodes import Scalar

ANY = "any"
_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_BOUND = re.compile(rf"(>=|<=|>|<)\s*({_NUMBER})")
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})")
_TRUE = "true"


def check_table(
    table: ParsedTable, scope: Scope, segments: Collection[str], errors: ErrorList
) -> CheckedTable | None:
    """Check a table; return each value it gives as CEL, or None when it is not right.

    Args:
        table: the table.
        scope: the names its columns may use.
        segments: the segments there are.
        errors: takes every problem.
    """
    return _Checker(table, scope, segments, errors).checked()


@dataclass(frozen=True, slots=True)
class _Checker:
    table: ParsedTable
    scope: Scope
    segments: Collection[str]
    errors: ErrorList

    def checked(self) -> CheckedTable | None:
        """Return the given values by name; None when the table is not right."""
        before = self.errors.count
        columns = [check_value(column, self.scope, self.errors) for column in self.table.columns]
        known = [column for column in columns if column is not None]
        if len(known) < len(columns) or not columns or not self.table.rows:
            return None
        tests = [self._row(row, known) for row in self.table.rows]
        if self.table.whole:
            self._order(tests)
        given = [
            self._given(name.value, [row.values[at] for row in self.table.rows])
            for at, name in enumerate(self.table.give)
        ]
        if self.errors.count > before:
            return None
        found = []
        for name, literals in zip(self.table.give, given, strict=True):
            value = self._compile(_first(tests, literals), known)
            found += [(name.value, value)] if value else []
        if len(found) < len(given):
            return None
        row = self._compile(_first(tests, [str(number) for number in range(len(tests))]), known)
        return CheckedTable(tuple(found), row) if row else None

    def _row(self, row: ParsedRow, columns: list[CheckedExpression]) -> str:
        tests = [self._test(cell, column) for cell, column in zip(row.cells, columns, strict=True)]
        return " && ".join(test for test in tests if test) or _TRUE

    def _test(self, cell: Scalar, column: CheckedExpression) -> str:
        """Return what a cell asks of its column, in CEL; an empty text when it asks nothing."""
        if cell.raw == ANY:
            return ""
        kind = column.program.kind
        of = f"({column.text})"
        if kind != "string" and isinstance(cell.value, str):
            if bound := _BOUND.fullmatch(cell.text):
                return f"{of} {bound[1]} {self._number(float(bound[2]), cell, kind)}"
            if span := _RANGE.fullmatch(cell.text):
                low, high = float(span[1]), float(span[2])
                if low >= high:
                    hint = "write the lower number first; the higher one is not part of it"
                    self.errors.add("E0231", f"no number lies in {cell.text[:40]!r}", cell.place, hint)
                written = [self._number(each, cell, kind) for each in (low, high)]
                return f"{of} >= {written[0]} && {of} < {written[1]}"
        return f"{of} == {self._constant(cell, column)}"

    def _constant(self, cell: Scalar, column: CheckedExpression) -> str:
        value, kind = cell.value, column.program.kind
        if isinstance(value, bool) and kind in ("bool", "dyn"):
            return str(value).lower()
        if isinstance(value, int | float) and not isinstance(value, bool) and kind not in ("bool", "string"):
            return self._number(value, cell, kind)
        if isinstance(value, str) and kind in ("string", "dyn"):
            node = column.node
            if isinstance(node, Name) and node.dotted == "customer.segment" and value not in self.segments:
                hint = nearest(value, self.segments) or "see the segments file"
                self.errors.add("E0212", f"unknown segment {value[:60]!r}", cell.place, hint)
            return _text(value)
        hints = {
            "string": "put a text in quotes; `any` holds for all",
            "bool": "true, false or any",
        }
        hint = hints.get(kind, 'a number, ">= 0.5", "0.2..0.5" or any')
        said = {"string": "a text", "bool": "true or false"}.get(kind, "a number")
        message = f"the cell {cell.text[:40]!r} does not suit its column, which is {said}"
        self.errors.add("E0231", message, cell.place, hint)
        return "0"

    def _number(self, value: float, cell: Scalar, kind: str) -> str:
        """Write a number as the column's kind has it."""
        if kind in ("int", "uint"):
            if value != int(value):
                message = f"the cell {cell.text[:40]!r} does not suit its column, which is a whole number"
                self.errors.add("E0231", message, cell.place)
            return str(int(value)) + ("u" if kind == "uint" else "")
        if kind == "bool":
            message = f"the cell {cell.text[:40]!r} does not suit its column, which is true or false"
            self.errors.add("E0231", message, cell.place)
        return repr(float(value))

    def _order(self, tests: list[str]) -> None:
        """There must be a value for everybody, and every row must have somebody it is for."""
        rows = self.table.rows
        if tests[-1] != _TRUE:
            hint = "add a last row in which every cell of `on` is: any"
            self.errors.add("E0232", "nothing is given when no row holds", rows[-1].place, hint)
        first: dict[str, int] = {}
        for row, test in zip(rows, tests, strict=True):
            earlier = first.get(test, first.get(_TRUE))
            if earlier is not None:
                message = f"this row can never be chosen: the row on line {earlier} holds first"
                self.errors.add("E0214", message, row.place)
            first.setdefault(test, row.place.line)

    def _given(self, name: str, cells: list[Scalar]) -> list[str]:
        """Write the values of one name as literals of one kind."""
        for cell in cells:
            if is_expression(cell):
                message = "a table gives constants, not expressions"
                self.errors.add("E0231", message, cell.place, "put a computed value into `data`")
        kinds = {type(cell.value) for cell in cells}
        if kinds == {int, float}:
            return [repr(float(str(cell.value))) for cell in cells]
        if len(kinds) > 1:
            odd = next(cell for cell in cells if type(cell.value) is not type(cells[0].value))
            message = f"`{name}` is of one kind in the rows above and of another here"
            self.errors.add("E0233", message, odd.place, "give texts, numbers or truth values in all rows")
        if kinds == {bool}:
            return [str(cell.value).lower() for cell in cells]
        return [_text(cell.value) if isinstance(cell.value, str) else str(cell.value) for cell in cells]

    def _compile(self, text: str, columns: list[CheckedExpression]) -> CheckedExpression | None:
        if len(text) > MAX_TABLE_CHARS:
            message = f"the table becomes {len(text)} characters of CEL, the limit is {MAX_TABLE_CHARS}"
            self.errors.add("E0208", message, self.table.place)
            return None
        used = {name: self.scope.variables[name] for each in columns for name in each.program.variables}
        program = compile_cel(text, used)
        assert isinstance(program, CelProgram), program
        nodes = tuple(column.node for column in columns)
        return CheckedExpression(text, ListOf(nodes, 0, len(text)), program, self.table.place)


def _first(tests: list[str], literals: list[str]) -> str:
    """Return the CEL for the value of the first row whose test holds; halved again and again, so not deep."""
    if len(tests) == 1 or tests[0] == _TRUE:
        return literals[0]
    half = len(tests) // 2
    above = " || ".join(f"({test})" for test in tests[:half])
    first, last = _below(tests[:half], literals[:half]), _below(tests[half:], literals[half:])
    return f"({above}) ? {first} : {last}"


def _below(tests: list[str], literals: list[str]) -> str:
    text = _first(tests, literals)
    return f"({text})" if "?" in text else text


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
