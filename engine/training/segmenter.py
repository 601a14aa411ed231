"""Trains a segmenter as the detector is trained: chips, crops, averaging, checkpoints; with SegGAN if wanted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from ...models.losses import dense_loss
from ...models.segmenters import ARCHITECTURES, Segmenter, build_segmenter
from ..ahead import ahead
from ..config import TrainDetectorConfig
from ..progress import Reporter
from .checkpoint import load_checkpoint, save_checkpoint
from .chips import Chip
from .detector import CHECKPOINT_SECONDS, DetectorTrainer
from .pixel_metrics import PixelCounter
from .seggan import GanSettings, ImageGan
from .validate import resample_chip


class SegmenterTrainer(DetectorTrainer):
    """A `DetectorTrainer` of a segmenter; the best weights are those of the best mean IoU.

    Args:
        parameters: of the architecture.
        gan: SegGAN; `train_gan` must have come to its end before the segmenter learns with it.
    """

    architectures = tuple(ARCHITECTURES)

    def __init__(
        self,
        config: TrainDetectorConfig,
        reporter: Reporter,
        base: dict[str, torch.Tensor] | None = None,
        *,
        parameters: dict[str, Any] | None = None,
        gan: GanSettings | None = None,
    ) -> None:
        self.parameters = parameters or {}
        super().__init__(config, reporter, base)
        self.gan: ImageGan | None = None
        if gan is not None and gan.steps:
            self.gan = ImageGan(gan, self.device, seed=config.seed, bfloat16=self.bfloat16)
            stored = load_checkpoint(self.folder / "gan.pt")
            if stored is not None:
                self.gan.restore(stored)

    def _build(self) -> Segmenter:  # type: ignore[override]
        return build_segmenter(self.config.architecture, self.parameters)

    def load_data(self) -> None:
        """As its base's, once."""
        if not hasattr(self, "sampler"):
            super().load_data()

    def measure_start(self) -> dict[str, Any]:
        """Figures of the weights that training starts from, which are the best until something beats them; empty
        where a run goes on that did not measure them."""
        stored = load_checkpoint(self.folder / "start.pt")
        if stored is None and self.step:
            return {}
        if stored is None:
            stored = {"figures": self._validate({})}
            save_checkpoint(self.folder / "start.pt", stored)
        self.best = max(self.best, stored["figures"]["all"]["mean_iou"])
        figures: dict[str, Any] = stored["figures"]
        return figures

    # -- SegGAN, step 1 -------------------------------------------------------------------------------

    def train_gan(self) -> None:
        """Teach the GAN to rebuild images from true masks, and freeze it; continues where it was stopped."""
        if self.gan is None:
            return
        self.load_data()
        try:
            self._train_gan(self.gan)
        finally:
            save_checkpoint(self.folder / "gan.pt", self.gan.state())
        self.gan.freeze()

    def _train_gan(self, gan: ImageGan) -> None:
        figures: dict[str, float] = {}
        saved = time.monotonic()
        for images, targets in ahead(self.batch(step) for step in range(gan.step, gan.settings.steps)):
            share, known = self._truth(targets, fields=1)
            for name, value in gan.optimize(images, share, known).items():
                figures[name] = 0.95 * figures.get(name, value) + 0.05 * value
            self.reporter.check()
            if gan.step % 20 == 0 or gan.step == gan.settings.steps:
                self._log(gan_step=gan.step, **figures)
                text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
                self.reporter.progress(gan.step / gan.settings.steps, f"images from masks, step {gan.step}: {text}")
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_checkpoint(self.folder / "gan.pt", gan.state())
                saved = time.monotonic()

    # -- the segmenter; with SegGAN, step 2 -----------------------------------------------------------

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent; all of it where there is none."""
        return super().fraction if self.config.steps or self.config.minutes else 1.0

    def losses(self, images: torch.Tensor, targets: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Cross-entropy and Dice of every field; with SegGAN also what the frozen networks say."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            logits = self.model(images)
        truth, known = self._truth(targets, fields=logits.shape[1])
        losses = {"loss_segmentation": dense_loss(logits, truth, known)}
        if self.gan is not None:
            losses.update(self.gan.losses(images, torch.sigmoid(logits[:, :1]), known))
        return losses

    @staticmethod
    def _truth(targets: list[dict[str, torch.Tensor]], *, fields: int) -> tuple[torch.Tensor, torch.Tensor]:
        truth = torch.stack([t["dense"][:fields] for t in targets])
        return truth, torch.stack([t["dense_known"] for t in targets])

    def _validate(self, losses: dict[str, float]) -> dict[str, Any]:
        figures = validate_segmenter(
            self.average.model, self.validation, pixel_m=self.config.pixel_m, bfloat16=self.bfloat16,
            reporter=self.reporter,
        )  # fmt: skip
        pooled = figures["all"]
        self._log(step=self.step, validation=figures)
        self.reporter.log(
            f"step {self.step}: validation mean IoU {pooled['mean_iou']:.3f} pixel accuracy "
            f"{pooled['pixel_accuracy']:.3f} class accuracy {pooled['class_accuracy']:.3f}"
        )
        if pooled["mean_iou"] > self.best:
            self.best = pooled["mean_iou"]
            save_checkpoint(self.folder / "best.pt", {"model": self.average.model.state_dict(), "figures": figures})
        return figures


@torch.inference_mode()
def validate_segmenter(
    model: Segmenter, chips: Sequence[Chip], *, pixel_m: float, bfloat16: bool, reporter: Reporter | None = None
) -> dict[str, dict[str, float]]:
    """Pixel figures per source and pooled (``all``), keys as `PixelCounter.figures`; a probability of one half makes a
    building. Every chip is resampled to `pixel_m` and seen in one piece."""
    device = next(model.parameters()).device
    model.eval()
    counters = {"all": PixelCounter()}
    for chip in chips:
        image, labels = resample_chip(chip, pixel_m)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = model(tensor)[:, :1]
        logits = torch.nn.functional.interpolate(logits, size=labels.shape, mode="bilinear", align_corners=False)
        mask = (logits[0, 0] >= 0).cpu().numpy()
        for name in (chip.source, "all"):
            counters.setdefault(name, PixelCounter()).add(mask, labels)
        if reporter is not None:
            reporter.check()
    return {name: counter.figures() for name, counter in counters.items()}
