"""One optimiser step of a refiner, with or without a discriminator, and everything a resume needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...models.losses import refiner as losses
from ...models.refiners import VARIANTS, build_refiner
from ...models.refiners.patchgan import PatchGan
from ..config import TrainRefinerConfig
from ..errors import InvalidParameter, TrainingError
from .ema import MovingAverage
from .pairs import Pair

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

PAPER_PRESETS: dict[str, dict[str, float]] = {
    "table1-best": {"learning_rate": 1e-6, "batch_size": 10, "epochs": 500, "lambda_l1": 100.0},
    "figure6": {"learning_rate": 1e-6, "batch_size": 10, "epochs": 500, "lambda_l1": 80.0},
    "figure7": {"learning_rate": 1e-6, "batch_size": 10, "epochs": 500, "lambda_l1": 100.0},
    "figure8": {"learning_rate": 1e-6, "batch_size": 10, "epochs": 500, "lambda_l1": 120.0},
}
"""Settings of Vinokurov 2025: the best row of table 1 and the three lambdas of figures 6 to 8."""

CONTINUED = 0.25
"""Learning rate of a training that starts from trained weights, as a share of the usual one."""


@dataclass(frozen=True)
class Recipe:
    """How a variant is trained.

    Attributes:
        loss: of logits, truth and known.
        adversarial_weight: of the deception term; 0 trains no discriminator.
        adversarial_from: share of the training after which the discriminator joins.
        smooth_truth: show the discriminator a smoothed truth, so that it cannot win by telling soft
            pixels from hard ones (Zorzi et al. 2021).
        ema_decay: 0 keeps the last weights.
        warm_up_steps: over which the learning rate rises to its full value.
        sizes: crop sizes in pixels and their shares of the steps.
    """

    loss: Loss
    learning_rate: float
    beta1: float = 0.9
    weight_decay: float = 0.0
    cosine: bool = True
    adversarial_weight: float = 0.0
    adversarial_from: float = 0.0
    discriminator_width: int = 64
    smooth_truth: bool = False
    ema_decay: float = 0.0
    warm_up_steps: int = 50
    sizes: tuple[tuple[int, float], ...] = ((128, 1.0),)


def choose_recipe(config: TrainRefinerConfig) -> Recipe:
    """The recipe of a variant with the overrides of the configuration."""
    if config.variant not in VARIANTS:
        raise InvalidParameter(f"variant is {config.variant!r}", f"Choose one of {', '.join(VARIANTS)}")
    if config.variant.startswith("vinokurov"):
        recipe = Recipe(
            loss=partial(weighted_l1, weight=config.lambda_l1),
            learning_rate=2e-4,  # pix2pix's; the paper's 1e-6 needs its 500 epochs
            beta1=0.5,
            cosine=False,
            adversarial_weight=1.0,
            warm_up_steps=0,
            discriminator_width=VARIANTS[config.variant][1].get("width", 64),
            sizes=((256, 1.0),),
        )
    elif config.variant == "guided":
        recipe = Recipe(
            loss=losses.guided_loss,
            learning_rate=2e-3,
            weight_decay=0.02,
            adversarial_from=0.7,
            discriminator_width=24,
            smooth_truth=True,
            ema_decay=0.998,
            sizes=((96, 0.32), (128, 0.34), (160, 0.14), (192, 0.10), (224, 0.05), (256, 0.05)),
        )
    else:
        recipe = Recipe(loss=losses.segmentello_loss, learning_rate=1e-3, ema_decay=0.998)
    overrides: dict[str, Any] = {}
    if config.loss_terms:
        overrides["loss"] = partial(losses.segmentello_loss, terms=config.loss_terms)
    if config.learning_rate > 0:
        overrides["learning_rate"] = config.learning_rate
    elif config.base:
        overrides["learning_rate"] = CONTINUED * recipe.learning_rate
    if config.adversarial_weight >= 0:
        overrides["adversarial_weight"] = config.adversarial_weight
    return Recipe(**{**recipe.__dict__, **overrides})


def weighted_l1(logits: Tensor, truth: Tensor, known: Tensor, *, weight: float) -> Tensor:
    """`weight` times the L1 distance in the range -1..1."""
    return weight * losses.l1_loss(logits, truth, known)


@dataclass(frozen=True)
class Batch:
    """Pairs as tensors, each float[N, C, H, W] in 0..1."""

    image: Tensor
    coarse: Tensor
    others: Tensor
    truth: Tensor
    known: Tensor


def stack_pairs(pairs: Sequence[Pair], device: torch.device) -> Batch:
    """Pairs of one size to a batch."""

    def stack(arrays: list[np.ndarray]) -> Tensor:
        tensor = torch.from_numpy(np.stack(arrays)).to(device)
        return tensor[:, None].float() / 255 if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).float() / 255

    return Batch(
        image=stack([p.image for p in pairs]),
        coarse=stack([p.coarse for p in pairs]),
        others=stack([p.others for p in pairs]),
        truth=stack([p.truth for p in pairs]),
        known=stack([255 * p.known.astype(np.uint8) for p in pairs]),
    )


class RefinerTrainer:
    """Generator, optional discriminator, their optimisers and the moving average.

    Call `optimize` once a batch: the discriminator learns from detached fakes, then the generator
    learns with the discriminator frozen (pix2pix).
    """

    def __init__(self, config: TrainRefinerConfig, device: torch.device, *, bfloat16: bool) -> None:
        torch.manual_seed(config.seed)
        self.recipe = choose_recipe(config)
        self.device, self.bfloat16 = device, bfloat16
        architecture, parameters = VARIANTS[config.variant]
        self.model = build_refiner(architecture, parameters).to(device, memory_format=torch.channels_last)
        self.average = MovingAverage(self.model, decay=self.recipe.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.recipe.learning_rate,
            betas=(self.recipe.beta1, 0.999),
            weight_decay=self.recipe.weight_decay,
        )
        self.discriminator: PatchGan | None = None
        if self.recipe.adversarial_weight > 0:
            self.discriminator = PatchGan(self.recipe.discriminator_width).to(device)
            self.discriminator_optimizer = torch.optim.Adam(
                self.discriminator.parameters(), lr=min(self.recipe.learning_rate, 2e-4), betas=(0.5, 0.999)
            )
        self.step = 0

    def optimize(self, batch: Batch, share: float) -> dict[str, float]:
        """One step; `share` is the part of the training that is done, 0..1. Returns the losses."""
        self._set_learning_rate(share)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(batch.image, batch.coarse, batch.others).logits
        logits = logits.float()
        loss = self.recipe.loss(logits, batch.truth, batch.known)
        figures = {"loss": float(loss.detach())}
        if self.discriminator is not None and share >= self.recipe.adversarial_from:
            deception, figures["discriminator"] = self._play(logits, batch)
            figures["deception"] = float(deception.detach())
            loss = loss + self.recipe.adversarial_weight * deception
        if not math.isfinite(float(loss.detach())):
            raise TrainingError(
                f"The loss became {float(loss.detach())} at step {self.step}", "Use a smaller learning rate"
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.average.update(self.model, self.step)
        self.step += 1
        return figures

    def _play(self, logits: Tensor, batch: Batch) -> tuple[Tensor, float]:
        """Discriminator step; then the deception term for the generator, discriminator frozen."""
        assert self.discriminator is not None
        condition = 2 * batch.coarse - 1
        real = F.avg_pool2d(batch.truth, 3, 1, 1) if self.recipe.smooth_truth else batch.truth
        real = torch.where(batch.known > 0, 2 * real - 1, -1.0)
        fake = torch.where(batch.known > 0, torch.tanh(logits / 2), -1.0)
        self.discriminator.train().requires_grad_(True)
        loss = losses.discriminator_loss(
            self.discriminator(condition, real), self.discriminator(condition, fake.detach())
        )
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.discriminator_optimizer.step()
        self.discriminator.requires_grad_(False)
        return losses.deception_loss(self.discriminator(condition, fake)), float(loss.detach())

    def _set_learning_rate(self, share: float) -> None:
        """Short warm-up, then a cosine to 1 %, or constant as in the paper."""
        factor = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1.0))) if self.recipe.cosine else 1.0
        warm_up = min(1.0, (self.step + 1) / max(self.recipe.warm_up_steps, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * factor * warm_up

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with other weights. Raises `TrainingError` if they do not fit."""
        try:
            self.model.load_state_dict(weights)
            self.average.model.load_state_dict(weights)
        except RuntimeError as error:
            raise TrainingError("The weights to start from do not fit", "Train anew from the start") from error

    def forget_gradients(self) -> None:
        """Free what a step that broke off left behind."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.discriminator is not None:
            self.discriminator_optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @property
    def best_model(self) -> nn.Module:
        """The network to use: the moving average where the recipe keeps one."""
        return self.average.model if self.recipe.ema_decay > 0 else self.model

    def state(self) -> dict[str, Any]:
        """Everything `restore` needs, tensors and plain values only."""
        state: dict[str, Any] = {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state_dict()
            state["discriminator_optimizer"] = self.discriminator_optimizer.state_dict()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken. Raises `TrainingError` if it is of another variant."""
        try:
            self.model.load_state_dict(state["model"])
            self.average.model.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.discriminator is not None:
                self.discriminator.load_state_dict(state["discriminator"])
                self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
            self.step = int(state["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                "The checkpoint in the work folder belongs to another variant",
                "Choose another work folder or delete the checkpoint",
            ) from error
