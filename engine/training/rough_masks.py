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
from .rough_mask_files import RoughMask, write_rough_masks
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
    """Write the detector's masks of every chip to `folder`; returns how many were written.

    Chips whose masks are there already are left out. Each chip is resampled to `pixel_m`, as the pipeline
    does with a raster, and its masks are brought back to chip pixels.
    """
    device = next(model.parameters()).device
    model.eval()
    count = 0
    chips = [chip for chip in chips if not (Path(folder) / f"{chip.name}.npz").exists()]
    for number, chip in enumerate(chips):
        if reporter is not None:
            reporter.progress(number / len(chips), f"{count} masks on {number} of {len(chips)} chips")
        image, _ = resample_chip(chip, pixel_m)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].to(device)
        found = predict(model, tensor, bfloat16=bfloat16, score_threshold=score_threshold)[0]
        masks = [rescale(p, pixel_m / chip.pixel_m, chip.labels.shape) for p in found]
        kept = drop_duplicates([mask for mask in masks if mask is not None])
        write_rough_masks(folder, chip.name, kept)
        count += len(kept)
    return count


def drop_duplicates(masks: Sequence[RoughMask], *, same_share: float = 0.5) -> list[RoughMask]:
    """The masks, best first, without those that share more than `same_share` of the smaller one with a
    better one; what the merge stage would not let through is no example either."""
    kept: list[RoughMask] = []
    for mask in masks:
        area = np.count_nonzero(mask.probability >= 128)
        if not any(
            shared_px(mask, other) > same_share * min(area, np.count_nonzero(other.probability >= 128))
            for other in kept
        ):
            kept.append(mask)
    return kept


def shared_px(first: RoughMask, second: RoughMask) -> int:
    """How many pixels two masks have in common."""
    left, top = max(first.box[0], second.box[0]), max(first.box[1], second.box[1])
    right, bottom = min(first.box[2], second.box[2]), min(first.box[3], second.box[3])
    if right <= left or bottom <= top:
        return 0
    parts = [
        m.probability[top - m.box[1] : bottom - m.box[1], left - m.box[0] : right - m.box[0]] >= 128
        for m in (first, second)
    ]
    return int(np.count_nonzero(parts[0] & parts[1]))


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
