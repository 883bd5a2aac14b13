"""Slips of a beginner's keyboard: full-width and curly characters, a colon without its space, a lost `- `."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MISSING_VALUE: Final = "its value is missing; from ` #` on all is a comment, so a text with # needs quotes"
_QUOTES = "“”„‟‘’‚‛«»＂＇"
_WIDE = dict(zip("：，；（）［］｛｝＝！＜＞＆｜＋－＊／．", ":,;()[]{}=!<>&|+-*/.", strict=True))
_KEY = re.compile(r"\s*(?:- )?[{]?([A-Za-z_][\w-]*)\s*(?:：\s*(.*)|:(\S.*))$")
_CUT = re.compile(r"^(?P<kept>.*?)\s#(?P<gone>.*)$")
_QUOTED = re.compile("'[^']*'|\"[^\"]*\"")
_NEAR = 3
"""Lines; so far above a syntax error its cause is looked for."""


def plain_spelling(text: str) -> str:
    """Say what to write for the first character that only looks like one of YAML's or CEL's; else nothing.

    Args:
        text: in which it may be.
    """
    for char in text:
        if char in _QUOTES:
            return f"{char} is no quotation mark here: write \" or '"
        if char in _WIDE:
            return f"{char} is a full-width character: write {_WIDE[char]}"
    return ""


def lacks_space(text: str) -> str:
    """Say how a key and its value are written that a colon without a space made one text; empty when none is.

    Args:
        text: such as `on:order.placed` or `on：order.placed`.
    """
    found = _KEY.match(text)
    if found is None:
        return ""
    return f"write `{found[1]}: {(found[2] or found[3] or '…')[:40]}`, with a plain colon and a space"


def syntax_slip(lines: Sequence[str], number: int, problem: str) -> str:
    """Say which slip at or just above a place keeps the text from being YAML; empty when none is seen.

    Args:
        lines: of the file.
        number: the line where reading stopped, from 1.
        problem: what the reader said.
    """
    written = [at for at in range(min(number, len(lines)), 0, -1) if lines[at - 1].strip()][:_NEAR]
    for at in written:
        line = lines[at - 1]
        said = lacks_space(line)
        if said:
            return f"line {at}: {said}"
        cut = _CUT.match(line)
        if cut is not None and cut["kept"].count("{") > cut["kept"].count("}") and "}" in cut["gone"]:
            return f"line {at}: from ` #` on all is a comment, also the brace; a text with # needs quotes"
    spelling = plain_spelling(_QUOTED.sub("", lines[written[0] - 1])) if written else ""
    if spelling and problem.startswith("expected ','"):
        return spelling
    if problem.startswith("expected <block end>"):
        return "indent the keys of one block alike; each element of a list begins with `- `"
    return ""
