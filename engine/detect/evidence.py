"""Whether anything is to be seen of a building: margins filled with one colour are roofs to a network."""

from __future__ import annotations

import cv2
import numpy as np

from ...models.detector import Prediction

REACH_PX = 5
"""A metre, about as far as an outline may be off; farther than that it has nothing to do with what is seen."""
FLAT_RANGE = 2
"""Grey levels. Where no band changes by more within `REACH_PX`, there is no picture: the raster is filled with one
colour there (without saying that this is no-data), or over-exposed."""
LEAST_SEEN = 0.5
"""Share of an outline along which something must change."""


def flat_areas(image: np.ndarray) -> np.ndarray:
    """bool[h, w], where an image, uint8[3, h, w], is of one colour all around."""
    kernel = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)
    flat = np.ones(image.shape[1:], bool)
    for band in image:
        flat &= cv2.subtract(cv2.dilate(band, kernel), cv2.erode(band, kernel)) <= FLAT_RANGE
    return flat


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
