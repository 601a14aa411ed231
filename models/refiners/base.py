"""What every mask refiner takes and gives, and the input channels they share."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F


class Refinement(NamedTuple):
    """What a refiner says about a batch of crops.

    Attributes:
        logits: float[N, 1, H, W]; the sigmoid is the probability of "this building".
    """

    logits: Tensor


class MaskRefiner(nn.Module):
    """Base of all refiners: crops in, logits out, height and width unchanged.

    Attributes:
        stride: height and width of a crop must be multiples of it.
        crop_sizes_px: the crop sizes it is trained for, ascending.
    """

    stride: int = 16
    crop_sizes_px: tuple[int, ...] = (128, 192, 256)

    def forward(self, image: Tensor, coarse: Tensor, others: Tensor) -> Refinement:
        """Refine a batch of crops.

        Args:
            image: float[N, 3, H, W], RGB, 0..1.
            coarse: float[N, 1, H, W], probability of this building, 0..1.
            others: float[N, 1, H, W], probability of any other known building, 0..1; zeros where
                nothing is known of the neighbours.
        """
        raise NotImplementedError


def identity_logits(coarse: Tensor, steepness: float) -> Tensor:
    """``steepness * (2 p - 1)``: logits whose zero crossing is that of the coarse mask."""
    return steepness * (2.0 * coarse - 1.0)


def to_grey(image: Tensor) -> Tensor:
    """ITU-R BT.601 luma of float[N, 3, H, W], float[N, 1, H, W]."""
    red, green, blue = image.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def sobel_magnitude(field: Tensor) -> Tensor:
    """Sobel gradient magnitude of float[N, 1, H, W], edges replicated, same shape.

    A unit step gives 1: the kernels are divided by 4.
    """
    # Slices take a third of the time of a convolution, and autocast leaves them in float32.
    padded = F.pad(field, (1, 1, 1, 1), mode="replicate")
    across = padded[..., 2:] - padded[..., :-2]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = padded[..., 2:, :] - padded[..., :-2, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    # The small constant keeps the derivative of the root finite where the field is flat.
    return ((across.square() + down.square()) / 16 + 1e-12).sqrt()
