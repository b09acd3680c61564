"""Small charts as inline SVG that takes its colours from the page, so that one drawing serves light and dark.

Each chart is a few kilobytes and carries its points for the page's script, which shows the values under the
pointer. Nothing depends on colour alone: lines differ in dash and have their names beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from grrm.report.curves import MAX_POINTS, smooth, thin

_WIDTH, _HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 24
_NOTHING = 1e-300  # what is smaller cannot be divided into ticks


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: shown beside it.
        x: in rising order.
        y: one value for each x.
        low, high: bounds of an interval around each value, or nothing.
    """

    name: str
    x: Sequence[int]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers in [low, high], about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def line_chart(title: str, lines: Sequence[Line], *, x_label: str = "step", smoothed: bool = False) -> str:
    """One panel with one or more lines over the same axis.

    Args:
        title: what the values are; read out instead of the drawing.
        lines: one or more, none of them empty.
        x_label: of the horizontal axis.
        smoothed: a single line is drawn faintly, with its running mean over it.
    """
    values = [value for line in lines for value in (*line.y, *line.low, *line.high)]
    steps = [x for line in lines for x in line.x]
    y_scale, y_ticks = _scale(min(values), max(values), _HEIGHT - _BOTTOM, _TOP, whole=True)
    x_scale, x_ticks = _scale(min(steps), max(steps), _LEFT, _WIDTH - _RIGHT)
    parts = _axes(x_scale, x_ticks, y_scale, y_ticks)
    for number, line in enumerate(lines, 1):
        parts += _drawn(number, line, x_scale, y_scale, smoothed)
    data = {
        "x": x_label,
        "lines": [
            {
                "name": line.name,
                "points": [
                    [a, _significant(b), round(x_scale(a), 1), round(y_scale(b), 1)]
                    for a, b in zip(*thin(line.x, line.y, MAX_POINTS // 2), strict=True)
                ],
            }
            for line in lines
        ],
    }
    said = "; ".join(f"{line.name} from {_round(line.y[0])} to {_round(line.y[-1])}" for line in lines)
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(f"{title}, {x_label} {_round(min(steps))} to {_round(max(steps))}: {said}")}" '
        f'data-points="{escape(json.dumps(data, separators=(",", ":")))}">{"".join(parts)}</svg>'
    )


def _axes(
    x_scale: Callable[[float], float],
    x_ticks: Sequence[float],
    y_scale: Callable[[float], float],
    y_ticks: Sequence[float],
) -> list[str]:
    parts = []
    for tick in y_ticks:
        y = y_scale(tick)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{_round(tick)}</text>'
        )
    for tick in x_ticks:
        x = x_scale(tick)
        anchor = "end" if x > _WIDTH - 2 * _RIGHT else "middle"
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 9}" text-anchor="{anchor}">{_round(tick)}</text>'
        )
    return [*parts, f'<path class="axis" d="M{_LEFT} {_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}"/>']


def _drawn(
    number: int,
    line: Line,
    x_scale: Callable[[float], float],
    y_scale: Callable[[float], float],
    smoothed: bool,
) -> list[str]:
    """A line, the band of its intervals below it, and its points where there are few."""
    parts = []
    if len(line.low):
        there = [f"{x_scale(a):.1f} {y_scale(b):.1f}" for a, b in zip(line.x, line.high, strict=True)]
        back = [f"{x_scale(a):.1f} {y_scale(b):.1f}" for a, b in zip(line.x, line.low, strict=True)]
        parts.append(f'<path class="band s{number}" d="M{"L".join(there + back[::-1])}Z"/>')
    window = len(line.y) // 20 * 2 + 1
    faint = smoothed and window > 1
    drawn = _path(*thin(line.x, line.y), x_scale, y_scale)
    parts.append(f'<path class="line s{number}{" raw" if faint else ""}" d="{drawn}"/>')
    if faint:
        drawn = _path(*thin(line.x, smooth(line.y, window), MAX_POINTS // 2), x_scale, y_scale)
        parts.append(f'<path class="line s{number}" d="{drawn}"/>')
    if len(line.y) <= 12:
        parts += [
            f'<circle class="dot s{number}" cx="{x_scale(a):.1f}" cy="{y_scale(b):.1f}" r="3"/>'
            for a, b in zip(line.x, line.y, strict=True)
        ]
    return parts


def _scale(
    low: float, high: float, start: float, end: float, *, whole: bool = False
) -> tuple[Callable[[float], float], list[float]]:
    """From a value to a place between `start` and `end`, and the ticks of the axis; a `whole` axis begins and
    ends at a tick."""
    if math.isclose(low, high, abs_tol=_NOTHING):  # but for the last digits
        low, high = (high - abs(high) / 10, high) if abs(high) > _NOTHING else (0.0, 1.0)
    marks = ticks(low, high)
    if whole:
        step = marks[1] - marks[0]
        low, high = step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
        marks = ticks(low, high, round((high - low) / step))
    return lambda value: start + (value - low) / (high - low) * (end - start), marks


def _path(
    x: Sequence[float],
    y: Sequence[float],
    x_scale: Callable[[float], float],
    y_scale: Callable[[float], float],
) -> str:
    return "M" + "L".join(f"{x_scale(a):.1f} {y_scale(b):.1f}" for a, b in zip(x, y, strict=True))


def _round(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def _significant(value: float) -> float:
    return float(f"{value:.4g}")
