"""The generator of Vinokurov 2025: a 5-level U-Net from mask to mask, 16.65 M parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import MaskRefiner, Refinement


class VinokurovGenerator(nn.Module):
    """Mask float[N, 1, 256, 256] in -1..1 to mask of the same shape in -1..1.

    Encoder 1-64-128-256-512-512, each 4x4, stride 2, padding 1; decoder of transposed convolutions of
    the same size with concatenated skips. Convolutions carry no bias (figures 3 and 4 show none).

    Args:
        width: channels of the first level; the paper's is 64.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        encoder = [(1, one), (one, two), (two, four), (four, eight), (eight, eight)]
        decoder = [(eight, eight), (2 * eight, four), (2 * four, two), (2 * two, one)]
        self.down = nn.ModuleList(down_block(*pair, norm=level > 0) for level, pair in enumerate(encoder))
        self.up = nn.ModuleList(up_block(*pair) for pair in decoder)
        self.last = nn.ConvTranspose2d(2 * one, 1, 4, stride=2, padding=1, bias=False)

    def forward(self, mask: Tensor) -> Tensor:
        """The paper's output, after Tanh."""
        return torch.tanh(self.pre_activation(mask))

    def pre_activation(self, mask: Tensor) -> Tensor:
        """The output before Tanh, float[N, 1, H, W]."""
        skips = []
        x = mask
        for block in self.down:
            x = block(x)
            skips.append(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = torch.cat((block(x), skip), dim=1)
        return self.last(x)


class VinokurovRefiner(MaskRefiner):
    """The paper's generator behind the common interface: the binarised coarse mask alone counts.

    ``tanh(z) = 2 sigmoid(2 z) - 1``, so twice the pre-activation is the logit of the mask.
    """

    stride = 32
    crop_sizes_px = (256,)

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.generator = VinokurovGenerator(width)

    def forward(self, image: Tensor, coarse: Tensor, others: Tensor) -> Refinement:
        """See `MaskRefiner.forward`; `image` and `others` are not looked at."""
        mask = torch.where(coarse >= 0.5, 1.0, -1.0).to(coarse.dtype)
        return Refinement(2.0 * self.generator.pre_activation(mask))


def down_block(before: int, after: int, *, norm: bool) -> nn.Sequential:
    """Halve height and width: 4x4 convolution, BatchNorm except on the first level, LeakyReLU 0.2."""
    layers: list[nn.Module] = [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)]
    if norm:
        layers.append(nn.BatchNorm2d(after))
    layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers)


def up_block(before: int, after: int) -> nn.Sequential:
    """Double height and width: 4x4 transposed convolution, BatchNorm, ReLU."""
    return nn.Sequential(
        nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )
