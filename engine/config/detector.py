"""Chips to a detector, and trained networks to a model package."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidParameter
from .base import DEVICES, PRECISIONS, Config, require_choice, require_given, require_range

OPTIMIZERS = ("adamw", "sgd")
ADVERSARIAL = ("none", "box", "mask", "both", "only")


@dataclass(frozen=True)
class TrainDetectorConfig(Config):
    """Chips to a detector.

    Attributes:
        chips: chip folders; training uses their ``train`` split, model selection their ``val`` split.
        work_folder: checkpoints and log; a run found there is continued.
        base: model package to start from; empty to start from scratch.
        steps: optimiser steps; 0 to train for `minutes` instead.
        minutes: time budget, pauses not counted; the learning rate follows it.
        copy_paste: share of the crops that get buildings of another crop.
        trunk_share: first share of the budget in which only trunk, proposals and dense head learn.
        optimizer: ``adamw``, or ``sgd`` with Nesterov momentum 0.9.
        warmup_share: first share of the budget, in which the learning rate rises; a cosine follows.
        trunk_rate: learning rate of trunk and pyramid as a share of that of the heads.
        anchor: decay towards the weights the run started from, in place of the one towards zero.
        clip_norm: longest gradient. ema_decay: share of the averaged weights kept at each step.
        accumulate: parts a batch is computed in; more need less memory.
        adversarial: which heads learn from a discriminator, too (Le et al. 2020); ``only`` takes both in place
            of the losses of box regression and mask. adversarial_depth: convolutions of a discriminator.
        source_weights: ``source=weight`` entries; the square root of the number of buildings otherwise.
    """

    chips: tuple[str, ...]
    work_folder: str
    base: str = ""
    architecture: str = "compact"
    pixel_m: float = 0.2
    crop_px: int = 256
    scale_min: float = 0.6
    scale_max: float = 1.8
    steps: int = 0
    minutes: float = 60.0
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    copy_paste: float = 0.3
    trunk_share: float = 0.12
    optimizer: str = "adamw"
    warmup_share: float = 0.02
    trunk_rate: float = 1.0
    anchor: float = 0.0
    clip_norm: float = 2.0
    ema_decay: float = 0.998
    accumulate: int = 1
    adversarial: str = "none"
    adversarial_depth: int = 5
    source_weights: tuple[str, ...] = ()
    validate_every: int = 1000
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    seed: int = 1

    def validate(self) -> None:
        if not self.chips:
            raise InvalidParameter("No chip folder is given", "Give at least one")
        require_given("work_folder", self.work_folder)
        require_range("pixel_m", self.pixel_m, 0.03, 2.0)
        require_range("crop_px", self.crop_px, 128, 1024)
        if self.crop_px % 64:
            raise InvalidParameter(f"crop_px {self.crop_px} is no multiple of 64", "Choose 256 or 512")
        require_range("scale_min", self.scale_min, 0.1, self.scale_max)
        require_range("scale_max", self.scale_max, self.scale_min, 10.0)
        require_range("steps", self.steps, 0, 1e7)
        require_range("minutes", self.minutes, 0.0 if self.steps else 0.01, 1e5)
        require_range("batch_size", self.batch_size, 1, 256)
        require_range("learning_rate", self.learning_rate, 1e-7, 1.0)
        require_range("weight_decay", self.weight_decay, 0.0, 1.0)
        require_range("copy_paste", self.copy_paste, 0.0, 1.0)
        require_range("trunk_share", self.trunk_share, 0.0, 0.9)
        require_choice("optimizer", self.optimizer, OPTIMIZERS)
        require_range("warmup_share", self.warmup_share, 0.0, 0.9)
        require_range("trunk_rate", self.trunk_rate, 0.0, 10.0)
        require_range("anchor", self.anchor, 0.0, 1e4)
        require_range("clip_norm", self.clip_norm, 1e-3, 1e6)
        require_range("ema_decay", self.ema_decay, 0.0, 0.99999)
        require_range("accumulate", self.accumulate, 1, self.batch_size)
        require_choice("adversarial", self.adversarial, ADVERSARIAL)
        require_range("adversarial_depth", self.adversarial_depth, 3, 5)
        require_choice("device", self.device, DEVICES)
        require_choice("precision", self.precision, PRECISIONS)
        for entry in self.source_weights:
            name, _, weight = entry.partition("=")
            if not name or not weight.replace(".", "", 1).isdigit():
                raise InvalidParameter(f"source_weights entry {entry!r} is not name=number", "Correct it")


@dataclass(frozen=True)
class BundleConfig(Config):
    """Trained networks to a model package with its card.

    Attributes:
        detector: checkpoint of `train-detector` (``last.pt`` or ``best.pt``).
        output: zip to write; the card is written beside it as ``.md``.
        refiner: checkpoint of `train-refiner`; empty for none.
        chips: chip folders whose ``val`` split calibrates the scores and whose ``val`` and ``test``
            splits are quoted in the card.
        unseen: sources of another country or sensor than all training data; quoted first.
        notes: lines for the card: sources, licences, how it was trained.
    """

    detector: str
    output: str
    refiner: str = ""
    chips: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = "buildings"
    threads: int = 0

    def validate(self) -> None:
        require_given("detector", self.detector)
        require_given("output", self.output)
