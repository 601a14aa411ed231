"""The image-guided U-Nets of NeuralSegmentello 2025: plain, residual and attention families.

Input channels are the coarse mask, the grey image and its normalised Sobel magnitude. A name such as
``tiny16-128`` means levels of 16, 32, 64 and 128 channels and a bottleneck of 256. The sizes of the
paper's table 2 include optimiser state; a third of them are the weights built here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import MaskRefiner, Refinement, identity_logits, sobel_magnitude, to_grey

FAMILIES = ("plain", "residual", "attention")
PRESETS = {
    "tiny16-32": ("plain", 16, 32),
    "tiny16-128": ("plain", 16, 128),
    "res16-32": ("residual", 16, 32),
    "res16-128": ("residual", 16, 128),
    "res32-256": ("residual", 32, 256),
    "attn32-256": ("attention", 32, 256),
}


class SegmentelloNet(MaskRefiner):
    """U-Net of one of the three families.

    "Residual" is what the text says, shortcuts around each block; they are free of parameters, which
    fits table 2, where plain and residual networks have the same size. The residual families also
    add the coarse mask to the logits, as the published code does, as ``steepness * (2 p - 1)``.

    Args:
        family: ``plain``, ``residual`` or ``attention`` (residual with gated skips).
        narrow: channels of the first level.
        wide: channels of the last level before the bottleneck, `narrow` times a power of two.
        steepness: logit given to a coarse probability of 1.
    """

    def __init__(self, family: str = "plain", narrow: int = 16, wide: int = 128, steepness: float = 4.0) -> None:
        super().__init__()
        if family not in FAMILIES:
            raise ValueError(f"Unknown family {family!r}. Supported: {', '.join(FAMILIES)}")
        widths = [narrow]
        while widths[-1] < wide:
            widths.append(widths[-1] * 2)
        if widths[-1] != wide:
            raise ValueError(f"wide = {wide} is not narrow = {narrow} times a power of two")
        residual = family != "plain"
        self.steepness = steepness if residual else 0.0
        self.stride = 2 ** len(widths)
        self.down = nn.ModuleList(
            Block(before, after, residual=residual)
            for before, after in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.bottleneck = Block(wide, 2 * wide, residual=residual)
        self.raise_ = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths)
        self.gates = nn.ModuleList(AttentionGate(w) for w in widths) if family == "attention" else None
        self.up = nn.ModuleList(Block(2 * w, w, residual=residual) for w in widths)
        self.head = nn.Conv2d(narrow, 1, 1)
        if residual:
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, image: Tensor, coarse: Tensor, others: Tensor) -> Refinement:
        """See `MaskRefiner.forward`; `others` is not looked at."""
        grey = to_grey(image)
        gradient = sobel_magnitude(grey)
        gradient = gradient / gradient.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
        x = torch.cat((coarse, grey, gradient), dim=1)
        skips = []
        for block in self.down:
            x = block(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for level in reversed(range(len(skips))):
            x = self.raise_[level](x)
            skip = skips[level] if self.gates is None else self.gates[level](x, skips[level])
            x = self.up[level](torch.cat((skip, x), dim=1))
        return Refinement(self.head(x) + identity_logits(coarse, self.steepness))


class Block(nn.Module):
    """Two 3x3 convolutions with BatchNorm and ReLU, with or without a shortcut around them."""

    def __init__(self, before: int, after: int, *, residual: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """float[N, before, H, W] to float[N, after, H, W]."""
        y = F.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        if self.residual:
            y = y + shortcut(x, y.shape[1])
        return F.relu(y)


class AttentionGate(nn.Module):
    """Additive attention gate on a skip connection (Oktay et al. 2018), both inputs alike in shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.from_gate = nn.Sequential(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.from_skip = nn.Sequential(nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner))
        self.weigh = nn.Sequential(nn.Conv2d(inner, 1, 1, bias=False), nn.BatchNorm2d(1), nn.Sigmoid())

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        """`skip` times a weight of 0..1 per pixel."""
        return skip * self.weigh(F.relu(self.from_gate(gate) + self.from_skip(skip)))


def shortcut(x: Tensor, channels: int) -> Tensor:
    """`x` with another number of channels and no parameters.

    Missing channels are zeros (He et al. 2016, option A); twice as many, which is what a decoder
    block gets (skip, raised), are added in pairs.
    """
    if x.shape[1] == 2 * channels:
        return x[:, :channels] + x[:, channels:]
    return F.pad(x, (0, 0, 0, 0, 0, channels - x.shape[1]))
