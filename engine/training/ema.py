"""Exponential moving average of weights."""

from __future__ import annotations

import copy

import torch
from torch import nn


class MovingAverage:
    """A copy of `model` whose weights trail the trained ones.

    Args:
        decay: share kept per update; ramps up from zero so that early noise is forgotten.
    """

    def __init__(self, model: nn.Module, *, decay: float = 0.998) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards `model`; `step` counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine, theirs = [], []
        for a, b in zip(self.model.state_dict().values(), model.state_dict().values(), strict=True):
            if a.is_floating_point():
                mine.append(a)
                theirs.append(b)
            else:
                a.copy_(b)
        torch._foreach_lerp_(mine, theirs, 1 - decay)
