"""ResNet with GroupNorm and a feature pyramid.

GroupNorm instead of frozen BatchNorm, because no pretrained statistics exist to freeze and batches
are small (He et al. 2019, "Rethinking ImageNet pre-training").
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

GROUP_CHANNELS = 16


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with groups of 16 channels."""
    return nn.GroupNorm(max(1, channels // GROUP_CHANNELS), channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = group_norm(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)
        nn.init.zeros_(self.norm2.weight)  # each block starts as the identity

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around an identity (He et al. 2016); the 3x3 one takes the stride."""

    NARROWING = 4

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // self.NARROWING
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.norm1 = group_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.norm2 = group_norm(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.norm3 = group_norm(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)
        nn.init.zeros_(self.norm3.weight)  # each block starts as the identity

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = torch.relu(self.norm2(self.conv2(y)))
        return torch.relu(self.norm3(self.conv3(y)) + self.shortcut(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 convolution where the shapes differ."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), group_norm(outputs))


BLOCKS: dict[str, type[nn.Module]] = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNetFPN(nn.Module):
    """Image to feature maps at strides 4, 8, 16, 32 and 64.

    Args:
        widths: channels of the four stages.
        blocks: residual blocks per stage; (2, 2, 2, 2) is ResNet-18, (3, 4, 6, 3) ResNet-34 or 50.
        fpn_channels: channels of every pyramid level.
        block: of `BLOCKS`.
        stem_width: channels of the stem; 0 for those of the first stage.
    """

    def __init__(
        self, widths: Sequence[int], blocks: Sequence[int], fpn_channels: int, *, block: str = "basic",
        stem_width: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        inputs = stem_width or widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, inputs, 7, 2, 3, bias=False),
            group_norm(inputs),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        stages = []
        for index, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            strides = [1 if index == 0 else 2] + [1] * (count - 1)
            layers = []
            for stride in strides:
                layers.append(BLOCKS[block](inputs, width, stride))
                inputs = width
            stages.append(nn.Sequential(*layers))
        self.stages = nn.ModuleList(stages)
        self.fpn = FeaturePyramidNetwork(list(widths), fpn_channels, LastLevelMaxPool())
        self.out_channels = fpn_channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        """float[B, 3, H, W] to maps ``"0"`` (stride 4) ... ``"3"`` (stride 32), ``"pool"`` (64)."""
        x = self.stem(images)
        maps: OrderedDict[str, torch.Tensor] = OrderedDict()
        for index, stage in enumerate(self.stages):
            x = stage(x)
            maps[str(index)] = x
        return self.fpn(maps)
