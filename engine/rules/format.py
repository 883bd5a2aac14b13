"""Brings a rule file into the common form: the language's order of keys, even indentation and blank lines.

Comments stay with the key they stand above or behind. What the file says never changes: a form that would
read differently, or would not be its own form again, is not taken.
"""

from __future__ import annotations

import io
import itertools
import re
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from engine.rules.parsing.branches import ARM_KEYS, VARIANT_KEYS
from engine.rules.parsing.entry import ENTRY_KEYS, ENTRY_KINDS, GOAL_KEYS
from engine.rules.parsing.guards import GUARD_KEYS
from engine.rules.parsing.parse import EXIT_KEYS, JOURNEY_KEYS
from engine.rules.parsing.steps import SET_KEYS, STEP_KEYS
from engine.rules.parsing.table import TABLE_KEYS
from engine.rules.parsing.waits import AWAIT_KEYS, AWAITED_KEYS, UNTIL_KEYS
from engine.rules.templates import FIELD_KEYS, TEMPLATE_KEYS
from engine.rules.text.source import ErrorList, Place, SourceText
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence, read_yaml

_WIDTH = 110
_BLANK_LINES = re.compile(r"\n{3,}")
_ORDERS: dict[str, tuple[str, ...]] = {
    "journey": JOURNEY_KEYS,
    "template": TEMPLATE_KEYS,
    "entry": ENTRY_KEYS,
    "exit": EXIT_KEYS,
    "goal": GOAL_KEYS,
    "guards": GUARD_KEYS,
    "until": UNTIL_KEYS,
    "wait_until": AWAIT_KEYS,
    "awaited": AWAITED_KEYS,
    "arm": ARM_KEYS,
    "variant": VARIANT_KEYS,
    "table": TABLE_KEYS,
    "set": SET_KEYS,
    "field": FIELD_KEYS,
}
_SPACED = ("journey",)  # its sections stand apart by a blank line
_SECTIONS = ("entry:", "exit:", "goal:", "guards:", "steps:", "sequences:", "silence:")
# (where, key) to what stands there; of lists, each element. `*` is any key.
_BELOW: dict[tuple[str, str], str] = {
    ("journey", "entry"): "entry",
    ("entry", "on"): "trigger",
    ("journey", "exit"): "exit",
    ("journey", "goal"): "goal",
    ("journey", "guards"): "guards",
    ("journey", "steps"): "step",
    ("journey", "sequences"): "sequences",
    ("sequences", "*"): "step",
    ("step", "then"): "step",
    ("step", "otherwise"): "step",
    ("step", "else"): "step",
    ("step", "wait"): "until",
    ("step", "wait_until"): "wait_until",
    ("wait_until", "then"): "step",
    ("wait_until", "otherwise"): "step",
    ("wait_until", "until"): "until",
    ("wait_until", "any_of"): "awaited",
    ("step", "branch"): "arm",
    ("arm", "steps"): "step",
    ("step", "split"): "variant",
    ("variant", "steps"): "step",
    ("step", "table"): "table",
    ("step", "set"): "set",
    ("template", "fields"): "fields",
    ("fields", "*"): "field",
}


def format_text(text: str) -> str:
    """Return a file's text in the common form.

    Args:
        text: a YAML file without errors of its own; one that cannot be read comes back unchanged.
    """
    tree = _tree(text)
    if tree is None:
        return text
    meaning = _plain(tree)
    formed = _tidy(_in_order(text, tree))
    if _plain_of(formed) != meaning:
        return text
    even = _tidy(_even(formed))
    same = _plain_of(even) == meaning and _tidy(_even(even)) == even
    # the YAML library loses comments between some flows, and braces around `[{a: b}]`; signs of both stay
    kept = all(even.count(sign) == formed.count(sign) for sign in "#{}")
    return even if same and kept and not _widened(formed, even) else formed


def _tree(text: str) -> Node | None:
    errors = ErrorList("")
    tree = read_yaml(SourceText("", text), errors)
    return None if errors.errors else tree


def _plain_of(text: str) -> object:
    tree = _tree(text)
    return None if tree is None else _plain(tree)


def _plain(node: Node) -> object:
    """Return what a tree says, places and the order of keys aside."""
    if isinstance(node, Mapping):
        return {key.text: _plain(value) for key, value in node.items}
    if isinstance(node, Sequence):
        return [_plain(each) for each in node.items]
    return (type(node.value).__name__, node.text)


def _widened(before: str, after: str) -> bool:
    """Tell whether lines became too long, as a list over several lines does when it is joined."""
    longest = max(map(len, before.split("\n")))
    return max(map(len, after.split("\n"))) > max(longest, _WIDTH)


def _even(text: str) -> str:
    yaml: Any = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.brace_single_entry_mapping_in_flow_sequence = True  # [{a: b}] stays what it is
    yaml.width = 1_000_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    try:
        yaml.dump(yaml.load(text), stream)
    except (YAMLError, ValueError, TypeError, AttributeError):
        return text
    return stream.getvalue()


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.split("\n")]
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip("\n") + "\n"


def _in_order(text: str, tree: Node) -> str:
    lines = text.rstrip("\n").split("\n")
    keys = [key.text for key, _ in tree.items] if isinstance(tree, Mapping) else []
    root = next((key for key in keys if key in ("journey", "template")), "")
    return "\n".join(_Sorter(lines).sorted(tree, 0, len(lines), root)) + "\n"


def _order_of(where: str, node: Mapping) -> tuple[str, ...]:
    """Return the order of a mapping's keys; of steps and triggers it depends on which one it is."""
    kinds = {"step": STEP_KEYS, "trigger": ENTRY_KINDS}.get(where)
    if kinds is None:
        return _ORDERS.get(where, ())
    return next((kinds[key.text] for key, _ in node.items if key.text in kinds), ())


def _rank(key: str, order: tuple[str, ...]) -> int:
    return order.index(key) if key in order else len(order)


def _blank_behind(lines: list[str]) -> int:
    """Return how many blank lines a chunk ends with."""
    return next((number for number, line in enumerate(reversed(lines)) if line.strip()), len(lines))


def _outside(lines: list[str], column: int) -> int:
    """Return how many lines at the end are comments further left than the keys, or blank lines among them."""
    count = 0
    for number, line in enumerate(reversed(lines), start=1):
        indent = len(line) - len(line.lstrip())
        if line.strip() and not (line.lstrip().startswith("#") and indent < column):
            break
        count = number if line.strip() else count
    return count


def _is_section(lines: list[str]) -> bool:
    """Tell whether a top-level key has its value on lines of its own, as `steps` has."""
    return len(lines) > 1 or lines[0].startswith(_SECTIONS)


@dataclass(frozen=True, slots=True)
class _Sorter:
    """Moves whole lines: a key of a block mapping with its value and the comments right above it.

    Args:
        lines: of the file. Ranges of lines are 0-based, the end excluded.
    """

    lines: list[str]

    def sorted(self, node: Node, begin: int, end: int, where: str) -> list[str]:
        """Return the lines that hold a node, with its keys and those below it in order."""
        if isinstance(node, Mapping) and node.items and node.items[0][0].place == node.place:
            return self._mapping(node, begin, end, where)
        if isinstance(node, Sequence) and node.items and self._at(node.place).startswith("-"):
            return self._sequence(node, begin, end, where)
        return self.lines[begin:end]

    def _at(self, place: Place) -> str:
        return self.lines[place.line - 1][place.column - 1 :]

    def _mapping(self, node: Mapping, begin: int, end: int, where: str) -> list[str]:
        column = node.place.column - 1
        rows = [key.place.line - 1 for key, _ in node.items]
        if len(set(rows)) < len(rows):  # `? key` and other rare forms
            return self.lines[begin:end]
        starts = [self._comments_above(row, column, begin) for row in rows]
        head = self.lines[rows[0]][:column]
        order = _order_of(where, node)
        chunks = []
        for number, (key, value) in enumerate(node.items):
            stop = starts[number + 1] if number + 1 < len(rows) else end
            below = _BELOW.get((where, key.text)) or _BELOW.get((where, "*"), "")
            own = [" " * column + self.lines[rows[number]][column:]]
            own += self._value(value, rows[number], stop, below)
            chunks.append((_rank(key.text, order), self.lines[starts[number] : rows[number]], own))
        ordered = sorted(chunks, key=lambda chunk: chunk[0])
        last_own = chunks[-1][2]
        cut = len(last_own) - _outside(last_own, column)
        behind = last_own[cut:]
        del last_own[cut:]
        tail = _blank_behind(chunks[-1][2])
        if ordered != chunks or where in _SPACED:
            for _, _, own in chunks:
                del own[len(own) - _blank_behind(own) :]
        else:
            tail = 0
        _, comments, own = ordered[0]
        # What stands before the first key, such as `- `, stays there; its comments go above.
        indent = " " * (len(head) - len(head.lstrip()))
        above = [*self.lines[begin : starts[0]], *(indent + line.lstrip() for line in comments)]
        found = [*above, head + own[0][column:], *own[1:]]
        for (_, _, last), (_, more, rest) in itertools.pairwise(ordered):
            spaced = where in _SPACED and (_is_section(last) or _is_section(rest))
            found += [*([""] if spaced else []), *more, *rest]
        return [*found, *[""] * tail, *behind]

    def _value(self, value: Node, row: int, end: int, where: str) -> list[str]:
        """Return the lines behind the one of a key, at `row`."""
        begin = value.place.line - 1
        if begin <= row or isinstance(value, Scalar):
            return self.lines[row + 1 : end]
        return [*self.lines[row + 1 : begin], *self.sorted(value, begin, end, where)]

    def _sequence(self, node: Sequence, begin: int, end: int, where: str) -> list[str]:
        column = node.place.column - 1
        rows = [self._dash_above(item.place.line - 1, column) for item in node.items]
        starts = [begin, *(self._comments_above(row, column, begin) for row in rows[1:]), end]
        found: list[str] = []
        for number, item in enumerate(node.items):
            row = item.place.line - 1
            found += self.lines[starts[number] : row]
            found += self.sorted(item, row, starts[number + 1], where)
        return found

    def _dash_above(self, row: int, column: int) -> int:
        """Return the line of the `-` an element belongs to."""
        while row > 0 and self.lines[row][column : column + 1] != "-":
            row -= 1
        return row

    def _comments_above(self, row: int, column: int, low: int) -> int:
        """Return the first line of the comments right above a line, as far indented as it."""
        mark = " " * column + "#"
        while row > low and self.lines[row - 1].startswith(mark):
            row -= 1
        return row
