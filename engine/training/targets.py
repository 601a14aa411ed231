"""Crops to what the losses want: boxes, masks, unknown areas and the dense head's fields."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from .chips import UNKNOWN
from .crops import Crop

MIN_VISIBLE_PX = 20  # a building of which less is left in the crop is unknown, not background
DENSE_STRIDE = 4


def detector_target(crop: Crop) -> dict[str, torch.Tensor]:
    """``boxes`` float[N, 4], ``labels`` int64[N], ``masks`` uint8[N, S, S], ``unknown`` bool[S, S],
    ``dense`` float[3, S/4, S/4] (interior, edge, core) and ``dense_known`` float[1, S/4, S/4]."""
    labels = crop.labels
    unknown = labels == UNKNOWN
    boxes, masks = [], []
    values, counts = np.unique(labels[labels > 0], return_counts=True)
    for value, count in zip(values, counts, strict=True):
        mask = labels == value
        if count < MIN_VISIBLE_PX:
            unknown |= mask
            continue
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((cols[0], rows[0], cols[-1] + 1, rows[-1] + 1))
        masks.append(mask)
    size = labels.shape[0]
    return {
        "boxes": torch.tensor(np.asarray(boxes, np.float32).reshape(-1, 4)),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": torch.from_numpy(np.asarray(masks, np.uint8).reshape(-1, size, size)),
        "unknown": torch.from_numpy(unknown),
        "dense": torch.from_numpy(dense_fields(labels)),
        "dense_known": torch.from_numpy(_shrink(1.0 - unknown.astype(np.float32)))[None],
    }


def dense_fields(labels: np.ndarray) -> np.ndarray:
    """float32[3, S/4, S/4]: share of building, of its rim (two pixels either side of
    every outline), and of its core (what is left inside)."""
    building = (labels > 0).astype(np.uint8)
    values = labels.astype(np.float32)
    kernel = np.ones((3, 3), np.uint8)
    border = (cv2.dilate(values, kernel) != cv2.erode(values, kernel)).astype(np.uint8)
    rim = cv2.dilate(border, kernel)
    return np.stack([_shrink(f.astype(np.float32)) for f in (building, rim, building & (1 - rim))])


def _shrink(field: np.ndarray) -> np.ndarray:
    size = (field.shape[1] // DENSE_STRIDE, field.shape[0] // DENSE_STRIDE)
    return cv2.resize(field, size, interpolation=cv2.INTER_AREA)
