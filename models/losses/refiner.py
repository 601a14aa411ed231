"""Losses of the refiners.

All take logits float[N, 1, H, W], truth float[N, 1, H, W] of 0..1 and known float[N, 1, H, W] of 0 or
1; pixels with ``known`` 0 carry no loss. A crop without any known pixel contributes zero.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..refiners.base import sobel_magnitude


def bce_loss(logits: Tensor, truth: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over known pixels, optionally weighted per pixel."""
    weight = known if weight is None else known * weight
    loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)


def dice_loss(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean over crops of ``1 - (2 |P T| + 1) / (|P| + |T| + 1)``; 0 where both are empty."""
    probability = torch.sigmoid(logits) * known
    truth = truth * known
    overlap = (probability * truth).sum(dim=(1, 2, 3))
    total = probability.sum(dim=(1, 2, 3)) + truth.sum(dim=(1, 2, 3))
    return (1.0 - (2.0 * overlap + 1.0) / (total + 1.0)).mean()


def boundary_loss(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference of the Sobel magnitudes of probability and truth (NeuralSegmentello)."""
    difference = sobel_magnitude(torch.sigmoid(logits)) - sobel_magnitude(truth)
    return (difference.square() * known).sum() / known.sum().clamp(min=1.0)


def segmentello_loss(
    logits: Tensor, truth: Tensor, known: Tensor, terms: tuple[str, ...] = ("bce", "dice", "boundary")
) -> Tensor:
    """The paper's sum: 0.4 BCE + 0.4 Dice + 0.2 boundary; fewer terms count equally."""
    functions = {"bce": bce_loss, "dice": dice_loss, "boundary": boundary_loss}
    all_weights = {"bce": 0.4, "dice": 0.4, "boundary": 0.2}
    weights = all_weights if set(terms) == set(functions) else dict.fromkeys(terms, 1.0 / len(terms))
    return torch.stack([weights[term] * functions[term](logits, truth, known) for term in terms]).sum()


def l1_loss(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean absolute difference of masks in the range -1..1 (Vinokurov 2025)."""
    difference = (torch.tanh(logits / 2.0) - (2.0 * truth - 1.0)).abs()
    return (difference * known).sum() / known.sum().clamp(min=1.0)


def guided_loss(logits: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Our default: BCE with the band around the true edge counted fivefold, Dice and boundary."""
    weight = 1.0 + 4.0 * boundary_band(truth, radius=3)
    return (
        bce_loss(logits, truth, known, weight)
        + dice_loss(logits, truth, known)
        + 0.5 * boundary_loss(logits, truth, known)
    )


def boundary_band(truth: Tensor, *, radius: int) -> Tensor:
    """1 within `radius` pixels (chessboard) of the edge of the true mask, else 0; same shape."""
    size = 2 * radius + 1

    def grow(field: Tensor) -> Tensor:  # rows, then columns: the same greatest values at less cost
        tall = F.max_pool2d(field, (size, 1), stride=1, padding=(radius, 0))
        return F.max_pool2d(tall, (1, size), stride=1, padding=(0, radius))

    return (grow(truth) + grow(-truth) > 0.5).to(truth.dtype)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the BCE of real patches as 1 and fake ones as 0, both logits (pix2pix)."""
    on_real = F.binary_cross_entropy_with_logits(real, torch.ones_like(real))
    on_fake = F.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
    return 0.5 * (on_real + on_fake)


def deception_loss(fake: Tensor) -> Tensor:
    """The generator's adversarial term: BCE of fake patches as 1, logits."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
