"""Outlines drawn by people, made ready to be learnt from; whatever cannot be used is counted by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import shapely
from rasterio.features import rasterize

from ..contracts import Box

SMALLEST_PX = 16  # on a chip; smaller outlines teach noise
VISIBLE_SHARE = 0.5  # of a building that must show on a chip; of less nothing is known
KNOWN_SHARE = 0.5  # of a building that must lie in the annotated area


@dataclass
class Annotations:
    """Single polygons in the CRS of their layer.

    Attributes:
        polygons: object[N] of valid shapely polygons, holes kept.
        features: int64[N], number of the feature each comes from.
        counts: what was read, repaired and split.
        skipped: reason -> feature numbers that cannot be used.
    """

    polygons: np.ndarray
    features: np.ndarray
    counts: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, list[int]] = field(default_factory=dict)

    def skip(self, reason: str, features: np.ndarray) -> None:
        """Note features that are not used."""
        if len(features):
            known = self.skipped.setdefault(reason, [])
            self.skipped[reason] = sorted({*known, *(int(f) for f in features)})


def clean_annotations(geometries: np.ndarray) -> Annotations:
    """Repair and split what a person drew.

    Args:
        geometries: object[N] of anything a vector layer may hold.
    """
    result = Annotations(np.zeros(0, object), np.zeros(0, np.int64))
    numbers = np.arange(len(geometries))
    geometries = shapely.force_2d(geometries)
    empty = shapely.is_missing(geometries) | shapely.is_empty(geometries)
    result.skip("empty geometry", numbers[empty])
    endless = ~empty & ~np.isfinite(shapely.bounds(geometries)).all(axis=1)
    result.skip("coordinates that are no numbers", numbers[endless])
    kinds = shapely.get_type_id(geometries)
    flat = ~empty & ~endless & np.isin(kinds, (3, 6, 7))
    result.skip("not a polygon", numbers[~empty & ~endless & ~flat])
    geometries, numbers = geometries[flat], numbers[flat]
    invalid = ~shapely.is_valid(geometries)
    geometries = np.where(invalid, shapely.make_valid(geometries), geometries)
    parts, owner = _polygons(geometries)
    lost = np.setdiff1d(np.arange(len(numbers)), owner)
    result.skip("encloses no area", numbers[lost])
    result.polygons, result.features = parts, numbers[owner]
    result.counts.update(
        features=len(kinds),
        repaired=int(invalid.sum()) - int(np.isin(lost, np.flatnonzero(invalid)).sum()),
        multi_part=int((np.bincount(owner, minlength=1) > 1).sum()),
        with_holes=int((shapely.get_num_interior_rings(parts) > 0).sum()) if len(parts) else 0,
        polygons=len(parts),
    )
    return result


def _polygons(geometries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All single polygons with an area in geometries of any nesting, and the index each comes from."""
    owner = np.arange(len(geometries))
    for _ in range(3):  # a repaired collection may hold multi-polygons
        geometries, index = shapely.get_parts(geometries, return_index=True)
        owner = owner[index]
    kept = (shapely.get_type_id(geometries) == 3) & (shapely.area(geometries) > 0)
    return geometries[kept], owner[kept]


NONE = np.zeros(0, object)


class Drawing:
    """What is known on one raster, on its working grid.

    Args:
        outlines: object[N] of polygons, pixels.
        known: polygon inside which every building is outlined; None for everywhere.
        negatives: object[M] of polygons that are no building, wherever they lie.
        margin_px: ground this far around them is known, too.
    """

    def __init__(
        self, outlines: np.ndarray, known: shapely.Geometry | None, negatives: np.ndarray = NONE, *,
        margin_px: float = 0.0,
    ) -> None:  # fmt: skip
        self.known, self.outlines, self.negatives = known, outlines, negatives
        self._ground = shapely.buffer(negatives, margin_px)
        self._marks = shapely.STRtree(self._ground)
        self.areas = shapely.area(outlines)
        self.inside = np.ones(len(outlines), bool)
        if known is not None:
            shapely.prepare(known)
            self.inside = shapely.area(shapely.intersection(outlines, known)) >= KNOWN_SHARE * self.areas
        self._tree = shapely.STRtree(outlines)

    def near(self, box: Box) -> np.ndarray:
        """int64[K] indices of the outlines that touch a window."""
        return self._tree.query(shapely.box(*box), predicate="intersects")

    def is_wanted(self, box: Box) -> bool:
        """Whether anything is known in a window."""
        window = shapely.box(*box)
        return self.known is None or bool(shapely.intersects(self.known, window)) or len(self.marks_near(box)) > 0

    def marks_near(self, box: Box) -> np.ndarray:
        """int64[K] indices of the places marked as no building that touch a window."""
        return self._marks.query(shapely.box(*box), predicate="intersects")

    def draw_negatives(self, box: Box, labels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Masks bool[H, W] of what is marked as no building in a window, where it is ground in `labels`, and
        int64[K] which they are."""
        masks, shown = [], []
        for index in self.marks_near(box):
            mask = (_fill(self.negatives[index], box, labels.shape) > 0) & (labels == 0)
            if mask.sum() >= max(VISIBLE_SHARE * shapely.area(self.negatives[index]), SMALLEST_PX):
                masks.append(mask)
                shown.append(int(index))
        return masks, np.asarray(shown, np.int64)

    def draw(self, box: Box, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels of a window.

        Args:
            box: on the working grid.
            valid: bool[H, W]; elsewhere nothing is known.

        Returns:
            int32[H, W] labels (0 background, 1..n buildings, -1 unknown), and int64[n] indices of the outlines
            they stand for.
        """
        x0, y0, x1, y1 = box
        shape = (y1 - y0, x1 - x0)
        labels = np.zeros(shape, np.int32)
        if self.known is not None:
            labels[_fill(shapely.intersection(self.known, shapely.box(*box)), box, shape) == 0] = -1
            for index in self.marks_near(box):
                labels[_fill(self._ground[index], box, shape) > 0] = 0
        near = self.near(box)
        shown: list[int] = []
        # large first, so that a small building drawn over a large one survives
        for index in near[np.argsort(-self.areas[near], kind="stable")]:
            mask = _fill(self.outlines[index], box, shape) > 0
            usable = self.inside[index] and (mask & valid).sum() >= max(
                VISIBLE_SHARE * self.areas[index], SMALLEST_PX
            )
            labels[mask] = len(shown) + 1 if usable else -1
            if usable:
                shown.append(int(index))
        labels[~valid] = -1
        return _number_anew(labels, shown)


def _fill(geometry: shapely.Geometry, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """uint8[H, W], 1 where a pixel's centre lies inside."""
    if geometry.is_empty:
        return np.zeros(shape, np.uint8)
    return rasterize([shapely.transform(geometry, lambda xy: xy - box[:2])], shape, dtype=np.uint8)


def _number_anew(labels: np.ndarray, shown: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Labels without gaps; what others cover almost whole is unknown."""
    counts = np.bincount(labels[labels > 0], minlength=len(shown) + 1)
    kept = np.flatnonzero(counts >= SMALLEST_PX)
    lookup = np.full(len(shown) + 2, -1, np.int32)  # the last entry is that of label -1
    lookup[0] = 0
    lookup[kept] = np.arange(1, len(kept) + 1)
    return lookup[labels], np.asarray(shown, np.int64)[kept - 1]
