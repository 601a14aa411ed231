"""Which polygons overlap, and by how much: exact areas of vector geometry."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import shapely
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

_CHUNK = 8192


@dataclass(frozen=True)
class Pairs:
    """Overlapping pairs of a predicted and a reference polygon, ordered by (predicted, reference).

    Attributes:
        predicted, reference: int64[K], indices into the two layers.
        intersection: float64[K], common area, more than 0.
        iou: float64[K], intersection over union, 0..1.
    """

    predicted: np.ndarray
    reference: np.ndarray
    intersection: np.ndarray
    iou: np.ndarray

    def __len__(self) -> int:
        return len(self.iou)

    def where(self, mask: np.ndarray) -> Pairs:
        """The pairs for which bool[K] `mask` holds."""
        return Pairs(self.predicted[mask], self.reference[mask], self.intersection[mask], self.iou[mask])

    def with_iou(self, iou: np.ndarray) -> Pairs:
        """The same pairs with another overlap measure in the place of IoU."""
        return Pairs(self.predicted, self.reference, self.intersection, iou)


def iou_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union, float64[N], of valid polygons pair by pair: object[N] each."""
    common = shapely.area(shapely.intersection(first, second))
    return common / (shapely.area(first) + shapely.area(second) - common)


def overlap_pairs(predicted: np.ndarray, reference: np.ndarray) -> Pairs:
    """All pairs with a common area: ``IoU = |A n B| / |A u B|`` on exact vector geometry.

    Args:
        predicted, reference: object[N], object[M] of valid polygons in one plane.
    """
    i, j = candidate_pairs(predicted, reference)
    common = intersection_area(predicted[i], reference[j])
    found = common > 0
    i, j, common = i[found], j[found], common[found]
    union = shapely.area(predicted)[i] + shapely.area(reference)[j] - common
    return Pairs(i, j, common, np.clip(common / union, 0.0, 1.0))


def candidate_pairs(predicted: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64[K], int64[K]: indices of pairs whose geometries touch or overlap, in order."""
    if not len(predicted) or not len(reference):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    i, j = shapely.STRtree(reference).query(predicted, predicate="intersects")
    order = np.lexsort((j, i))
    return i[order].astype(np.int64), j[order].astype(np.int64)


def intersection_area(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64[K]: common area of pairs, object[K] each."""
    return map_chunks(lambda part: shapely.area(shapely.intersection(a[part], b[part])), len(a))


def map_chunks(function: Callable[[slice], np.ndarray], count: int, *, size: int = _CHUNK) -> np.ndarray:
    """Apply `function` to slices of ``range(count)`` on all cores and join the results along axis 0.

    shapely and numpy let go of the interpreter lock, so threads are enough; the chunk bounds memory.
    """
    slices = [slice(start, min(start + size, count)) for start in range(0, count, size)] or [slice(0, 0)]
    if len(slices) == 1:
        return function(slices[0])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(function, slices)))


def self_overlaps(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of one layer that share area: int64[K], int64[K] with first < second, float64[K] area."""
    if not len(geometries):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    i, j = shapely.STRtree(geometries).query(geometries, predicate="intersects")
    i, j = i[i < j], j[i < j]
    common = intersection_area(geometries[i], geometries[j])
    found = common > 0
    return i[found], j[found], common[found]


def dissolve_overlaps(geometries: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Unite polygons that overlap each other, so that areas can be added up.

    Args:
        geometries: object[N].
        first, second: int64[K], the overlapping pairs.

    Returns:
        object[<= N] of polygons with disjoint interiors.
    """
    if not len(first):
        return geometries
    count = len(geometries)
    links = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(count, count))
    groups = connected_components(links, directed=False)[1]
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    members = np.split(order, starts[1:])
    return np.array(
        [geometries[m[0]] if len(m) == 1 else shapely.union_all(geometries[m]) for m in members], dtype=object
    )


@dataclass(frozen=True)
class Coverage:
    """Areas of two layers as wholes: predicted, reference, and common to both."""

    predicted: float
    reference: float
    common: float


def measure_coverage(
    predicted: np.ndarray,
    reference: np.ndarray,
    predicted_overlaps: tuple[np.ndarray, np.ndarray, np.ndarray],
    reference_overlaps: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> Coverage:
    """Areas of the unions of two layers and of their intersection.

    Args:
        predicted, reference: object[N], object[M].
        predicted_overlaps, reference_overlaps: of `self_overlaps`.
    """
    a = dissolve_overlaps(predicted, *predicted_overlaps[:2])
    b = dissolve_overlaps(reference, *reference_overlaps[:2])
    i, j = candidate_pairs(a, b)
    return Coverage(
        float(shapely.area(a).sum()), float(shapely.area(b).sum()), float(intersection_area(a[i], b[j]).sum())
    )
