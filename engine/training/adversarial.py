"""The game of GAN Mask R-CNN (Le et al. 2020): discriminators learn beside the detector and judge its heads.

Alternating steps on one forward pass: the discriminators learn from the boxes and masks as they are,
detached; then they are frozen, and what they think of the same boxes and masks joins the detector's losses.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from ...models.adversaries import BoxDiscriminator, HeadTap, Instances, MaskDiscriminator
from ...models.detector import MaskRCNN
from ...models.losses.adversarial import box_discriminator_loss, box_generator_loss, multi_scale_l1
from ..config import TrainDetectorConfig
from ..errors import TrainingError
from .optimizer import make_optimizer

BOX_WEIGHT, MASK_WEIGHT = 0.025, 0.5  # the authors' code; the paper is silent
RATE = 0.2  # of the detector's learning rate
REGION = 28  # cells of the box discriminator's input
MOST = 64  # instances judged at a time: the discriminators cost more than the heads do
WIDTH = 64
REPLACED = ("loss_box_reg", "loss_mask")  # what "only" leaves out
LE_2020: dict[str, Any] = {
    "adversarial": "both", "adversarial_depth": 5, "optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 1e-4,
}  # fmt: skip
"""Settings of the paper for `TrainDetectorConfig`; the momentum of 0.9 is ours for every SGD."""


class Adversary:
    """The discriminators of one training run and their optimiser.

    Args:
        model: the detector; gets forward hooks.
        config: its ``adversarial`` says who plays, its optimiser settings are used for the discriminators.
        device, bfloat16: as the detector's.

    Attributes:
        figures: losses of the discriminators in the last step, for the log.
    """

    def __init__(self, model: MaskRCNN, config: TrainDetectorConfig, device: torch.device, *, bfloat16: bool) -> None:
        self.kind, self.device, self.bfloat16 = config.adversarial, device, bfloat16
        self.tap = HeadTap(model)
        channels = model.trunk.out_channels
        width = min(WIDTH, channels // 32 * 16)  # half the features of a compact detector
        settings = {"width": width, "depth": config.adversarial_depth}
        self.box = self.mask = None
        players = nn.ModuleDict()
        if self.kind != "mask":
            players["box"] = self.box = BoxDiscriminator(channels, **settings)
        if self.kind != "box":
            players["mask"] = self.mask = MaskDiscriminator(channels, **settings)
        self.players = players.to(device)
        plain = dataclasses.replace(config, anchor=0.0, trunk_rate=1.0)
        self.optimizer = make_optimizer(self.players, plain, is_anchored=False)
        self.figures: dict[str, float] = {}

    def play(self, losses: dict[str, Tensor], learning_rate: float) -> dict[str, Tensor]:
        """One step of the discriminators on what the detector has just made in its forward pass.

        Args:
            losses: of the detector.
            learning_rate: of the detector, now.

        Returns:
            What the detector is to minimise. A batch without buildings, or one seen by the trunk alone,
            has no adversarial terms and teaches the discriminators nothing.
        """
        instances = self.tap.take()
        if self.kind == "only":
            losses = {name: value for name, value in losses.items() if name not in REPLACED}
        if instances is None or not len(instances):
            return losses
        instances = instances.thinned(MOST)
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * learning_rate
        self._teach(instances)
        return {**losses, **self._judge(instances)}

    def _teach(self, instances: Instances) -> None:
        """The discriminators' step; nothing flows back into the detector."""
        self.players.train().requires_grad_(True)
        losses = {}
        if self.box is not None:
            real, fake = self._box_logits(torch.cat((instances.true_boxes, instances.boxes.detach())), instances)
            losses["box_discriminator"] = box_discriminator_loss(real, fake)
        if self.mask is not None:
            losses["mask_discriminator"] = -self._mask_distance(instances, instances.masks.detach())
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise TrainingError(f"The discriminators' loss became {total.item()}", "Lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        self.figures = {name: float(value.detach()) for name, value in losses.items()}

    def _judge(self, instances: Instances) -> dict[str, Tensor]:
        """The detector's adversarial losses; the discriminators learn nothing from them."""
        self.players.eval().requires_grad_(False)
        losses = {}
        if self.box is not None:
            (fake,) = self._box_logits(instances.boxes, instances)
            losses["loss_box_adversarial"] = BOX_WEIGHT * box_generator_loss(fake)
        if self.mask is not None:
            losses["loss_mask_adversarial"] = MASK_WEIGHT * self._mask_distance(instances, instances.masks)
        return losses

    def _box_logits(self, boxes: Tensor, instances: Instances) -> tuple[Tensor, ...]:
        """Logits float[N] of each set of N boxes in float[K * N, 4]."""
        assert self.box is not None
        sets = boxes.split(len(instances))
        regions = torch.cat([instances.regions(part, REGION) for part in sets])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.box(regions).split(len(instances))

    def _mask_distance(self, instances: Instances, masks: Tensor) -> Tensor:
        """Between the features of true and of other masks float[N, 1, M, M]."""
        assert self.mask is not None
        regions = instances.regions(instances.proposals, masks.shape[-1])
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            levels = self.mask(torch.cat((instances.true_masks, masks)), torch.cat((regions, regions)))
        real, fake = zip(*(level.split(len(instances)) for level in levels), strict=True)
        return multi_scale_l1(real, fake)

    # -- persistence --------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Weights and optimiser, for a checkpoint."""
        return {"players": self.players.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Continue where `state` was taken. Raises `TrainingError` if it is not of such a run."""
        try:
            if state is None:
                raise KeyError("adversary")
            self.players.load_state_dict(state["players"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise TrainingError(
                "The work folder holds a run with other discriminators", "Choose another work folder"
            ) from error
