"""Visvalingam-Whyatt simplification with a bound on the distance."""

from __future__ import annotations

import shapely

_HALVINGS = 12


def simplify_visvalingam(polygon: shapely.Polygon, *, tolerance_m: float) -> shapely.Polygon:
    """Take out the vertices that span the smallest triangles (visvalingam1993line).

    The method itself bounds areas, not distances. It starts from triangles of `tolerance_m` squared
    and is repeated with smaller ones until no point is farther than `tolerance_m` from the outline.

    Args:
        polygon: valid, in a metric CRS.
        tolerance_m: greatest distance.
    """
    size = tolerance_m
    for _ in range(_HALVINGS):
        simple = shapely.coverage_simplify([polygon], size)[0]
        if simple.is_valid and not simple.is_empty and shapely.hausdorff_distance(polygon, simple) <= tolerance_m:
            return simple
        size /= 2
    return polygon
