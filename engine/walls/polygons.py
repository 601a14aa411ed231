"""Whole polygons made of straight walls: all rings in, all rings out, refused where it does not work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .corners import settle_corners
from .fits import FREE, around
from .rings import Rings, sample_rings
from .segmentation import Penalties, candidate_corners, divide_rings

# Lengths as shares of the tolerance, tuned on one half of the Zanzibar outlines (see docs/geometry.md).
STEP = 1 / 4
TRIM = 1 / 3
CANDIDATES = 1 / 2
REACH = 2.0
MIN_WALL = 0.8


@dataclass(frozen=True)
class Sampled:
    """All rings of a batch of polygons, ready to be divided.

    Attributes:
        polygons: array[P] of shapely Polygons.
        rings: their rings, polygon by polygon, exterior first.
        owner: int64[R], polygon of each ring.
        candidates: possible corners of each ring.
        tolerance_m: the scale of everything.
    """

    polygons: np.ndarray
    rings: Rings
    owner: np.ndarray
    candidates: list[np.ndarray]
    tolerance_m: float


def sample_polygons(polygons: np.ndarray, *, tolerance_m: float) -> Sampled:
    """Sample the rings of polygons at a quarter of the tolerance. Polygons must be valid, not empty."""
    lines, owner = shapely.get_rings(polygons, return_index=True)
    rings = sample_rings(lines, step_m=STEP * tolerance_m)
    candidates = candidate_corners(rings, tolerance_m=CANDIDATES * tolerance_m)
    return Sampled(polygons, rings, owner, candidates, tolerance_m)


def drop_small_holes(polygons: np.ndarray, *, tolerance_m: float) -> np.ndarray:
    """Leave out holes of less than ``(2 * tolerance_m) ** 2``: no courtyard, but noise in a mask."""
    out = np.array(polygons, object)
    for k in np.flatnonzero(shapely.get_num_interior_rings(out) > 0):
        holes = [h for h in out[k].interiors if shapely.Polygon(h).area >= (2 * tolerance_m) ** 2]
        out[k] = shapely.Polygon(out[k].exterior, holes)
    return out


@dataclass(frozen=True)
class Walled:
    """Result of `build_walls`.

    Attributes:
        polygons: array[P], None where no valid polygon came out.
        edge_owner, edge: int64[E] polygon and complex128[E] vector of every wall, for directions.
    """

    polygons: np.ndarray
    edge_owner: np.ndarray
    edge: np.ndarray


def build_walls(sampled: Sampled, *, directions: np.ndarray, penalties: Penalties) -> Walled:
    """Fit every polygon with straight walls.

    Args:
        directions: float64[P, K], radians, direction classes of each polygon; K may be 0.
        penalties: in cubic metres.
    """
    rings, owner, scale = sampled.rings, sampled.owner, sampled.tolerance_m
    by_ring = directions[owner]
    trim_m = TRIM * scale
    pieces = divide_rings(rings, sampled.candidates, directions=by_ring, penalties=penalties, trim_m=trim_m)
    _, ring, vertex = settle_corners(
        rings, pieces, directions=by_ring, trim_m=trim_m, reach_m=REACH * scale, min_wall_m=MIN_WALL * scale
    )
    vertex = vertex + rings.centre[ring]
    polygons = _assemble(sampled, ring, vertex)
    _, after = around(ring)
    return Walled(polygons, owner[ring], vertex[after] - vertex)


def _assemble(sampled: Sampled, ring: np.ndarray, vertex: np.ndarray) -> np.ndarray:
    """Polygons from vertices per ring; None where a ring is missing or the result is not valid."""
    count = len(sampled.owner)
    size = np.bincount(ring, minlength=count)
    usable = size >= 3
    keep = usable[ring]
    xy = np.column_stack((vertex.real, vertex.imag))[keep]
    built = np.full(count, None, object)
    if len(xy):
        rank = np.cumsum(usable) - 1
        built[usable] = shapely.linearrings(xy, indices=rank[ring[keep]])
    total = len(sampled.polygons)
    complete = np.bincount(sampled.owner[~usable], minlength=total) == 0
    chosen = complete[sampled.owner]
    out = np.full(total, None, object)
    if complete.any():
        rank = np.cumsum(complete) - 1
        out[complete] = shapely.polygons(built[chosen], indices=rank[sampled.owner[chosen]])
    out[~shapely.is_valid(out)] = None
    return out


__all__ = ["FREE", "Penalties", "Sampled", "Walled", "build_walls", "drop_small_holes", "sample_polygons"]
