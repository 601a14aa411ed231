"""The directions a building is built in: continuous, robust, softly shared with its neighbours."""

from __future__ import annotations

import numpy as np
import shapely

_SPREAD = np.radians(4.0)
_ROUNDS = 6


def dominant_directions(owner: np.ndarray, edge: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Direction of the right-angled frame of each polygon.

    A circular mean of four times the angle of the walls, weighted by length cubed (the inverse
    variance of a fitted line's direction) and made robust by weights that fall off with the
    deviation (a Cauchy-like estimator, a few rounds from the plain mean).

    Args:
        owner: int64[E], polygon of each wall.
        edge: complex128[E], vectors of the walls.
        count: number of polygons.

    Returns:
        float64[count] radians in (-pi/4, pi/4], and float64[count] agreement 0..1: the share of the
        weight that points along the frame.
    """
    length = np.abs(edge)
    weight = length**3
    fourfold = np.where(length > 0, edge / np.where(length > 0, length, 1), 1) ** 4
    angle = np.angle(fourfold) / 4
    total = np.bincount(owner, weight, count)
    mean = _sum(owner, weight * fourfold, count)
    for _ in range(_ROUNDS):
        frame = np.angle(mean) / 4
        away = (angle - frame[owner] + np.pi / 4) % (np.pi / 2) - np.pi / 4
        mean = _sum(owner, weight * fourfold / (1 + (away / _SPREAD) ** 2) ** 2, count)
    agreement = np.abs(mean) / np.maximum(total, 1e-12)
    return np.angle(mean) / 4, agreement


def share_directions(
    polygons: np.ndarray,
    frame: np.ndarray,
    weight: np.ndarray,
    *,
    reach_m: float,
    tolerance_rad: float,
    strength: float,
) -> np.ndarray:
    """Pull the frame of each building softly towards those of its neighbours.

    A neighbour counts with its weight times `strength`, falling off with distance and with the
    deviation of its frame from this building's, so that a house across the street at another angle
    has no say.

    Args:
        weight: float64[P], trust in each building's own frame.
        reach_m: distance between centres at which a neighbour's say has fallen to exp(-1).
        tolerance_rad: deviation of frames at which it has.

    Returns:
        float64[P], radians.
    """
    if len(polygons) < 2 or strength <= 0:
        return frame
    centre = shapely.get_coordinates(shapely.centroid(polygons))
    tree = shapely.STRtree(shapely.points(centre))
    a, b = tree.query(shapely.points(centre), predicate="dwithin", distance=2 * reach_m)
    apart = np.hypot(*(centre[a] - centre[b]).T)
    turn = (frame[b] - frame[a] + np.pi / 4) % (np.pi / 2) - np.pi / 4
    say = weight[b] * np.where(a == b, 1.0, strength * np.exp(-((apart / reach_m) ** 2) - (turn / tolerance_rad) ** 2))
    return frame + np.bincount(a, say * turn, len(frame)) / np.maximum(np.bincount(a, say, len(frame)), 1e-12)


def _sum(owner: np.ndarray, value: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(owner, value.real, count) + 1j * np.bincount(owner, value.imag, count)
