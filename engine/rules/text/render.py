"""Shows rule errors as an author reads them: place, source line, caret, hint."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from engine.errors import RuleError

_MAX_LINE = 160


def render_errors(errors: Iterable[RuleError], sources: Mapping[str, str]) -> str:
    """Return every error with its source line.

    Args:
        errors: in the order to show.
        sources: file to its text; an error of a file that is not in it is shown without the line.
    """
    blocks = [render_error(error, sources.get(error.file, "")) for error in errors]
    return "\n".join(blocks)


def render_error(error: RuleError, source: str) -> str:
    """Return one error: `file:line:column: code: message`, the line, a caret, a hint."""
    head = f"{error.file}:{error.line}:{error.column}: {error.code}: {error.message}\n"
    lines = source.splitlines()
    body = ""
    if 0 < error.line <= len(lines):
        line = lines[error.line - 1]
        number = str(error.line)
        # A long line is cut around the place, so that the caret stays in sight.
        start = max(0, error.column - 1 - _MAX_LINE // 2)
        shown = line[start : start + _MAX_LINE]
        indent = "".join(
            "\t" if char == "\t" else " " * _width(char)
            for char in line[start : max(start, error.column - 1)]
        )
        body = f" {number} | {shown}\n {' ' * len(number)} | {indent}^\n"
    hint = f"   hint: {error.hint}\n" if error.hint else ""
    return head + body + hint


def _width(char: str) -> int:
    """Return how many terminal cells a character takes."""
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
