"""A journey as plain text and as a flow diagram for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.authoring.show.layout import wrap
from engine.authoring.show.outline import Box, Outline, Way

WIDTH = 100  # columns
_MARKS = {
    "send": "✉",
    "task": "☎",
    "wait": "◔",
    "wait_until": "◔",
    "branch": "◆",
    "split": "◇",
    "run": "▶",
    "set": "✎",
    "exit": "■",
}


def summary_lines(whole: Outline) -> list[str]:
    """Return the summary: what it is for, who enters and leaves, goal, guards.

    Args:
        whole: the journey in a language.
    """
    lines = [f"{whole.journey} v{whole.version}"]
    lines.extend(wrap(whole.description, WIDTH) if whole.description else ())
    for section in whole.sections:
        lines.extend(("", section.heading))
        for point in section.points:
            lines.extend(_hang("  - ", "    ", point))
    return lines


def flow_lines(whole: Outline) -> list[str]:
    """Return the steps as a tree that fits into `WIDTH` columns.

    Args:
        whole: the journey in a language.
    """
    ended = bool(whole.boxes) and whole.boxes[-1].ends
    lines = [f"● {whole.start}", *_tree(whole.boxes, "", closed=ended)]
    if not ended:
        lines.append(f"■ {whole.end}")
    for sequence in whole.sequences:
        lines.extend(("", f"▶ {sequence.label}", *_tree(sequence.boxes, "")))
    return lines


def _tree(boxes: Sequence[Box], indent: str, *, closed: bool = True) -> Iterator[str]:
    """Draw boxes one below the other; `closed` says that nothing follows the last of them."""
    for number, box in enumerate(boxes):
        last = closed and number == len(boxes) - 1
        yield from _draw(box, indent, joint="╰─ " if last else "├─ ", rail="   " if last else "│  ")


def _draw(box: Box, indent: str, *, joint: str, rail: str) -> Iterator[str]:
    mark = _MARKS[box.kind]
    yield from _hang(f"{indent}{joint}{mark} ", f"{indent}{rail}  ", box.text)
    for note in box.notes:
        yield from _hang(f"{indent}{rail}    ", f"{indent}{rail}      ", note)
    for number, way in enumerate(box.ways):
        yield from _way(way, f"{indent}{rail}", last=number == len(box.ways) - 1)


def _way(way: Way, indent: str, *, last: bool) -> Iterator[str]:
    joint, rail = ("└─", "  ") if last else ("├─", "│ ")
    arrow = "" if way.boxes else " →"
    yield from _hang(f"{indent}{joint} ", f"{indent}{rail} ", f"{way.label}{arrow}")
    yield from _tree(way.boxes, f"{indent}{rail} ")


def _hang(first: str, rest: str, text: str) -> Iterator[str]:
    """Yield a text behind a first prefix, its further lines behind another."""
    width = max(WIDTH - len(first), 20)
    for number, line in enumerate(wrap(text, width)):
        yield f"{first if number == 0 else rest}{line}"
