"""Runs a segmenter over a batch of tiles; stands where `models.detector.predict` stands for Mask R-CNN."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ...models.detector import Prediction
from ...models.segmenters import Segmenter
from .instances import split_buildings


@torch.inference_mode()
def segment(
    model: Segmenter, images: torch.Tensor, *, bfloat16: bool = False, score_threshold: float = 0.05
) -> list[list[Prediction]]:
    """Buildings of every tile, best first.

    Args:
        images: uint8[B, 3, H, W] RGB on the model's device; H and W multiples of 64.
        bfloat16: run convolutions in bfloat16.
        score_threshold: buildings of a lower mean probability are left out.
    """
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        logits = model(images)
    maps = torch.sigmoid(logits).cpu().numpy()
    height, width = images.shape[-2:]
    result = []
    for cells in maps:
        fields = dict(zip(model.fields, (enlarge(c, width, height) for c in cells), strict=True))
        found = split_buildings(fields["interior"], fields.get("edge"), fields.get("core"))
        result.append([p for p in found if p.score >= score_threshold])
    return result


def enlarge(cells: np.ndarray, width: int, height: int) -> np.ndarray:
    """A field float32[h, w] sampled linearly at the pixels float32[H, W] of the image."""
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)
