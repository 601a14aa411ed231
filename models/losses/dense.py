"""Per-pixel loss of the dense head."""

from __future__ import annotations

import torch
from torch.nn import functional


def dense_loss(logits: torch.Tensor, truth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy plus soft Dice (Milletari et al. 2016), averaged over channels.

    Args:
        logits: float32[B, C, h, w].
        truth: float32[B, C, h, w], 0..1; shares of a pixel are allowed.
        known: float32[B, 1, h, w], 0..1; pixels with 0 do not count.

    Returns:
        Scalar. Dice runs over the whole batch, so an image without buildings adds its false alarms
        to the sum instead of a constant.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    pixels = known.sum().clamp(min=1.0) * logits.shape[1]
    probability = torch.sigmoid(logits) * known
    truth = truth * known
    overlap = (probability * truth).sum((0, 2, 3))
    total = (probability + truth).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1.0) / (total + 1.0)
    return (entropy * known).sum() / pixels + 0.5 * dice.mean()
