"""The flow diagram of a journey as SVG: where every box stands, computed from the inside out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.authoring.show.layout import cells, wrap
from engine.authoring.show.outline import Box, Outline, Way

LINE_PX = 18  # height of a line of text
CELL_PX = 7.4  # width of a column: half a Chinese character
_TEXT_CELLS = 32  # columns of a box before it breaks
_BOLD = 1.08  # how much wider bold letters are
_PAD_X, _PAD_Y = 16, 10
_MIN_WIDTH = 120
_STEM = 26  # the arrow between two boxes
_FAN = 22  # from a box down to where its ways part
_GAP_X = 34  # between two ways
_LABEL_CELLS = 26


@dataclass(frozen=True, slots=True)
class Rect:
    """A box to draw: its corner, size, kind and lines of text; `bold` of them are the title."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    lines: tuple[str, ...]
    bold: int = 0
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; `arrow` at its end."""

    points: tuple[tuple[float, float], ...]
    arrow: bool = False


@dataclass(slots=True)
class Drawing:
    """Shapes around an axis at x = 0, from y = 0 down.

    Args:
        left: how far it reaches to the left of the axis, px.
        right: how far to the right.
        height: how far down.
        rects: boxes and labels.
        lines: connections.
        ended: whether nothing goes on below.
    """

    left: float = 0.0
    right: float = 0.0
    height: float = 0.0
    rects: list[Rect] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    ended: bool = False

    def add(self, other: Drawing, dx: float, dy: float) -> None:
        """Put another drawing in, moved."""
        for rect in other.rects:
            self.rects.append(
                Rect(
                    rect.x + dx,
                    rect.y + dy,
                    rect.width,
                    rect.height,
                    rect.kind,
                    rect.lines,
                    rect.bold,
                    rect.hint,
                )
            )
        for line in other.lines:
            self.lines.append(Line(tuple((x + dx, y + dy) for x, y in line.points), line.arrow))
        self.left = max(self.left, other.left - dx)
        self.right = max(self.right, other.right + dx)
        self.height = max(self.height, other.height + dy)


def draw(whole: Outline) -> Drawing:
    """Lay a journey out, from its entry to its end.

    Args:
        whole: the journey in a language.
    """
    found = Drawing()
    start = _plate("start", [whole.start, *whole.section("enters")], bold=1, limit=52)
    _below(found, start)
    _sequence(found, whole.boxes)
    if not found.ended:
        _stem(found)
        _below(found, _plate("end", [whole.end], bold=0))
    return found


def draw_way(way: Way) -> Drawing:
    """Lay a sub-sequence out under its name.

    Args:
        way: the sequence.
    """
    found = Drawing()
    _below(found, _plate("start", [way.label], bold=1))
    _sequence(found, way.boxes)
    return found


def _sequence(found: Drawing, boxes: Sequence[Box]) -> None:
    for box in boxes:
        _stem(found)
        _below(found, _box(box))


def _stem(found: Drawing) -> None:
    """Let an arrow lead down."""
    found.lines.append(Line(((0, found.height), (0, found.height + _STEM)), arrow=True))
    found.height += _STEM


def _below(found: Drawing, other: Drawing) -> None:
    found.add(other, 0, found.height)
    found.ended = other.ended


def _plate(
    kind: str, texts: Sequence[str], *, bold: int, limit: int = _TEXT_CELLS, hint: str = ""
) -> Drawing:
    """Draw one box around its axis; the first `bold` texts are its title."""
    titles = [line for text in texts[:bold] for line in wrap(text, limit)]
    lines = titles + [line for text in texts[bold:] for line in wrap(text, limit)]
    widest = max(cells(line) * (_BOLD if number < len(titles) else 1) for number, line in enumerate(lines))
    width = max(_MIN_WIDTH, widest * CELL_PX + 2 * _PAD_X)
    height = len(lines) * LINE_PX + 2 * _PAD_Y
    rect = Rect(-width / 2, 0, width, height, kind, tuple(lines), len(titles), hint)
    return Drawing(width / 2, width / 2, height, [rect])


def _box(box: Box) -> Drawing:
    found = _plate(box.kind, [box.text, *box.notes], bold=1, hint=f"{box.path}, line {box.line}")
    if box.ways:
        _fan(found, box.ways)
    found.ended = box.ends
    return found


def _fan(found: Drawing, ways: Sequence[Way]) -> None:
    """Draw ways side by side below a box, and where those that go on meet again."""
    drawn = [_way(way) for way in ways]
    axes = _axes(drawn)
    top = found.height + _FAN
    found.lines.extend(Line(((0, found.height), (0, top), (x, top), (x, top + _FAN))) for x in axes)
    bottom = top + _FAN + max(each.height for each in drawn)
    open_ways = [(each, x) for each, x in zip(drawn, axes, strict=True) if not each.ended]
    for each, x in zip(drawn, axes, strict=True):
        found.add(each, x, top + _FAN)
    meet = bottom + _FAN
    for each, x in open_ways:
        end = top + _FAN + each.height
        found.lines.append(Line(((x, end), (x, meet), (0, meet))))
    found.height = meet if open_ways else bottom


def _axes(drawn: Sequence[Drawing]) -> list[float]:
    """Return where each way's axis lies, so that no two overlap and the box is above their middle."""
    axes: list[float] = []
    x = 0.0
    for number, each in enumerate(drawn):
        x += each.left if number == 0 else drawn[number - 1].right + _GAP_X + each.left
        axes.append(x)
    middle = (axes[(len(axes) - 1) // 2] + axes[len(axes) // 2]) / 2  # a middle way goes straight down
    return [axis - middle for axis in axes]


def _way(way: Way) -> Drawing:
    found = Drawing()
    _below(found, _plate("label", [way.label], bold=0, limit=_LABEL_CELLS))
    _sequence(found, way.boxes)
    found.ended = way.ends
    return found
