"""Our default refiner: a small image-guided U-Net around the identity.

It works at half resolution inside (space to depth in, depth to space out), which makes it about four
times cheaper than a U-Net of the same width and loses nothing: the crop shows the building enlarged,
and the last layer still sees the full-resolution input.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import MaskRefiner, Refinement, identity_logits, sobel_magnitude, to_grey

IMAGE_MEAN, IMAGE_SPREAD = 0.45, 0.25


class GuidedRefiner(MaskRefiner):
    """RGB, image gradient, coarse mask and neighbours in; a correction of the coarse logits out.

    The last layer starts at zero, so an untrained network returns its input.

    Args:
        width: channels at half resolution; deeper levels have 2, 3 and 4 times as many.
        steepness: logit given to a coarse probability of 1.
    """

    stride = 16
    crop_sizes_px = (96, 128, 160, 192, 224, 256)

    fold: Tensor

    def __init__(self, width: int = 24, steepness: float = 4.0) -> None:
        super().__init__()
        self.steepness = steepness
        widths = [width, 2 * width, 3 * width, 4 * width]
        inputs = 6 * 4  # six channels, each 2x2 block of pixels folded into depth
        # `pixel_unshuffle` as a convolution with ones and zeros, which is exact and takes a third of the time
        self.register_buffer("fold", torch.eye(inputs).view(inputs, 6, 2, 2), persistent=False)
        self.down = nn.ModuleList(
            double_convolution(before, after)
            for before, after in zip([inputs, *widths[:-1]], widths, strict=True)
        )
        self.lateral = nn.ModuleList(
            nn.Conv2d(deep, shallow, 1) for shallow, deep in zip(widths[:-1], widths[1:], strict=True)
        )
        self.up = nn.ModuleList(double_convolution(shallow, shallow) for shallow in widths[:-1])
        self.head = nn.Conv2d(width + inputs, 4, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, image: Tensor, coarse: Tensor, others: Tensor) -> Refinement:
        """See `MaskRefiner.forward`."""
        gradient = sobel_magnitude(to_grey(image))
        colour = (image - IMAGE_MEAN) / IMAGE_SPREAD
        stacked = torch.cat((colour, 4 * gradient, 2 * coarse - 1, others), dim=1)
        # [N, 24, H/2, W/2], channels last as the convolutions want it, once instead of at each use
        folded = F.conv2d(stacked, self.fold, stride=2).contiguous(memory_format=torch.channels_last)
        skips = []
        x = folded
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)  # [N, width * (level + 1), H/2^(level + 1), ...]
            skips.append(x)
        for level in reversed(range(len(self.up))):
            raised = F.interpolate(self.lateral[level](x), scale_factor=2.0, mode="nearest")
            x = self.up[level](skips[level] + raised)
        # autocast would join them in float32
        joined = torch.cat((x, folded.to(x.dtype)), dim=1)
        correction = F.pixel_shuffle(self.head(joined), 2)  # [N, 1, H, W]
        return Refinement(identity_logits(coarse, self.steepness) + 4.0 * correction)


def double_convolution(before: int, after: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with GroupNorm (groups of 8 channels) and SiLU."""
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [
            nn.Conv2d(channels, after, 3, padding=1, bias=False),
            GroupNorm(max(1, after // 8), after),
            nn.SiLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class GroupNorm(nn.GroupNorm):
    """GroupNorm, faster on a CPU: PyTorch's own does not vectorise groups of 8 channels of small or narrow
    channels-last maps and takes up to five times as long."""

    def forward(self, x: Tensor) -> Tensor:
        """float[N, C, H, W], channels last, same shape and type."""
        count, channels, height, width = x.shape
        if torch.is_grad_enabled() or x.device.type != "cpu" or (channels >= 32 and height * width >= 1024):
            return super().forward(x)
        pixels = x.permute(0, 2, 3, 1).reshape(count, height * width, channels).float()
        total = pixels.sum(1).view(count, self.num_groups, -1).sum(2, keepdim=True)
        squares = pixels.square().sum(1).view(count, self.num_groups, -1).sum(2, keepdim=True)
        number = height * width * channels // self.num_groups
        mean = total / number
        scale = self.weight.view(self.num_groups, -1) * (squares / number - mean.square() + self.eps).rsqrt()
        shift = self.bias.view(self.num_groups, -1) - mean * scale
        normal = torch.addcmul(shift.view(count, 1, channels), pixels, scale.view(count, 1, channels))
        return normal.to(x.dtype).view(count, height, width, channels).permute(0, 3, 1, 2)
