"""Positional accuracy: corners of matched buildings paired one to one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from .boundaries import boundary_segments
from .masks import expand

CORNER_TURN_DEG = 10.0
"""A vertex is a corner where the outline turns by at least this much."""


@dataclass(frozen=True)
class CornerMatches:
    """Corners of pairs of polygons, matched one to one.

    Attributes:
        owner: int64[K], the pair each match belongs to, rising.
        predicted, reference: float64[K, 2], positions of the matched corners.
        predicted_count, reference_count: int64[N], corners of each pair's polygons.
    """

    owner: np.ndarray
    predicted: np.ndarray
    reference: np.ndarray
    predicted_count: np.ndarray
    reference_count: np.ndarray

    @property
    def shift(self) -> np.ndarray:
        """float64[K, 2]: predicted less reference, metres."""
        return self.predicted - self.reference


def find_corners(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices at which an outline turns by at least `CORNER_TURN_DEG`; holes included.

    Args:
        geometries: object[N] of polygons.

    Returns:
        float64[K, 2] positions and int64[K] owners, rising.
    """
    segments = boundary_segments(geometries)
    if not len(segments.owner):
        return np.empty((0, 2)), np.empty(0, np.int64)
    first = np.flatnonzero(np.diff(segments.ring, prepend=-1))
    last = np.append(first[1:], len(segments.ring)) - 1
    before = np.arange(len(segments.ring)) - 1
    before[first] = last
    direction = segments.end - segments.start
    arriving = direction[before]
    cross = arriving[:, 0] * direction[:, 1] - arriving[:, 1] * direction[:, 0]
    turn = np.abs(np.arctan2(cross, np.einsum("ij,ij->i", arriving, direction)))
    corner = turn >= np.radians(CORNER_TURN_DEG) - 1e-9
    return segments.start[corner], segments.owner[corner]


def match_corners(predicted: np.ndarray, reference: np.ndarray, *, gate_m: float) -> CornerMatches:
    """Pair the corners of matched polygons one to one with the least total distance.

    The Hungarian assignment with distances capped at `gate_m`; what ends at the cap stays unmatched.

    Args:
        predicted, reference: object[N], matched polygons, metres.
        gate_m: greatest distance of a pair of corners.
    """
    a, a_owner = find_corners(predicted)
    b, b_owner = find_corners(reference)
    owners = np.arange(len(predicted))
    a_low, a_high = np.searchsorted(a_owner, owners), np.searchsorted(a_owner, owners, side="right")
    b_low, b_high = np.searchsorted(b_owner, owners), np.searchsorted(b_owner, owners, side="right")
    # All combinations closer than the gate.
    i, j = expand(b_low[a_owner], b_high[a_owner])
    distance = np.hypot(*(a[i] - b[j]).T)
    near = distance < gate_m
    i, j, distance = i[near], j[near], distance[near]
    nearest = np.full(len(a), -1)
    order = np.lexsort((distance, i))
    each, where = np.unique(i[order], return_index=True)
    nearest[each] = j[order][where]
    # Where no two corners want the same partner, the nearest is the optimal assignment.
    wanted = np.bincount(nearest[nearest >= 0], minlength=len(b))
    contested = np.unique(b_owner[wanted > 1])
    for owner in contested:
        mine, theirs = slice(a_low[owner], a_high[owner]), slice(b_low[owner], b_high[owner])
        nearest[mine] = _assign(a[mine], b[theirs], gate_m, b_low[owner])
    found = np.flatnonzero(nearest >= 0)
    return CornerMatches(a_owner[found], a[found], b[nearest[found]], a_high - a_low, b_high - b_low)


def _assign(a: np.ndarray, b: np.ndarray, gate_m: float, offset: int) -> np.ndarray:
    """int64[len(a)]: `offset` plus the partner of each point, -1 for none."""
    cost = np.minimum(np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1)), gate_m)
    rows, cols = linear_sum_assignment(cost)
    partner = np.full(len(a), -1)
    good = cost[rows, cols] < gate_m
    partner[rows[good]] = cols[good] + offset
    return partner


def summarize_shifts(shift: np.ndarray, *, limit_m: float) -> dict[str, float | int | None]:
    """Systematic and random part of corner differences.

    ``RMSE_x^2 = mean(dx)^2 + std(dx)^2``; horizontal RMSE is ``sqrt(RMSE_x^2 + RMSE_y^2)``.

    Args:
        shift: float64[K, 2], metres.
        limit_m: shares are counted within it and within twice it.
    """
    count = len(shift)
    names = (
        "dx_m", "dy_m", "std_x_m", "std_y_m", "rmse_x_m", "rmse_y_m", "rmse_m",
        "p95_m", "max_m", "within_limit", "within_2limit",
    )  # fmt: skip
    if not count:
        return {"count": 0, **dict.fromkeys(names)}
    mean, std = shift.mean(axis=0), shift.std(axis=0)
    rmse = np.sqrt((shift**2).mean(axis=0))
    length = np.hypot(*shift.T)
    values = (
        *mean, *std, *rmse, np.hypot(*rmse), np.percentile(length, 95), length.max(),
        (length <= limit_m).mean(), (length <= 2 * limit_m).mean(),
    )  # fmt: skip
    return {"count": count, **{name: float(value) for name, value in zip(names, values, strict=True)}}


def mean_shift(matches: CornerMatches) -> np.ndarray:
    """float64[N, 2]: mean corner shift of each pair; NaN where less than half of the reference's corners matched.

    The few corners of a badly fitting outline that lie within the gate would say little of its shift.
    """
    count = len(matches.reference_count)
    matched = np.bincount(matches.owner, minlength=count)
    total = np.column_stack(
        [np.bincount(matches.owner, weights=matches.shift[:, axis], minlength=count) for axis in (0, 1)]
    )
    enough = (matched > 0) & (2 * matched >= matches.reference_count)
    return np.divide(total, matched[:, None], out=np.full((count, 2), np.nan), where=enough[:, None])
