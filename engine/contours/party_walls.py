"""Fused terraces taken apart where the probability shows a party wall.

A terrace seen as one mask keeps a trace of its party walls in two ways: the probability falls along a
narrow line across the building, or the outline is notched from the front and from the back at the same
place. Anything less, such as a step in the front or a change of depth, is no proof: an L, a T or a U has
those too, and nothing is cut for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from .pixel_edges import order_polygons

MIN_HOUSE_M = 3.5
"""Least distance between party walls, and from a party wall to the end of the terrace."""
MAX_GAP_M = 2.0
"""A valley or notch wider than this is a yard or a part seen badly, no party wall."""
MIN_DIP = 0.12
"""How far the probability falls, on the scale 0..1, below both houses."""
MIN_SHARE = 0.8
"""Of the wall's length, the share along which it falls."""
MIN_NOTCH_PX, MIN_NOTCH = 3.0, 0.12
"""Depth of each of two opposite notches, in pixels and as a share of the terrace's depth."""
_RIM_PX = 3
_LEAST_PX = 8  # a house of fewer pixels shows no walls


@dataclass(frozen=True)
class Cut:
    """A party wall: a line through `point` along `along`, complex numbers in pixels of the field."""

    point: complex
    along: complex


def find_party_walls(probability: np.ndarray, *, pixel_m: float) -> list[Cut]:
    """Lines across the long axis of a mask at which houses are joined.

    Args:
        probability: uint8[H, W], 0..255 for 0..1; 128 and more is the mask.
        pixel_m: ground size of a pixel.

    Returns:
        Cuts in order along the building; empty for all but terraces whose walls can be seen.
    """
    inside = probability >= 128
    house = max(int(np.ceil(MIN_HOUSE_M / pixel_m)), _LEAST_PX)
    if inside.sum() < 2 * house * _LEAST_PX:
        return []
    y, x = np.nonzero(inside)
    axis, length = _long_axis(x, y)
    if length < 2 * house:
        return []
    z = (x + 0.5) + 1j * (y + 0.5)
    turned = z * axis.conjugate()
    origin = turned.real.min()
    column = np.floor(turned.real - origin).astype(np.int64)
    count = int(column.max()) + 1
    # The rim is soft everywhere, and at the ends of a notch: only what is behind it counts.
    core = cv2.erode(np.pad(inside, _RIM_PX).astype(np.uint8), np.ones((2 * _RIM_PX + 1,) * 2, np.uint8))
    core = core[_RIM_PX:-_RIM_PX, _RIM_PX:-_RIM_PX].astype(bool)[y, x]
    value = probability[y, x] / 255.0
    level = _column_means(column[core], value[core], count)
    front = np.full(count, np.inf)
    back = np.full(count, -np.inf)
    np.minimum.at(front, column, turned.imag)
    np.maximum.at(back, column, turned.imag)
    gap = max(MAX_GAP_M / pixel_m, 3.0)
    strength = np.maximum(
        _valleys(level, column[core], value[core], house, gap), _notches(front, back, house, gap)
    )
    middle = (turned.imag.min() + turned.imag.max()) / 2
    return [Cut((origin + t + 0.5 + 1j * middle) * axis, 1j * axis) for t in _strongest(strength, house)]


def split_at(polygon: shapely.Polygon, cuts: list[Cut], *, pixel_m: float) -> list[shapely.Polygon]:
    """Take a polygon apart at cuts, all or nothing.

    Args:
        polygon: in pixels.
        pixel_m: ground size of a pixel.

    Returns:
        One polygon more than there are cuts, largest first; or the polygon itself where a piece would
        fall into several, as it does when a cut meets a wing, or a courtyard would be opened.
    """
    reach = 2 * polygon.length
    pieces, rest = [], polygon
    for cut in cuts:
        far = -1j * cut.along * reach
        corners = [cut.point - reach * cut.along, cut.point + reach * cut.along]
        beyond = np.array([*corners, corners[1] + far, corners[0] + far])
        half = shapely.Polygon(np.column_stack((beyond.real, beyond.imag)))
        piece, rest = shapely.difference(rest, half), shapely.intersection(rest, half)
        pieces.append(piece)
    pieces.append(rest)
    sound = all(p.geom_type == "Polygon" and not p.is_empty and p.is_valid for p in pieces)
    if not cuts or not sound:
        return [polygon]
    # A speck of doubt on the party wall is no courtyard.
    walls = [shapely.LineString([(p.real, p.imag) for p in (c.point - reach * c.along, c.point + reach * c.along)])
             for c in cuts]  # fmt: skip
    courtyards = [h for h in polygon.interiors if shapely.Polygon(h).area * pixel_m**2 > MAX_GAP_M**2]
    opened = any(shapely.intersects(walls, h).any() for h in courtyards)
    return [polygon] if opened else order_polygons(pieces)


def _long_axis(x: np.ndarray, y: np.ndarray) -> tuple[complex, float]:
    """Direction, pointing right, and length of the long side of the smallest rectangle around pixels."""
    _, (width, height), degrees = cv2.minAreaRect(np.column_stack((x, y)).astype(np.float32))
    angle = np.radians(degrees + (0 if width >= height else 90))
    axis = complex(np.cos(angle), np.sin(angle))
    return (axis if axis.real > 0 else -axis), max(width, height)


def _column_means(column: np.ndarray, value: np.ndarray, count: int) -> np.ndarray:
    """Mean per column; NaN where there is nothing."""
    number = np.bincount(column, minlength=count)
    with np.errstate(invalid="ignore"):
        return np.bincount(column, value, count) / np.where(number > 0, number, np.nan)


def _valleys(level: np.ndarray, column: np.ndarray, value: np.ndarray, house: int, gap: float) -> np.ndarray:
    """How clearly the probability falls at each column, 1 for just enough; 0 where it does not."""
    out = np.zeros(len(level))
    order = np.argsort(column, kind="stable")
    bounds = np.searchsorted(column[order], np.arange(len(level) + 1))
    skip = int(np.ceil(gap / 2))
    for t in range(house, len(level) - house):
        sides = level[t - house : t - skip], level[t + skip + 1 : t + house + 1]
        if np.isnan(level[t]) or any(np.isnan(s).mean() > 0.2 for s in sides):
            continue
        shoulder = min(np.nanmedian(s) for s in sides)
        dip = shoulder - level[t]
        if dip < MIN_DIP or level[t] > np.nanmin(level[t - 1 : t + 2]):
            continue
        here = value[order[bounds[t] : bounds[t + 1]]]
        low = level[t - 2 * skip : t + 2 * skip + 1] < shoulder - dip / 2
        if (here < shoulder - dip / 2).mean() >= MIN_SHARE and low.sum() <= gap:
            out[t] = dip / MIN_DIP
    return out


def _notches(front: np.ndarray, back: np.ndarray, house: int, gap: float) -> np.ndarray:
    """How deep two opposite notches are at each column, 1 for just enough; 0 where there are none."""
    out = np.zeros(len(front))
    deep = max(MIN_NOTCH_PX, MIN_NOTCH * float(np.median(back - front)))
    skip = int(np.ceil(gap / 2))
    for t in range(house, len(front) - house):
        before, after = slice(t - 2 * skip, t - skip), slice(t + skip + 1, t + 2 * skip + 1)
        from_front = front[t] - max(np.median(front[before]), np.median(front[after]))
        from_back = min(np.median(back[before]), np.median(back[after])) - back[t]
        if min(from_front, from_back) >= deep:
            out[t] = min(from_front, from_back) / deep
    return out


def _strongest(strength: np.ndarray, house: int) -> list[int]:
    """Columns to cut at, the strongest first claim, none closer than a house; ascending."""
    chosen: list[int] = []
    for t in np.argsort(-strength, kind="stable"):
        if strength[t] <= 0:
            break
        # A wall that is as strong over some columns is cut in the middle of them.
        level = np.flatnonzero(strength[max(t - 3, 0) : t + 4] >= 0.95 * strength[t]) + max(t - 3, 0)
        middle = int(np.round(level.mean()))
        if all(abs(middle - c) >= house for c in chosen):
            chosen.append(middle)
    return sorted(chosen)
