"""Bends that the outline does not show: one straight wall explains it nearly as well as two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .fits import FREE, Pieces, fixed_residual, free_residual, join_pieces, line_angle
from .rings import Rings

MAX_TURN_RAD = np.radians(20.0)
_LEAST_PIECES = 4


@dataclass(frozen=True)
class Significance:
    """What a bend must save in squared distance, integrated along the wall, to stay.

    The division by `divide_rings` weighs a bend against walls of other *classes*; this is the test
    of the bend alone: two walls against the best single one, whatever its direction.

    Attributes:
        bend: cubic metres, of any bend.
        lever_m: a bend whose shorter wall is shorter than this must save proportionally more: it
            lies close to another corner and says little.
        free: cubic metres a wall must save to leave its direction class, as in `Penalties`.
    """

    bend: float
    lever_m: float
    free: float


def drop_weak_bends(rings: Rings, pieces: Pieces, *, directions: np.ndarray, least: Significance) -> Pieces:
    """Join walls that meet in a bend the outline does not show, the weakest bend of a ring first.

    Args:
        directions: float64[R, K], radians, the directions of each ring's classes.

    Returns:
        The remaining pieces; no ring falls below four.
    """
    done: list[Pieces] = []
    while len(pieces.ring):
        strength, kind = _weigh(rings, pieces, directions, least)
        opens = np.flatnonzero(np.diff(pieces.ring, prepend=-1))
        size = np.diff(np.append(opens, len(pieces.ring)))
        group = np.repeat(np.arange(len(opens)), size)
        strength[size[group] <= _LEAST_PIECES] = np.inf
        weakest = np.minimum.reduceat(strength, opens)
        open_ = (weakest < 1.0)[group]
        done.append(pieces.take(~open_))
        # The first of equals, so that one bend goes at a time.
        drop = np.flatnonzero(open_ & (strength == weakest[group]))
        drop = drop[np.unique(group[drop], return_index=True)[1]]
        before, _ = pieces.neighbours()
        merged = pieces.kind.copy()
        merged[before[drop]] = kind[drop]
        open_[drop] = False
        pieces = Pieces(pieces.ring, pieces.start, merged).take(open_)
    return join_pieces(done)


def _weigh(
    rings: Rings, pieces: Pieces, directions: np.ndarray, least: Significance
) -> tuple[np.ndarray, np.ndarray]:
    """What the bend at the start of each piece saves, as a share of what it must; and the class of the joint wall."""
    ring, n = pieces.ring, rings.count[pieces.ring]
    before, after = pieces.neighbours()
    length = pieces.ends(rings) - pieces.start
    start = pieces.start[before] % n
    both = np.minimum(length[before] + length, n)
    step = rings.step_m[ring]
    cxx, cxy, cyy = rings.piece_moments(ring, pieces.start % n, pieces.start % n + length)[3:]
    alone, angle = free_residual(cxx, cxy, cyy) * step, line_angle(cxx, cxy, cyy)
    cxx, cxy, cyy = rings.piece_moments(ring, start, start + both)[3:]
    joint = free_residual(cxx, cxy, cyy) * step
    saved = joint - alone - alone[before]
    shorter = np.minimum(length, length[before]) * step
    needed = least.bend * np.maximum(1.0, least.lever_m / shorter)
    turn = np.abs((angle - angle[before] + np.pi / 2) % np.pi - np.pi / 2)
    # A direction class for the joint wall, where it costs little more than the direction of its own.
    kind = np.full(len(ring), FREE)
    if directions.shape[1]:
        classes = fixed_residual(cxx[:, None], cxy[:, None], cyy[:, None], directions[ring]) * step[:, None]
        nearest = classes.argmin(1)
        kind = np.where(classes[np.arange(len(ring)), nearest] - joint <= least.free, nearest, FREE)
    return np.where(turn < MAX_TURN_RAD, saved / needed, np.inf), kind
