"""Simplification whose walls are fitted to the outline, so that corners do not bias inward."""

from __future__ import annotations

import numpy as np
import shapely

from ..walls.polygons import assemble, fit_walls, sample_polygons
from ..walls.segmentation import Penalties
from .douglas_peucker import simplify_douglas_peucker

# Penalties of a wall in tolerances cubed: the usual one, and one that keeps more corners where the
# usual one leaves the bound.
WALL_PENALTIES = (0.46, 0.08)


def simplify_refit(polygon: shapely.Polygon, *, tolerance_m: float) -> shapely.Polygon:
    """Replace the outline by straight walls, each the total-least-squares line of its piece.

    See `refit_polygons`.
    """
    return refit_polygons(np.array([polygon]), tolerance_m=tolerance_m)[0]


def refit_polygons(polygons: np.ndarray, *, tolerance_m: float) -> np.ndarray:
    """Replace outlines by straight walls, many at a time.

    Corners are chosen among the vertices of a fine Douglas-Peucker simplification so that the
    squared distance to the walls plus a price for each wall is least; every wall is then the
    total-least-squares line of its piece of the outline, and corners are the intersections of
    neighbouring walls. No vertex of the outline is farther than `tolerance_m` from the result nor
    a vertex of the result from the outline: where that fails, more corners are kept, and last the
    Douglas-Peucker simplification is returned.

    Args:
        polygons: array[P] of valid polygons, not empty, in a metric CRS.
        tolerance_m: greatest distance; about three to four pixels for outlines of masks.

    Returns:
        array[P] of valid polygons.
    """
    out = np.array(polygons, object)
    if tolerance_m <= 0 or not len(out):
        return out
    open_ = np.arange(len(out))
    for penalty in WALL_PENALTIES:
        sampled = sample_polygons(polygons[open_], tolerance_m=tolerance_m)
        price = Penalties(wall=penalty * tolerance_m**3)
        walls = fit_walls(sampled, frame=np.zeros(len(open_)), turns=np.zeros((len(open_), 0)), penalties=price)
        found = assemble(sampled, walls)
        good = shapely.hausdorff_distance(polygons[open_], found) <= tolerance_m
        out[open_[good]] = found[good]
        open_ = open_[~good]
        if not len(open_):
            return out
    out[open_] = [simplify_douglas_peucker(p, tolerance_m=tolerance_m) for p in polygons[open_]]
    return out
