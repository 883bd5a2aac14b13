"""parse ∘ print = identity: writing a journey down in the common form, or in any other, loses nothing."""

from __future__ import annotations

import random
from dataclasses import fields, is_dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.checking.check import check_journey
from engine.rules.checking.lint import find_oddities
from engine.rules.compile import compile_journey
from engine.rules.format import format_text
from engine.rules.parsing.parse import parse_journey
from engine.rules.publishing.meaning import meaning_of
from engine.rules.text.source import ErrorList, Place, SourceText
from engine.rules.text.yaml_nodes import Mapping, Node, Scalar, Sequence, read_yaml
from tests.rules.driver import VOCABULARY
from tests.rules.random_journeys import random_journey
from tests.rules.random_layout import write_yaml

authors = st.builds(random.Random, st.integers(0, 2**32))
_PLACES = ("source", "lines")


def plain(node: Node | None) -> Any:
    """Return what YAML was read as, as the plain data it was written from."""
    if isinstance(node, Mapping):
        return {key.text: plain(value) for key, value in node.items}
    if isinstance(node, Sequence):
        return [plain(each) for each in node.items]
    assert isinstance(node, Scalar)
    return node.value


def without_places(part: Any) -> Any:
    """Return a parsed part as plain values; where things stand and how they are quoted is left out."""
    if isinstance(part, Scalar):
        return part.value
    if is_dataclass(part):
        names = [each.name for each in fields(part) if each.name not in _PLACES]
        values = {name: getattr(part, name) for name in names}
        return {name: without_places(each) for name, each in values.items() if not isinstance(each, Place)}
    if isinstance(part, tuple):
        return [without_places(each) for each in part]
    return part


@settings(max_examples=40, deadline=None)
@given(authors)
def test_what_is_written_is_read(author: random.Random) -> None:
    """However a journey is laid out, the YAML reader gives back the very data, and it is a valid journey."""
    data = random_journey(author)
    text = write_yaml(author, data)
    errors = ErrorList("a.yaml")
    assert plain(read_yaml(SourceText("a.yaml", text), errors)) == data
    parsed = parse_journey("a.yaml", text.encode())
    journey = compile_journey(check_journey(parsed, VOCABULARY), VOCABULARY)
    find_oddities(parsed, journey, VOCABULARY, errors)
    assert not errors.errors, text


@settings(max_examples=20, deadline=None)
@given(authors)
def test_parsing_what_was_printed_gives_the_same_journey(author: random.Random) -> None:
    """The common form parses to the same journey, is its own form, and means the same, comments kept."""
    text = write_yaml(author, random_journey(author))
    formed = format_text(text)
    before, after = (parse_journey("a.yaml", each.encode()) for each in (text, formed))
    assert without_places(after) == without_places(before)
    assert format_text(formed) == formed
    assert meaning_of("a.yaml", formed) == meaning_of("a.yaml", text)
    for comment in ("# why", "# note", "# the end"):
        assert formed.count(comment) == text.count(comment)


@settings(max_examples=25, deadline=None)
@given(authors)
def test_layouts_of_one_journey_mean_the_same(author: random.Random) -> None:
    """Two people who write the same journey down differently have published the same rules."""
    data = random_journey(author)
    meanings = {meaning_of("a.yaml", write_yaml(author, data)) for _ in range(3)}
    assert len(meanings) == 1
    changed = {**data, "steps": [*data["steps"], {"send": "email", "template": "another"}]}
    assert meaning_of("a.yaml", write_yaml(author, changed)) not in meanings
