"""What the catalogue says of one code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One kind of error or warning.

    Args:
        code: `E` or `W` and four digits, stable across releases.
        title: what is wrong, in a few words.
        meaning: what the check found and why it matters.
        remedy: what to do.
        wrong: a small part of a journey file that has it, or empty. Whole top-level keys, so that a test can
            complete it to a journey.
        right: the same part, mended; empty when `wrong` is.
    """

    code: str
    title: str
    meaning: str
    remedy: str
    wrong: str = ""
    right: str = ""

    @property
    def severity(self) -> str:
        """`error`, which stops, or `warning`, which can be silenced."""
        return "error" if self.code.startswith("E") else "warning"
