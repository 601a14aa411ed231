"""The best division of a ring into straight walls, by dynamic programming.

Minimises, over all choices of corners among the candidates and all direction classes of the walls,

    sum over walls of (integral of squared distance to the wall's line + penalty of its class)

which is the minimum-description-length polygon of a noisy outline (Kolesnikov and Fränti 2007 for
closed curves; classes of direction are this project's addition). Sums over pieces of a ring take
constant time, so a ring with M candidates costs M^2 / 2 line fits, and all rings of a batch are
worked on together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .fits import FREE, Pieces, fixed_residual, free_residual, trimmed
from .rings import Rings

_BUCKETS = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
_BATCH_CELLS = 400_000  # cost cells worked on together, keeps a batch inside the processor's cache


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
    index = np.repeat(np.arange(len(rings.count)), rings.count)
    local = np.arange(len(rings.xy)) - rings.first[index]
    xyz = np.column_stack((rings.xy.real, rings.xy.imag, local))
    closing = rings.first[:-1]
    xyz = np.insert(xyz, rings.first[1:], xyz[closing], axis=0)
    owner = np.insert(index, rings.first[1:], index[closing])
    lines = shapely.linestrings(xyz, indices=owner)
    kept = shapely.simplify(lines, tolerance_m, preserve_topology=False)
    flat, owner = shapely.get_coordinates(kept, include_z=True, return_index=True)
    bounds = np.searchsorted(owner, np.arange(len(rings.count) + 1))
    z = flat[:, 2].astype(np.int64)
    return [np.sort(np.unique(z[a : b - 1])) for a, b in zip(bounds[:-1], bounds[1:])]


def divide_rings(
    rings: Rings,
    candidates: list[np.ndarray],
    *,
    directions: np.ndarray,
    penalties: Penalties,
    trim_m: float,
    fallback_max: int = _BUCKETS[-1],
) -> Pieces:
    """Divide every ring into walls.

    Args:
        candidates: int64 arrays, sample indices of possible corners, ascending.
        directions: float64[R, K], radians; K may be 0.
        trim_m: left out at both ends of a wall when its line is fitted.

    Returns:
        Pieces of all rings, ring by ring. A ring with fewer than 3 walls has none.
    """
    sizes = np.array([len(c) for c in candidates])
    out: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    low = 0
    for high in _BUCKETS:
        members = np.flatnonzero((sizes > low) & (sizes <= high) & (sizes >= 3))
        low = high
        chunk = max(1, _BATCH_CELLS // (high * high))
        for k in range(0, len(members), chunk):
            part = members[k : k + chunk]
            out.append(_divide_bucket(rings, part, [candidates[r] for r in part], high, directions, penalties, trim_m))
    if not out:
        empty = np.zeros(0, np.int64)
        return Pieces(empty, empty, empty)
    ring, start, kind = (np.concatenate(p) for p in zip(*out))
    order = np.argsort(ring, kind="stable")
    return Pieces(ring[order], start[order], kind[order])


def _divide_bucket(rings, members, candidates, size, directions, penalties, trim_m):
    """Two passes of the open-path programme; the second starts at a corner the first one found."""
    count = np.array([len(c) for c in candidates])
    corners = np.zeros((len(members), size), np.int64)
    for row, c in enumerate(candidates):
        corners[row, : len(c)] = c
    origin = np.zeros(len(members), np.int64)
    for turn in range(2):
        order = (np.arange(size)[None] + origin[:, None]) % count[:, None]
        rolled = np.take_along_axis(corners, order, 1)
        n = rings.count[members]
        rolled = rolled + np.where(order < origin[:, None], n[:, None], 0)
        # The last corner is the first one again, once around.
        position = np.concatenate((rolled, rolled[:, :1] + n[:, None]), 1)
        position[np.arange(len(members)), count] = rolled[:, 0] + n
        chosen, kind = _best_path(rings, members, position, count, directions[members], penalties, trim_m)
        if turn == 0:
            # Start again from the middle corner of the first solution.
            number = chosen.sum(1)
            middle = (np.cumsum(chosen, 1) == (number // 2 + 1)[:, None]).argmax(1)
            origin = (origin + middle) % count
    row, column = np.nonzero(chosen)
    return members[row], position[row, column] % rings.count[members[row]], kind[row, column]


def _best_path(rings, members, position, count, directions, penalties, trim_m):
    """Cheapest chain of walls from the first candidate around to itself.

    Returns:
        bool[B, M] chosen corners and int64[B, M] class of the wall that starts there.
    """
    b, m = position.shape[0], position.shape[1] - 1
    i, j = np.triu_indices(m + 1, 1)
    cost = _wall_costs(rings, members, position[:, i], position[:, j], directions, penalties, trim_m)
    kinds = cost.shape[2]
    table = np.full((b, m + 1, m + 1, kinds), np.inf)  # [ring, end, start, class]
    table[:, j, i] = cost
    best = np.full((b, m + 1, kinds), np.inf)
    # Cost of arriving at a corner in the cheapest way, given the class of the wall that goes on.
    ready = np.full((b, m + 1, kinds), np.inf)
    ready[:, 0] = 0.0
    came_from = np.zeros((b, m + 1, kinds), np.int64)
    came_kind = np.zeros((b, m + 1, kinds), np.int64)
    change = np.zeros((kinds, kinds))
    change[np.arange(kinds - 1), np.arange(kinds - 1)] = penalties.jog
    for end in range(1, m + 1):
        through = ready[:, :end] + table[:, end, :end]
        pick = through.argmin(1)
        best[:, end] = np.take_along_axis(through, pick[:, None], 1)[:, 0]
        came_from[:, end] = pick
        onward = best[:, end][:, :, None] + change
        came_kind[:, end] = onward.argmin(1)
        ready[:, end] = onward.min(1)
    chosen = np.zeros((b, m), bool)
    kind = np.zeros((b, m), np.int64)
    rows = np.arange(b)
    corner, now = count.copy(), best[rows, count].argmin(1)
    while (corner > 0).any():
        active = corner > 0
        start = came_from[rows, corner, now]
        chosen[rows[active], start[active]] = True
        kind[rows[active], start[active]] = now[active]
        now = np.where(active, came_kind[rows, start, now], now)
        corner = np.where(active, start, 0)
    return chosen, np.where(kind == kinds - 1, FREE, kind)


def _wall_costs(rings, members, start, end, directions, penalties, trim_m):
    """Cost of walls between pairs of candidates, float64[B, pairs, K + 1]; infinite where none is."""
    n = rings.count[members][:, None]
    step = rings.step_m[members][:, None]
    ring = np.broadcast_to(members[:, None], start.shape)
    good = (end > start) & (end - start <= n)
    end = np.where(good, end, start + 4)
    trim = np.round(trim_m / step).astype(np.int64)
    i, j = trimmed(start, end, trim)
    wrap = i >= n
    m, _, _, cxx, cxy, cyy = rings.piece_moments(ring, i - wrap * n, j - wrap * n)
    scale = (end - start) / m * step
    costs = []
    for k in range(directions.shape[1]):
        extra = penalties.wall + (penalties.kinds if k >= 2 else 0.0)
        costs.append(fixed_residual(cxx, cxy, cyy, directions[:, k][:, None]) * scale + extra)
    costs.append(free_residual(cxx, cxy, cyy) * scale + penalties.wall + penalties.free)
    return np.where(good[..., None], np.stack(costs, 2), np.inf)
