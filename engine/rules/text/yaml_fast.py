"""The fast way from YAML text to nodes: libyaml's events, of files that hold nothing unusual.

It gives the tree `yaml_nodes.read_exactly` gives, in a tenth of the time, or none at all: then the exact way
decides, and says what is wrong. So every message comes from one reader; and what libyaml (YAML 1.1) may read
in another way than ruamel.yaml (YAML 1.2) is left to that one.
"""

from __future__ import annotations

import re
from typing import Any

from yaml import YAMLError
from yaml.cyaml import CParser
from yaml.events import MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent

from engine.rules.limits import MAX_YAML_DEPTH, MAX_YAML_NODES
from engine.rules.text.source import Place
from engine.rules.text.yaml_tree import Mapping, Node, Scalar, Sequence, meaning_of

# What the two readers treat differently (tests/fuzz/yaml_readers.py looks for more): tabs and controls, line
# ends beyond "\n", a byte order mark, a comment right behind `|` or `>`, keys with `?`, `:` before a bracket
# or right between a quoted key and its value.
_UNUSUAL = re.compile(
    "[\t\r\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]"
    r"""|[|>][-+0-9]*#|["']:\S|(?:^|[\s\[{,])\?(?:\s|$)|:[,\[\]{}]"""
)
_NODES = frozenset((ScalarEvent, MappingStartEvent, SequenceStartEvent))


class _NotFast(Exception):  # noqa: N818 - never leaves this module
    """The file is wrong or unusual."""


def read_fast(text: str) -> Mapping | None:
    """Return the tree of a file that both readers take for the same mapping, else None.

    Args:
        text: the file.
    """
    if _UNUSUAL.search(text):
        return None
    try:
        return _Reader(text).document()
    except (YAMLError, _NotFast, ValueError, OverflowError):
        return None


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._parser = CParser(text)
        self._next = self._parser.get_event
        self._left = MAX_YAML_NODES

    def document(self) -> Mapping | None:
        """Read the only document; None when it is no mapping."""
        self._next()  # begin of the stream
        self._next()  # begin of a document, or the end
        tree = self._node(self._next(), MAX_YAML_DEPTH)
        self._next()  # end of the document
        self._next()  # the end, or a second document
        return tree if isinstance(tree, Mapping) and self._next() is None else None

    def _node(self, event: Any, depth_left: int) -> Node:
        """Read a node from its first event on."""
        kind = type(event)
        self._left -= 1
        if kind not in _NODES or event.anchor or event.tag or self._left < 0 or depth_left <= 0:
            raise _NotFast
        mark = event.start_mark
        place = Place(mark.line + 1, mark.column + 1)
        if kind is ScalarEvent:
            text = event.value
            if not (text or event.style):  # of what is not there the readers do not agree where it stands
                raise _NotFast
            value = text if event.style else meaning_of(text)
            return Scalar(value, text, self._text[mark.index : event.end_mark.index], place)
        if kind is MappingStartEvent:
            return self._mapping(place, depth_left - 1)
        return self._sequence(place, depth_left - 1)

    def _mapping(self, place: Place, depth_left: int) -> Mapping:
        items: list[tuple[Scalar, Node]] = []
        while type(event := self._next()) is not MappingEndEvent:
            key = self._node(event, depth_left)
            if type(key) is not Scalar:
                raise _NotFast
            items.append((key, self._node(self._next(), depth_left)))
        if len({key.text for key, _ in items}) < len(items):
            raise _NotFast
        return Mapping(tuple(items), place)

    def _sequence(self, place: Place, depth_left: int) -> Sequence:
        items: list[Node] = []
        while type(event := self._next()) is not SequenceEndEvent:
            items.append(self._node(event, depth_left))
        return Sequence(tuple(items), place)
