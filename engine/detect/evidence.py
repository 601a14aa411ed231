"""What a raster shows where it is of one colour: margins filled with it are no-data that nobody declared, and of a
building something must be seen."""

from __future__ import annotations

import cv2
import numpy as np

from ...models.detector import Prediction

REACH_PX = 5
"""A metre, about as far as an outline may be off; farther than that it has nothing to do with what is seen."""
FLAT_RANGE = 2
"""Grey levels. Where no band changes by more within `REACH_PX`, there is no picture: the raster is filled with one
colour there (without saying that this is no-data), or over-exposed."""
FILL_PX, FILL_RIM_PX = 128**2, 64
"""A flat area so large that touches the border of its tile on so many pixels is a fill. A large over-exposed roof is
whole in one tile or another, and does not touch the border there."""
LEAST_SEEN = 0.5
"""Share of an outline along which something must change."""


def flat_areas(image: np.ndarray) -> np.ndarray:
    """bool[h, w], where an image, uint8[3, h, w], is of one colour all around."""
    kernel = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)
    flat = np.ones(image.shape[1:], bool)
    for band in image:
        flat &= cv2.subtract(cv2.dilate(band, kernel), cv2.erode(band, kernel)) <= FLAT_RANGE
    return flat


def filled_areas(image: np.ndarray) -> np.ndarray:
    """bool[h, w], where a tile, uint8[3, h, w], is filled with one colour instead of a picture."""
    flat = flat_areas(image).astype(np.uint8)
    if np.count_nonzero(flat) < FILL_PX:
        return np.zeros(flat.shape, bool)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    rim = np.concatenate((labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]))
    is_fill = (stats[:, cv2.CC_STAT_AREA] >= FILL_PX) & (np.bincount(rim, minlength=count) >= FILL_RIM_PX)
    is_fill[0] = False
    kernel = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)
    return cv2.dilate(is_fill[labels].astype(np.uint8), kernel).astype(bool)  # up to where the picture begins


def has_visible_outline(prediction: Prediction, flat: np.ndarray, valid: np.ndarray) -> bool:
    """Whether enough of a predicted outline runs where the image changes.

    Args:
        flat: of the tile, from `flat_areas`.
        valid: bool[h, w]; where the raster holds nothing, nothing speaks against a building either.
    """
    x0, y0, x1, y1 = prediction.box
    mask = (prediction.probability >= 128).astype(np.uint8)
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    outline = (mask > inside) & valid[y0:y1, x0:x1]
    seen = outline & ~flat[y0:y1, x0:x1]
    return not outline.any() or bool(seen.sum() >= LEAST_SEEN * outline.sum())
