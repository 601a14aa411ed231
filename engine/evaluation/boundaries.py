"""Polygon boundaries as flat arrays, and nearest points between them.

Thousands of pairs are measured in one numpy pass. "Owner" is the index of the pair a point or segment
belongs to; arrays are always ordered by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .masks import expand

_MOST_COMBINATIONS = 1 << 15  # of points and segments of one polygon before a tree is faster
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
    where = np.empty(len(xy), np.int64)
    cost = np.bincount(owner, weights=high - low, minlength=segments.count)
    light = cost[owner] <= _MOST_COMBINATIONS
    where[light] = _try_all(xy[light], low[light], high[light], segments)
    for heavy in np.flatnonzero(cost > _MOST_COMBINATIONS):
        mine = slice(*np.searchsorted(owner, [heavy, heavy + 1]))
        first, last = low[mine.start], high[mine.start]
        where[mine] = first + _search(xy[mine], segments.start[first:last], segments.end[first:last])
    offset = _offset(xy, where, segments)
    return np.hypot(*offset.T), xy + offset, where


def _try_all(xy: np.ndarray, low: np.ndarray, high: np.ndarray, segments: Segments) -> np.ndarray:
    """int64[K]: nearest segment of each point among ``low .. high``; small polygons are fastest without an index."""
    where = np.empty(len(xy), np.int64)
    ends = np.cumsum(high - low)
    first = 0
    while first < len(xy):
        done = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), first + 1)
        point, segment = expand(low[first:last], high[first:last])
        offset = _offset(xy[first + point], segment, segments)
        squared = np.einsum("ij,ij->i", offset, offset)
        count = (high - low)[first:last]
        least = np.minimum.reduceat(squared, np.cumsum(count) - count)
        # The first segment that attains the least distance.
        at = np.flatnonzero(squared == least[point])
        where[first:last] = segment[at[np.unique(point[at], return_index=True)[1]]]
        first = last
    return where


def _search(xy: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """int64[K]: nearest segment of each point, by a tree; for outlines of hundreds of vertices."""
    tree = shapely.STRtree(shapely.linestrings(np.stack((start, end), axis=1)))
    return tree.query_nearest(shapely.points(xy), all_matches=False)[1]


def _offset(xy: np.ndarray, segment: np.ndarray, segments: Segments) -> np.ndarray:
    """float64[K, 2]: from each point to its nearest place on its segment."""
    start = segments.start[segment]
    along = segments.end[segment] - start
    to_point = xy - start
    share = np.einsum("ij,ij->i", to_point, along) / np.einsum("ij,ij->i", along, along)
    return np.clip(share, 0.0, 1.0)[:, None] * along - to_point
