"""Charts as inline SVG: lines, bars, and arrows on a map. They print sharp and need nothing to be shown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import shapely

SERIES_COLOURS = ("#1d4ed8", "#c2410c", "#047857", "#7e22ce", "#b45309", "#475569")
_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 26, 46
_MOST_POINTS = 400
_MOST_OUTLINES = 3000
_MOST_ARROWS = 1200


@dataclass(frozen=True)
class Series:
    """One line of a chart: a name and float64[K] positions."""

    name: str
    x: np.ndarray
    y: np.ndarray


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] = (0.0, 1.0),
    y_range: tuple[float, float] = (0.0, 1.0),
    mark: tuple[float, float] | None = None,
) -> str:
    """Draw lines; `mark` puts a dot on one place, such as the best one."""
    frame = _Frame(x_range, y_range)
    parts = [frame.axes(x_label, y_label)]
    for index, line in enumerate(series):
        colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
        x, y = _thin(np.clip(line.x, *x_range), np.clip(line.y, *y_range))
        if len(x) == 1:
            parts.append(_dot(frame.x(x[0]), frame.y(y[0]), colour))
        elif len(x):
            points = " ".join(f"{frame.x(a):.1f},{frame.y(b):.1f}" for a, b in zip(x, y, strict=True))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    if len(series) > 1:
        parts.append(_legend([line.name for line in series]))
    if mark and all(map(math.isfinite, mark)):
        parts.append(_dot(frame.x(mark[0]), frame.y(mark[1]), "#dc2626"))
    return _svg("".join(parts), y_label + " over " + x_label)


def histogram(
    values: np.ndarray,
    *,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float],
    bins: int = 24,
    lines: Sequence[tuple[float, str]] = (),
) -> str:
    """Draw the distribution of `values`; those beyond the range are counted in the outer bars.

    Args:
        values: float64[K].
        lines: positions to be marked by a vertical line, and their names.
    """
    values = values[np.isfinite(values)]
    counts, edges = np.histogram(np.clip(values, *x_range), bins=bins, range=x_range)
    frame = _Frame(x_range, (0.0, 1.06 * max(counts.max(initial=0), 1)))
    parts = [frame.axes(x_label, y_label)]
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        left, right = frame.x(low), frame.x(high)
        top = frame.y(float(count))
        parts.append(
            f'<rect x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}"'
            f' height="{max(_HEIGHT - _BOTTOM - top, 0):.1f}" fill="{SERIES_COLOURS[0]}"/>'
        )
    for position, name in lines:
        if x_range[0] <= position <= x_range[1]:
            x = frame.x(position)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="#dc2626"'
                f' stroke-dasharray="5 3"/><text x="{x + 4:.1f}" y="{_TOP + 10}">{escape(name)}</text>'
            )
    return _svg("".join(parts), "Distribution of " + x_label)


def shift_map(positions: np.ndarray, shift: np.ndarray, outlines: np.ndarray) -> str:
    """Draw shifts as arrows on a map, lengthened so that they can be seen, with a scale.

    Args:
        positions: float64[K, 2], map coordinates in metres.
        shift: float64[K, 2], metres. More than a page can show are averaged over the cells of a lattice.
        outlines: object[N], reference polygons for orientation; left out where there are too many.
    """
    usable = np.isfinite(shift).all(axis=1)
    positions, shift = positions[usable], shift[usable]
    if not len(positions):
        return ""
    low, high = positions.min(axis=0), positions.max(axis=0)
    if len(outlines) and len(outlines) <= _MOST_OUTLINES:
        bounds = shapely.total_bounds(outlines)
        low, high = np.minimum(low, bounds[:2]), np.maximum(high, bounds[2:])
    span = float(max((high - low).max(), 1.0))
    width, height = 940, int(np.clip(940 * (high[1] - low[1]) / max(high[0] - low[0], span / 8), 240, 700))
    scale = min((width - 40) / max(high[0] - low[0], 1e-9), (height - 60) / max(high[1] - low[1], 1e-9))
    middle = (low + high) / 2

    def to_page(xy: np.ndarray) -> np.ndarray:
        return (xy - middle) * (scale, -scale) + (width / 2, height / 2)

    averaged = len(positions) > _MOST_ARROWS
    if averaged:
        positions, shift = _average(positions, shift, span / 32)
    lengths = np.hypot(*shift.T)
    typical = float(np.percentile(lengths, 90)) or 1.0
    magnify = 26.0 / typical  # pixels of the page for a metre of shift
    parts = []
    if len(outlines) <= _MOST_OUTLINES:
        path = "".join(_ring_path(to_page(ring)) for ring in _rings(outlines))
        parts.append(f'<path d="{path}" fill="#e5e7eb" stroke="#9ca3af" stroke-width="0.5" fill-rule="evenodd"/>')
    starts = to_page(positions)
    ends = starts + shift * (magnify, -magnify)
    arrows = "".join(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}" for a, b in zip(starts, ends, strict=True))
    heads = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8"/>' for x, y in ends)
    parts.append(f'<path d="{arrows}" fill="none" stroke="{SERIES_COLOURS[1]}" stroke-width="1.3"/>')
    parts.append(f'<g fill="{SERIES_COLOURS[1]}">{heads}</g>')
    unit = _nice(typical)
    bar = unit * magnify
    caption = f"shift of {unit:g} m, {magnify / scale:,.0f} times enlarged" + (
        "; means over lattice cells" if averaged else ""
    )
    parts.append(
        f'<rect x="0" y="{height - 26}" width="{width}" height="26" fill="#fff" fill-opacity="0.85"/>'
        f'<path d="M12 {height - 12}h{bar:.1f}" stroke="{SERIES_COLOURS[1]}" stroke-width="2"/>'
        f'<circle cx="{12 + bar:.1f}" cy="{height - 12}" r="1.8" fill="{SERIES_COLOURS[1]}"/>'
        f'<text x="{bar + 22:.1f}" y="{height - 8}">{caption}</text>'
    )
    return _svg("".join(parts), "Shift vectors", width, height)


def outline_picture(
    predicted: np.ndarray, reference: np.ndarray, box: tuple[float, float, float, float], *, side: int = 300
) -> str:
    """Draw outlines on a plain ground, for where there is no orthophoto. `box` is in map coordinates."""
    scale = side / max(box[2] - box[0], box[3] - box[1])
    width, height = (box[2] - box[0]) * scale, (box[3] - box[1]) * scale
    parts = ['<rect width="100%" height="100%" fill="#334155"/>']
    for geometries, colour, stroke in ((reference, "#00e5ff", 5), (predicted, "#ffde00", 2)):
        path = "".join(_ring_path((ring - (box[0], box[3])) * (scale, -scale)) for ring in _rings(geometries))
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{stroke}"/>')
    return _svg("".join(parts), "Outlines", max(round(width), 1), max(round(height), 1))


@dataclass(frozen=True)
class _Frame:
    """Maps values to the page and draws the axes."""

    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.x_range
        return _LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_range
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    def axes(self, x_label: str, y_label: str) -> str:
        parts = []
        for value in _ticks(*self.x_range):
            x = self.x(value)
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" class="grid"/>'
                f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{value:g}</text>'
            )
        for value in _ticks(*self.y_range):
            y = self.y(value)
            parts.append(
                f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
            )
        across, down = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<g text-anchor="middle"><text x="{across}" y="{_HEIGHT - 8}">{escape(x_label)}</text>'
            f'<text x="13" y="{down}" transform="rotate(-90 13 {down})">{escape(y_label)}</text></g>'
        )
        return "".join(parts)


def _svg(content: str, title: str, width: int = _WIDTH, height: int = _HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        f' aria-label="{escape(title)}">{content}</svg>'
    )


def _legend(names: Sequence[str]) -> str:
    """Names above the chart, in one row."""
    width = (_WIDTH - _LEFT - _RIGHT) / len(names)
    most = max(int(width / 7) - 3, 3)
    return "".join(
        f'<rect x="{_LEFT + width * k:.0f}" y="8" width="14" height="4"'
        f' fill="{SERIES_COLOURS[k % len(SERIES_COLOURS)]}"/>'
        f'<text x="{_LEFT + width * k + 19:.0f}" y="14">{escape(_shorten(name, most))}</text>'
        for k, name in enumerate(names)
    )


def _dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}" stroke="#fff" stroke-width="1.5"/>'


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `_MOST_POINTS` of a line's points, the ends among them."""
    if len(x) <= _MOST_POINTS:
        return x, y
    chosen = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).round().astype(int))
    return x[chosen], y[chosen]


def _nice(value: float) -> float:
    """The nearest of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return min((step * power for step in (1, 2, 5, 10)), key=lambda step: abs(step - value))


def _ticks(low: float, high: float) -> list[float]:
    step = _nice((high - low) / 5)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _rings(geometries: np.ndarray) -> list[np.ndarray]:
    rings = shapely.get_rings(shapely.get_parts(geometries))
    xy = shapely.get_coordinates(rings)
    return np.split(xy, np.cumsum(shapely.get_num_coordinates(rings))[:-1]) if len(rings) else []


def _ring_path(xy: np.ndarray) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in xy[:-1]) + "Z"


def _average(positions: np.ndarray, shift: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    cells = np.floor(positions / cell).astype(np.int64)
    _, index = np.unique(cells, axis=0, return_inverse=True)
    index = index.ravel()
    count = np.bincount(index)[:, None]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.column_stack([np.bincount(index, weights=column) for column in values.T]) / count

    return mean(positions), mean(shift)


def _shorten(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
