"""Reading the definition file with positions, so that all problems are told at once, each with its place."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from engine.errors import RuleError

MAX_FILE_BYTES = 256 * 1024
MAX_PROBLEMS = 100
MAX_NESTING = 16


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: 1-based line and column."""

    line: int
    column: int


@dataclass(slots=True)
class Problems:
    """Collects the problems of one file.

    Args:
        file: path shown with each problem.
        errors: what was found so far.
    """

    file: str
    errors: list[RuleError] = field(default_factory=list)

    def add(self, code: str, message: str, place: Place, hint: str = "") -> None:
        """Note one problem; beyond `MAX_PROBLEMS` they are dropped."""
        if len(self.errors) < MAX_PROBLEMS:
            self.errors.append(RuleError(code, message, self.file, place.line, place.column, hint))


@dataclass(frozen=True, slots=True)
class Entry:
    """A value of the file, where it stands, and what it is called in messages."""

    value: Any
    place: Place
    label: str


def nearest(name: str, known: Collection[str]) -> str:
    """Return a hint with the closest known name, or empty."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def read_yaml(text: str, problems: Problems) -> Entry | None:
    """Parse a definition file.

    Args:
        text: the file's text.
        problems: takes what is wrong with it.

    Returns:
        The top-level mapping, or None when there is none.
    """
    start = Place(1, 1)
    if len(text.encode()) > MAX_FILE_BYTES:
        problems.add("E0801", f"file is larger than {MAX_FILE_BYTES} bytes", start)
        return None
    try:
        if _is_refused(text, problems):
            return None
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = Place(mark.line + 1, mark.column + 1) if mark is not None else start
        problems.add("E0801", f"not valid yaml: {error.problem or error.context or 'cannot be read'}", place)
        return None
    except (YAMLError, ValueError, RecursionError) as error:
        problems.add("E0801", f"not valid yaml: {type(error).__name__}", start)
        return None
    if not isinstance(tree, CommentedMap):
        problems.add("E0802", "file must be a mapping", start)
        return None
    return Entry(tree, start, "file")


def _is_refused(text: str, problems: Problems) -> bool:
    """Look at the events before a tree is built: an alias, or nesting too deep, ends the reading there."""
    depth = 0
    for event in YAML(typ="rt").parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if isinstance(event, AliasEvent) or depth > MAX_NESTING:
            message = (
                "aliases are not allowed" if depth <= MAX_NESTING else f"nested more than {MAX_NESTING} deep"
            )
            problems.add("E0801", message, Place(event.start_mark.line + 1, event.start_mark.column + 1))
            return True
    return False


def fields(entry: Entry, known: Collection[str], problems: Problems) -> dict[str, Entry]:
    """Return the fields of a mapping; unknown ones and values that are no mapping are problems."""
    tree = entry.value
    if not isinstance(tree, CommentedMap):
        problems.add("E0802", f"{entry.label} must be a mapping", entry.place)
        return {}
    found = {}
    for key in tree:
        if key in known:
            line, column = tree.lc.value(key)
            found[str(key)] = Entry(tree[key], Place(line + 1, column + 1), str(key))
        else:
            line, column = tree.lc.key(key)
            place = Place(line + 1, column + 1)
            problems.add(
                "E0803", f"unknown key {str(key)!r} in {entry.label}", place, nearest(str(key), known)
            )
    return found


def items(entry: Entry, problems: Problems, bound: int) -> Iterator[Entry]:
    """Yield the items of a list of at most `bound`; a value that is no list is a problem."""
    tree = entry.value
    if not isinstance(tree, CommentedSeq):
        problems.add("E0802", f"{entry.label} must be a list", entry.place)
        return
    if len(tree) > bound:
        problems.add(
            "E0804", f"{entry.label} has {len(tree)} items, at most {bound} are allowed", entry.place
        )
        return
    for at, value in enumerate(tree):
        line, column = tree.lc.item(at)
        yield Entry(value, Place(line + 1, column + 1), f"{entry.label}[{at}]")


def name_of(found: Mapping[str, Entry], entry: Entry, problems: Problems, key: str = "name") -> str:
    """Return a required name: lower case letters, digits, underscores, at most 64."""
    name = found.get(key)
    if name is None:
        problems.add("E0805", f"{entry.label} has no {key!r}", entry.place)
        return ""
    text = name.value
    if (
        not isinstance(text, str)
        or not text.isascii()
        or not text.isidentifier()
        or text != text.lower()
        or len(text) > 64
    ):
        problems.add(
            "E0806", f"{key} {text!r} must be lower-case letters, digits and underscores", name.place
        )
        return ""
    return text


def whole_number(
    found: Mapping[str, Entry], entry: Entry, low: int, high: int, problems: Problems
) -> int | None:
    """Return the required `code` of an entry, a whole number from `low` to `high`."""
    code = found.get("code")
    if code is None:
        hint = "it is stored with every customer, so it is given once and never reused"
        problems.add("E0805", f"{entry.label} has no 'code'", entry.place, hint)
        return None
    if not isinstance(code.value, int) or isinstance(code.value, bool) or not low <= code.value <= high:
        problems.add("E0806", f"code {code.value!r} must be a whole number from {low} to {high}", code.place)
        return None
    return code.value


def numbers(entry: Entry, count: int, problems: Problems) -> tuple[float, ...] | None:
    """Return a list of exactly `count` rising numbers."""
    found: list[float] = []
    for item in items(entry, problems, count):
        if (
            not isinstance(item.value, int | float)
            or isinstance(item.value, bool)
            or not math.isfinite(item.value)
        ):
            problems.add("E0806", f"{item.label} is {item.value!r}, expected a number", item.place)
            return None
        found.append(float(item.value))
    if len(found) != count or any(a >= b for a, b in itertools.pairwise(found)):
        problems.add("E0806", f"{entry.label} must be {count} rising numbers", entry.place)
        return None
    return tuple(found)
