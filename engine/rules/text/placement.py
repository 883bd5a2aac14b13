"""From an offset inside a YAML value to the line and column in the file."""

from __future__ import annotations

from engine.rules.text.source import Place
from engine.rules.text.yaml_nodes import Scalar


def place_in(scalar: Scalar, offset: int) -> Place:
    """Return where the character at `offset` of a scalar's text stands in the file.

    Quotes, indentation of block texts, folded lines and escapes lie between the two; the text is walked along
    the raw characters, so that the place is right for all of YAML's styles.
    """
    raw = scalar.raw
    at = _begin(raw)
    for char in scalar.text[:offset]:
        at = _behind(raw, at, char)
    if offset < len(scalar.text):
        at = _skip_to(raw, at, scalar.text[offset])
    line = raw.count("\n", 0, at)
    if line == 0:
        return Place(scalar.place.line, scalar.place.column + at)
    return Place(scalar.place.line + line, at - (raw.rfind("\n", 0, at) + 1) + 1)


def _begin(raw: str) -> int:
    if raw[:1] in ("'", '"'):
        return 1
    if raw[:1] in ("|", ">"):
        return raw.find("\n") + 1
    return 0


def _behind(raw: str, at: int, char: str) -> int:
    """Return the offset behind the raw character(s) that stand for `char`."""
    if char.isspace():
        return at + 1 if at < len(raw) else at
    return min(_skip_to(raw, at, char) + 1, len(raw))


def _skip_to(raw: str, at: int, char: str) -> int:
    """Skip indentation, line ends and escapes up to the raw character that stands for `char`."""
    if char.isspace():
        return at
    found = raw.find(char, at)
    return at if found < 0 else found
