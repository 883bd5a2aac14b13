"""A drawing as an SVG file that needs nothing else: no script, no font, no link."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from engine.authoring.show.diagram import CELL_PX, LINE_PX, Drawing, Line, Rect, draw, draw_way
from engine.authoring.show.layout import wrap
from engine.authoring.show.outline import Outline

_MARGIN = 32
_RADIUS = 10
_BASE = 13  # from the top of a line of text to its base
_LEAST_CELLS = 64  # so that the text above a narrow diagram stays readable

#: kind: (fill, stroke, text)
_PAINT = {
    "start": ("#e7f6ec", "#2f9e5b", "#14532d"),
    "end": ("#f1f3f5", "#868e96", "#343a40"),
    "send": ("#e7f0ff", "#3b73d9", "#17346e"),
    "task": ("#fff0e0", "#d9822b", "#7a3e00"),
    "wait": ("#fffbe6", "#c9a400", "#5c4a00"),
    "wait_until": ("#fffbe6", "#c9a400", "#5c4a00"),
    "branch": ("#f3ebff", "#8250df", "#3d1d7a"),
    "split": ("#f3ebff", "#8250df", "#3d1d7a"),
    "run": ("#e6fafa", "#1c9ba3", "#0b4a4e"),
    "set": ("#f4f4f5", "#71717a", "#27272a"),
    "exit": ("#fdecec", "#d64545", "#7a1414"),
    "label": ("#ffffff", "#b8c0cc", "#475569"),
}
_HEAD = """<svg xmlns="http://www.w3.org/2000/svg" \
width="{w:.0f}" height="{h:.0f}" viewBox="0 0 {w:.0f} {h:.0f}" role="img" lang="{lang}" font-size="13" \
font-family="system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'PingFang SC', \
'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif">
<title>{title}</title>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0 L8 4 L0 8 z" fill="#94a3b8"/></marker></defs>
<rect width="100%" height="100%" fill="#ffffff"/>"""


def to_svg(whole: Outline) -> str:
    """Return the diagram of a journey, what is said of it above, as an SVG document.

    Args:
        whole: the journey in a language.
    """
    drawings = [draw(whole), *(draw_way(sequence) for sequence in whole.sequences)]
    drawn = sum(each.left + each.right for each in drawings) + 2 * _MARGIN * (len(drawings) - 1)
    inner = max(drawn, _LEAST_CELLS * CELL_PX)
    above, top = _above(whole, int(inner / CELL_PX))
    width = inner + 2 * _MARGIN
    height = top + max(each.height for each in drawings) + _MARGIN
    title = escape(f"{whole.journey} v{whole.version}")
    parts = [_HEAD.format(w=width, h=height, lang=whole.language, title=title), *above]
    x = _MARGIN + (inner - drawn) / 2
    for each in drawings:
        parts.extend(_shapes(each, x + each.left, top))
        x += each.left + each.right + 2 * _MARGIN
    return "\n".join((*parts, "</svg>")) + "\n"


def _above(whole: Outline, columns: int) -> tuple[list[str], float]:
    """Return title, description and sections as texts, and where the diagram begins below them."""
    parts: list[str] = []
    y = float(_MARGIN)

    def put(text: str, style: str, indent: int = 0) -> None:
        nonlocal y
        parts.append(f'<text x="{_MARGIN + indent}" y="{y + _BASE:.0f}" {style}>{escape(text)}</text>')
        y += LINE_PX

    put(f"{whole.journey} v{whole.version}", 'font-size="18" font-weight="700" fill="#0f172a"')
    y += 4
    for line in wrap(whole.description, columns) if whole.description else ():
        put(line, 'fill="#475569"')
    for section in whole.sections:
        if section.name == "enters":
            continue  # stands in the first box
        y += 6
        put(section.heading, 'font-size="11" font-weight="700" fill="#64748b" letter-spacing="0.4"')
        for point in section.points:
            for line in wrap(point, columns - 2):
                put(line, 'fill="#334155"', 10)
    return parts, y + _MARGIN / 2


def _shapes(drawing: Drawing, dx: float, dy: float) -> Iterator[str]:
    yield f'<g transform="translate({dx:.1f} {dy:.1f})">'
    yield from (_line(line) for line in drawing.lines)
    for rect in drawing.rects:
        yield from _rect(rect)
    yield "</g>"


def _line(line: Line) -> str:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _without_doubles(line.points))
    tip = ' marker-end="url(#tip)"' if line.arrow else ""
    look = 'fill="none" stroke="#94a3b8" stroke-width="1.5" stroke-linejoin="round"'
    return f'<polyline points="{points}" {look}{tip}/>'


def _without_doubles(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    return [point for number, point in enumerate(points) if number == 0 or point != points[number - 1]]


def _rect(rect: Rect) -> Iterator[str]:
    fill, stroke, ink = _PAINT[rect.kind]
    pill = rect.kind in ("label", "end")
    radius = min(rect.height / 2, 14) if pill else _RADIUS
    dashes = ' stroke-dasharray="4 3"' if rect.kind == "label" else ""
    hint = f"<title>{escape(rect.hint)}</title>" if rect.hint else ""
    yield (
        f'<rect x="{rect.x:.1f}" y="{rect.y:.1f}" width="{rect.width:.1f}" height="{rect.height:.1f}" '
        f'rx="{radius:.0f}" fill="{fill}" stroke="{stroke}" stroke-width="1.2"{dashes}>{hint}</rect>'
    )
    middle = rect.x + rect.width / 2
    top = rect.y + (rect.height - len(rect.lines) * LINE_PX) / 2
    for number, text in enumerate(rect.lines):
        weight = ' font-weight="600"' if number < rect.bold else ""
        y = top + number * LINE_PX + _BASE
        place = f'x="{middle:.1f}" y="{y:.1f}" text-anchor="middle"'
        yield f'<text {place} fill="{ink}"{weight}>{escape(text)}</text>'
