"""The compact segmenter: trunk and dense head of the compact detector, without proposals and boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..detector.heads import DenseHead
from ..detector.trunk import ResNetFPN
from .base import FIELDS, Segmenter


class CompactSegmenter(Segmenter):
    """ResNet with a feature pyramid and a dense head on its finest level.

    Args:
        widths, blocks, fpn_channels: of `ResNetFPN`.
        dense_width: of `DenseHead`.
    """

    def __init__(
        self,
        widths: Sequence[int] = (48, 96, 192, 256),
        blocks: Sequence[int] = (2, 2, 2, 2),
        fpn_channels: int = 96,
        dense_width: int = 64,
    ) -> None:
        super().__init__(len(FIELDS))
        self.trunk = ResNetFPN(widths, blocks, fpn_channels)
        self.dense = DenseHead(fpn_channels, dense_width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.dense(self.trunk(self.normalise(images))["0"]).float()


PARAMETERS = ("widths", "blocks", "fpn_channels", "dense_width")


def take_over(detector: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The part of a compact detector's state dict that is a segmenter."""
    return {name: tensor for name, tensor in detector.items() if name.startswith(("trunk.", "dense."))}
