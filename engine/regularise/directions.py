"""The directions a building is built in: continuous, robust, softly shared with its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import shapely

from ..walls.rings import as_complex, sample_rings

_CHORD_SPREADS = np.radians(np.linspace(15.0, 8.0, 6))  # more rounds, or stricter ones, end farther off
CHORD = 12
"""Length of a chord in quarters of the tolerance."""
_SPREAD = np.radians(4.0)
_ROUNDS = 6
_SHARED_RAD = np.radians(2.0)
_CHUNK = 20_000  # buildings whose neighbours are in memory together
_BLOCK = 2_000  # buildings whose chords are in memory together; each has hundreds
_FEW = 100  # buildings whose chords are averaged together: they stay in the processor's cache


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
    pull = weight * fourfold
    mean = _sum(owner, pull.real, pull.imag, count)
    for _ in range(_ROUNDS):
        trust = 1 / (1 + (_apart(angle, (np.angle(mean) / 4)[owner]) / _SPREAD) ** 2) ** 2
        mean = _sum(owner, trust * pull.real, trust * pull.imag, count)
    agreement = np.abs(mean) / np.maximum(total, 1e-12)
    return np.angle(mean) / 4, agreement


def estimate_frames(
    polygons: np.ndarray, *, tolerance_m: float, each: Callable[..., Iterable] = map
) -> tuple[np.ndarray, np.ndarray]:
    """A first guess of the frame of each polygon, from chords of its outline.

    The mean direction of chords three tolerances long, one for every half of a tolerance, with
    weights that turn from forgiving to strict. The edges of a Douglas-Peucker simplification run
    between extremes of the noise: for small buildings they are off three times as far.

    Returns:
        float64[P] radians, and float64[P] trust in it: the sum of wall lengths cubed that agree.
    """
    blocks = [polygons[low : low + _BLOCK] for low in range(0, len(polygons), _BLOCK)]
    found = each(lambda block: np.array(_estimate_block(block, tolerance_m)), blocks)
    frame, trust = np.concatenate([np.zeros((2, 0)), *found], axis=1)
    return frame, trust


def _estimate_block(polygons: np.ndarray, tolerance_m: float) -> tuple[np.ndarray, np.ndarray]:
    chord, ring, polygon = _chords(polygons, tolerance_m)
    owner = polygon[ring]
    opens = np.searchsorted(owner, np.arange(0, len(polygons) + _FEW, _FEW))
    frame = np.concatenate([
        _mean_direction(owner[low:high] - k * _FEW, chord[low:high], min(_FEW, len(polygons) - k * _FEW))
        for k, (low, high) in enumerate(zip(opens[:-1], opens[1:])) if k * _FEW < len(polygons)
    ])  # fmt: skip
    simple = shapely.simplify(polygons, 0.85 * tolerance_m, preserve_topology=False)
    owner, edge = polygon_edges(simple)
    away = _apart(np.angle(edge), frame[owner])
    return frame, np.bincount(owner, np.abs(edge) ** 3 / (1 + (away / _SPREAD) ** 2) ** 2, len(polygons))


def _mean_direction(owner: np.ndarray, chord: np.ndarray, count: int) -> np.ndarray:
    """Robust mean of the directions of each owner's chords modulo a quarter turn, float64[count] radians."""
    squared = chord * chord
    # Weight times the direction four times turned, in two arrays: this is where most of the time goes.
    pull = squared * squared / np.maximum(np.abs(squared), 1e-12)
    x, y, angle = pull.real.copy(), pull.imag.copy(), np.angle(pull) / 4
    mean = _sum(owner, x, y, count)
    for spread in _CHORD_SPREADS:
        trust = 1 / (1 + (_apart(angle, (np.angle(mean) / 4)[owner]) / spread) ** 2) ** 2
        mean = _sum(owner, trust * x, trust * y, count)
    return np.angle(mean) / 4


def _chords(polygons: np.ndarray, tolerance_m: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Chords between means of two samples, complex128[N], the ring of each, and the polygon of each ring."""
    lines, polygon = shapely.get_rings(polygons, return_index=True)
    rings = sample_rings(lines, step_m=tolerance_m / 4)
    number = (rings.count + 1) // 2
    ring = np.repeat(np.arange(len(number)), number)
    at = 2 * (np.arange(len(ring)) - np.repeat(np.cumsum(number) - number, number))
    # A chord of a sixth of the way round still lies along one wall of a small house.
    half = np.clip(rings.count // 12, 1, CHORD // 2)[ring]
    ends = [rings.at(ring, k) + rings.at(ring, k + 1) for k in (at - half, at + half)]
    return (ends[1] - ends[0]) / 2, ring, polygon


def _apart(angle: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Angle off the nearest axis of a right-angled frame, in [-pi/4, pi/4]."""
    apart = angle - frame
    return apart - np.pi / 2 * np.rint(apart / (np.pi / 2))  # three times as fast as a remainder


def share_frames(
    polygons: np.ndarray, frame: np.ndarray, trust: np.ndarray, *, reach_m: float = 30.0, strength: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """What the neighbours say about the frame of each building.

    A neighbour counts with its trust times `strength`, falling off with distance and with the
    deviation of its frame, so that a house at another angle has no say, and a row of houses along a
    street agrees.

    Args:
        reach_m: distance between centres at which a neighbour's say has fallen to exp(-1).
        strength: 0 for none.

    Returns:
        float64[P] frames with the neighbours' say, and float64[P] the weight of it, of the kind of
        `trust`.
    """
    points = shapely.centroid(polygons)
    centre, tree = shapely.get_coordinates(points), shapely.STRtree(points)
    count = len(frame)
    total, pull = np.zeros(count), np.zeros(count)
    for low in range(0, count, _CHUNK):
        a, b = tree.query(points[low : low + _CHUNK], predicate="dwithin", distance=1.5 * reach_m)
        a += low
        apart = np.hypot(*(centre[a] - centre[b]).T)
        turn = (frame[b] - frame[a] + np.pi / 4) % (np.pi / 2) - np.pi / 4
        say = trust[b] * strength * np.exp(-((apart / reach_m) ** 2) - (turn / _SHARED_RAD) ** 2)
        say[a == b] = 0.0
        total += np.bincount(a, say, count)
        pull += np.bincount(a, say * turn, count)
    # However many neighbours there are, a building's own walls keep the majority.
    weight = np.minimum(total, 5 * strength * trust)
    damp = weight / np.maximum(total, 1e-12)
    return frame + damp * pull / np.maximum(trust + weight, 1e-12), weight


def polygon_edges(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygon, int64[E], and vector, complex128[E], of every edge of all rings."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    z = as_complex(xy)
    inner = ring[1:] == ring[:-1]
    return polygon[ring[1:][inner]], np.diff(z)[inner]


def _sum(owner: np.ndarray, x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
    """The sum of vectors of each owner, complex128[count]."""
    return np.bincount(owner, x, count) + 1j * np.bincount(owner, y, count)
