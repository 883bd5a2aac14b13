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
        if line and cells(line) + cells(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


_NEVER_FIRST = "，。、：；）”！？"  # these stay with what they follow


def _pieces(text: str, width: int) -> Iterator[str]:
    """Yield what must not be broken: words with the space behind them, wide characters with their marks."""
    piece = ""
    for each in text:
        fits = cells(piece) + cells(each) <= width
        if piece and not (fits and _stays(piece[-1], each)):
            yield piece
            piece = ""
        piece += each
    if piece:
        yield piece


def _stays(last: str, each: str) -> bool:
    """Tell whether a character must not begin a line behind another."""
    if each in _NEVER_FIRST:
        return True
    return last != " " and last not in _NEVER_FIRST and cells(last) == cells(each) == 1
