"""Buildings of one crop set down on the free land of another, with a shadow (Ghiasi et al. 2021)."""

from __future__ import annotations

import cv2
import numpy as np

from .crops import Crop

MOST = 6  # buildings pasted into one crop
MIN_PX = 40  # smaller ones are rarely whole
TRIES = 4  # places tried for each
CLEAR_PX = 2  # kept free around what stands already, so that pasted buildings stay apart


def paste_buildings(crop: Crop, other: Crop, rng: np.random.Generator) -> Crop:
    """`crop` with up to `MOST` whole buildings of `other` on its background.

    Buildings keep their own pixels and get one common shadow direction; nothing is pasted on buildings or
    on unknown land. Both crops have the same side and ground pixel.
    """
    image, labels = crop.image.copy(), crop.labels.copy()
    size = labels.shape[0]
    taken = cv2.dilate((labels != 0).astype(np.uint8), np.ones((2 * CLEAR_PX + 1,) * 2, np.uint8))
    angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 14.0)
    shadow = np.round(length * np.array([np.cos(angle), np.sin(angle)])).astype(int)
    depth = float(rng.uniform(0.3, 0.65))
    values = _whole(other.labels)
    label = max(int(labels.max(initial=0)), 0)
    for value in rng.permutation(values)[:MOST]:
        rows, cols = np.nonzero(other.labels == value)
        corner = np.array([rows.min(), cols.min()])
        height, width = rows.max() - corner[0] + 1, cols.max() - corner[1] + 1
        for _ in range(TRIES):
            place = rng.integers(0, [size - height + 1, size - width + 1])
            to_rows, to_cols = rows - corner[0] + place[0], cols - corner[1] + place[1]
            if not taken[to_rows, to_cols].any():
                break
        else:
            continue
        mask = np.zeros((size, size), np.uint8)
        mask[to_rows, to_cols] = 1
        _darken(image, mask, labels, shadow, depth)
        moved = np.zeros_like(image)
        moved[to_rows, to_cols] = other.image[rows, cols]
        soft = cv2.GaussianBlur(mask.astype(np.float32), (3, 3), 0)[..., None] * mask[..., None]
        image = (image * (1 - soft) + moved * soft).astype(np.uint8)
        label += 1
        labels[to_rows, to_cols] = label
        taken |= cv2.dilate(mask, np.ones((2 * CLEAR_PX + 1,) * 2, np.uint8))
    return Crop(image, labels)


def _whole(labels: np.ndarray) -> np.ndarray:
    """Values of the buildings that are neither tiny nor cut by the crop's border."""
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    counts = np.bincount(labels[labels > 0], minlength=1)
    return np.setdiff1d(np.flatnonzero(counts >= MIN_PX), border)


def _darken(image: np.ndarray, mask: np.ndarray, labels: np.ndarray, shadow: np.ndarray, depth: float) -> None:
    """Cast the shadow of `mask` onto the land beside it, not onto roofs."""
    steps = max(int(np.abs(shadow).max()), 1)
    cast = np.zeros_like(mask)
    for step in range(1, steps + 1):
        dy, dx = np.round(shadow * step / steps).astype(int)
        matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
        cast |= cv2.warpAffine(mask, matrix, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    cast[(mask > 0) | (labels > 0)] = 0
    soft = cv2.GaussianBlur(cast.astype(np.float32), (0, 0), 0.8)[..., None]
    image[:] = (image * (1 - depth * soft)).astype(np.uint8)
