"""Losses of the game between the detector's heads and their discriminators (Le et al. 2020).

Every one is zero, not NaN, for a batch without buildings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def box_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Equation 5: BCE of true boxes as 1 plus BCE of predicted ones as 0; logits float[N], mean over N."""
    return _mean(functional.softplus(-real)) + _mean(functional.softplus(fake))


def box_generator_loss(fake: Tensor) -> Tensor:
    """Equation 4, non-saturating: BCE of predicted boxes as 1; logits float[N], mean over N."""
    return _mean(functional.softplus(-fake))


def multi_scale_l1(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Equation 6: mean absolute difference of the features of all levels, flattened and joined (SegAN).

    The generator makes it small, the discriminator large.

    Args:
        real, fake: float[N, D, s, s] per level.
    """
    return _mean(torch.cat([(r - f).abs().flatten(1) for r, f in zip(real, fake, strict=True)], 1))


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)
