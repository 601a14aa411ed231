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
WIDTH = 64
REPLACED = ("loss_box_reg", "loss_mask")  # what "only" leaves out
LE_2020: dict[str, Any] = {
    "adversarial": "both", "adversarial_depth": 5, "optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 1e-4,
}  # fmt: skip
"""Settings of the paper for `TrainDetectorConfig`; the momentum of 0.9 is that of every SGD here."""


class BoxGame:
    """True against predicted boxes of one batch, as the features under them."""

    name, weight = "box", BOX_WEIGHT

    def __init__(self, judge: nn.Module, instances: Instances) -> None:
        self.judge = judge
        self.real = instances.regions(instances.true_boxes, REGION)
        self.fake = instances.regions(instances.boxes, REGION)

    def discriminator_loss(self) -> Tensor:
        """What the discriminator minimises; nothing flows back into the boxes."""
        both = self.judge(torch.cat((self.real, self.fake.detach())))
        return box_discriminator_loss(*both.split(len(self.real)))

    def generator_loss(self) -> Tensor:
        """What the box head minimises."""
        return box_generator_loss(self.judge(self.fake))


class MaskGame:
    """True against predicted masks of one batch, times the features under their boxes."""

    name, weight = "mask", MASK_WEIGHT

    def __init__(self, judge: nn.Module, instances: Instances) -> None:
        self.judge = judge
        self.real, self.fake = instances.true_masks, instances.masks
        self.regions = instances.regions(instances.proposals, self.fake.shape[-1], samples=1)

    def discriminator_loss(self) -> Tensor:
        """What the discriminator minimises: the distance it sees, negative."""
        both = self.judge(torch.cat((self.real, self.fake.detach())), torch.cat((self.regions, self.regions)))
        real, fake = zip(*(level.split(len(self.real)) for level in both), strict=True)
        return -multi_scale_l1(real, fake)

    def generator_loss(self) -> Tensor:
        """What the mask head minimises: the same distance."""
        with torch.no_grad():
            real = self.judge(self.real, self.regions)
        return multi_scale_l1(real, self.judge(self.fake, self.regions))


GAMES: dict[str, type[BoxGame] | type[MaskGame]] = {"box": BoxGame, "mask": MaskGame}


class Adversary:
    """The discriminators of one training run and their optimiser.

    Args:
        model: the detector; gets forward hooks.
        config: its ``adversarial`` says who plays, its optimiser settings are used for the discriminators.
        device, bfloat16: as the detector's.

    Attributes:
        figures: losses of the discriminators in the last step, for the log; none if they did not learn.
        most: instances judged at a time, evenly over the batch: the discriminators cost more than the heads do.
    """

    most = 64

    def __init__(self, model: MaskRCNN, config: TrainDetectorConfig, device: torch.device, *, bfloat16: bool) -> None:
        self.kind, self.device, self.bfloat16 = config.adversarial, device, bfloat16
        self.tap = HeadTap(model)
        channels = model.trunk.out_channels
        width = min(WIDTH, channels // 32 * 16)  # half the features of a compact detector
        self.players = nn.ModuleDict()
        if self.kind != "mask":
            self.players["box"] = BoxDiscriminator(channels, width=width, depth=config.adversarial_depth)
        if self.kind != "box":
            self.players["mask"] = MaskDiscriminator(channels, width=width, depth=config.adversarial_depth)
        self.players.to(device)
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
        instances, self.figures = self.tap.take(), {}
        if self.kind == "only":
            losses = {name: value for name, value in losses.items() if name not in REPLACED}
        if instances is None or not len(instances):
            return losses
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * learning_rate
        instances = instances.thinned(self.most)
        games = [GAMES[name](judge, instances) for name, judge in self.players.items()]
        self.players.train().requires_grad_(True)
        with self._precision():
            found = {f"{game.name}_discriminator": game.discriminator_loss() for game in games}
        self._teach(found)
        self.players.eval().requires_grad_(False)
        with self._precision():
            terms = {f"loss_{game.name}_adversarial": game.weight * game.generator_loss() for game in games}
        return {**losses, **terms}

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def _teach(self, losses: dict[str, Tensor]) -> None:
        """The discriminators' step."""
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise TrainingError(f"The discriminators' loss became {total.item()}", "Lower the learning rate")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        self.optimizer.step()
        self.figures = {name: float(value.detach()) for name, value in losses.items()}

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
