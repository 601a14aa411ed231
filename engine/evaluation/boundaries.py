"""Polygon boundaries as flat arrays, and nearest points between them.

Thousands of pairs are measured in one numpy pass. "Owner" is the index of the pair a point or segment
belongs to; arrays are always ordered by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .masks import expand

_BLOCK = 1 << 16  # point-segment combinations held at once: stays in the processor's cache


@dataclass(frozen=True)
class Segments:
    """Directed boundary segments, none of zero length.

    Attributes:
        start, end: float64[K, 2].
        owner: int64[K], rising.
        ring: int64[K], rising; holes and parts have rings of their own.
        count: number of owners.
    """

    start: np.ndarray
    end: np.ndarray
    owner: np.ndarray
    ring: np.ndarray
    count: int

    @property
    def length(self) -> np.ndarray:
        """float64[K]."""
        return np.hypot(*(self.end - self.start).T)

    @property
    def direction(self) -> np.ndarray:
        """float64[K, 2], unit vectors."""
        return (self.end - self.start) / self.length[:, None]

    def vertices_per_owner(self) -> np.ndarray:
        """int64[N]: distinct vertices, the closing one not counted twice."""
        return np.bincount(self.owner, minlength=self.count)


@dataclass(frozen=True)
class Samples:
    """Points along boundaries, in ring order.

    Attributes:
        xy: float64[K, 2].
        owner: int64[K].
        vertex: bool[K], the point is a vertex.
        following: int64[K], index of the next point of the ring.
    """

    xy: np.ndarray
    owner: np.ndarray
    vertex: np.ndarray
    following: np.ndarray


def boundary_segments(geometries: np.ndarray) -> Segments:
    """Take the rings of polygons apart, object[N]."""
    parts, part_owner = shapely.get_parts(geometries, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    real = np.flatnonzero((ring[1:] == ring[:-1]) & (xy[1:] != xy[:-1]).any(axis=1))
    return Segments(xy[real], xy[real + 1], part_owner[ring_part[ring[real]]], ring[real], len(geometries))


def sample_boundaries(segments: Segments, *, spacing: np.ndarray) -> Samples:
    """Place points at every vertex and at most `spacing` apart between them.

    Args:
        segments: of N owners.
        spacing: float64[N], more than 0.
    """
    pieces = np.maximum(np.ceil(segments.length / spacing[segments.owner]).astype(np.int64), 1)
    each, step = expand(np.zeros(len(pieces), np.int64), pieces)
    share = (step / pieces[each])[:, None]
    xy = segments.start[each] * (1 - share) + segments.end[each] * share
    ring = segments.ring[each]
    following = np.arange(1, len(each) + 1)
    starts = np.flatnonzero(np.diff(ring, prepend=-1))
    following[np.append(starts[1:], len(ring))[: len(starts)] - 1] = starts
    return Samples(xy, segments.owner[each], step == 0, following)


def nearest_on_boundary(
    xy: np.ndarray, owner: np.ndarray, segments: Segments
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project points onto the boundary of their owner.

    Args:
        xy: float64[K, 2].
        owner: int64[K], rising.
        segments: at least one for every owner that has points.

    Returns:
        float64[K] distances, float64[K, 2] nearest points, int64[K] the segments they lie on.
    """
    low = np.searchsorted(segments.owner, owner)
    high = np.searchsorted(segments.owner, owner, side="right")
    ends = np.cumsum(high - low)
    distance, foot, where = np.empty(len(xy)), np.empty((len(xy), 2)), np.empty(len(xy), np.int64)
    first = 0
    while first < len(xy):
        done = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), first + 1)
        part = slice(first, last)
        distance[part], foot[part], where[part] = _nearest(xy[part], low[part], high[part], segments)
        first = last
    return distance, foot, where


def _nearest(
    xy: np.ndarray, low: np.ndarray, high: np.ndarray, segments: Segments
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    point, segment = expand(low, high)
    start = segments.start[segment]
    along = segments.end[segment] - start
    to_point = xy[point] - start
    share = np.einsum("ij,ij->i", to_point, along) / np.einsum("ij,ij->i", along, along)
    offset = np.clip(share, 0.0, 1.0)[:, None] * along - to_point
    squared = np.einsum("ij,ij->i", offset, offset)
    starts = np.cumsum(high - low) - (high - low)
    least = np.minimum.reduceat(squared, starts)
    # The first segment that attains the least distance.
    at = np.flatnonzero(squared == least[point])
    at = at[np.unique(point[at], return_index=True)[1]]
    return np.sqrt(least), xy + offset[at], segment[at]
