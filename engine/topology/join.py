"""Two neighbours, one wall: the later polygon takes over the wall of the earlier ones."""

from __future__ import annotations

import shapely

_MIN_SHARE = 0.1  # of its area a polygon keeps, or it counts as covered


def join_neighbours(
    polygon: shapely.Polygon, rivals: list[shapely.Polygon], *, snap_m: float
) -> tuple[shapely.Polygon | None, int]:
    """Cut a polygon free of its rivals and close the narrow gaps to them.

    Args:
        polygon: of lower priority than all `rivals`.
        rivals: polygons that do not overlap each other.
        snap_m: gaps up to this width are given to `polygon`.

    Returns:
        The polygon, or None and the index of the rival that covers most of it if next to nothing
        is left.
    """
    taken = shapely.union_all(rivals)
    grown = polygon
    if snap_m > 0:
        # A morphological closing with mitred corners fills what is narrower than the gap.
        both = shapely.union(polygon, taken)
        half = snap_m / 2 * 1.01
        closed = both.buffer(half, join_style="mitre", mitre_limit=2).buffer(-half, join_style="mitre", mitre_limit=2)
        gap = shapely.intersection(shapely.difference(closed, both), polygon.buffer(snap_m * 1.05, join_style="mitre"))
        touching = [g for g in _polygons(gap) if g.distance(polygon) < 1e-9 and g.distance(taken) < 1e-9]
        grown = shapely.union_all([polygon, *touching])
    parts = _polygons(shapely.difference(grown, taken))
    best = max(parts, key=lambda p: (p.area, p.bounds), default=None)
    if best is None or best.area < _MIN_SHARE * polygon.area:
        overlaps = [shapely.intersection(polygon, r).area for r in rivals]
        return None, overlaps.index(max(overlaps))
    return best, -1


def _polygons(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    return [p for p in shapely.get_parts(geometry) if p.geom_type == "Polygon" and p.area > 0]
