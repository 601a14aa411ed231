"""Losses of SegGAN (Zhang et al. 2019), read as the arithmetic demands.

Equation 5's ``log D(I)`` is constant for everything but the discriminator, and ``log(1 - D)`` has no slope where the
discriminator is sure: the form used is the non-saturating one. Images are float[B, 3, H, W] of -1..1, masks
float[B, 1, H, W] of 0..1, ``known`` float[B, 1, H, W] of 0..1; pixels with 0 carry no loss and are blank to the
discriminator.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .refiner import deception_loss, discriminator_loss

CONTENT_WEIGHT = 100.0
"""Of the content loss while the generator learns (equation 6)."""


def content_loss(image: Tensor, rebuilt: Tensor, known: Tensor) -> Tensor:
    """Mean squared error over known pixels and channels (equation 4); 0 where nothing is known."""
    squared = (image - rebuilt).square() * known
    return squared.sum() / (known.sum() * image.shape[1]).clamp(min=1.0)


def image_losses(generator: nn.Module, discriminator: nn.Module, image: Tensor, mask: Tensor, known: Tensor) -> tuple[
    Tensor, Tensor
]:  # fmt: skip
    """Content loss and deception of an image rebuilt from a mask: what the mask is worth to generator and
    discriminator."""
    rebuilt = generator(mask).float()
    return content_loss(image, rebuilt, known), deception_loss(discriminator(rebuilt * known).float())


def judge_loss(discriminator: nn.Module, image: Tensor, rebuilt: Tensor, known: Tensor) -> Tensor:
    """The discriminator's own loss on photographs and detached rebuilt images, both in the same step."""
    real, fake = discriminator(image * known), discriminator(rebuilt.detach() * known)
    return discriminator_loss(real.float(), fake.float())


def smooth_mask(mask: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of float[B, 1, h, w], edges replicated.

    The generator meets soft probabilities once it is frozen; hard masks alone would not prepare it.

    Args:
        sigma: of the blur, in cells; 0 leaves the mask as it is.
    """
    if sigma <= 0:
        return mask
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=mask.dtype, device=mask.device)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    padded = functional.pad(mask, (radius,) * 4, mode="replicate")
    along = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(along, kernel.view(1, 1, -1, 1))
