"""Plots of a backtest as SVG: nothing to load, sharp at any size, readable in the light and in the dark."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#7a7aa8")
REST = "other journeys"
_REST_COLOUR = "#999999"
_WIDTH, _HEIGHT = 1040, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 12, 28
_LABELS = 10  # along the axis of days
_BAR, _GAP, _NAME_WIDTH = 22, 8, 250
_CHAR = 6.6  # width of a character of the labels, px


def colours_of(names: Sequence[str]) -> dict[str, str]:
    """Give each series a colour; those beyond the palette are to be summed as `REST` before."""
    return {
        name: _REST_COLOUR if name == REST else COLOURS[at % len(COLOURS)] for at, name in enumerate(names)
    }


def ranked(totals: Mapping[str, int]) -> list[str]:
    """Return the series to show: the largest that have a colour each, then `REST` if any are left."""
    names = sorted((name for name, total in totals.items() if total), key=lambda name: (-totals[name], name))
    return names if len(names) <= len(COLOURS) else [*names[: len(COLOURS)], REST]


def stacked_days(
    days: Sequence[str], series: Mapping[str, Sequence[int]], colours: Mapping[str, str], unit: str
) -> str:
    """Draw a bar for each span of days, one part for each series.

    Args:
        days: first day of each bar, ISO.
        series: name to a number for each bar; drawn from the bottom up.
        colours: name to colour.
        unit: what is counted, for the pointer's label.
    """
    totals = [sum(values) for values in zip(*series.values(), strict=True)] or [0]
    top = _nice(max(totals))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = width / max(1, len(days))
    bar = max(1.0, step - (2 if step > 6 else 0.5))
    parts = [_grid(top, height)]
    floor = [0.0] * len(days)
    for name, values in series.items():
        for at, value in enumerate(values):
            if value:
                tall = value / top * height
                y = _TOP + height - floor[at] - tall
                label = html.escape(f"{days[at]}: {name}, {value:,} {unit}")
                parts.append(
                    f'<rect x="{_LEFT + at * step:.1f}" y="{y:.1f}" width="{bar:.1f}" height="{tall:.1f}" '
                    f'fill="{colours[name]}"><title>{label}</title></rect>'
                )
                floor[at] += tall
    every = max(1, math.ceil(len(days) / _LABELS))
    for at in range(0, len(days), every):
        x = _LEFT + at * step + bar / 2
        anchor = "middle" if at else "start"
        x = x if at else _LEFT
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{days[at]}</text>')
    return _svg(_WIDTH, _HEIGHT, parts)


def bars(
    rows: Sequence[tuple[str, Mapping[str, int]]], colours: Mapping[str, str], unit: str, width: int = 1040
) -> str:
    """Draw a lying bar for each row, one part for each series, its sum at the end.

    Args:
        rows: label, and name of the series to number.
        colours: name to colour.
        unit: what is counted, for the pointer's label.
        width: of the picture, px.
    """
    most = max((sum(values.values()) for _, values in rows), default=0) or 1
    room = width - _NAME_WIDTH - 80
    parts: list[str] = []
    for number, (label, values) in enumerate(rows):
        y = number * (_BAR + _GAP)
        middle = y + _BAR / 2 + 4
        shown = label if len(label) * _CHAR <= _NAME_WIDTH else f"{label[: int(_NAME_WIDTH / _CHAR) - 1]}…"
        parts.append(
            f'<text x="{_NAME_WIDTH - 10}" y="{middle}" text-anchor="end">{html.escape(shown)}'
            f"<title>{html.escape(label)}</title></text>"
        )
        x = float(_NAME_WIDTH)
        for name, value in values.items():
            if value:
                long = value / most * room
                about = html.escape(f"{label}: {name}, {value:,} {unit}")
                parts.append(
                    f'<rect x="{x:.1f}" y="{y}" width="{max(long, 1):.1f}" height="{_BAR}" '
                    f'fill="{colours[name]}"><title>{about}</title></rect>'
                )
                x += long
        parts.append(f'<text x="{x + 8:.1f}" y="{middle}">{sum(values.values()):,}</text>')
    return _svg(width, len(rows) * (_BAR + _GAP), parts)


def legend(colours: Mapping[str, str]) -> str:
    """Write which colour is what."""
    keys = "".join(
        f'<span><i style="background:{colour}"></i>{html.escape(name)}</span>'
        for name, colour in colours.items()
    )
    return f'<div class="legend">{keys}</div>'


def _grid(top: int, height: int) -> str:
    lines = []
    for part in range(5):
        value = top * part / 4
        if value != int(value):
            continue
        y = _TOP + height - height * part / 4
        lines.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{int(value):,}</text>'
        )
    return "".join(lines)


def _nice(most: int) -> int:
    """Return the end of an axis: four equal steps that people can count with."""
    if most <= 4:
        return 4
    scale = int(10 ** (len(str(most)) - 1))
    for factor in (1, 1.2, 2, 4, 6, 8, 10):
        end = round(scale * factor)
        if end >= most and end % 4 == 0:
            return end
    return scale * 12


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img">{"".join(parts)}</svg>'
