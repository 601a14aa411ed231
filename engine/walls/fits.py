"""Straight lines through pieces of rings, by total least squares or at a given direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .rings import Rings

FREE = -1
"""Direction class of a wall whose direction is its own."""


@dataclass(frozen=True)
class Pieces:
    """Pieces of rings, ring by ring in order around each ring.

    Attributes:
        ring: int64[S].
        start: int64[S], first sample of the piece; it ends where the next one of its ring starts.
        kind: int64[S], index into the ring's directions, or `FREE`.
    """

    ring: np.ndarray
    start: np.ndarray
    kind: np.ndarray

    def neighbours(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the previous and of the next piece of the same ring, int64[S] each."""
        return around(self.ring)

    def ends(self, rings: Rings) -> np.ndarray:
        """End of each piece, exclusive, int64[S]; greater than its start, counted around."""
        _, after = self.neighbours()
        n = rings.count[self.ring]
        return self.start + (self.start[after] - self.start - 1) % n + 1

    def take(self, where: np.ndarray) -> Pieces:
        """Some of the pieces, bool[S]."""
        return Pieces(self.ring[where], self.start[where], self.kind[where])


def join_pieces(parts: list[Pieces]) -> Pieces:
    """Pieces of different rings, in the order of the rings."""
    ring, start, kind = (np.concatenate(p) for p in zip(*((d.ring, d.start, d.kind) for d in parts)))
    order = np.argsort(ring, kind="stable")
    return Pieces(ring[order], start[order], kind[order])


def around(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the previous and of the next item of the same ring, for items sorted by ring."""
    index = np.arange(len(ring))
    opens = np.flatnonzero(np.diff(ring, prepend=-1))
    closes = np.append(opens[1:], len(ring))[: len(opens)] - 1
    before, after = index - 1, index + 1
    before[opens] = closes
    after[closes] = opens
    return before, after


def trimmed(start: np.ndarray, end: np.ndarray, trim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut `trim` samples off both ends, but leave at least half of the piece and two samples."""
    cut = np.minimum(trim, np.maximum((end - start) // 4, 0))
    cut = np.minimum(cut, np.maximum((end - start - 2) // 2, 0))
    return start + cut, end - cut


def line_angle(cxx: np.ndarray, cxy: np.ndarray, cyy: np.ndarray) -> np.ndarray:
    """Direction of the total-least-squares line, radians in (-pi/2, pi/2]."""
    return 0.5 * np.arctan2(2 * cxy, cxx - cyy)


def free_residual(cxx: np.ndarray, cxy: np.ndarray, cyy: np.ndarray) -> np.ndarray:
    """Sum of squared distances to the total-least-squares line."""
    return np.maximum((cxx + cyy) / 2 - np.hypot((cxx - cyy) / 2, cxy), 0.0)


def fixed_residual(cxx: np.ndarray, cxy: np.ndarray, cyy: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Sum of squared distances to the best line of a given direction."""
    c, s = np.cos(angle), np.sin(angle)
    return np.maximum(cxx * s * s - 2 * cxy * s * c + cyy * c * c, 0.0)


@dataclass(frozen=True)
class Lines:
    """One line per piece.

    Attributes:
        point: complex128[S], a point on it (the mean of its samples), relative to the ring's centre.
        along: complex128[S], unit direction in which the ring runs through it.
        length_m: float64[S], of the piece.
        residual: float64[S], mean squared distance of its samples, square metres.
    """

    point: np.ndarray
    along: np.ndarray
    length_m: np.ndarray
    residual: np.ndarray


def fit_lines(
    rings: Rings, pieces: Pieces, *, directions: np.ndarray, trim_m: float, stiffness: float = np.inf
) -> Lines:
    """Fit a line to every piece.

    Args:
        directions: float64[R, K], radians, the directions of each ring's classes.
        trim_m: left out at both ends, where corners are rounded.
        stiffness: cubic metres; a wall with a class turns from its direction towards that of its
            own samples as far as their second moment along the wall (its length cubed over 12)
            outweighs this: the likeliest direction if walls deviate a little from the frame.
    """
    ring, n = pieces.ring, rings.count[pieces.ring]
    start, end = pieces.start % n, pieces.ends(rings) - pieces.start + pieces.start % n
    trim = np.round(trim_m / rings.step_m[ring]).astype(np.int64)
    i, j = trimmed(start, end, trim)
    wrap = i >= n
    i, j = i - wrap * n, j - wrap * n
    m, mx, my, cxx, cxy, cyy = rings.piece_moments(ring, i, j)
    free = line_angle(cxx, cxy, cyy)
    if directions.shape[1]:
        classed = directions[ring, np.maximum(pieces.kind, 0)]
        if np.isfinite(stiffness):
            said = (cxx + cyy) * rings.step_m[ring]
            away = (free - classed + np.pi / 2) % np.pi - np.pi / 2
            classed = classed + away * said / (said + stiffness)
        angle = np.where(pieces.kind == FREE, free, classed)
    else:
        angle = free
    along = np.exp(1j * angle)
    chord = rings.at(ring, end - 1) - rings.at(ring, start)
    # Very short pieces have a chord of one point; their neighbours decide the sense then.
    along = np.where((chord * along.conj()).real < 0, -along, along)
    residual = fixed_residual(cxx, cxy, cyy, angle) / m
    return Lines(mx + 1j * my, along, (end - start) * rings.step_m[ring], residual)
