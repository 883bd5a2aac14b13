"""Differences with their intervals as SVG, one under the other, beside the line of no difference."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from engine.authoring.results.result import Effect
from engine.authoring.results.words import say_points

_WIDTH, _ROW, _TOP, _BOTTOM = 1040, 30, 10, 40
_LEFT, _RIGHT = 260, 40
_COLOURS = {"higher": "#228833", "lower": "#cc3311", "open": "#7a7aa8"}
_CHAR = 6.6  # width of a character of the labels, px
_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MOST_TICKS = 8
_ZERO = ' style="stroke:var(--soft);stroke-width:2"'


def effects(rows: Sequence[tuple[str, Effect]]) -> str:
    """Draw differences of shares, in percentage points.

    Args:
        rows: label and difference.

    Returns:
        SVG; empty without rows.
    """
    if not rows:
        return ""
    low = min(0.0, *(each.low for _, each in rows))
    high = max(0.0, *(each.high for _, each in rows))
    span = (high - low) or 1.0
    room = _WIDTH - _LEFT - _RIGHT
    floor = _TOP + len(rows) * _ROW

    def x_of(share: float) -> float:
        return _LEFT + (share - low) / span * room

    parts = [_axis(low, high, x_of, floor)]
    for number, (label, each) in enumerate(rows):
        y = _TOP + number * _ROW + _ROW / 2
        shown = label if len(label) * _CHAR <= _LEFT - 20 else f"{label[: int((_LEFT - 20) / _CHAR) - 1]}…"
        colour = _COLOURS[each.verdict]
        about = html.escape(f"{label}: {say_points(each)} points")
        parts.append(
            f'<text x="{_LEFT - 14}" y="{y + 4:.1f}" text-anchor="end">{html.escape(shown)}</text>'
            f'<path d="M{x_of(each.low):.1f} {y:.1f}H{x_of(each.high):.1f}" stroke="{colour}" '
            f'stroke-width="3"/><circle cx="{x_of(each.share):.1f}" cy="{y:.1f}" r="5.5" fill="{colour}">'
            f"<title>{about}</title></circle>"
        )
    return f'<svg viewBox="0 0 {_WIDTH} {floor + _BOTTOM}" role="img">{"".join(parts)}</svg>'


def _axis(low: float, high: float, x_of: Callable[[float], float], floor: float) -> str:
    step = next((tick for tick in _TICKS if (high - low) / tick <= _MOST_TICKS), _TICKS[-1])
    parts = []
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        x = x_of(number * step)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{floor}"{_ZERO if number == 0 else ""}/>'
            f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{_tick(number * step)}</text>'
        )
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{floor + 34}" text-anchor="end">percentage points more</text>'
    )
    return "".join(parts)


def _tick(share: float) -> str:
    return f"{share * 100:+g}" if share else "0"
