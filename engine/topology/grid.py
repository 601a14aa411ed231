"""Coordinates on a fixed grid."""

from __future__ import annotations

import numpy as np
import shapely

GRID_M = 0.01


def snap_to_grid(polygons: np.ndarray, *, grid_m: float = GRID_M) -> np.ndarray:
    """Round the vertices of polygons to a grid and keep them valid single polygons.

    Args:
        polygons: array[P] of valid polygons.
        grid_m: distance between grid lines.

    Returns:
        array[P]; holes that vanish on the grid are gone, of several parts the largest stays. A
        polygon that vanishes itself is returned as it was.
    """
    out = np.array(polygons, object)
    digits = max(0, int(round(-np.log10(grid_m))))
    rounded = shapely.transform(out, lambda xy: np.round(xy, digits))
    rounded = shapely.remove_repeated_points(rounded, 0.0)
    good = shapely.is_valid(rounded) & ~shapely.is_empty(rounded) & (shapely.area(rounded) > 0)
    out[good] = rounded[good]
    for k in np.flatnonzero(~good):
        out[k] = _snap_one(out[k], grid_m, digits)
    return out


def _snap_one(polygon: shapely.Polygon, grid_m: float, digits: int) -> shapely.Polygon:
    """Snap rounding for what becomes invalid by plain rounding."""
    try:
        snapped = shapely.set_precision(shapely.set_precision(polygon, grid_m), 0)
        snapped = shapely.transform(snapped, lambda xy: np.round(xy, digits))
    except shapely.GEOSException:
        snapped = shapely.transform(polygon, lambda xy: np.round(xy, digits))
    best = largest_polygon(snapped if snapped.is_valid else shapely.make_valid(snapped))
    return best if best is not None else polygon


def largest_polygon(geometry: shapely.Geometry) -> shapely.Polygon | None:
    """The largest polygon of a geometry of any kind; None if it has none."""
    parts = [p for p in _flat_parts(geometry) if p.geom_type == "Polygon" and p.area > 0]
    return max(parts, key=lambda p: (p.area, p.bounds)) if parts else None


def _flat_parts(geometry: shapely.Geometry) -> list[shapely.Geometry]:
    """Single parts, also of collections of multi-parts."""
    parts = list(shapely.get_parts(geometry))
    return [q for p in parts for q in ([p] if shapely.get_num_geometries(p) <= 1 else _flat_parts(p))]
