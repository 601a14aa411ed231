"""Trains the detector from chips; continues where a killed run stopped."""

from __future__ import annotations

import itertools
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...models.detector import MaskRCNN, build_detector
from ...models.detector.mask_rcnn import ARCHITECTURES
from ...models.device import is_out_of_memory, pick_bfloat16, pick_device
from ...models.losses import dense_loss
from ..config import TrainDetectorConfig, require_choice
from ..errors import Cancelled, OutOfMemory, TrainingError
from ..progress import Reporter
from .adversarial import Adversary
from .augment import augment
from .checkpoint import load_checkpoint, save_checkpoint
from .chips import load_chips
from .copy_paste import paste_buildings
from .crops import Crop, CropSampler
from .ema import MovingAverage
from .optimizer import make_optimizer
from .targets import detector_target
from .validate import validate_detector

FINAL_RATE = 0.02  # of the peak learning rate, at the end of the cosine
CHECKPOINT_SECONDS = 120.0
DENSE_WEIGHT = 1.0


class DetectorTrainer:
    """One training run: model, optimiser, average and the place in the budget.

    Args:
        config: validated.
        reporter: receives progress, and may cancel; the checkpoint then holds the work so far.
        base: state dict to start from, or None for fresh weights.
    """

    architectures = tuple(ARCHITECTURES)

    def __init__(
        self, config: TrainDetectorConfig, reporter: Reporter, base: dict[str, torch.Tensor] | None = None
    ) -> None:
        require_choice("architecture", config.architecture, self.architectures)
        self.config, self.reporter = config, reporter
        self.folder = Path(config.work_folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = pick_device(config.device)
        self.bfloat16 = pick_bfloat16(self.device, config.precision)
        torch.manual_seed(config.seed)
        self.model = self._build()
        if base is not None:
            try:
                self.model.load_state_dict(base)
            except RuntimeError as error:
                raise TrainingError(
                    f"The base model does not fit the architecture {config.architecture}",
                    "Choose the architecture it was trained as, or train from scratch",
                ) from error
        self.model.to(self.device, memory_format=torch.channels_last)
        self.optimizer = make_optimizer(self.model, config, is_anchored=base is not None)
        self.average = MovingAverage(self.model, decay=config.ema_decay)
        self.adversary: Adversary | None = None
        if config.adversarial != "none":
            self.adversary = Adversary(self.model, config, self.device, bfloat16=self.bfloat16)
        self.step, self.seconds, self.best, self.pieces = 0, 0.0, -1.0, config.accumulate
        self.latest: dict[str, Any] = {}
        self._resume()

    def _build(self) -> MaskRCNN:
        """The network before any weights are put in; another kind of run may ask for other parameters."""
        return build_detector(self.config.architecture)

    # -- data ---------------------------------------------------------------------------------------

    def load_data(self) -> None:
        """Read the chips into memory. Raises `TrainingError` when nothing can be learnt from them."""
        chips = [c for folder in self.config.chips for c in load_chips(folder) if c.split in ("train", "val")]
        train = [c for c in chips if c.split == "train"]
        self.validation = [c for c in chips if c.split == "val"]
        if not sum(c.buildings for c in train):
            raise TrainingError("The chips hold no building to train on", "Export chips with annotations")
        weights = dict(entry.split("=") for entry in self.config.source_weights)
        self.sampler = CropSampler(
            train, size_px=self.config.crop_px, pixel_m=self.config.pixel_m,
            scale_range=(self.config.scale_min, self.config.scale_max),
            source_weights={name: float(weight) for name, weight in weights.items()},
        )  # fmt: skip
        self.reporter.log(
            f"Training on {len(train)} chips with {sum(c.buildings for c in train)} buildings of "
            f"{len(self.sampler.sources)} sources, validating on {len(self.validation)} chips"
        )

    def batch(self, step: int) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
        """Images uint8[B, 3, S, S] and targets of one step; the step number alone decides which."""
        images, targets = [], []
        for index in range(self.config.batch_size):
            rng = np.random.default_rng((self.config.seed, step, index))
            crop = self.sampler.draw(rng)
            if rng.random() < self.config.copy_paste:
                crop = paste_buildings(crop, self.sampler.draw(rng), rng)
            images.append(torch.from_numpy(augment(crop.image, rng)).permute(2, 0, 1))
            targets.append({k: v.to(self.device) for k, v in detector_target(Crop(crop.image, crop.labels)).items()})
        return torch.stack(images).to(self.device), targets

    def _prepare_ahead(self) -> Iterator[tuple[torch.Tensor, list[dict[str, torch.Tensor]]]]:
        """Batches from the current step on, each made in a thread while the last one is learnt from."""
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.batch, self.step)
            for step in itertools.count(self.step + 1):
                batch = coming.result()
                coming = pool.submit(self.batch, step)
                yield batch

    # -- budget -------------------------------------------------------------------------------------

    @property
    def fraction(self) -> float:
        """Share of the budget that is spent."""
        if self.config.steps:
            return self.step / self.config.steps
        return self.seconds / (self.config.minutes * 60)

    def learning_rate(self) -> float:
        """Linear warm-up, then cosine."""
        x, warmup = self.fraction, self.config.warmup_share
        if x < warmup:
            return self.config.learning_rate * (x / warmup * 0.95 + 0.05)
        cosine = 0.5 * (1 + math.cos(math.pi * min((x - warmup) / (1 - warmup), 1.0)))
        return self.config.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def _is_validation_due(self) -> bool:
        """Whether the averaged weights are to be measured after this step."""
        return self.step % self.config.validate_every == 0

    # -- the run ------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        """Train until the budget is spent; returns the validation figures of the averaged weights.

        Raises `Cancelled` when the user asked to stop; the checkpoint then holds everything so far.
        """
        self.load_data()
        try:
            return self._train()
        except Cancelled:
            self.save()
            raise

    def _train(self) -> dict[str, Any]:
        last_saved = last_time = time.monotonic()
        losses: dict[str, float] = {}
        batches = self._prepare_ahead()
        while self.fraction < 1:
            torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # the samplers of RPN and heads draw from it
            for name, value in self.train_step(*next(batches)).items():
                losses[name] = 0.95 * losses.get(name, value) + 0.05 * value
            self.step += 1
            self.reporter.check()
            now = time.monotonic()
            self.seconds += now - last_time
            last_time = now
            if self.step % 20 == 0:
                self._report(losses)
            if self.validation and self._is_validation_due():
                self._validate(losses)
                last_time = time.monotonic()
            if now - last_saved > CHECKPOINT_SECONDS:
                self.save()
                last_saved = now
        figures = self._validate(losses) if self.validation else {}
        self.save()
        return figures

    def train_step(self, images: torch.Tensor, targets: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """One optimiser step; returns the losses. A batch that does not fit into memory is computed in
        twice as many pieces, and so are those after it.

        Raises:
            TrainingError: the losses are not finite. OutOfMemory: not even a single crop fits.
        """
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate() * group["rate"]
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                losses = self._backward(images, targets)
                break
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
            self._save_memory(len(images))
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.average.update(self.model, self.step)
        return {**losses, **self.adversary.figures} if self.adversary else losses

    def _backward(self, images: torch.Tensor, targets: list[dict[str, torch.Tensor]]) -> dict[str, float]:
        """Gradients of a batch, piece by piece; returns its mean losses."""
        count = math.ceil(len(images) / self.pieces)
        means: dict[str, float] = {}
        for start in range(0, len(images), count):
            part = slice(start, start + count)
            losses = self.losses(images[part], targets[part])
            share = len(images[part]) / len(images)
            total = torch.stack(list(losses.values())).sum()
            if not torch.isfinite(total):
                raise TrainingError(f"The loss became {total.item()} at step {self.step}", "Lower the learning rate")
            (total * share).backward()
            for name, value in losses.items():
                means[name] = means.get(name, 0.0) + share * float(value.detach())
        return means

    def losses(self, images: torch.Tensor, targets: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """What is minimised, by name, for images uint8[B, 3, S, S]."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            losses, _, dense = self.model(images, targets, heads=self.fraction >= self.config.trunk_share)
        truth = torch.stack([t["dense"] for t in targets])
        known = torch.stack([t["dense_known"] for t in targets])
        losses["loss_dense"] = DENSE_WEIGHT * dense_loss(dense, truth, known)
        return self.adversary.play(losses, self.learning_rate()) if self.adversary else losses

    def _save_memory(self, crops: int) -> None:
        """Compute batches in twice as many pieces from now on. Raises `OutOfMemory`."""
        if self.pieces >= crops:
            raise OutOfMemory("Not even one crop fits into memory", "Close other programs, or choose the CPU")
        self.pieces = min(2 * self.pieces, crops)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.reporter.warn(f"Memory is short: going on with {math.ceil(crops / self.pieces)} crops at once")

    def _report(self, losses: dict[str, float]) -> None:
        text = " ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in losses.items())
        left = self.seconds / max(self.fraction, 1e-6) * (1 - self.fraction) / 60
        speed = self.step * self.config.batch_size / max(self.seconds, 1e-6)
        self._log(step=self.step, seconds=round(self.seconds), **losses)
        known = f", AP {self.latest['AP']:.3f}" if self.latest else ""
        self.reporter.progress(
            self.fraction, f"step {self.step}, {speed:.1f} crops/s, {left:.0f} min left{known}: {text}"
        )

    def _validate(self, losses: dict[str, float]) -> dict[str, Any]:
        figures = validate_detector(
            self.average.model, self.validation, pixel_m=self.config.pixel_m, bfloat16=self.bfloat16
        )
        pooled = self.latest = figures["all"]
        self._log(step=self.step, validation=figures)
        self.reporter.log(
            f"step {self.step}: validation AP {pooled['AP']:.3f} AP50 {pooled['AP50']:.3f} "
            f"best F1 {pooled['best_F1']:.3f} at score {pooled['best_score']:.2f}"
        )
        if pooled["AP"] > self.best:
            self.best = pooled["AP"]
            save_checkpoint(self.folder / "best.pt", {"model": self.average.model.state_dict(), "figures": figures})
        return figures

    # -- persistence --------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint a later run continues from."""
        save_checkpoint(
            self.folder / "last.pt",
            {
                "model": self.model.state_dict(), "average": self.average.model.state_dict(),
                "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self.seconds,
                "adversary": self.adversary.state() if self.adversary else None,
                "best": self.best, "pieces": self.pieces, "architecture": self.config.architecture,
                "pixel_m": self.config.pixel_m,
            },
        )  # fmt: skip

    def _resume(self) -> None:
        state = load_checkpoint(self.folder / "last.pt")
        if state is None:
            return
        if state["architecture"] != self.config.architecture:
            raise TrainingError(
                f"{self.folder} holds a run of architecture {state['architecture']}", "Choose another work folder"
            )
        if self.adversary:
            self.adversary.restore(state.get("adversary"))
        elif state.get("adversary"):
            raise TrainingError(f"{self.folder} holds a run with discriminators", "Choose another work folder")
        self.model.load_state_dict(state["model"])
        self.average.model.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group.setdefault("rate", 1.0)
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.pieces = max(self.pieces, state.get("pieces", 1))
        self.reporter.log(f"Continuing at step {self.step} ({self.fraction:.0%} of the budget)")

    def _log(self, **entry: Any) -> None:
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")


def train_detector(
    config: TrainDetectorConfig, reporter: Reporter, base: dict[str, torch.Tensor] | None = None
) -> dict[str, Any]:
    """Train, or continue, and leave ``last.pt``, ``best.pt`` and ``log.jsonl`` in the work folder.

    Weights start from `base`, else from the package the configuration names, else anew.
    """
    config.validate()
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    if base is None and config.base:
        from ...models.package import open_package

        base = open_package(config.base).weights("detector")
    trainer = DetectorTrainer(config, reporter, base)
    figures = trainer.run()
    return {"validation": figures, "steps": trainer.step, "checkpoint": str(trainer.folder / "last.pt")}
