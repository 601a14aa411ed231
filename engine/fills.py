"""Areas of one colour: margins filled with it are no-data that nobody declared."""

from __future__ import annotations

import cv2
import numpy as np

REACH_PX = 5
"""A metre, about as far as an outline may be off; farther than that it has nothing to do with what is seen."""
FLAT_RANGE = 2
"""Grey levels. Where no band changes by more within `REACH_PX`, there is no picture: the raster is filled with one
colour there (without saying that this is no-data), or over-exposed."""
FILL_SIDE_PX = 128
"""Of a square as large as the smallest fill. A large over-exposed roof is whole in one tile or another, and does not
touch the border there."""
_KERNEL = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)


def flat_areas(image: np.ndarray) -> np.ndarray:
    """bool[h, w], where an image, uint8[3, h, w], is of one colour all around."""
    flat = np.ones(image.shape[1:], bool)
    for band in image:
        flat &= cv2.subtract(cv2.dilate(band, _KERNEL), cv2.erode(band, _KERNEL)) <= FLAT_RANGE
    return flat


def filled_areas(image: np.ndarray, *, side_px: int = FILL_SIDE_PX) -> np.ndarray:
    """bool[h, w], where an image is filled with one colour instead of a picture.

    Args:
        image: uint8[3, h, w], a tile or a crop.
        side_px: a flat area counts from the square of it on, if half of it touches the image's border.
    """
    flat = flat_areas(image).astype(np.uint8)
    if np.count_nonzero(flat) < side_px**2:
        return np.zeros(flat.shape, bool)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    rim = np.concatenate((labels[0], labels[-1], labels[1:-1, 0], labels[1:-1, -1]))
    is_fill = (stats[:, cv2.CC_STAT_AREA] >= side_px**2) & (np.bincount(rim, minlength=count) >= side_px / 2)
    is_fill[0] = False
    return cv2.dilate(is_fill[labels].astype(np.uint8), _KERNEL).astype(bool)  # up to where the picture begins
