"""From divided rings to vertices: neighbouring wall lines are intersected and corners moved there."""

from __future__ import annotations

import numpy as np

from .fits import FREE, Lines, Pieces, fit_lines, join_pieces
from .rings import Rings

PARALLEL_DEG = 12.0
_PARALLEL_SIN = np.sin(np.radians(PARALLEL_DEG))
_ROUNDS = 3
_MAX_WINDOW = 24  # samples a corner may move in one round


def settle_corners(
    rings: Rings,
    pieces: Pieces,
    *,
    directions: np.ndarray,
    trim_m: float,
    reach_m: float,
    min_wall_m: float,
    min_jog_m: float,
) -> Pieces:
    """Fit lines, intersect neighbours, move corners to the intersections, and fit again.

    Args:
        reach_m: greatest distance of a vertex from the corner it replaces.
        min_wall_m: shorter walls are taken out, if the shape allows.
        min_jog_m: a wall that goes on in its class with a smaller offset is one wall.

    Returns:
        The pieces that remain.
    """
    settled: list[Pieces] = []
    for _ in range(_ROUNDS):
        pieces = merge_alike(pieces)
        lines = fit_lines(rings, pieces, directions=directions, trim_m=trim_m)
        vertex, distance = intersect_neighbours(rings, pieces, lines)
        moved = _move_starts(rings, pieces, vertex, distance, reach_m)
        lines = fit_lines(rings, moved, directions=directions, trim_m=trim_m)
        vertex, _ = intersect_neighbours(rings, moved, lines)
        keep = _worth_keeping(moved, lines, vertex, min_wall_m) & _apart(moved, lines, min_jog_m)
        # Where nothing happened, nothing will.
        busy = np.zeros(len(rings.count), bool)
        busy[pieces.ring[(moved.start != pieces.start) | ~keep]] = True
        settled.append(pieces.take(~busy[pieces.ring]))
        pieces = moved.take(keep & busy[pieces.ring])
    return join_pieces([*settled, merge_alike(pieces)])


def merge_alike(pieces: Pieces) -> Pieces:
    """Drop pieces, such as those left after removals, that start where another one does."""
    before, _ = pieces.neighbours()
    same = (pieces.start == pieces.start[before]) & (before != np.arange(len(before)))
    return pieces.take(~same) if same.any() else pieces


def intersect_neighbours(rings: Rings, pieces: Pieces, lines: Lines) -> tuple[np.ndarray, np.ndarray]:
    """Where the line of each piece meets that of the piece before it.

    Returns:
        complex128[S] points (NaN where the lines are nearly parallel), float64[S] distances from the
        corner sample.
    """
    before, _ = pieces.neighbours()
    p, d = lines.point[before], lines.along[before]
    q, e = lines.point, lines.along
    cross = (d.conj() * e).imag
    parallel = np.abs(cross) < _PARALLEL_SIN
    t = ((q - p).conj() * e).imag / np.where(parallel, 1.0, cross)
    vertex = np.where(parallel, np.nan, p + t * d)
    corner = corner_samples(rings, pieces)
    return vertex, np.abs(vertex - corner)


def corner_samples(rings: Rings, pieces: Pieces) -> np.ndarray:
    """Point of the ring where each piece starts, half a step before its first sample."""
    return (rings.at(pieces.ring, pieces.start) + rings.at(pieces.ring, pieces.start - 1)) / 2


def _move_starts(rings, pieces, vertex, distance, reach_m):
    """Move the start of each piece to the sample nearest to its vertex, within half its neighbours."""
    before, _ = pieces.neighbours()
    length = pieces.ends(rings) - pieces.start
    # Each ring has its own limit, so that no result depends on what else is in the batch.
    limit = np.minimum(np.ceil(2 * reach_m / rings.step_m[pieces.ring]), _MAX_WINDOW).astype(np.int64)
    window = int(limit.max(initial=0))
    offset = np.arange(-window, window + 1)
    index = pieces.start[:, None] + offset
    away = np.abs(rings.at(pieces.ring[:, None], index) - vertex[:, None])
    low, high = -(length[before] // 2) + 1, length // 2 - 1
    low, high = np.maximum(low, -limit), np.minimum(high, limit)
    away[(offset < low[:, None]) | (offset > high[:, None])] = np.inf
    away[~(distance <= 2 * reach_m)] = np.inf
    away[:, window] = np.where(np.isfinite(away).any(1), away[:, window], 0.0)
    start = (pieces.start + offset[np.argmin(away, 1)]) % rings.count[pieces.ring]
    return Pieces(pieces.ring, start, pieces.kind)


def _worth_keeping(pieces, lines, vertex, min_wall_m):
    """Which pieces stay: long enough, and running the same way as their wall between the vertices."""
    _, after = pieces.neighbours()
    wall = vertex[after] - vertex
    along = (wall * lines.along.conj()).real
    bad = (along < min_wall_m) & np.isfinite(along)
    # One of a run of bad pieces at a time, the shortest, and never below four walls.
    opens = np.flatnonzero(np.diff(pieces.ring, prepend=-1))
    size = np.diff(np.append(opens, len(bad)))
    group = np.repeat(np.arange(len(opens)), size)
    value = np.where(bad, along, np.inf)
    least = np.minimum.reduceat(value, opens) if len(opens) else np.zeros(0)
    first = bad & (value == least[group]) & (size[group] > 4)
    return ~first


def _apart(pieces, lines, min_jog_m):
    """Which pieces are a wall of their own: not of the class, and on the line, of the one before."""
    before, _ = pieces.neighbours()
    offset = np.abs(((lines.point - lines.point[before]) * lines.along.conj()).imag)
    return ~((pieces.kind == pieces.kind[before]) & (pieces.kind != FREE) & (offset < min_jog_m))


def place_vertices(rings, pieces, lines, reach_m, kink_m):
    """Final vertices: intersections where they are near, else both ends of the lines at the corner."""
    before, _ = pieces.neighbours()
    vertex, distance = intersect_neighbours(rings, pieces, lines)
    corner = corner_samples(rings, pieces)
    good = distance <= reach_m
    onto_before = project(corner, lines.point[before], lines.along[before])
    onto_this = project(corner, lines.point, lines.along)
    # Two vertices make a short connecting wall where a line goes on with an offset.
    same = ~good & (np.abs(onto_before - onto_this) < kink_m)
    first = np.where(good, vertex, np.where(same, (onto_before + onto_this) / 2, onto_before))
    two = ~good & ~same
    ring = np.repeat(pieces.ring, 1 + two)
    out = np.repeat(first, 1 + two)
    out[np.cumsum(1 + two)[two] - 1] = onto_this[two]
    return ring, out


def project(point: np.ndarray, origin: np.ndarray, along: np.ndarray) -> np.ndarray:
    """Foot of the perpendicular from points to lines."""
    return origin + ((point - origin) * along.conj()).real * along


__all__ = ["FREE", "place_vertices", "settle_corners"]
