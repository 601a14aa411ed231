"""From "this pixel is a building" to buildings: connected parts, taken apart where roofs touch."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from ...models.detector import Prediction

MIN_PX = 20
"""Fewer pixels are noise, as in training."""

MARGIN_PX = 2
"""Pixels kept around a mask, so that its contour runs between pixels."""

CORE = 0.8
"""Probability of a core. Of 0.5 to 0.8 the best on validation areas: more parts of one roof are joined again by it
than small roofs are lost, as these stay with their connected part."""

NECK_PX = 4.0
"""Without a learnt core: two parts whose widths exceed that of the neck between them by twice this are two."""


def split_buildings(interior: np.ndarray, edge: np.ndarray | None, core: np.ndarray | None) -> list[Prediction]:
    """Buildings of one tile, best first; holes stay holes.

    Pixels of at least half probability are buildings. A connected part that holds several cores is divided
    among them by a watershed that runs along the learnt rims; where the network answers the interior alone, the
    cores are the places farthest from the outline.

    Args:
        interior: float32[H, W] probability of building.
        edge: float32[H, W] probability of an outline within two pixels, or None.
        core: float32[H, W] probability of building away from its outline, or None.

    Returns:
        Predictions whose score is the mean probability of their pixels. To each of them, the pixels of a
        neighbour have the probability of not being the neighbour's.
    """
    probability = np.rint(interior * 255).astype(np.uint8)
    found = []
    for (left, top), labels in _parts(probability, edge, core):
        for value in range(1, int(labels.max()) + 1):
            mask = labels == value
            if np.count_nonzero(mask) >= MIN_PX:
                found.append(_prediction(probability, mask, left, top))
    return sorted(found, key=lambda p: (-p.score, p.box))


def _parts(
    probability: np.ndarray, edge: np.ndarray | None, core: np.ndarray | None
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """Connected parts: place ``(x, y)`` of their crop, and its labels int32[h, w], 0 outside, 1..n buildings."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats((probability >= 128).astype(np.uint8), connectivity=4)
    for value in range(1, count):
        x, y, width, height, area = (int(v) for v in boxes[value])
        if area < MIN_PX:
            continue
        window = np.s_[y : y + height, x : x + width]
        part = labels[window] == value
        if core is not None and edge is not None:
            markers, walls = _label(part & (core[window] >= CORE)), edge[window]
        else:
            markers, walls = _farthest(part)
        several = markers.max() > 1
        yield (x, y), watershed(walls, markers, mask=part) if several else part.astype(np.int32)


def _label(seeds: np.ndarray) -> np.ndarray:
    """Connected seeds as int32 labels; specks under the smallest building do not count."""
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(seeds.astype(np.uint8), connectivity=4)
    small = np.flatnonzero(boxes[:, cv2.CC_STAT_AREA] < MIN_PX)
    if not len(small):
        return labels
    rank = np.cumsum(~np.isin(np.arange(count), small)) - 1
    rank[small] = 0
    return rank.astype(np.int32)[labels]


def _farthest(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Markers at the places farthest from the outline, and the surface the watershed floods."""
    distance = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    if distance.max() <= NECK_PX:
        return part.astype(np.int32), -distance
    # h_maxima of scikit-image marks both of two equal summits however high the pass between them
    summits = local_maxima(reconstruction(distance - NECK_PX, distance))
    _, markers = cv2.connectedComponents(summits.astype(np.uint8), connectivity=8)
    return markers, -distance


def _prediction(probability: np.ndarray, mask: np.ndarray, left: int, top: int) -> Prediction:
    """The prediction of a mask, bool[h, w], whose first pixel is at ``(left, top)``."""
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x0, y0 = max(left + int(cols[0]) - MARGIN_PX, 0), max(top + int(rows[0]) - MARGIN_PX, 0)
    x1 = min(left + int(cols[-1]) + 1 + MARGIN_PX, probability.shape[1])
    y1 = min(top + int(rows[-1]) + 1 + MARGIN_PX, probability.shape[0])
    inside = np.zeros((y1 - y0, x1 - x0), bool)
    own = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
    row, col = top + int(rows[0]) - y0, left + int(cols[0]) - x0
    inside[row : row + own.shape[0], col : col + own.shape[1]] = own
    crop = probability[y0:y1, x0:x1]
    score = float(crop[inside].mean()) / 255
    return Prediction((x0, y0, x1, y1), np.where(inside, crop, np.minimum(crop, 255 - crop)), score)
