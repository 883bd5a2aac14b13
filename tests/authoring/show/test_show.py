"""A journey read back says all of what is written, in two languages, and fits where it is shown.

Write the golden files anew with `python -m tests.authoring.show.test_show`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.authoring.show.chinese_cron import say_cron
from engine.authoring.show.chinese_names import EVENTS, FIELDS, feature
from engine.authoring.show.diagram import Drawing, draw
from engine.authoring.show.layout import cells, wrap
from engine.authoring.show.outline import LANGUAGES, Box, Outline, Way, outline
from engine.authoring.show.summary import WIDTH, flow_lines, summary_lines
from engine.authoring.show.svg import to_svg
from engine.events import EVENT_TYPES
from engine.rules.parsing.entry import ENTRY_KINDS
from engine.rules.parsing.parse import parse_journey
from engine.rules.parsing.parsed import ParsedStep, ParsedWait, children_of
from engine.rules.scope import event_fields
from tests.rules.driver import SPACE, rule_set

FOLDER = Path(__file__).with_name("golden")
ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs" / "journeys.md"
WIN_BACK = ROOT / "deploy" / "journeys" / "win-back.yaml"
FILES = sorted(FOLDER.glob("*.yaml"))
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_WORDS = st.text("abc 订单, ", min_size=1, max_size=90).map(lambda text: text.strip() or "x")


def whole_of(file: Path, language: str) -> Outline:
    """Return a file's journey in a language."""
    return outline(parse_journey(file.name, file.read_bytes()), language)


def page(text: str) -> str:
    """Return docs/journeys.md with its example as it is printed now."""
    parsed = parse_journey("win-back.yaml", WIN_BACK.read_bytes())
    example = "\n".join(flow_lines(outline(parsed)))
    before, heading, rest = text.partition("\n## Read it back\n")
    return (
        before
        + heading
        + re.sub(r"```text\n.*?\n```", lambda _: f"```text\n{example}\n```", rest, flags=re.DOTALL)
    )


def test_the_page_shows_what_is_printed() -> None:
    """The example of docs/journeys.md is the shipped journey as the command prints it."""
    text = DOCS.read_text("utf-8")
    assert "## Read it back" in text
    assert page(text) == text


def shown(whole: Outline) -> str:
    """Return what the command prints."""
    return "\n".join((*summary_lines(whole), "", *flow_lines(whole))) + "\n"


@pytest.mark.parametrize("language", sorted(LANGUAGES))
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_journeys_read_back_as_agreed(file: Path, language: str) -> None:
    """Each kind of entry, step and guard has its sentence in each language; they change on purpose only."""
    assert shown(whole_of(file, language)) == file.with_suffix(f".{language}.txt").read_text("utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_shown_is_valid(file: Path) -> None:
    """The examples pass the check, so that what is shown can be written."""
    assert len(rule_set(file.read_text("utf-8")).journeys) == 1


def steps_in(steps: tuple[ParsedStep, ...]) -> Iterator[ParsedStep]:
    """Yield steps and those inside."""
    for step in steps:
        yield step
        for inner in children_of(step):
            yield from steps_in(inner)


def test_every_kind_of_step_is_among_the_examples() -> None:
    """A new kind of step must be said in both languages, and be seen here."""
    parsed = parse_journey("everything.yaml", (FOLDER / "everything.yaml").read_bytes())
    found = [*steps_in(parsed.steps), *(each for seq in parsed.sequences for each in steps_in(seq.steps))]
    assert {type(step) for step in found} == set(get_args(ParsedStep))
    assert any(isinstance(step, ParsedWait) and step.until is not None for step in found)


def test_every_kind_of_entry_is_among_the_examples() -> None:
    """A new kind of entry must be said in both languages, and be seen here."""
    kinds = {parse_journey(file.name, file.read_bytes()).entry.kind for file in FILES}
    assert kinds == {*ENTRY_KINDS, "event"}


def test_chinese_has_a_name_for_everything_built_in() -> None:
    """No event, field or feature of the engine's own is left in English."""
    assert set(EVENTS) == set(EVENT_TYPES)
    fields = {name for kind in EVENT_TYPES for name in event_fields(kind)} - {"props", "traits"}
    assert fields <= set(FIELDS)
    assert [name for name in SPACE.names if not _CHINESE.search(feature(name))] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0 9 * * MON", "每周一 09:00"),
        ("0 9 * * MON-FRI", "每周一至周五 09:00"),
        ("30 18 1 * *", "每月 1 日 18:30"),
        ("5 0 24 12 *", "每年 12 月 24 日 00:05"),
        ("0 8 * * *", "每天 08:00"),
        ("*/5 * * * *", "按计划 `*/5 * * * *`"),
        ("0 8 * * MON#1", "每月第一个周一 08:00"),
        ("0 8 L * *", "每月最后一天 08:00"),
        ("0 8 L * MON", "按计划 `0 8 L * MON`"),
        ("0 8 * * MON#1,FRI", "按计划 `0 8 * * MON#1,FRI`"),
        ("0 8 1 * MON", "按计划 `0 8 1 * MON`"),
    ],
)
def test_everyday_schedules_are_said_in_chinese(text: str, said: str) -> None:
    """Schedules people write every day have words; any other stays as written."""
    assert say_cron(text) == said


@given(st.text("ab 订单，。x", max_size=200), st.integers(4, 60))
def test_breaking_lines_loses_nothing(text: str, width: int) -> None:
    """Lines hold all that is not space, and none is wider than asked for."""
    lines = wrap(text, width)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(cells(line) <= width for line in lines)


def boxes(depth: int) -> st.SearchStrategy[tuple[Box, ...]]:
    """Return steps nested to a depth."""
    kinds = ["send", "wait", "set", "exit"]
    plain = st.builds(
        lambda kind, text, notes: Box(kind=kind, path="steps[0]", line=1, text=text, notes=tuple(notes)),
        st.sampled_from(kinds),
        _WORDS,
        st.lists(_WORDS, max_size=2),
    )
    if depth == 0:
        return st.lists(plain, max_size=3).map(tuple)
    ways = st.lists(
        st.builds(lambda label, inner: Way(label=label, boxes=inner), _WORDS, boxes(depth - 1)),
        min_size=1,
        max_size=4,
    )
    fork = st.builds(
        lambda text, found: Box(kind="branch", path="steps[0]", line=1, text=text, ways=tuple(found)),
        _WORDS,
        ways,
    )
    return st.lists(st.one_of(plain, fork), max_size=3).map(tuple)


def journey_of(steps: tuple[Box, ...]) -> Outline:
    """Return a journey of some steps."""
    return Outline(
        journey="j",
        version=1,
        language="en",
        file="j.yaml",
        description="",
        sections=(),
        start="enters",
        steps_heading="steps",
        end="the end",
        boxes=steps,
    )


def crossings(drawing: Drawing) -> list[object]:
    """Return pairs of boxes that overlap, and lines that run through a box."""
    found: list[object] = [
        (one, other)
        for one, other in combinations(drawing.rects, 2)
        if one.x < other.x + other.width
        and other.x < one.x + one.width
        and one.y < other.y + other.height
        and other.y < one.y + one.height
    ]
    for line in drawing.lines:
        for (x1, y1), (x2, y2) in pairwise(line.points):
            found.extend(
                (line, rect)
                for rect in drawing.rects
                if min(x1, x2) < rect.x + rect.width - 0.01
                and max(x1, x2) > rect.x + 0.01
                and min(y1, y2) < rect.y + rect.height - 0.01
                and max(y1, y2) > rect.y + 0.01
            )
    return found


@settings(max_examples=60, deadline=None)
@given(boxes(3))
def test_nothing_overlaps_however_deep(steps: tuple[Box, ...]) -> None:
    """No box lies on another, no line runs through a box, everything lies within the drawing's bounds."""
    drawing = draw(journey_of(steps))
    assert crossings(drawing) == []
    for rect in drawing.rects:
        assert -drawing.left - 0.01 <= rect.x
        assert rect.x + rect.width <= drawing.right + 0.01
        assert rect.y + rect.height <= drawing.height + 0.01


@settings(max_examples=60, deadline=None)
@given(boxes(3))
def test_the_terminal_is_wide_enough(steps: tuple[Box, ...]) -> None:
    """Every line of the tree fits into a hundred columns."""
    assert all(cells(line) <= WIDTH for line in flow_lines(journey_of(steps)))


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_the_drawing_is_one_file_that_shows_everything(language: str) -> None:
    """The SVG is well-formed, refers to nothing outside, and holds the text of every step."""
    whole = whole_of(FOLDER / "everything.yaml", language)
    text = to_svg(whole)
    root = ET.fromstring(text)
    assert "href" not in text
    assert "<script" not in text
    drawn = "".join("".join(root.itertext()).split())

    def look(found: tuple[Box, ...]) -> None:
        for box in found:
            assert "".join(box.text.split()) in drawn
            for way in box.ways:
                assert "".join(way.label.split()) in drawn
                look(way.boxes)

    look(whole.boxes)
    for sequence in whole.sequences:
        look(sequence.boxes)


def test_texts_cannot_break_the_drawing() -> None:
    """Marks of XML in a description or condition are shown, not obeyed."""
    text = "journey: j\ndescription: '<b> & \"c\"'\nentry: {on: order.placed, where: event.amount < 5}\n"
    whole = outline(parse_journey("j.yaml", (text + "steps: [{send: email, template: t}]").encode()))
    assert '<b> & "c"' in "".join(ET.fromstring(to_svg(whole)).itertext())


if __name__ == "__main__":
    for path in FILES:
        for each in LANGUAGES:
            path.with_suffix(f".{each}.txt").write_text(shown(whole_of(path, each)), "utf-8")
    DOCS.write_text(page(DOCS.read_text("utf-8")), "utf-8")
