"""What is topologically wrong with a layer of polygons, counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import shapely

from .overlap import map_chunks

OVERLAP_M2 = 0.01
"""Common area below this is rounding, not an overlap."""
SLIVER_WIDTH_M = 0.5
"""A polygon of less than this mean width (twice the area over the perimeter)."""
GAP_M = 0.3
"""Neighbours closer than this, but apart, leave a gap."""
DUPLICATE_M = 0.001
"""Successive vertices closer than this are one vertex twice."""


@dataclass(frozen=True)
class TopologyReport:
    """Counts over one layer.

    Attributes:
        features: polygons looked at.
        invalid: not valid by OGC rules (self-intersection, ring outside, ...).
        multipart: features of more than one part.
        overlapping: pairs of features that share more than `OVERLAP_M2`.
        overlap_m2: sum of the shared areas.
        slivers: features thinner than `SLIVER_WIDTH_M`.
        gaps: pairs of neighbours apart by less than `GAP_M`.
        duplicate_vertices: vertices within `DUPLICATE_M` of the one before.
        touching: pairs of neighbours that touch along a wall without overlapping.
        unshared_walls: of those, pairs whose common wall does not have the same vertices on both sides.
    """

    features: int
    invalid: int
    multipart: int
    overlapping: int
    overlap_m2: float
    slivers: int
    gaps: int
    duplicate_vertices: int
    touching: int
    unshared_walls: int

    def to_dict(self) -> dict[str, int | float]:
        """Counts by name."""
        return asdict(self)


def report_topology(
    raw: np.ndarray, geometries: np.ndarray, overlaps: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> TopologyReport:
    """Count topological faults.

    Args:
        raw: object[N], polygons as they are in the file, in metres.
        geometries: object[N], the same, valid.
        overlaps: of `overlap.self_overlaps` on `geometries`.
    """
    first, second, shared = overlaps
    real = shared > OVERLAP_M2
    overlapping = set(zip(first[real].tolist(), second[real].tolist(), strict=True))
    touching, gaps = _neighbours(geometries, overlapping)
    width = 2 * shapely.area(geometries) / shapely.length(geometries)
    return TopologyReport(
        features=len(raw),
        invalid=int((~shapely.is_valid(raw)).sum()),
        multipart=int((shapely.get_num_geometries(raw) > 1).sum()),
        overlapping=int(real.sum()),
        overlap_m2=float(shared[real].sum()),
        slivers=int((width < SLIVER_WIDTH_M).sum()),
        gaps=gaps,
        duplicate_vertices=_duplicate_vertices(raw),
        touching=len(touching),
        unshared_walls=_unshared_walls(geometries, touching),
    )


def _neighbours(geometries: np.ndarray, overlapping: set[tuple[int, int]]) -> tuple[np.ndarray, int]:
    """int64[K, 2] pairs with a common wall, and the number of pairs with a gap between them."""
    if not len(geometries):
        return np.empty((0, 2), np.int64), 0
    i, j = shapely.STRtree(geometries).query(geometries, predicate="dwithin", distance=GAP_M)
    pairs = np.column_stack((i, j))[i < j]
    if overlapping:
        kept = [pair not in overlapping for pair in map(tuple, pairs.tolist())]
        pairs = pairs[np.array(kept, dtype=bool)]
    a, b = geometries[pairs[:, 0]], geometries[pairs[:, 1]]
    apart = map_chunks(lambda part: shapely.distance(a[part], b[part]), len(a)) > DUPLICATE_M
    close = pairs[~apart]
    a, b = a[~apart], b[~apart]
    # Touching in a corner is no wall.
    walls = map_chunks(lambda part: shapely.length(shapely.intersection(shapely.boundary(a[part]), b[part])), len(a))
    near_miss = map_chunks(
        lambda part: shapely.length(
            shapely.intersection(shapely.boundary(a[part]), shapely.buffer(b[part], 2 * DUPLICATE_M))
        ),
        len(a),
    )
    return close[np.maximum(walls, near_miss) > 0.05], int(apart.sum())


def _unshared_walls(geometries: np.ndarray, touching: np.ndarray) -> int:
    return sum(not shapely.coverage_is_valid(pair, gap_width=2 * DUPLICATE_M) for pair in geometries[touching])


def _duplicate_vertices(geometries: np.ndarray) -> int:
    parts = shapely.get_parts(geometries)
    xy, ring = shapely.get_coordinates(shapely.get_rings(parts), return_index=True)
    same_ring = ring[1:] == ring[:-1]
    return int((same_ring & (np.hypot(*np.diff(xy, axis=0).T) < DUPLICATE_M)).sum()) if len(xy) else 0
