"""Mutations of texts and bytes, drawn from a seeded generator."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z_.]*|[0-9]+(?:\.[0-9]+)?|[^\sA-Za-z0-9_]")
_NUMBER = re.compile(r"[0-9]+")
_ODD = (
    "", "~", "null", "true", "-1", "0", "1e400", "NaN", "Infinity", "9" * 40, "-0.0", "[]", "{}",
    "'", '"', "\t", "\x00", "\ud7ff", "💌", "顾客", "é" * 200, "&a", "*a", "<<:", "!!python/object",
    "---", "...", "|", ">-", "# ", ": ", "- ", "(" * 40, ")" * 40, "!" * 60, "?", "&&", "||", "in",
    "has(", ".matches('(a+)+$')", "/0", "%0", "[0]", "size(",
)  # fmt: skip
_DATES = (
    "2026-02-29",
    "1970-01-01",
    "9999-12-31",
    "24:00",
    "00:00",
    "23:59-00:00",
    "400d",
    "1s",
    "0 0 30 2 *",
    "*/1 * * * *",
)

Mutation = Callable[[random.Random, str, Sequence[str]], str]


def mutate_text(rng: random.Random, corpus: Sequence[str], words: Sequence[str]) -> str:
    """Return one text of the corpus with one to four mutations.

    Args:
        rng: where the choices come from.
        corpus: valid texts.
        words: what may be put in the place of a token.
    """
    text = rng.choice(corpus)
    for _ in range(rng.choice((1, 1, 1, 1, 1, 2, 3))):
        mutation = rng.choice(_TEXT_MUTATIONS)
        text = mutation(rng, text, words if mutation is not _splice else corpus)
    return text


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Return the bytes with one to eight of them changed, taken out or put in."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0 if at < len(changed):
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at : at + rng.choice((1, 1, 2, 8, 64))]
            case 2:
                changed[at:at] = rng.randbytes(rng.choice((1, 2, 4)))
            case _:
                begin = rng.randrange(len(changed) + 1)
                changed[at:at] = changed[begin : begin + rng.randint(1, 32)]
    return bytes(changed)


def _token(rng: random.Random, text: str, words: Sequence[str]) -> str:
    """Put another word in the place of a token: a known one, an odd one, or one of the same text."""
    found = list(_TOKEN.finditer(text))
    if not found:
        return text
    token = rng.choice(found)
    pool = rng.choice((words, words, _ODD, _DATES, [each.group() for each in found]))
    return text[: token.start()] + rng.choice(pool) + text[token.end() :]


def _number(rng: random.Random, text: str, _: Sequence[str]) -> str:
    """Put another number in the place of one: the file often stays valid."""
    found = list(_NUMBER.finditer(text))
    if not found:
        return text
    number = rng.choice(found)
    return (
        text[: number.start()]
        + str(rng.choice((0, 1, 2, 3, 7, 24, 59, 90, 400, 10**6)))
        + text[number.end() :]
    )


def _line_out(rng: random.Random, text: str, _: Sequence[str]) -> str:
    lines = text.splitlines()
    if lines:
        del lines[rng.randrange(len(lines))]
    return "\n".join(lines) + "\n"


def _line_moved(rng: random.Random, text: str, _: Sequence[str]) -> str:
    lines = text.splitlines()
    if lines:
        line = lines.pop(rng.randrange(len(lines)))
        lines.insert(rng.randrange(len(lines) + 1), line)
    return "\n".join(lines) + "\n"


def _line_twice(rng: random.Random, text: str, _: Sequence[str]) -> str:
    lines = text.splitlines()
    if lines:
        at = rng.randrange(len(lines))
        lines[at:at] = [lines[at]] * rng.choice((1, 1, 2, 50))
    return "\n".join(lines) + "\n"


def _indented(rng: random.Random, text: str, _: Sequence[str]) -> str:
    lines = text.splitlines()
    if lines:
        begin = rng.randrange(len(lines))
        end = rng.randint(begin, len(lines))
        by = rng.choice(("  ", "    ", " ", ""))
        lines[begin:end] = [by + line if by else line.removeprefix("  ") for line in lines[begin:end]]
    return "\n".join(lines) + "\n"


def _splice(rng: random.Random, text: str, corpus: Sequence[str]) -> str:
    """The beginning of one file, the end of another."""
    ours, theirs = text.splitlines(), rng.choice(corpus).splitlines()
    return "\n".join(ours[: rng.randint(0, len(ours))] + theirs[rng.randint(0, len(theirs)) :]) + "\n"


def _nested(rng: random.Random, text: str, _: Sequence[str]) -> str:
    """Put a run of characters into many brackets."""
    at = rng.randrange(len(text) + 1)
    open_, close = rng.choice(("[]", "{}", "()"))
    times = rng.choice((1, 5, 30, 100))
    return text[:at] + open_ * times + close * times + text[at:]


def _characters(rng: random.Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_ODD) + text[at + rng.randint(0, 3) :]


_TEXT_MUTATIONS: tuple[Mutation, ...] = (
    *[_token] * 3, *[_number] * 2, _line_out, _line_moved, _line_twice, _indented, _splice,
    _nested, _characters,
)  # fmt: skip
