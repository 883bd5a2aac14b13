"""E0801-E0808: the segments file, with segments, RFM steps and features of your own."""

from __future__ import annotations

from typing import Final

from engine.rules.codes.code import Code

CODES: Final[tuple[Code, ...]] = (
    Code(
        "E0801",
        "the segments file is not valid YAML, or too large",
        "The file cannot be read as YAML, uses aliases, nests deeper than 16 levels or has more than 256 "
        "KiB.",
        "Correct the YAML at the place shown.",
    ),
    Code(
        "E0802",
        "the wrong kind of value in the segments file",
        "A list stands where keys with values are needed, or the other way round.",
        "Write it as in the shipped `deploy/segments.yaml`.",
    ),
    Code(
        "E0803",
        "unknown key in the segments file",
        "No such key is known at this place; it would silently do nothing.",
        "Take the key the hint names; `docs/features.md` explains each.",
    ),
    Code(
        "E0804",
        "too many or too deep in the segments file",
        "Segments, features and conditions have bounds, so that every customer can be classified in "
        "microseconds.",
        "Use fewer, or write the condition flatter.",
    ),
    Code(
        "E0805",
        "something is missing in the segments file",
        "A segment needs a name, a code and one of `all`, `any`, `otherwise`; a feature needs a name, a "
        "code, an event, an aggregate, a window and the day it counts from.",
        "Add the key the message names.",
    ),
    Code(
        "E0806",
        "a value of the segments file that is not possible",
        "The value is not one of those possible here: a name, a comparison, a window, a date or a number "
        "out of its range.",
        "Take a value the message or hint names.",
    ),
    Code(
        "E0807",
        "a name or code of the segments file stands twice",
        "Names and codes are given once. Codes are stored with every customer, so reusing one would give "
        "old values a new meaning.",
        "Take a new name or code.",
    ),
    Code(
        "E0808",
        "unknown feature or field in the segments file",
        "There is no feature or event field of this name.",
        "Take the name the hint suggests; `engage features WORD` finds features.",
    ),
)
