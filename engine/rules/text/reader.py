"""Takes values of an expected kind out of YAML nodes, noting what does not fit."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from engine.rules.limits import MAX_DURATION_MS, MAX_NAME_CHARS, MAX_TEXT_CHARS, MIN_DURATION_MS
from engine.rules.text.slips import MISSING_VALUE, lacks_space, plain_spelling
from engine.rules.text.source import ErrorList, Place, Placed, nearest
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence
from engine.rules.times.units import read_duration, write_duration

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_CALENDAR = re.compile(r"[0-9]+ ?(?:w|wk|weeks?|mo|mon|months?|y|yr|years?)")  # no units of ours


@dataclass(frozen=True, slots=True)
class Fields:
    """The known keys of a mapping with their values."""

    by_name: dict[str, Node]
    place: Place

    def get(self, name: str) -> Node | None:
        """Return the key's value, or None when the author left it out."""
        return self.by_name.get(name)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads nodes as what the language expects there; every mismatch becomes an error with its place."""

    errors: ErrorList

    def fields(self, node: Node, known: Collection[str], what: str) -> Fields:
        """Return a mapping's keys; unknown ones are errors."""
        if not isinstance(node, Mapping):
            said = f"{what} must be keys with values, not {kind_of(node)}"
            self.errors.add("E0203", said, node.place, slip_in(node))
            return Fields({}, node.place)
        found: dict[str, Node] = {}
        for key, value in node.items:
            if key.text in known:
                found[key.text] = value
            else:
                hint = nearest(key.text, known) or "known keys: " + ", ".join(sorted(known))
                slip = lacks_space(key.text)
                if slip:
                    hint = slip
                elif _without_colon(key, value):
                    hint = "a comma within { } ends a text; put a text with commas into quotes"
                self.errors.add("E0201", f"unknown key {key.text[:40]!r} in {what}", key.place, hint)
        return Fields(found, node.place)

    def required(self, fields: Fields, name: str, what: str) -> Node | None:
        """Return the key's value; its absence is an error."""
        node = fields.get(name)
        if node is None:
            self.errors.add("E0202", f"{what} lacks the key `{name}`", fields.place)
        return node

    def text(self, node: Node | None, what: str, limit: int = MAX_TEXT_CHARS) -> str:
        """Return a text; numbers and truth values are none."""
        if node is None:
            return ""
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            self.errors.add("E0203", f"{what} must be a text, not {kind_of(node)}", node.place, slip_in(node))
            return ""
        if len(node.text) > limit:
            self.errors.add(
                "E0206", f"{what} has {len(node.text)} characters, the limit is {limit}", node.place
            )
            return ""
        return node.text

    def name(self, node: Node | None, what: str) -> Placed[str] | None:
        """Return a name: lower case letters, digits, `-` and `_`."""
        if node is None:
            return None
        before = self.errors.count
        text = self.text(node, what)
        if self.errors.count > before:
            return None
        if len(text) > MAX_NAME_CHARS:
            said = f"the name for {what} has {len(text)} characters, the limit is {MAX_NAME_CHARS}"
            self.errors.add("E0205", said, node.place, "shorten it; `description` takes a longer text")
            return None
        if not _NAME.fullmatch(text):
            hint = "use lower case letters, digits, - and _, beginning with a letter"
            hint = plain_spelling(text) or hint
            self.errors.add("E0205", f"{text[:80]!r} is not a name for {what}", node.place, hint)
            return None
        return Placed(text, node.place)

    def placed_text(self, node: Node | None, what: str) -> Placed[str] | None:
        """Return a text with its place."""
        if node is None:
            return None
        before = self.errors.count
        text = self.text(node, what)
        if not text and self.errors.count == before:
            self.errors.add("E0206", f"{what} cannot be empty", node.place)
        return Placed(text, node.place) if text else None

    def choice(self, node: Node | None, options: Iterable[str], default: str, what: str) -> str:
        """Return one of a closed list of words."""
        if node is None:
            return default
        words = list(options)
        text = node.text if isinstance(node, Scalar) else ""
        if text in words:
            return text
        hint = nearest(text, words) or "one of: " + ", ".join(words)
        self.errors.add("E0206", f"{what} cannot be {text[:40]!r}", node.place, hint)
        return default

    def boolean(self, node: Node | None, default: bool, what: str) -> bool:
        """Return a truth value."""
        if node is None:
            return default
        if isinstance(node, Scalar) and isinstance(node.value, bool):
            return node.value
        self.errors.add("E0203", f"{what} must be true or false, not {kind_of(node)}", node.place)
        return default

    def integer(self, node: Node | None, default: int, low: int, high: int, what: str) -> int:
        """Return a whole number within bounds."""
        if node is None:
            return default
        value = node.value if isinstance(node, Scalar) else None
        if isinstance(value, bool) or not isinstance(value, int):
            self.errors.add("E0203", f"{what} must be a whole number, not {kind_of(node)}", node.place)
            return default
        if not low <= value <= high:
            self.errors.add("E0206", f"{what} is {value}, it must be {low} to {high}", node.place)
            return default
        return value

    def duration(self, node: Node | None, what: str) -> int:
        """Return the milliseconds of a duration such as `7d`; 0 when it is missing or wrong."""
        if node is None:
            return 0
        hint = "write a number with its unit: 30s, 5m, 2h, 7d"
        if not isinstance(node, Scalar) or node.value is None:
            said = f"{what} must be a duration, not {kind_of(node)}"
            self.errors.add("E0204", said, node.place, slip_in(node) or hint)
            return 0
        found = read_duration(node.text)
        if found is None:
            bare = " (a bare number has no unit)" if isinstance(node.value, int | float) else ""
            if _CALENDAR.fullmatch(node.text):
                hint = "days are the largest unit: a week is 7d, a month about 30d"
            self.errors.add("E0204", f"{what} cannot be {node.text[:40]!r}{bare}", node.place, hint)
            return 0
        if not MIN_DURATION_MS <= found <= MAX_DURATION_MS:
            low, high = write_duration(MIN_DURATION_MS), write_duration(MAX_DURATION_MS)
            self.errors.add("E0206", f"{what} is {node.text}, it must be {low} to {high}", node.place)
            return 0
        return found

    def expression(self, node: Node | None, what: str) -> Scalar | None:
        """Return the scalar that holds a CEL expression."""
        if node is None:
            return None
        if not isinstance(node, Scalar) or not node.text.strip():
            said = f"{what} must be a CEL expression, not {kind_of(node)}"
            self.errors.add("E0203", said, node.place, slip_in(node))
            return None
        return node

    def listed(self, node: Node | None, limit: int, what: str) -> tuple[Node, ...]:
        """Return a list's nodes."""
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            hint = slip_in(node) or "begin each with `- `"
            self.errors.add("E0203", f"{what} must be a list, not {kind_of(node)}", node.place, hint)
            return ()
        if len(node.items) > limit:
            self.errors.add(
                "E0208", f"{what} has {len(node.items)} elements, the limit is {limit}", node.place
            )
            return ()
        return node.items


def _without_colon(key: Scalar, value: Node) -> bool:
    """Whether a key is what follows a comma in a text, as in `{meaning: friends, in total}`."""
    if not isinstance(value, Scalar) or value.raw:
        return False
    same_line = value.place.line == key.place.line
    return same_line and value.place.column <= key.place.column + len(key.raw)


def slip_in(node: Node) -> str:
    """Say which slip made a value what it is, for a hint: it is missing, or became a part of a text."""
    if not isinstance(node, Scalar):
        return ""
    return MISSING_VALUE if node.value is None else lacks_space(node.text)


def kind_of(node: Node) -> str:
    """Say what a node is, for an error message."""
    if isinstance(node, Mapping):
        return "keys with values"
    if isinstance(node, Sequence):
        return "a list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return f"the truth value {node.text}"
    if isinstance(node.value, int | float):
        return f"the number {node.text}"
    return f"the text {node.text[:40]!r}"
