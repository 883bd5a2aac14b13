"""How wide a text is on a screen, and how it is broken into lines."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator


def cells(text: str) -> int:
    """Return how many columns a text takes in a terminal; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def wrap(text: str, width: int) -> list[str]:
    """Break a text into lines.

    Args:
        text: the text.
        width: columns a line; at least two.
    """
    lines: list[str] = []
    line = ""
    for piece in _pieces(text, width):
        if line and cells(line) + cells(piece.rstrip()) > width and piece[0] not in _NEVER_FIRST:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


_NEVER_FIRST = "，。、：；）”！？"  # these stay with what they follow


def _pieces(text: str, width: int) -> Iterator[str]:
    """Yield what must not be broken: words with the space behind them, single wide characters."""
    word = ""
    for each in text:
        wide = unicodedata.east_asian_width(each) in "WF"
        if word and (wide or cells(word) >= width):
            yield word
            word = ""
        word += each
        if wide or each == " ":
            yield word
            word = ""
    if word:
        yield word
