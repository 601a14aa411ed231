"""A partition of the ground: all walls noded together, every face given to one owner."""

from __future__ import annotations

import numpy as np
import shapely

from .grid import largest_polygon

SLIVER_M = 0.03


def partition(polygons: list[shapely.Polygon], *, grid_m: float, gap_m: float) -> list[shapely.Polygon]:
    """Node the walls of polygons together on a grid and rebuild the polygons from the faces.

    Snap rounding (hobby1999segments) gives neighbours the same vertices along the walls they share. A face
    that several polygons claim goes to the first of them; an enclosed gap narrower than `gap_m` or
    a sliver goes to the polygon with which it shares most of its border.

    Args:
        polygons: by descending priority, overlapping by rounding at most.
        grid_m: the grid of the result.
        gap_m: width of gaps to close.

    Returns:
        One polygon for each, in the same order. A polygon that no face is left for keeps its shape.
    """
    if len(polygons) < 2:
        return list(polygons)
    lines = shapely.union_all(shapely.boundary(polygons), grid_size=grid_m)
    faces = np.array(shapely.get_parts(shapely.polygonize([lines])), object)
    inside = shapely.point_on_surface(faces)
    tree = shapely.STRtree(polygons)
    point, claimant = tree.query(inside, predicate="intersects")
    owner = np.full(len(faces), -1)
    np.minimum.at(first := np.full(len(faces), len(polygons)), point, claimant)
    owner[first < len(polygons)] = first[first < len(polygons)]
    width = 2 * shapely.area(faces) / shapely.length(faces)
    loose = ((owner < 0) & (width < gap_m / 2)) | ((owner >= 0) & (width < SLIVER_M))
    around = shapely.STRtree(faces)
    for k in np.flatnonzero(loose):
        owner[k] = _best_neighbour(faces, owner, int(k), around.query(faces[k], predicate="intersects"))
    out = []
    for number, polygon in enumerate(polygons):
        mine = faces[owner == number]
        if not len(mine):
            out.append(polygon)
            continue
        whole = shapely.coverage_union_all(mine)
        out.append(largest_polygon(whole) or polygon)
    return out


def _best_neighbour(faces: np.ndarray, owner: np.ndarray, k: int, near: np.ndarray) -> int:
    """Owner whose faces, among those `near`, share most border with face `k`; -1 if none does."""
    near = near[(near != k) & (owner[near] >= 0)]
    shared = shapely.length(shapely.intersection(shapely.boundary(faces[k]), shapely.boundary(faces[near])))
    totals = np.bincount(owner[near], np.round(shared, 6)) if len(near) else np.zeros(1)
    return int(np.argmax(totals)) if totals.any() else -1
