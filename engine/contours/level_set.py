"""Outlines of a probability field at sub-pixel precision (marching squares)."""

from __future__ import annotations

import numpy as np
import shapely
from skimage.measure import find_contours

from .pixel_edges import order_polygons


def trace_probability(
    probability: np.ndarray, *, level: float = 0.5, offset_xy: tuple[float, float] = (0, 0)
) -> list[shapely.Polygon]:
    """Trace the level line of a field sampled at pixel centres (lorensen1987marching, in 2-D).

    Args:
        probability: uint8[H, W] with 0..255 standing for 0..1, or float[H, W]. Outside it is 0.
        level: on the scale 0..1.
        offset_xy: global pixel coordinates of the field's top-left outer corner.

    Returns:
        Polygons in global pixel coordinates, valid, holes kept, largest first. A field that is
        above the level up to the border of the array closes half a pixel inside the zeros around
        it at most, that is, near the outer pixel edge.
    """
    field = np.asarray(probability)
    if field.dtype == np.uint8:
        field, level = field.astype(np.float32), level * 255.0
    # Zeros would put the border of a full mask at the level's share of a pixel, which is half a pixel
    # for level 0.5 and 0/1 values: exactly the outer pixel edge.
    return _trace(np.pad(np.nan_to_num(field.astype(np.float64)), 1), level, offset_xy)


def trace_distance(distance: np.ndarray, *, offset_xy: tuple[float, float] = (0, 0)) -> list[shapely.Polygon]:
    """Trace where a signed distance field is zero: straight walls come out straight, not in steps.

    Args:
        distance: float[H, W], signed distance of pixel centres to the outline in any unit, positive
            inside; NaN is outside.
        offset_xy: global pixel coordinates of the field's top-left outer corner.

    Returns:
        As `trace_probability`. What goes on beyond the array ends at the outer pixel edge.
    """
    field = np.asarray(distance, np.float64)
    known = np.abs(field[np.isfinite(field)])
    field = np.nan_to_num(field, nan=-(known.max(initial=0.0) + 1.0))
    around = np.pad(field, 1, mode="edge")
    border = np.pad(np.zeros(field.shape, bool), 1, constant_values=True)
    around[border] = -np.abs(around[border])
    return _trace(around, 0.0, offset_xy)


def _trace(field: np.ndarray, level: float, offset_xy: tuple[float, float]) -> list[shapely.Polygon]:
    """Polygons of a field that has a border of one pixel outside."""
    # A node exactly on the level would make two contours meet in it; move it off, upwards, because
    # `probability >= level` is the mask.
    field[field == level] += 1e-6 * max(abs(level), 1e-6)
    rings = find_contours(field, level, fully_connected="low", positive_orientation="high")
    # Index (row, col) of the padded array is the pixel centre (col - 1 + 0.5, row - 1 + 0.5).
    shift = np.array([offset_xy[0] - 0.5, offset_xy[1] - 0.5])
    rings = [r[:, ::-1] + shift for r in rings if len(r) >= 4]
    return order_polygons(_nest_rings(rings))


def _nest_rings(rings: list[np.ndarray]) -> list[shapely.Polygon]:
    """Build polygons from closed level lines: the sign of a ring's area tells shell from hole."""
    areas = [_signed_area(r) for r in rings]
    shells = [shapely.Polygon(r) for r, a in zip(rings, areas) if a < 0]
    holes = [r for r, a in zip(rings, areas) if a > 0]
    owned: list[list[np.ndarray]] = [[] for _ in shells]
    if holes:
        inside = shapely.points([r[0] for r in holes])
        for ring, point in zip(holes, inside):
            # The smallest shell around a hole owns it.
            owners = [(s.area, i) for i, s in enumerate(shells) if shapely.contains(s, point)]
            if owners:
                owned[min(owners)[1]].append(ring)
    polygons = [shapely.Polygon(s.exterior, h) for s, h in zip(shells, owned)]
    valid = []
    for polygon in polygons:
        repaired = polygon if polygon.is_valid else shapely.make_valid(polygon)
        valid += [p for p in shapely.get_parts(repaired) if p.geom_type == "Polygon" and p.area > 0]
    return valid


def _signed_area(ring: np.ndarray) -> float:
    """Shoelace area, positive for counter-clockwise rings in a y-up reading."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2
