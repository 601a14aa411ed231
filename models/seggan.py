"""Image from mask: the generator and the discriminator of SegGAN (Zhang et al. 2019).

The generator sees the mask alone. The paper's text hands it the image too, but then it would only have to copy.
A "fully connected layer" that the paper blames for lost places is nowhere in its description; there is none here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

DEPTH = 4
DROPOUT = 0.5
STD = 0.02


class ImageGenerator(nn.Module):
    """float[B, 1, H, W] mask of 0..1 to float[B, 3, H, W] image of -1..1; H and W multiples of 16.

    Four convolutions and four de-convolutions of 4x4 and stride 2 with dropout. BatchNorm between them keeps
    "isotropic Gaussian weights" trainable and is a fixed scale once frozen. GroupNorm would divide the flat answer of a
    segmenter that has only begun to learn by its own tiny variance, and drown every other gradient.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(DEPTH)]
        layers: list[nn.Module] = []
        for inputs, outputs in zip([1, *widths], widths, strict=False):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]
        for inputs, outputs in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.Dropout(DROPOUT),
                       nn.ReLU()]  # fmt: skip
        layers += [nn.ConvTranspose2d(width, 3, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        _start_gaussian(self)

    def forward(self, mask: Tensor) -> Tensor:
        return self.layers(2 * mask - 1)


class ImageDiscriminator(nn.Module):
    """float[B, 3, H, W] image of -1..1 to logits float[B, 1, H/8 - 1, W/8 - 1]: is this patch of a photograph?

    Four convolutions, ReLU after each but the last.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        layers.append(nn.Conv2d(4 * width, 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)
        _start_gaussian(self)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


def _start_gaussian(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, std=STD)
            assert module.bias is not None
            nn.init.zeros_(module.bias)


def to_image_range(images: torch.Tensor) -> torch.Tensor:
    """uint8[B, 3, H, W] to float32 of -1..1."""
    return images.float() / 127.5 - 1
