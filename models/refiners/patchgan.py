"""The 70x70 PatchGAN discriminator (Isola et al. 2017) as Vinokurov 2025 uses it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchGan(nn.Module):
    """Judges each 70x70 patch of a (condition mask, candidate mask) pair.

    Strides 2, 2, 2, 1, 1: 256x256 in, 30x30 out. It ends in logits; the sigmoid belongs to the loss.
    With the paper's width of 64 it has 2.77 M parameters.

    Args:
        width: channels of the first layer.
        channels: of condition and candidate together.
    """

    def __init__(self, width: int = 64, channels: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
            layers += [
                nn.Conv2d(before * width, after * width, 4, stride=stride, padding=1),
                nn.BatchNorm2d(after * width),
                nn.LeakyReLU(0.2),
            ]
        layers.append(nn.Conv2d(8 * width, 1, 4, stride=1, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, condition: Tensor, candidate: Tensor) -> Tensor:
        """Logits float[N, 1, H/8 - 2, W/8 - 2] of masks float[N, 1, H, W] in -1..1."""
        return self.layers(torch.cat((condition, candidate), dim=1))
