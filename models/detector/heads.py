"""Narrow heads for one class, and the dense head on the finest pyramid level."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.detection.rpn import RPNHead

from .trunk import group_norm

DENSE_CHANNELS = ("interior", "edge", "core")


class Float32RPNHead(RPNHead):
    """RPN head whose scores and deltas leave in float32: bfloat16 scores tie in top-k and NMS."""

    def forward(self, x: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        scores, deltas = super().forward(x)
        return [s.float() for s in scores], [d.float() for d in deltas]


class BoxHead(nn.Module):
    """float[N, C, 7, 7] to float[N, width]: one convolution and one fully connected layer, in place of
    torchvision's two layers of 1024, which would be half of a compact model."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), group_norm(channels), nn.ReLU(inplace=True)
        )
        self.fc = nn.Linear(channels * size * size, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc(self.conv(x).flatten(1)))


class BoxPredictor(nn.Module):
    """float[N, width] to float32 class logits [N, 2] and box deltas [N, 8]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(width, 2)
        self.bbox_pred = nn.Linear(width, 8)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cls_score(x).float(), self.bbox_pred(x).float()


class MaskHead(nn.Module):
    """float[N, C, 14, 14] to float32 mask logits [N, 2, 28, 28]: four convolutions and one upsampling
    (He et al. 2017).

    N is padded to a multiple of 32: oneDNN prepares every convolution anew for each batch size it
    has not seen, which costs more than the padding.
    """

    PAD = 32

    def __init__(self, channels: int, width: int, depth: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for index in range(depth):
            inputs = channels if index == 0 else width
            layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), group_norm(width), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(width, width, 2, 2), nn.ReLU(inplace=True), nn.Conv2d(width, 2, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = x.shape[0]
        x = nn.functional.pad(x, (0, 0, 0, 0, 0, 0, 0, -count % self.PAD))
        return self.layers(x)[:count].float()


class DenseHead(nn.Sequential):
    """float[B, C, h, w] to float[B, 3, h, w] logits of `DENSE_CHANNELS` at stride 4.

    Teaches the trunk every pixel rather than only sampled boxes, and backs the scores: a detection
    whose pixels are no building to the dense head loses its score.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            group_norm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, len(DENSE_CHANNELS), 1),
        )
