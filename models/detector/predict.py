"""Tiles to buildings: forward pass, masks pasted into their boxes, scores backed by the dense head."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from .mask_rcnn import LOWEST_SCORE, MaskRCNN


@dataclass(frozen=True)
class Prediction:
    """One detected building in one tile.

    Attributes:
        box: half-open pixel box ``(x_min, y_min, x_max, y_max)`` of `probability` in the tile.
        probability: uint8[H, W], 0..255.
        score: 0..1.
    """

    box: tuple[int, int, int, int]
    probability: np.ndarray
    score: float


@torch.inference_mode()
def predict(
    model: MaskRCNN, images: torch.Tensor, *, bfloat16: bool = False, score_threshold: float = 0.05
) -> list[list[Prediction]]:
    """Buildings of every tile, best first.

    Args:
        images: uint8[B, 3, H, W] RGB on the model's device; H and W multiples of 64.
        bfloat16: run convolutions in bfloat16.
        score_threshold: after backing by the dense head.
    """
    # Backing only lowers a score, so what is too weak before it needs no mask.
    model.roi_heads.score_thresh = max(LOWEST_SCORE, score_threshold)
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bfloat16):
        _, detections, dense = model(images)
    interior = torch.sigmoid(dense[:, 0]).float().cpu().numpy()
    height, width = images.shape[-2:]
    result = []
    for found, field in zip(detections, interior, strict=True):
        field = cv2.resize(field, (width, height), interpolation=cv2.INTER_LINEAR)
        boxes = found["boxes"].float().cpu().numpy()
        masks = found["masks"][:, 0].float().cpu().numpy()
        scores = found["scores"].float().cpu().numpy()
        predictions = []
        for box, mask, score in zip(boxes, masks, scores, strict=True):
            pasted = paste_mask(mask, box, (height, width))
            if pasted is None:
                continue
            (x0, y0, x1, y1), probability = pasted
            inside = probability >= 0.5
            if not inside.any():
                continue
            backed = float(score) * float(field[y0:y1, x0:x1][inside].mean())
            if backed >= score_threshold:
                predictions.append(Prediction((x0, y0, x1, y1), np.rint(probability * 255).astype(np.uint8), backed))
        predictions.sort(key=lambda p: (-p.score, p.box))
        result.append(predictions)
    return result


def paste_mask(
    mask: np.ndarray, box: np.ndarray, shape: tuple[int, int]
) -> tuple[tuple[int, int, int, int], np.ndarray] | None:
    """Sample a mask float32[M, M] that spans `box` at the pixel centres of the image.

    Returns:
        The integer box inside the image and float32[h, w] probabilities; None when nothing is inside.
    """
    size = mask.shape[0]
    bx0, by0, bx1, by1 = (float(v) for v in box)
    x0, y0 = max(int(np.floor(bx0)), 0), max(int(np.floor(by0)), 0)
    x1, y1 = min(int(np.ceil(bx1)), shape[1]), min(int(np.ceil(by1)), shape[0])
    if x1 <= x0 or y1 <= y0 or bx1 <= bx0 or by1 <= by0:
        return None
    sx, sy = size / (bx1 - bx0), size / (by1 - by0)
    # pixel centre (x + 0.5) -> mask cell index; half a cell back because cell i is centred at i + 0.5
    inverse = np.array([[sx, 0, (x0 + 0.5 - bx0) * sx - 0.5], [0, sy, (y0 + 0.5 - by0) * sy - 0.5]])
    pasted = cv2.warpAffine(
        mask, inverse, (x1 - x0, y1 - y0),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return (x0, y0, x1, y1), pasted
