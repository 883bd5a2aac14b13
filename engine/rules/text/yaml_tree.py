"""The nodes a YAML text becomes: they know where they stand, and what a plain word means."""

from __future__ import annotations

import math
import re

import msgspec

from engine.rules.text.source import Place

Plain = str | int | float | bool | None

_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_BEGINS_NUMBER = frozenset("-+.0123456789")
_WORDS: dict[str, Plain] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}


class Scalar(msgspec.Struct, frozen=True, gc=False):
    """A text, number, truth value or null.

    Args:
        value: what it means by YAML 1.2's core rules.
        text: the characters it stands for (quotes removed, lines folded).
        raw: the characters in the file.
        place: where `raw` begins.
    """

    value: Plain
    text: str
    raw: str
    place: Place


class Mapping(msgspec.Struct, frozen=True, gc=False):
    """Keys and values in file order; keys are unique texts."""

    items: tuple[tuple[Scalar, Node], ...]
    place: Place


class Sequence(msgspec.Struct, frozen=True, gc=False):
    """A list of nodes."""

    items: tuple[Node, ...]
    place: Place


Node = Scalar | Mapping | Sequence


def meaning_of(text: str) -> Plain:
    """Return what a word without quotes means: only those can be numbers, truth values or null."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _BEGINS_NUMBER:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return text
