"""How much two outlines have in common, many pairs at a time."""

from __future__ import annotations

import numpy as np
import shapely

from .rings import as_complex, sample_rings

_PAIRS = 400_000  # sample-edge pairs worked on together


def compare_outlines(before: np.ndarray, after: np.ndarray, *, step_m: float) -> np.ndarray:
    """Intersection over union of outlines, pair by pair.

    The area between two outlines that run close to each other is the distance integrated along the
    walls; that is within 0.005 of the exact IoU and several times faster than overlaying outlines of
    hundreds of vertices. Pairs for which it is not good enough are overlaid.

    Args:
        before, after: arrays[P] of valid polygons; `after` may hold None.
        step_m: distance between samples.

    Returns:
        float64[P]; NaN for None.
    """
    given = np.flatnonzero(~shapely.is_missing(after))
    iou = np.full(len(before), np.nan)
    first, second = shapely.area(before), shapely.area(after)
    between = np.full(len(before), np.nan)
    simple = given[
        (shapely.get_num_interior_rings(before[given]) == 0) & (shapely.get_num_interior_rings(after[given]) == 0)
    ]
    if len(simple):
        between[simple] = _area_between(before[simple], after[simple], step_m)
        iou[simple] = (first + second - between)[simple] / (first + second + between)[simple]
    exact = given[~(iou[given] > 0.9)]
    overlap = shapely.area(shapely.intersection(before[exact], after[exact]))
    iou[exact] = overlap / (first[exact] + second[exact] - overlap)
    return iou


def _area_between(before: np.ndarray, after: np.ndarray, step_m: float) -> np.ndarray:
    """Distance of the ring of `before` to that of `after`, integrated along it, float64[P]."""
    rings = sample_rings(shapely.get_exterior_ring(before), step_m=step_m)
    xy, owner = shapely.get_coordinates(shapely.get_exterior_ring(after), return_index=True)
    z = as_complex(xy) - rings.centre[owner]
    begin = np.searchsorted(owner, np.arange(len(after) + 1))
    edges, samples = np.diff(begin) - 1, rings.count
    out = np.zeros(len(after))
    # Pairs with equal numbers of edges make rectangular arrays.
    for count in np.unique(edges):
        members = np.flatnonzero(edges == count)
        chunk = max(1, int(_PAIRS // (count * samples[members].max())))
        for k in range(0, len(members), chunk):
            part = members[k : k + chunk]
            corner = z[begin[part][:, None] + np.arange(count + 1)]
            ring = np.repeat(np.arange(len(part)), samples[part])
            opens = np.cumsum(samples[part]) - samples[part]
            index = np.arange(len(ring)) - opens[ring] + rings.first[part][ring]
            after_, before_ = index + 1, index - 1
            closes = opens + samples[part] - 1
            after_[closes], before_[opens] = index[opens], index[closes]
            travel = (rings.xy[after_] - rings.xy[before_]) / 2
            strips = _strips_to_edges(rings.xy[index], travel, corner.T, ring)
            out[part] = np.add.reduceat(strips, opens)
    return out


def _strips_to_edges(point: np.ndarray, travel: np.ndarray, corner: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Area of the strips between the outline at points and the nearest edge of their ring.

    Args:
        point, travel: complex128[N], samples and the way from one to the next.
        corner: complex128[E + 1, P], corners; those of a point are ``corner[:, ring]``.

    Returns:
        float64[N]: distance times the way along the edge. The steps of a pixel outline that run
        towards the edge or away from it count nothing.
    """
    edges = np.diff(corner, axis=0)
    length = np.maximum(np.abs(edges), 1e-9)
    along = (edges / length).conj()
    nearest, which = np.full(len(point), np.inf), np.zeros(len(point), np.int64)
    for number, (turn, start, size) in enumerate(zip(along, corner, length)):
        # In the frame of the edge: how far along it, and how far off.
        seen = (point - start[ring]) * turn[ring]
        beyond = seen.real - np.clip(seen.real, 0.0, size[ring])
        squared = beyond * beyond + seen.imag * seen.imag
        which[squared < nearest] = number
        np.minimum(nearest, squared, out=nearest)
    return np.sqrt(nearest) * np.abs((travel * along[which, ring]).real)
