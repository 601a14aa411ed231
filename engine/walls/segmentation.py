"""The best division of a ring into straight walls, by dynamic programming.

Minimises, over all choices of corners among the candidates and all direction classes of the walls,

    sum over walls of (integral of squared distance to the wall's line + penalty of its class)

which is the minimum-description-length polygon of a noisy outline (kolesnikov2007closed;
classes of direction are this project's addition). Sums over pieces of a ring take
constant time, so a ring with M candidates costs M^2 / 2 line fits, and all rings of a batch are
worked on together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .fits import FREE, Pieces
from .rings import Rings

_BUCKETS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024)
_BATCH_CELLS = 16_000  # candidates worked on together: keeps the working arrays in the processor's cache
_CELLS = 4_000  # walls worked on together, for the same reason


@dataclass(frozen=True)
class Penalties:
    """What a wall costs, in cubic metres: squared metres of residual times metres of length.

    Attributes:
        wall: every wall.
        free: a wall outside the direction classes, added.
        kinds: classes after the first two (diagonals), added.
        jog: two walls of the same class in a row: they need a short connecting wall.
    """

    wall: float
    free: float = 0.0
    kinds: float = 0.0
    jog: float = 0.0


def candidate_corners(rings: Rings, *, tolerance_m: float) -> list[np.ndarray]:
    """Samples that may be corners: the vertices Douglas-Peucker keeps, int64 arrays per ring."""
    owner = np.repeat(np.arange(len(rings.count)), rings.count + 1)
    index = np.arange(len(owner)) - owner
    # The last vertex of a line is the first sample of its ring again.
    index[rings.first[1:] + np.arange(len(rings.count))] = rings.first[:-1]
    closed = rings.xy[index]
    lines = shapely.linestrings(np.column_stack((closed.real, closed.imag, index - rings.first[owner])), indices=owner)
    kept = shapely.simplify(lines, tolerance_m, preserve_topology=False)
    flat, owner = shapely.get_coordinates(kept, include_z=True, return_index=True)
    bounds = np.searchsorted(owner, np.arange(len(rings.count) + 1))
    z = flat[:, 2].astype(np.int64)
    # The last vertex closes the line.
    return [z[a : b - 1] for a, b in zip(bounds[:-1], bounds[1:])]


def divide_rings(
    rings: Rings, candidates: list[np.ndarray], *, directions: np.ndarray, penalties: Penalties
) -> Pieces:
    """Divide every ring into walls.

    Args:
        candidates: int64 arrays, sample indices of possible corners, ascending.
        directions: float64[R, K], radians; K may be 0.

    Returns:
        Pieces of all rings, ring by ring. A ring with fewer than 3 candidates has none.
    """
    sizes = np.array([len(c) for c in candidates])
    out = []
    low = 2
    for high in _BUCKETS:
        members = np.flatnonzero((sizes > low) & (sizes <= high))
        low = high
        chunk = max(1, _BATCH_CELLS // high)
        for k in range(0, len(members), chunk):
            part = members[k : k + chunk]
            out.append(_divide_bucket(rings, part, candidates, directions, penalties))
    if not out:
        empty = np.zeros(0, np.int64)
        return Pieces(empty, empty, empty)
    ring, start, kind = (np.concatenate(p) for p in zip(*out))
    order = np.lexsort((start, ring))
    return Pieces(ring[order], start[order], kind[order])


def _divide_bucket(rings, members, candidates, directions, penalties):
    """The closed ring as an open path, from a corner that every division has and around to it again."""
    count = np.array([len(candidates[r]) for r in members])
    width = int(count.max())
    rows = np.arange(len(members))
    column = np.arange(width)[None]
    valid = column < count[:, None]
    corners = np.zeros((len(members), width), np.int64)
    corners[valid] = np.concatenate([candidates[r] for r in members])
    n = rings.count[members][:, None]
    first = rings.first[members][:, None]
    # The point farthest from the middle is a corner of every outline that has one.
    away = np.where(valid, np.abs(rings.xy[first + corners]), -1.0)
    origin = away.argmax(1)
    sums = rings.sums.take(first + corners, 1) - rings.sums.take(first, 1)
    whole = rings.sums[:, rings.first[members + 1]] - rings.sums[:, rings.first[members]]
    order = (column + origin[:, None]) % count[:, None]
    lap = order < origin[:, None]
    position = np.take_along_axis(corners, order, 1) + lap * n
    running = np.take_along_axis(sums, order[None], 2) + lap * whole[..., None]
    # The last corner is the first one again, once around.
    position = np.concatenate((position, position[:, :1] + n), 1)
    running = np.concatenate((running, running[..., :1] + whole[..., None]), 2)
    position[rows, count] = position[:, 0] + n[:, 0]
    running[:, rows, count] = running[..., 0] + whole
    chosen, kind = _best_path(position, running, count, rings.step_m[members], directions[members], penalties)
    row, where = np.nonzero(chosen)
    return members[row], position[row, where] % n[row, 0], kind[row, where]


def _best_path(position, running, count, step, directions, penalties):
    """Cheapest chain of walls from the first candidate around to itself.

    Args:
        position: int64[B, M + 1] samples, ascending as far as `count`.
        running: float64[5, B, M + 1] sums of x, y, xx, xy, yy up to there.

    Returns:
        bool[B, M] chosen corners and int64[B, M] class of the wall that starts there.
    """
    b, m = position.shape[0], position.shape[1] - 1
    kinds = directions.shape[1] + 1
    number, sums = position.T.astype(float), np.ascontiguousarray(running.transpose(0, 2, 1))
    cos, sin = np.cos(2 * directions).T.copy(), np.sin(2 * directions).T.copy()
    # Across a direction and along it the same term counts, with the other sign.
    mirrored = np.zeros(kinds, bool)
    mirrored[1:-1] = (np.abs(cos[1:] + cos[:-1]) + np.abs(sin[1:] + sin[:-1]) < 1e-9).all(1)
    # Everything is divided by the step, which turns integrals into sums over samples.
    price = np.full(kinds, penalties.wall)
    price[2:-1] += penalties.kinds
    price[-1] += penalties.free
    price = price[:, None] / step
    change = np.zeros((kinds, kinds))
    change[np.arange(kinds - 1), np.arange(kinds - 1)] = penalties.jog
    change = change[:, :, None] / step
    # Cost of arriving at a corner in the cheapest way, given the class of the wall that goes on.
    ready = np.full((kinds, m + 1, b), np.inf)
    ready[:, 0] = 0.0
    best = np.full((kinds, m + 1, b), np.inf)
    came_from = np.zeros((kinds, m + 1, b), np.int64)
    came_kind = np.zeros((kinds, m + 1, b), np.int64)
    columns = np.arange(b)
    for end, residual in _wall_residuals(number, sums, cos, sin, mirrored):
        residual += ready[:, :end]
        came_from[:, end] = residual.argmin(1)
        np.add(np.minimum.reduce(residual, 1), price, out=best[:, end])
        onward = best[:, None, end] + change
        came_kind[:, end] = onward.argmin(0)
        np.minimum.reduce(onward, 0, out=ready[:, end])
    best = best[:, count, columns]
    chosen = np.zeros((b, m), bool)
    kind = np.zeros((b, m), np.int64)
    corner, now = count.copy(), best.argmin(0)
    while (corner > 0).any():
        active = np.flatnonzero(corner > 0)
        start = came_from[now[active], corner[active], active]
        chosen[active, start] = True
        kind[active, start] = now[active]
        now[active] = came_kind[now[active], start, active]
        corner[active] = start
    return chosen, np.where(kind == kinds - 1, FREE, kind)


def _wall_residuals(number, sums, cos, sin, mirrored):
    """Sums of squares of the walls from every earlier corner to one, class by class, for one corner after the other.

    Yields:
        The corner `end`, and float64[kinds, end, B], to be overwritten at will.
    """
    m, b, kinds = number.shape[0] - 1, number.shape[1], len(mirrored)
    room, low = np.empty(kinds * max(m * b, _CELLS)), 1
    while low <= m:
        # Small arrays take as long as their calls: the walls of several corners are worked on together.
        high = low
        while high < m and (high + 2 - low) * (high + 1) * b <= _CELLS:
            high += 1
        ends = slice(low, high + 1)
        share = 1.0 / np.maximum(number[ends, None] - number[None, :high], 1.0)
        x, y, xx, xy, yy = sums[:, ends, None] - sums[:, None, :high]
        share_x = x * share
        xx -= x * share_x
        xy -= y * share_x
        y *= y
        y *= share
        yy -= y
        # Sum of squares across a direction t: half - lean * cos 2t - xy * sin 2t.
        half = xx + yy
        half *= 0.5
        lean = xx
        lean -= half
        along = lean
        residual = room[: kinds * half.size].reshape(kinds, *half.shape)
        for k in range(kinds):
            if mirrored[k]:
                np.negative(along, out=along)
            elif k < kinds - 1:
                along = lean * cos[k]
                along += xy * sin[k]
            else:
                lean *= lean
                xy *= xy
                along = np.sqrt(lean + xy)
            np.subtract(half, along, out=residual[k])
        for end in range(low, high + 1):
            yield end, residual[:, end - low, :end]
        low = high + 1
