"""Douglas-Peucker simplification, the method of the paper."""

from __future__ import annotations

import shapely


def simplify_douglas_peucker(polygon: shapely.Polygon, *, tolerance_m: float) -> shapely.Polygon:
    """Keep the fewest vertices within a distance of the outline (Douglas and Peucker 1973).

    No vertex of the outline is farther than `tolerance_m` from the result. The topology is
    preserved: a valid polygon stays valid and keeps its holes.

    Args:
        polygon: valid, in a metric CRS.
        tolerance_m: greatest distance; 0 only removes vertices on straight lines.
    """
    return shapely.simplify(polygon, tolerance_m, preserve_topology=True)
