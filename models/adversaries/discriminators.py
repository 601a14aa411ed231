"""Discriminators of boxes and of masks in feature space (Le et al. 2020, figures 2 and 3)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ..detector.trunk import GROUP_CHANNELS

DEPTHS = (3, 4, 5)
WIDEST = 8  # times the first layer's width


def layer_shapes(depth: int) -> list[tuple[int, int]]:
    """Kernel size and padding of each stride-2 convolution.

    The last two are 3x3: five of 4x4 would take 28x28 to 14, 7, 3, 1 and then to nothing.
    """
    return [(4, 1)] * (depth - 2) + [(3, 1)] * 2


def layer_channels(channels: int, width: int, depth: int) -> list[int]:
    """Channels before the first layer and after each one: doubling from `width` up to eight times it."""
    return [channels, *(width * min(2**level, WIDEST) for level in range(depth))]


def fixed_group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm of 16 channels a group without weights, which no training can scale up."""
    return nn.GroupNorm(max(1, channels // GROUP_CHANNELS), channels, affine=False)


class BoxDiscriminator(nn.Module):
    """Tells the features under true boxes from those under predicted ones.

    The last of `depth` convolutions has one channel and no norm; what is left of the grid (one cell for
    28x28 and depth 5, four by four for depth 3) is averaged.

    Args:
        channels: of the features.
        width: channels of the first layer.
        depth: 3, 4 or 5 convolutions.
    """

    def __init__(self, channels: int, *, width: int = 64, depth: int = 5) -> None:
        super().__init__()
        counts = layer_channels(channels, width, depth)
        counts[-1] = 1
        layers: list[nn.Module] = []
        for level, (kernel, padding) in enumerate(layer_shapes(depth)):
            layers.append(nn.Conv2d(counts[level], counts[level + 1], kernel, 2, padding))
            if 0 < level < depth - 1:
                layers.append(nn.GroupNorm(max(1, counts[level + 1] // GROUP_CHANNELS), counts[level + 1]))
            if level < depth - 1:
                layers.append(nn.LeakyReLU(0.2))
        self.layers = nn.Sequential(*layers)

    def forward(self, regions: Tensor) -> Tensor:
        """float[N, C, S, S] to float32[N] logits: high for a true box."""
        return self.layers(regions).float().mean((1, 2, 3))


class MaskDiscriminator(nn.Module):
    """Features of masked regions at every scale, between which the masks' distance is measured (SegAN).

    It is trained to make that distance large, without a bound of its own; spectral norm and norms without
    weights give it one.

    Args: as `BoxDiscriminator`.
    """

    def __init__(self, channels: int, *, width: int = 64, depth: int = 5) -> None:
        super().__init__()
        counts = layer_channels(channels, width, depth)
        self.levels = nn.ModuleList()
        for level, (kernel, padding) in enumerate(layer_shapes(depth)):
            convolution = spectral_norm(nn.Conv2d(counts[level], counts[level + 1], kernel, 2, padding))
            norm = [fixed_group_norm(counts[level + 1])] if level else []
            self.levels.append(nn.Sequential(convolution, *norm, nn.LeakyReLU(0.2)))

    def forward(self, masks: Tensor, regions: Tensor) -> list[Tensor]:
        """float[N, 1, S, S] masks of 0..1 and float[N, C, S, S] features to one float32[N, D, s, s] a level."""
        found, x = [], masks * regions
        for level in self.levels:
            x = level(x)
            found.append(x.float())
        return found

