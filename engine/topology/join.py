"""Two neighbours, one wall: the later polygon takes over the walls of the earlier ones."""

from __future__ import annotations

import numpy as np
import shapely

from ..walls.rings import as_complex
from .grid import GRID_M, largest_polygon

MAX_SLIDE = 1.5
"""How far a corner may move when its wall does, in snapping distances."""
_PARALLEL_SIN = np.sin(np.radians(12.0))
_MIN_OVERLAP_M = 0.5
_MIN_SHARE = 0.1  # of its area a polygon keeps, or it counts as covered

Walls = list[np.ndarray]
"""The walls of a polygon ring by ring, each complex128[E, 2] from start to end, the inside on the left."""


def walls_of(polygons: np.ndarray) -> list[Walls]:
    """The walls of many polygons; edges without length are left out."""
    rings, owner = shapely.get_rings(shapely.orient_polygons(polygons), return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    z = as_complex(xy)
    edge = np.column_stack((z[:-1], z[1:]))
    real = (ring[1:] == ring[:-1]) & (edge[:, 0] != edge[:, 1])
    edge, ring = edge[real], ring[1:][real]
    bounds = np.searchsorted(ring, np.arange(len(rings) + 1))
    out: list[Walls] = [[] for _ in polygons]
    for polygon, low, high in zip(owner.tolist(), bounds[:-1].tolist(), bounds[1:].tolist()):
        out[polygon].append(edge[low:high])
    return out


def align_walls(
    polygon: shapely.Polygon, walls: Walls, rivals: list[Walls], *, snap_m: float
) -> shapely.Polygon:
    """Move walls that run along a rival's wall onto the line of that wall.

    A wall moves if it is nearly parallel to the other, faces it, and is no farther than `snap_m`
    from it where they run side by side. Its corners slide along the neighbouring walls, so right
    angles stay right.

    Args:
        polygon: the one that moves.
        walls: its walls.
        rivals: walls that stay as they are.

    Returns:
        The polygon; the same object where nothing moves or the result would not be valid.
    """
    theirs = np.concatenate([ring for rival in rivals for ring in rival])
    mine = np.concatenate(walls)
    # Most of a rival's walls are on its other sides.
    near = _near(theirs, mine, snap_m)
    if not near.any():
        return polygon
    theirs = theirs[near]
    rings, moved = [], False
    for edges in walls:
        onto = _facing_walls(edges, theirs, snap_m)
        ring = edges[:, 0]
        if (onto >= 0).any():
            ring, moved = _slide(edges, onto, theirs, snap_m), True
        rings.append(np.column_stack((ring.real, ring.imag)))
    if not moved or any(len(r) < 3 for r in rings):
        return polygon
    aligned = shapely.Polygon(rings[0], rings[1:])
    sound = aligned.is_valid and 0.5 < aligned.area / polygon.area < 2
    return aligned if sound else polygon


def meet_corners(
    polygon: shapely.Polygon, rivals: list[shapely.Polygon], *, reach_m: float
) -> shapely.Polygon:
    """Put corners onto those of rivals that are all but there: else an open crack remains beside a common wall.

    Returns:
        The polygon; the same object where no rival is near or the result would not be valid.
    """
    near = shapely.dwithin(polygon, rivals, reach_m)
    if not near.any():
        return polygon
    theirs = shapely.get_coordinates(np.array(rivals, object)[near])

    def meet(xy: np.ndarray) -> np.ndarray:
        apart = np.hypot(*(xy[:, None] - theirs[None]).transpose(2, 0, 1))
        nearest = apart.argmin(1)
        close = apart[np.arange(len(xy)), nearest] <= reach_m
        return np.where(close[:, None], theirs[nearest], xy)

    met = shapely.remove_repeated_points(shapely.transform(polygon, meet))
    sound = met.is_valid and 0.5 < met.area / polygon.area < 2
    return polygon if not sound or met.equals_exact(polygon, 0) else met


def cut_free(
    polygon: shapely.Polygon, rivals: list[shapely.Polygon]
) -> tuple[shapely.Polygon | None, int]:
    """Take away what rivals cover.

    Returns:
        The largest part that remains, or None and the index of the rival that covers most of the
        polygon if next to nothing remains.
    """
    near = shapely.dwithin(polygon, rivals, GRID_M)
    if not near.any():
        return polygon, -1
    taken = shapely.union_all(np.array(rivals, object)[near], grid_size=GRID_M)
    best = largest_polygon(shapely.difference(polygon, taken, grid_size=GRID_M))
    if best is None or best.area < _MIN_SHARE * polygon.area:
        overlaps = shapely.area(shapely.intersection(polygon, rivals, grid_size=GRID_M))
        return None, int(np.argmax(overlaps))
    return best, -1


def _near(theirs: np.ndarray, mine: np.ndarray, snap_m: float) -> np.ndarray:
    """Which of their walls have a bounding box within the snapping distance of that of all of mine."""
    left, right = mine.real.min() - snap_m, mine.real.max() + snap_m
    low, high = mine.imag.min() - snap_m, mine.imag.max() + snap_m
    x, y = theirs.real, theirs.imag
    return (x.max(1) >= left) & (x.min(1) <= right) & (y.max(1) >= low) & (y.min(1) <= high)


def _facing_walls(mine: np.ndarray, theirs: np.ndarray, snap_m: float) -> np.ndarray:
    """For each of my walls the index of the wall of theirs to move onto, or -1; int64[E]."""
    start = theirs[:, 0]
    vector = theirs[:, 1] - start
    length = np.abs(vector)
    turned = (vector / length).conj()
    # My ends in the frame of each of their walls: along it and off it.
    a = (mine[:, :1] - start) * turned
    b = (mine[:, 1:] - start) * turned
    way = b - a
    size = np.abs(way)
    # With the insides on the left of both, walls that face each other run in opposite directions.
    facing = (way.real < 0) & (np.abs(way.imag) < _PARALLEL_SIN * size)
    low, high = np.maximum(b.real, 0.0), np.minimum(a.real, length)
    overlap = high - low
    slope = way.imag / np.where(facing, way.real, -1.0)
    off_low, off_high = a.imag + slope * (low - a.real), a.imag + slope * (high - a.real)
    near = np.maximum(np.abs(off_low), np.abs(off_high)) <= snap_m
    enough = overlap > np.minimum(_MIN_OVERLAP_M, 0.5 * np.minimum(size, length))
    good = facing & near & enough
    best = np.where(good, overlap, -1.0).argmax(1)
    return np.where(good.any(1), best, -1)


def _slide(edges: np.ndarray, onto: np.ndarray, theirs: np.ndarray, snap_m: float) -> np.ndarray:
    """The ring with its walls moved onto the lines of the given walls, complex128[V]."""
    ring = edges[:, 0]
    lines = np.where((onto >= 0)[:, None], theirs[onto][:, ::-1], edges)
    point = lines[:, 0]
    along = (lines[:, 1] - point) / np.abs(lines[:, 1] - point)
    before = np.arange(len(ring)) - 1
    p, d, q, e = point[before], along[before], point, along
    cross = (d.conj() * e).imag
    flat = np.abs(cross) < 2 * _PARALLEL_SIN
    meeting = p + ((q - p).conj() * e).imag / np.where(flat, 1.0, cross) * d
    # Where walls go on nearly straight their lines meet far away: drop the corner onto the moved one.
    own = onto >= 0
    foot_own = q + ((ring - q) * e.conj()).real * e
    foot_before = p + ((ring - p) * d.conj()).real * d
    dropped = np.where(own, foot_own, np.where(own[before], foot_before, ring))
    out = np.where(flat | (np.abs(meeting - ring) > MAX_SLIDE * snap_m), dropped, meeting)
    out = np.where(own | own[before], out, ring)
    return out[np.abs(out - out[before]) > GRID_M / 2]
