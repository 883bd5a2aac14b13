"""A rule file's text, places in it, and the list its errors are gathered in."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from engine.errors import RuleError
from engine.rules.limits import MAX_ERRORS_PER_FILE

T_co = TypeVar("T_co", covariant=True)


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where something stands: 1-based line and column."""

    line: int
    column: int


START = Place(1, 1)


@dataclass(frozen=True, slots=True)
class Placed(Generic[T_co]):
    """A value and where it was written."""

    value: T_co
    place: Place


@dataclass(frozen=True, slots=True)
class SourceText:
    """One rule file.

    Args:
        file: its path as given by the user.
        text: its decoded text.
    """

    file: str
    text: str


@dataclass(slots=True)
class ErrorList:
    """Collects the problems of one file, so that an author sees all of them at once."""

    file: str
    errors: list[RuleError] = field(default_factory=list)
    count: int = 0  # of all errors, those dropped included: grows with each one
    warnings: list[RuleError] = field(default_factory=list)

    def add(self, code: str, message: str, place: Place, hint: str = "") -> None:
        """Note one problem; beyond the bound they are dropped, the first hundred are enough to start with."""
        self.count += 1
        if len(self.errors) < MAX_ERRORS_PER_FILE:
            self.errors.append(RuleError(code, message, self.file, place.line, place.column, hint))

    def warn(self, code: str, message: str, place: Place, hint: str = "") -> None:
        """Note something possible, but hardly meant; it stops nothing. Bounded like the errors."""
        if len(self.warnings) < MAX_ERRORS_PER_FILE:
            self.warnings.append(RuleError(code, message, self.file, place.line, place.column, hint))

    def in_order(self) -> list[RuleError]:
        """Return the errors from the top of the file to its end; one found twice at its place once."""
        once = {(*_place_of(each), each.message): each for each in self.errors}
        return sorted(once.values(), key=_place_of)

    def warnings_in_order(self) -> list[RuleError]:
        """Return the warnings from the top of the file to its end."""
        return sorted(self.warnings, key=_place_of)


def _place_of(error: RuleError) -> tuple[int, int, str]:
    return error.line, error.column, error.code


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint naming the known word that is most like `word`, or an empty text."""
    found = _nearest(word, tuple(known))
    return f"did you mean {found}?" if found else ""


@functools.lru_cache(1024)  # a mistake comes again in step after step
def _nearest(word: str, known: tuple[str, ...]) -> str:
    stem, dot, last = word.rpartition(".")
    stem += dot
    if dot:  # where the first part is right, it must not make all that begin with it alike
        siblings = [name.removeprefix(stem) for name in known if name.startswith(stem)]
        found = _closest(last, siblings)
        if found:
            return stem + found
        known = tuple(name for name in known if not name.startswith(stem))
    return _closest(word, known)


def _closest(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, known, n=3, cutoff=0.6)

    def likeness(other: str) -> float:
        # a wrong letter is more likely than one too many: `sent` is meant as `send`, not as `set`
        same_length = 0.15 if len(other) == len(word) else 0.0
        return difflib.SequenceMatcher(None, other, word).ratio() + same_length

    return max(found, key=likeness, default="")
