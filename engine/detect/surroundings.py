"""What a network is shown where the raster shows nothing.

Its group normalisation takes mean and variance over all that it is shown, so that black areas change what it makes of
the rest, and borders of black look like walls. Mirror images of the raster change neither.
"""

from __future__ import annotations

import cv2
import numpy as np


def surround(image: np.ndarray, valid: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """An image at a size at least its own, with mirror images of its valid pixels at all the others.

    A pixel is mirrored at the valid one nearest to it; where there is none to be seen in that mirror, it gets the
    colour of the nearest one.

    Args:
        image: uint8[3, h, w].
        valid: bool[h, w].
        height, width: of the result; what is added lies below and to the right.

    Returns:
        uint8[3, height, width]; black where nothing is valid at all.
    """
    rows, cols = valid.shape
    known = np.zeros((height, width), bool)
    known[:rows, :cols] = valid
    if known.all():
        return image
    filled = np.zeros((3, height, width), np.uint8)
    filled[:, :rows, :cols] = image
    if not known.any():
        return filled
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    place = np.zeros((int(labels.max()) + 1, 2), np.int64)
    place[labels[known]] = np.argwhere(known)
    here = np.argwhere(~known)
    nearest = place[labels[~known]]
    mirrored = 2 * nearest - here
    inside = ((mirrored >= 0) & (mirrored < (height, width))).all(1)
    inside[inside] = known[tuple(mirrored[inside].T)]
    source = np.where(inside[:, None], mirrored, nearest)
    filled[:, here[:, 0], here[:, 1]] = filled[:, source[:, 0], source[:, 1]]
    return filled
