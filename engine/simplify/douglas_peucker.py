"""Douglas-Peucker simplification, the method of the paper."""

from __future__ import annotations

import shapely

_HALVINGS = 8


def simplify_douglas_peucker(polygon: shapely.Polygon, *, tolerance_m: float) -> shapely.Polygon:
    """Keep the fewest vertices within a distance of the outline (douglas1973algorithms).

    No vertex of the outline is farther than `tolerance_m` from the result. A valid polygon stays
    valid and keeps its holes: where a hole would come to lie across the simplified shell, which
    GEOS does not notice, the tolerance is halved until it does not.

    Args:
        polygon: valid, in a metric CRS.
        tolerance_m: greatest distance; 0 only removes vertices on straight lines.
    """
    tolerance = tolerance_m
    for _ in range(_HALVINGS):
        simple = shapely.simplify(polygon, tolerance, preserve_topology=True)
        if simple.is_valid and not simple.is_empty:
            return simple
        tolerance /= 2
    return polygon
