"""Polygons as pixel masks: run lengths of the pixels whose centre lies inside.

Thousands of polygons are rasterised and intersected at once, as runs; no image is ever allocated, so the
extent of the layer does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .overlap import Pairs, candidate_pairs, map_chunks

_CHUNK = 4096


@dataclass(frozen=True)
class Runs:
    """Half-open pixel runs ``[start, stop)`` in a row, ordered by (owner, row, start).

    Attributes:
        owner: int64[K], index of the polygon.
        row, start, stop: int64[K].
        area: int64[N], pixels of each polygon.
    """

    owner: np.ndarray
    row: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    area: np.ndarray

    def mask(self, index: int, *, height: int, width: int) -> np.ndarray:
        """bool[height, width] of one polygon, cut to the image."""
        image = np.zeros((height, width), dtype=bool)
        mine = slice(*np.searchsorted(self.owner, [index, index + 1]))
        for row, start, stop in zip(self.row[mine], self.start[mine], self.stop[mine], strict=True):
            if 0 <= row < height:
                image[row, max(start, 0) : max(stop, 0)] = True
        return image


def rasterize(geometries: np.ndarray) -> Runs:
    """Rasterise polygons with the pixel-centre rule, holes and parts by even-odd.

    Args:
        geometries: object[N] of valid polygons in pixel coordinates, outer corner of pixel 0 at (0, 0).
    """
    chunks = map_chunks(
        lambda part: _as_table(_rasterize_chunk(geometries[part]), part.start), len(geometries), size=_CHUNK
    )
    owner, row, start, stop = chunks.T
    return Runs(owner, row, start, stop, _area(owner, start, stop, len(geometries)))


def _as_table(runs: Runs, first: int) -> np.ndarray:
    return np.column_stack((runs.owner + first, runs.row, runs.start, runs.stop))


def _area(owner: np.ndarray, start: np.ndarray, stop: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(owner, weights=stop - start, minlength=count).astype(np.int64)


def _rasterize_chunk(geometries: np.ndarray) -> Runs:
    parts, part_owner = shapely.get_parts(geometries, return_index=True)
    rings, ring_part = shapely.get_rings(parts, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    edge = np.flatnonzero(ring[1:] == ring[:-1])
    (x0, y0), (x1, y1) = xy[edge].T, xy[edge + 1].T
    owner = part_owner[ring_part[ring[edge]]]
    # The edge crosses the centre line of row r when min(y) <= r + 0.5 < max(y).
    top = np.ceil(np.minimum(y0, y1) - 0.5).astype(np.int64)
    count = np.ceil(np.maximum(y0, y1) - 0.5).astype(np.int64) - top
    each = np.repeat(np.arange(len(edge)), count)
    row = top[each] + np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count)
    slope = np.divide(x1 - x0, y1 - y0, out=np.zeros_like(x0), where=y1 != y0)
    x = x0[each] + (row + 0.5 - y0[each]) * slope[each]
    order = np.lexsort((x, row, owner[each]))
    owner, row, x = owner[each][order], row[order], np.ceil(x[order] - 0.5).astype(np.int64)
    filled = x[1::2] > x[::2]
    owner, row, start, stop = owner[::2][filled], row[::2][filled], x[::2][filled], x[1::2][filled]
    return Runs(owner, row, start, stop, _area(owner, start, stop, len(geometries)))


def mask_pairs(predicted_px: np.ndarray, reference_px: np.ndarray) -> Pairs:
    """Overlaps of the masks of two layers: all pairs with a common pixel.

    Only the masks of a few thousand pairs are held at once.

    Args:
        predicted_px, reference_px: object[N], object[M] of polygons in pixel coordinates.
    """
    i, j = candidate_pairs(predicted_px, reference_px)

    def measure(part: slice) -> np.ndarray:
        """float64[K, 3]: common, predicted and reference pixels."""
        mine, p = np.unique(i[part], return_inverse=True)
        theirs, r = np.unique(j[part], return_inverse=True)
        a, b = _rasterize_chunk(predicted_px[mine]), _rasterize_chunk(reference_px[theirs])
        return np.column_stack((_common_pixels(a, b, p, r), a.area[p], b.area[r]))

    common, p_area, r_area = map_chunks(measure, len(i), size=_CHUNK).T
    found = common > 0
    iou = common[found] / (p_area + r_area - common)[found]
    return Pairs(i[found], j[found], common[found], iou)


def _common_pixels(a: Runs, b: Runs, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """float64[K]: pixels common to polygon i of `a` and polygon j of `b`."""
    low, high = np.searchsorted(a.owner, i), np.searchsorted(a.owner, i + 1)
    pair, run = expand(low, high)
    base = min(a.row.min(initial=0), b.row.min(initial=0))
    rows = max(a.row.max(initial=0), b.row.max(initial=0)) - base + 1
    keys = b.owner * rows + b.row - base
    wanted = j[pair] * rows + a.row[run] - base
    candidate, other = expand(np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, side="right"))
    mine = run[candidate]
    shared = np.minimum(a.stop[mine], b.stop[other]) - np.maximum(a.start[mine], b.start[other])
    return np.bincount(pair[candidate], weights=np.maximum(shared, 0), minlength=len(i)).astype(float)


def expand(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Enumerate ranges: for k, all n of ``range(low[k], high[k])``, as int64[T] k and int64[T] n."""
    count = high - low
    which = np.repeat(np.arange(len(low)), count)
    return which, np.repeat(low - np.cumsum(count) + count, count) + np.arange(len(which))
