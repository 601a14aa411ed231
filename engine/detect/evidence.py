"""Whether anything is to be seen of a building: an area of one colour is a roof to a network."""

from __future__ import annotations

import cv2
import numpy as np

from ...models.detector import Prediction

LEAST_SEEN = 0.5
"""Share of an outline along which something must change."""


def has_visible_outline(prediction: Prediction, flat: np.ndarray, valid: np.ndarray) -> bool:
    """Whether enough of a predicted outline runs where the image changes.

    Args:
        flat: of the tile, from `fills.flat_areas`.
        valid: bool[h, w]; where the raster holds nothing, nothing speaks against a building either.
    """
    x0, y0, x1, y1 = prediction.box
    mask = (prediction.probability >= 128).astype(np.uint8)
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    outline = (mask > inside) & valid[y0:y1, x0:x1]
    seen = outline & ~flat[y0:y1, x0:x1]
    return not outline.any() or bool(seen.sum() >= LEAST_SEEN * outline.sum())
