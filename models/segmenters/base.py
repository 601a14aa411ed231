"""What every semantic segmenter takes and gives."""

from __future__ import annotations

import torch
from torch import nn

STRIDE = 4
"""Pixels of the image per cell of the answer, along each side."""

FIELDS = ("interior", "edge", "core")
"""What a segmenter may answer: share of building, of the rim of an outline, and of what the rim leaves inside."""


class Segmenter(nn.Module):
    """Base of all segmenters: pixels in, one logit per field and cell of four by four pixels out.

    Light and contrast are brought to the scale the detector works at, so that its weights can be taken over.

    Attributes:
        fields: names of the channels of the answer, the first entries of `FIELDS`.
    """

    MEAN = (0.45 * 255, 0.45 * 255, 0.42 * 255)
    STD = 0.22 * 255

    def __init__(self, fields: int) -> None:
        super().__init__()
        if not 1 <= fields <= len(FIELDS):
            raise ValueError(f"fields {fields}")
        self.fields = FIELDS[:fields]
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.tensor(self.MEAN).view(1, 3, 1, 1), persistent=False)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8[B, 3, H, W] RGB to float32, about zero mean and unit variance."""
        return ((images.float() - self.mean) / self.STD).contiguous(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8[B, 3, H, W] RGB, H and W multiples of 64, to float32 logits [B, fields, H/4, W/4]."""
        raise NotImplementedError
