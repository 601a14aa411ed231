"""Whole polygons made of straight walls: all rings in, all rings out, refused where it does not work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .bends import Significance, drop_weak_bends
from .corners import place_vertices, settle_corners
from .fits import Pieces, fit_lines, trimmed
from .rings import Rings, sample_rings
from .segmentation import Penalties, candidate_corners, divide_rings

# Lengths as shares of the tolerance, tuned on one half of the Zanzibar outlines (see docs/geometry.md).
STEP = 1 / 4
TRIM = 1 / 3
CANDIDATES = 0.3
REACH = 3.0
MIN_WALL = 0.5
MIN_JOG = 0.25
KINK = 0.9
LEVER = 4.5
POOL_RAD = np.radians(3.0)
"""Walls within this of the frame take part in its refinement."""


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


def sample_polygons(polygons: np.ndarray, *, tolerance_m: float, detail: float = CANDIDATES) -> Sampled:
    """Sample the rings of polygons at a quarter of the tolerance. Polygons must be valid, not empty.

    Args:
        detail: in tolerances, of the simplification whose vertices may become corners; less gives
            more candidates, which cost time.
    """
    lines, owner = shapely.get_rings(polygons, return_index=True)
    rings = sample_rings(lines, step_m=STEP * tolerance_m)
    candidates = candidate_corners(rings, tolerance_m=detail * tolerance_m)
    return Sampled(polygons, rings, owner, candidates, tolerance_m)


def drop_small_holes(polygons: np.ndarray, *, tolerance_m: float) -> np.ndarray:
    """Leave out holes of less than ``(2 * tolerance_m) ** 2``: no courtyard, but noise in a mask."""
    out = np.array(polygons, object)
    for k in np.flatnonzero(shapely.get_num_interior_rings(out) > 0):
        holes = [h for h in out[k].interiors if shapely.Polygon(h).area >= (2 * tolerance_m) ** 2]
        out[k] = shapely.Polygon(out[k].exterior, holes)
    return out


@dataclass(frozen=True)
class Walls:
    """Divided and fitted rings.

    Attributes:
        pieces: the walls.
        ring, vertex: int64[V] and complex128[V], corners of all rings relative to the ring's centre.
        frame: float64[P], radians, the direction of each polygon after pooling its walls.
    """

    pieces: Pieces
    ring: np.ndarray
    vertex: np.ndarray
    frame: np.ndarray


def fit_walls(
    sampled: Sampled,
    *,
    frame: np.ndarray,
    turns: np.ndarray,
    penalties: Penalties,
    trust: np.ndarray | None = None,
    bend: float = 0.0,
    stiffness: float = np.inf,
) -> Walls:
    """Fit every polygon with straight walls.

    Two rounds: the first divides at the candidates; then corners are moved to where the walls meet,
    all walls of a polygon are pooled into a better frame, and the second round chooses again among
    the corners of the first, moved and unmoved.

    Args:
        frame: float64[P], radians, the first guess of each polygon's direction.
        turns: float64[P, K], radians, direction classes relative to the frame; K may be 0.
        penalties: in cubic metres.
        trust: float64[P], cubic metres: weight of `frame` against the polygon's own walls, in wall
            lengths cubed.
        bend: what a slight bend must save to stay, see `Significance`; 0 keeps them all.
        stiffness: of the frame against a wall's own direction, see `fit_lines`.
    """
    rings, owner, scale = sampled.rings, sampled.owner, sampled.tolerance_m
    candidates = sampled.candidates
    trim_m, reach_m = TRIM * scale, REACH * scale
    first_guess = frame
    for last in (False, True):
        directions = (frame[:, None] + turns)[owner]
        divided = divide_rings(rings, candidates, directions=directions, penalties=penalties)
        pieces = settle_corners(
            rings,
            divided,
            directions=directions,
            trim_m=trim_m,
            reach_m=reach_m,
            min_wall_m=MIN_WALL * scale,
            min_jog_m=MIN_JOG * scale,
        )
        if not last:
            candidates = _corners_of(rings, divided, pieces)
            if turns.shape[1]:
                frame = _pool_frames(sampled, pieces, frame, turns, first_guess, trust)
    if bend:
        least = Significance(bend, LEVER * scale, penalties.free)
        pieces = drop_weak_bends(rings, pieces, directions=directions, least=least)
    lines = fit_lines(rings, pieces, directions=directions, trim_m=trim_m, stiffness=stiffness)
    ring, vertex = place_vertices(rings, pieces, lines, reach_m, KINK * scale)
    return Walls(pieces, ring, vertex, frame)


def _corners_of(rings: Rings, *divisions: Pieces) -> list[np.ndarray]:
    """Corners of several divisions together, as candidates."""
    span = int(rings.count.max()) + 1
    keys = np.unique(np.concatenate([d.ring * span + d.start for d in divisions]))
    bounds = np.searchsorted(keys, np.arange(len(rings.count) + 1) * span)
    return [keys[a:b] % span for a, b in zip(bounds[:-1], bounds[1:])]


def _pool_frames(sampled, pieces, frame, turns, first_guess, trust):
    """The frame that fits all walls of a polygon at once, by the pooled moments of their samples."""
    rings, polygon = sampled.rings, sampled.owner[pieces.ring]
    n = rings.count[pieces.ring]
    start = pieces.start % n
    # One sample at each end may belong to the wall around the corner.
    low, high = trimmed(start, pieces.ends(rings) - pieces.start + start, np.ones_like(start))
    _, _, _, cxx, cxy, cyy = rings.piece_moments(pieces.ring, low % n, high - low + low % n)
    # A complex number at twice the wall's angle, as long as the wall's length cubed (over 12).
    doubled = ((cxx - cyy) + 2j * cxy) * rings.step_m[pieces.ring] * 12
    away = np.angle(doubled)[:, None] / 2 - (frame[:, None] + turns)[polygon]
    away = (away + np.pi / 2) % np.pi - np.pi / 2
    nearest = np.abs(away).argmin(1)
    rows = np.arange(len(polygon))
    said = doubled * np.exp(-2j * turns[polygon, nearest])
    said[np.abs(away[rows, nearest]) > POOL_RAD] = 0
    count = len(frame)
    pooled = np.bincount(polygon, said.real, count) + 1j * np.bincount(polygon, said.imag, count)
    if trust is not None:
        pooled += trust * np.exp(2j * first_guess)
    return np.where(np.abs(pooled) > 0, np.angle(pooled) / 2, frame)


def assemble(sampled: Sampled, walls: Walls) -> np.ndarray:
    """Polygons from fitted walls, array[P]; None where no valid polygon came out."""
    return _assemble(sampled, walls.ring, walls.vertex + sampled.rings.centre[walls.ring])


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
