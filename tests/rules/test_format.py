"""The common form of rule files: it changes how a file looks, never what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.resources import shipped
from engine.rules.format import format_text
from engine.rules.parsing.parse import JOURNEY_KEYS, parse_journey
from engine.rules.text.source import ErrorList, SourceText
from engine.rules.text.yaml_nodes import Mapping, Node, Sequence, read_yaml
from tests.rules.journeys import ABSENT, ASK, DRIP, SERVICE, TRIGGER

GOLDEN = Path(__file__).parent / "golden"
RULES = [path.read_text("utf-8") for path in sorted(shipped("journeys").glob("*.yaml"))]
TEXTS = [ABSENT, ASK, DRIP.replace("REENTRY", "always"), SERVICE, TRIGGER, *RULES]

MESSY = """\
# The file.

steps:
  # first ask
  - template: winback-survey   # which
    data: {coupon: SURVEY10}
    # where to
    send: email
  -   wait_until:
        timeout: 7d
        where: >-
          event.template ==
          "winback-survey"
        on: message.responded
      otherwise:
      - exit



# guards are here
guards:
  # comment inside guards
  consent: marketing
entry:
  reentry: after 180d
  on:
    since: last
    absent: order.placed
    for: 90d
journey: win-back
"""
NEAT = """\
# The file.

journey: win-back

entry:
  on:
    absent: order.placed
    for: 90d
    since: last
  reentry: after 180d

# guards are here
guards:
  # comment inside guards
  consent: marketing

steps:
  # first ask
  # where to
  - send: email
    template: winback-survey   # which
    data: {coupon: SURVEY10}
  - wait_until:
      on: message.responded
      where: >-
        event.template ==
        "winback-survey"
      timeout: 7d
    otherwise:
      - exit
"""


def said(text: str) -> object:
    """Return what a file says, places and order of keys aside; None when it cannot be read."""
    errors = ErrorList("")
    tree = read_yaml(SourceText("", text), errors)
    return None if errors.errors or tree is None else plain(tree)


def plain(node: Node) -> object:
    """Return a tree without places."""
    if isinstance(node, Mapping):
        return {key.text: plain(value) for key, value in node.items}
    if isinstance(node, Sequence):
        return [plain(each) for each in node.items]
    return (repr(node.value), node.text)


def test_a_messy_file_becomes_neat() -> None:
    """Keys get the language's order, comments stay with them, sections and lists are set apart alike."""
    assert format_text(MESSY) == NEAT


@pytest.mark.parametrize("text", [*TEXTS, MESSY], ids=range(len(TEXTS) + 1))
def test_the_form_of_a_form_is_itself(text: str) -> None:
    """Formatting twice changes nothing more, and what the file says is the same."""
    formed = format_text(text)
    assert format_text(formed) == formed
    assert said(formed) == said(text)


@pytest.mark.parametrize("text", [each for each in TEXTS if "\njourney:" in f"\n{each}"], ids=str.__len__)
def test_the_parser_reads_the_same(text: str) -> None:
    """A formatted journey is the same journey: entry, guards, exits and steps, places aside."""
    before, after = (parse_journey("a.yaml", each.encode()) for each in (text, format_text(text)))
    assert len(before.steps) == len(after.steps)
    for name in ("description", "owner", "version", "enabled", "transactional"):
        assert getattr(before, name) == getattr(after, name)
    assert before.guards.caps == after.guards.caps
    assert [type(step) for step in before.steps] == [type(step) for step in after.steps]


def test_shipped_files_are_in_their_form() -> None:
    """What ships is formatted: `engage rules fmt` changes no shipped file."""
    for folder in ("journeys", "templates"):
        for path in shipped(folder).rglob("*.yaml"):
            text = path.read_text("utf-8")
            assert format_text(text) == text, path.name


BLOCKS = st.permutations(NEAT.split("\n\n")[1:])


@given(BLOCKS, st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_the_order_of_sections_does_not_matter(blocks: list[str], blank: int) -> None:
    """However the sections are ordered and spaced, the form is one."""
    text = "# The file.\n\n" + ("\n" * (blank + 1)).join(block.strip("\n") for block in blocks) + "\n"
    formed = format_text(text)
    assert formed.split("\n\n", 1)[1] == NEAT.split("\n\n", 1)[1]
    places = [formed.index(f"\n{key}:") for key in JOURNEY_KEYS if f"\n{key}:" in formed]
    assert places == sorted(places)


@given(st.sampled_from([ASK, SERVICE, MESSY]), st.data())
@settings(max_examples=50, deadline=None)
def test_no_mutilated_file_changes_its_meaning(text: str, data: st.DataObject) -> None:
    """Whatever is cut out or put in, formatting keeps what a file says, settles at once and never fails."""
    lines = text.split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["drop", "twice", "shift", "comment", "blank", "swap"]))
        if how == "drop":
            lines[at] = ""
        elif how == "twice":
            lines.insert(at, lines[at])
        elif how == "shift":
            lines[at] = " " + lines[at]
        elif how == "comment":
            lines.insert(at, " " * data.draw(st.integers(0, 6)) + "# note")
        elif how == "blank":
            lines.insert(at, "   ")
        else:
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], lines[at]
    mutilated = "\n".join(lines)
    formed = format_text(mutilated)
    assert said(formed) == said(mutilated)
    assert format_text(formed) == formed
