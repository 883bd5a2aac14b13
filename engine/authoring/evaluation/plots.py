"""Plots of a model's quality as SVG: calibration with intervals, and lines over time."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Final

from engine.authoring.intervals import share_interval
from engine.features.churn.evaluation import Decile

_SIDE: Final = 420
_MARGIN: Final = 24  # half a label of the axis
_WIDTH, _HEIGHT = 1040, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 14, 44
_STEPS: Final = 5

Points = Sequence[tuple[float, float]]


def calibration(deciles: Sequence[Decile], colour: str) -> str:
    """Draw predicted against observed share for each tenth of the rows, with 95 % intervals.

    Args:
        deciles: from lowest to highest risk.
        colour: of the points.
    """
    span = _SIDE - _LEFT - _MARGIN

    def x_of(share: float) -> float:
        return _LEFT + share * span

    def y_of(share: float) -> float:
        return _TOP + (1.0 - share) * (_SIDE - _TOP - _BOTTOM)

    parts = []
    for step in range(_STEPS + 1):
        share = step / _STEPS
        y, x = y_of(share), x_of(share)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_SIDE - _MARGIN}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>'
            f'<text x="{x:.1f}" y="{_SIDE - _BOTTOM + 18}" text-anchor="middle">{share:.0%}</text>'
        )
    parts.append(
        f'<line x1="{x_of(0):.1f}" y1="{y_of(0):.1f}" x2="{x_of(1):.1f}" y2="{y_of(1):.1f}" '
        'stroke-dasharray="4 4"/>'
    )
    for tenth in deciles:
        low, high = interval(tenth)
        label = (
            f"{tenth.rows:,} rows: predicted {tenth.predicted:.1%}, observed {tenth.observed:.1%} "
            f"({low:.1%} to {high:.1%})"
        )
        x, y = x_of(tenth.predicted), y_of(tenth.observed)
        bar = f"M{x - 5:.1f} {y_of(low):.1f}h10m-5 0V{y_of(high):.1f}m-5 0h10"
        parts.append(
            f'<path d="{bar}" stroke="{colour}" stroke-width="1.5" fill="none"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{html.escape(label)}</title>'
            "</circle>"
        )
    parts.append(_axis("predicted share that stays away", _LEFT + span / 2, _SIDE - 6))
    return _svg(_SIDE, _SIDE, parts)


def interval(tenth: Decile) -> tuple[float, float]:
    """Return the 95 % interval of an observed share; rows of one customer are alike: it is too narrow."""
    return share_interval(tenth.observed, tenth.rows)


def lines(
    series: Mapping[str, Points],
    colours: Mapping[str, str],
    x_label: str,
    *,
    digits: int = 2,
    log_x: bool = False,
) -> str:
    """Draw a line for each series.

    Args:
        series: name to points in order of x.
        colours: name to colour.
        x_label: what x is, with its unit.
        digits: decimals of y.
        log_x: whether x goes by powers of ten.
    """
    points = [point for each in series.values() for point in each]
    if not points:
        return ""
    low, high, step = _ticks(min(y for _, y in points), max(y for _, y in points))
    xs = [_log(x, log_x) for x, _ in points]
    left, right = min(xs), max(xs)
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x_of(x: float) -> float:
        return _LEFT + (_log(x, log_x) - left) / (right - left or 1.0) * width

    def y_of(y: float) -> float:
        return _TOP + (high - y) / (high - low) * height

    parts = []
    for number in range(round((high - low) / step) + 1):
        value = low + number * step
        y = y_of(value)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.{digits}f}</text>'
        )
    bottom = _HEIGHT - _BOTTOM + 18
    parts += [
        f'<text x="{x_of(value):.1f}" y="{bottom}" text-anchor="middle">{value:,.0f}</text>'
        for value in _x_ticks(left, right, log_x)
    ]
    for name, drawn in series.items():
        path = "L".join(f"{x_of(x):.1f} {y_of(y):.1f}" for x, y in drawn)
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colours[name]}" stroke-width="2.2"/>'
            + "".join(
                f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" fill="{colours[name]}">'
                f"<title>{html.escape(f'{name}: {y:.4f} at {x:,.0f}')}</title></circle>"
                for x, y in drawn
            )
        )
    parts.append(_axis(x_label, _LEFT + width / 2, _HEIGHT - 6))
    return _svg(_WIDTH, _HEIGHT, parts)


def _log(x: float, log_x: bool) -> float:
    return math.log10(max(x, 1.0)) if log_x else x


def _ticks(low: float, high: float) -> tuple[float, float, float]:
    """Return the ends of an axis and the step between its lines."""
    rough = max(high - low, 1e-6) / 4
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= rough)
    return math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step, step


def _x_ticks(left: float, right: float, log_x: bool) -> list[float]:
    if log_x:
        powers = range(math.ceil(left), math.floor(right) + 1)
        return [10.0**power for power in powers]
    start, end, step = _ticks(left, right)
    count = round((end - start) / step)
    return [value for value in (start + at * step for at in range(count + 1)) if left <= value <= right]


def _axis(text: str, x: float, y: float) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{html.escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{"".join(parts)}</svg>'
