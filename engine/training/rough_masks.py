"""The real detector's masks on chips, as training pairs for the refiner.

For honest pairs a chip is seen by a detector that was not trained on it: split the chips by spatial
blocks, train one detector without each part, and let it write the masks of that part.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from ...models.detector import MaskRCNN, Prediction, predict
from ..progress import Reporter
from .chips import Chip
from .pairs import RoughMask, write_rough_masks
from .validate import resample_chip


def predict_rough_masks(
    model: MaskRCNN,
    chips: Sequence[Chip],
    folder: str | Path,
    *,
    pixel_m: float,
    bfloat16: bool = False,
    score_threshold: float = 0.3,
    reporter: Reporter | None = None,
) -> int:
    """Write the detector's masks of every chip to `folder`; returns how many there are.

    Each chip is resampled to `pixel_m`, as the pipeline does with a raster, and its masks are brought
    back to chip pixels.
    """
    device = next(model.parameters()).device
    model.eval()
    count = 0
    for number, chip in enumerate(chips):
        if reporter is not None:
            reporter.progress(number / len(chips), f"{count} masks on {number} of {len(chips)} chips")
        image, _ = resample_chip(chip, pixel_m)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].to(device)
        found = predict(model, tensor, bfloat16=bfloat16, score_threshold=score_threshold)[0]
        masks = [rescale(p, pixel_m / chip.pixel_m, chip.labels.shape) for p in found]
        kept = [mask for mask in masks if mask is not None]
        write_rough_masks(folder, chip.name, kept)
        count += len(kept)
    return count


def rescale(prediction: Prediction, scale: float, shape: tuple[int, ...]) -> RoughMask | None:
    """A prediction on a grid whose pixels are `scale` chip pixels wide, in chip pixels inside `shape`."""
    x_min, y_min, x_max, y_max = prediction.box
    left, top = max(math.floor(x_min * scale), 0), max(math.floor(y_min * scale), 0)
    right, bottom = min(math.ceil(x_max * scale), shape[1]), min(math.ceil(y_max * scale), shape[0])
    if right <= left or bottom <= top:
        return None
    # chip pixel centre (i + 0.5) -> index on the prediction's grid, whose centres lie at + 0.5 too
    inverse = np.array(
        [[1 / scale, 0, (left + 0.5) / scale - x_min - 0.5], [0, 1 / scale, (top + 0.5) / scale - y_min - 0.5]]
    )
    # a rim of zeros, so that the mask ends where its box ends
    rim = np.pad(prediction.probability, 1)
    inverse[:, 2] += 1
    pasted = cv2.warpAffine(
        rim, inverse, (right - left, bottom - top), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return RoughMask((left, top, right, bottom), pasted) if (pasted >= 128).any() else None
