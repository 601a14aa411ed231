"""Optimisers with a learning rate for the trunk of its own and a pull towards the weights of the start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..config import TrainDetectorConfig

MOMENTUM = 0.9
BETAS = (0.9, 0.99)
TRUNK = "trunk."


def make_optimizer(model: nn.Module, config: TrainDetectorConfig, *, is_anchored: bool) -> torch.optim.Optimizer:
    """AdamW or SGD over a detector; every group has its share of the learning rate under ``rate``.

    Norms and biases are not decayed. With an anchor, the weights the model has now are what they decay
    to, norms and biases too (L2-SP of Li et al. 2018, decoupled as in AdamW).

    Args:
        is_anchored: whether the present weights are worth keeping near to.
    """
    anchored = is_anchored and config.anchor > 0
    groups = []
    for rate, parameters in _by_rate(model, config.trunk_rate):
        decay = 0.0 if anchored else config.weight_decay
        groups += [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay, "rate": rate},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "rate": rate},
        ]
    optimizer: torch.optim.Optimizer
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=MOMENTUM, nesterov=True)
    else:
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS)
    if anchored:
        optimizer.register_step_post_hook(_pull(optimizer, config.anchor))
    return optimizer


def _by_rate(model: nn.Module, trunk_rate: float) -> list[tuple[float, list[nn.Parameter]]]:
    """Parameters by their share of the learning rate; one group where it is the same for all."""
    if trunk_rate == 1.0:
        return [(1.0, list(model.parameters()))]
    trunk = [p for name, p in model.named_parameters() if name.startswith(TRUNK)]
    heads = [p for name, p in model.named_parameters() if not name.startswith(TRUNK)]
    return [(trunk_rate, trunk), (1.0, heads)]


def _pull(optimizer: torch.optim.Optimizer, strength: float) -> Callable[..., None]:
    """A hook that draws every learnt parameter towards where it is now, by learning rate times `strength`."""
    start = {p: p.detach().clone() for group in optimizer.param_groups for p in group["params"]}

    @torch.no_grad()
    def pull(*_: Any) -> None:
        for group in optimizer.param_groups:
            learnt = [p for p in group["params"] if p.grad is not None]
            if learnt:
                torch._foreach_lerp_(learnt, [start[p] for p in learnt], min(group["lr"] * strength, 1.0))

    return pull
