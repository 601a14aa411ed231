"""Chips or mask pairs to a mask refiner."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidParameter
from .base import DEVICES, PRECISIONS, Config, require_choice, require_given, require_range

REFINER_VARIANTS = ("guided", "vinokurov", "tiny16-32", "tiny16-128", "res16-32", "res16-128", "res32-256",
                    "attn32-256", "vinokurov16")  # fmt: skip
"""The networks, as `models.refiners.VARIANTS` has them."""
LOSS_TERMS = ("bce", "dice", "boundary")


@dataclass(frozen=True)
class TrainRefinerConfig(Config):
    """Chips or mask pairs to a mask refiner.

    Attributes:
        work_folder: checkpoints, weights, figures and report; a run found there is continued.
        chips: chip folders; ``train`` chips are learnt from, ``val`` chips select the weights.
        chip_shares: share of the examples from each chip folder; equal when not given.
        pairs: folder with ``predicted/`` and ``exact/`` masks of the same names, used instead of chips.
        pairs_pixel_m: ground pixel of the pairs, for figures in metres; 0 where unknown.
        predictions: folder of detector masks on the chips; mixed with synthetic damage.
        predicted_share: share of the examples taken from `predictions`.
        base: checkpoint (``best.pt``) or model package to start from; empty to start from scratch.
        variant: ``guided``, ``vinokurov``, ``vinokurov16`` (a quarter of its width), or a NeuralSegmentello name
            such as ``tiny16-128``.
        steps: optimiser steps.
        minutes: time budget that ends the run earlier; 0 for none. The learning rate follows both.
        batch_size: crops of 128 x 128 px; fewer of larger ones.
        learning_rate: 0 lets the variant choose, a quarter of it where `base` is given.
        lambda_l1: weight of the L1 term of ``vinokurov``.
        loss_terms: of ``bce``, ``dice`` and ``boundary`` in NeuralSegmentello's weights; empty lets the variant
            choose. Not for ``vinokurov``.
        adversarial_weight: of the discriminator's term; negative lets the variant choose.
        validate_every: steps between validations; `patience` of them without gain end the run, 0 never.
        validations: how many there are over the budget instead, where that is not 0.
    """

    work_folder: str
    chips: tuple[str, ...] = ()
    chip_shares: tuple[float, ...] = ()
    pairs: str = ""
    pairs_pixel_m: float = 0.0
    predictions: str = ""
    predicted_share: float = 0.5
    base: str = ""
    variant: str = "guided"
    steps: int = 8000
    minutes: float = 0.0
    batch_size: int = 16
    learning_rate: float = 0.0
    lambda_l1: float = 100.0
    loss_terms: tuple[str, ...] = ()
    adversarial_weight: float = -1.0
    validate_every: int = 500
    validations: int = 0
    patience: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    seed: int = 1

    def validate(self) -> None:
        require_given("work_folder", self.work_folder)
        if bool(self.chips) == bool(self.pairs):
            raise InvalidParameter("Chips and mask pairs are alternatives", "Give one of chips and pairs")
        if self.chip_shares and (len(self.chip_shares) != len(self.chips) or min(self.chip_shares) <= 0):
            raise InvalidParameter("chip_shares does not fit the chips", "Give one positive number for each folder")
        if self.predictions and not self.chips:
            raise InvalidParameter("Predictions are given without chips", "Give the chips they were made on")
        require_range("predicted_share", self.predicted_share, 0.0, 1.0)
        require_range("steps", self.steps, 1, 1e7)
        require_range("minutes", self.minutes, 0.0, 1e5)
        require_range("batch_size", self.batch_size, 1, 1024)
        require_range("learning_rate", self.learning_rate, 0.0, 1.0)
        require_range("lambda_l1", self.lambda_l1, 0.0, 1e6)
        for term in self.loss_terms:
            require_choice("loss_terms", term, LOSS_TERMS)
        if self.loss_terms and self.variant.startswith("vinokurov"):
            raise InvalidParameter(f"The variant {self.variant} has its own loss", "Leave loss_terms empty")
        require_range("adversarial_weight", self.adversarial_weight, -1.0, 100.0)
        require_range("validate_every", self.validate_every, 1, 1e7)
        require_range("validations", self.validations, 0, 1e6)
        require_range("pairs_pixel_m", self.pairs_pixel_m, 0.0, 100.0)
        require_range("patience", self.patience, 0, 1e6)
        require_range("threads", self.threads, 0, 1024)
        require_choice("device", self.device, DEVICES)
        require_choice("precision", self.precision, PRECISIONS)


@dataclass(frozen=True)
class FinetuneRefinerConfig(Config):
    """Orthophotos and annotations, chips, or mask pairs to a model package with a trained refiner.

    Attributes:
        output: zip to write.
        work_folder: chips, masks, checkpoints and log; a run found there is continued.
        rasters, crs, annotations, area: see `ExportConfig`.
        chips: chip folders, instead of rasters and annotations or beside them.
        pairs: folder with ``predicted/`` and ``exact/`` masks of the same names, and optionally ``image/``;
            instead of all of these.
        pairs_pixel_m: ground pixel of the pairs, for figures in metres; 0 where unknown.
        base: model package whose detector draws the rough masks, and which lends detector and settings to the
            output; empty for the bundled one.
        folds: parts the training ground is divided into; a detector trained without a part draws its masks.
            0 takes the masks of the base, which is right where it never saw these annotations.
        fold_steps: how long each of those detectors is trained.
        predicted_share: share of the examples that are masks of a detector; synthetic damage otherwise.
        from_scratch: start from fresh weights although the base has a refiner of this variant.
        report: HTML page to write; figures: JSON file to write; both optional.
        minutes: time budget, measurements not counted; `steps` instead where that is not 0.
        batch_size: crops of 128 x 128 px; fewer of larger ones.
        learning_rate: 0 lets the variant choose, less where it continues.
        lambda_l1, loss_terms, adversarial_weight: see `TrainRefinerConfig`.
        validations: how often the weights are measured on the way.
        patience: measurements without gain that end the run early; 0 never.
    """

    output: str
    work_folder: str
    rasters: tuple[str, ...] = ()
    crs: tuple[str, ...] = ()
    annotations: str = ""
    area: str = ""
    chips: tuple[str, ...] = ()
    pairs: str = ""
    pairs_pixel_m: float = 0.0
    base: str = ""
    variant: str = "guided"
    folds: int = 0
    fold_steps: int = 300
    predicted_share: float = 0.5
    from_scratch: bool = False
    report: str = ""
    figures: str = ""
    name: str = ""
    minutes: float = 15.0
    steps: int = 0
    batch_size: int = 16
    learning_rate: float = 0.0
    lambda_l1: float = 100.0
    loss_terms: tuple[str, ...] = ()
    adversarial_weight: float = -1.0
    val_share: float = 0.2
    validations: int = 10
    patience: int = 5
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    seed: int = 1

    def validate(self) -> None:
        require_given("output", self.output)
        require_given("work_folder", self.work_folder)
        if bool(self.rasters) != bool(self.annotations):
            raise InvalidParameter("Rasters and annotations belong together", "Give both, or a folder")
        if not (self.rasters or self.chips or self.pairs):
            raise InvalidParameter(
                "There is nothing to learn from", "Give rasters and annotations, a chip folder, or mask pairs"
            )
        if self.pairs and (self.rasters or self.chips):
            raise InvalidParameter("Mask pairs stand alone", "Give either them or something to make pairs of")
        if self.pairs and self.folds:
            raise InvalidParameter("Mask pairs are not divided into folds", "Set the folds to 0")
        require_choice("variant", self.variant, REFINER_VARIANTS)
        if self.folds:
            require_range("folds", self.folds, 2, 20)
        require_range("fold_steps", self.fold_steps, 1, 1e6)
        require_range("predicted_share", self.predicted_share, 0.0, 1.0)
        require_range("pairs_pixel_m", self.pairs_pixel_m, 0.0, 100.0)
        require_range("steps", self.steps, 0, 1e7)
        require_range("minutes", self.minutes, 0.0 if self.steps else 0.01, 1e5)
        require_range("batch_size", self.batch_size, 1, 1024)
        require_range("learning_rate", self.learning_rate, 0.0, 1.0)
        require_range("lambda_l1", self.lambda_l1, 0.0, 1e6)
        for term in self.loss_terms:
            require_choice("loss_terms", term, LOSS_TERMS)
        if self.loss_terms and self.variant.startswith("vinokurov"):
            raise InvalidParameter(f"The variant {self.variant} has its own loss", "Leave loss_terms empty")
        require_range("adversarial_weight", self.adversarial_weight, -1.0, 100.0)
        require_range("val_share", self.val_share, 0.01, 0.8)
        require_range("validations", self.validations, 1, 1000)
        require_range("patience", self.patience, 0, 1000)
        require_range("threads", self.threads, 0, 1024)
        require_range("seed", self.seed, 0, 2**31 - 1)
        require_choice("device", self.device, DEVICES)
        require_choice("precision", self.precision, PRECISIONS)
