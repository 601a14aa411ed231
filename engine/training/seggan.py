"""The image-from-mask GAN of SegGAN (Zhang et al. 2019): trained first, then frozen as a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...models.losses.seggan import CONTENT_WEIGHT, image_losses, judge_loss, smooth_mask
from ...models.seggan import ImageDiscriminator, ImageGenerator, to_image_range
from ..errors import TrainingError

BETAS = (0.9, 0.999)
SIGMA_CELLS = (0.0, 1.5)  # of the blur of the masks, drawn anew at every step


@dataclass(frozen=True)
class GanSettings:
    """How generator and discriminator learn, and what they weigh once they are frozen.

    Attributes:
        steps: before they are frozen; 0 for no SegGAN.
        lambda_content, lambda_adversarial: weights of the two losses in the segmenter's training.
        width: channels of the first layers.
        learning_rate: of Adam.
    """

    steps: int = 0
    lambda_content: float = 0.1
    lambda_adversarial: float = 0.1
    width: int = 32
    learning_rate: float = 1e-3


class ImageGan:
    """Generator, discriminator and their optimisers.

    Masks and probabilities come as float[B, 1, H/4, W/4], as a segmenter answers, and are enlarged to the image in
    the same way in both steps.
    """

    def __init__(self, settings: GanSettings, device: torch.device, *, seed: int, bfloat16: bool) -> None:
        self.settings, self.device, self.seed, self.bfloat16 = settings, device, seed, bfloat16
        torch.manual_seed(seed)
        self.generator = ImageGenerator(settings.width).to(device)
        self.discriminator = ImageDiscriminator(settings.width).to(device)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=BETAS, eps=1e-8)
            for network in (self.generator, self.discriminator)
        ]
        self.step = 0

    # -- step 1 ---------------------------------------------------------------------------------------

    def optimize(self, images: Tensor, share: Tensor, known: Tensor) -> dict[str, float]:
        """One step of both networks.

        Args:
            images: uint8[B, 3, H, W].
            share: float[B, 1, H/4, W/4] of building in each cell, the truth.
            known: float[B, 1, H/4, W/4].

        Returns:
            ``content``, ``deception`` and ``judge`` losses. Raises `TrainingError` when they are not finite.
        """
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # dropout draws from it
        sigma = float(np.random.default_rng((self.seed, 3, self.step)).uniform(*SIGMA_CELLS))
        image = to_image_range(images)
        mask, known = self._enlarge(smooth_mask(share, sigma), image), self._enlarge(known, image)
        self.generator.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            with torch.no_grad():
                rebuilt = self.generator(mask).float()
            judge = judge_loss(self.discriminator, image, rebuilt, known)
        self._descend(1, judge)
        self.discriminator.requires_grad_(False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            content, deception = image_losses(self.generator, self.discriminator, image, mask, known)
        self._descend(0, CONTENT_WEIGHT * content + deception)
        self.discriminator.requires_grad_(True)
        self.step += 1
        return {"content": float(content.detach()), "deception": float(deception.detach()),
                "judge": float(judge.detach())}  # fmt: skip

    def _descend(self, which: int, loss: Tensor) -> None:
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The image-from-mask network's loss became {loss.item()} at step {self.step}",
                "Lower gan_learning_rate",
            )
        self.optimizers[which].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[which].step()

    # -- step 2 ---------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Let neither network learn any more, nor drop units; gradients still pass through them."""
        self.generator.eval().requires_grad_(False)
        self.discriminator.eval().requires_grad_(False)

    def losses(self, images: Tensor, probability: Tensor, known: Tensor) -> dict[str, Tensor]:
        """The weighted losses of an image rebuilt from what a segmenter found in it, after `freeze`.

        Args:
            images: uint8[B, 3, H, W].
            probability: float[B, 1, H/4, W/4] with gradient: the sigmoid, because argmax has none.
            known: float[B, 1, H/4, W/4].
        """
        image = to_image_range(images)
        mask, known = self._enlarge(probability, image), self._enlarge(known, image)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            content, deception = image_losses(self.generator, self.discriminator, image, mask, known)
        return {
            "loss_content": self.settings.lambda_content * content,
            "loss_deception": self.settings.lambda_adversarial * deception,
        }

    @staticmethod
    def _enlarge(cells: Tensor, image: Tensor) -> Tensor:
        return functional.interpolate(cells, size=image.shape[-2:], mode="bilinear", align_corners=False)

    # -- persistence ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything `restore` needs."""
        return {
            "step": self.step,
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken. Raises `TrainingError` when it is of other networks."""
        try:
            self.generator.load_state_dict(state["generator"])
            self.discriminator.load_state_dict(state["discriminator"])
            for optimizer, stored in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(stored)
            self.step = int(state["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                "The work folder holds an image-from-mask network of another width", "Choose another work folder"
            ) from error
