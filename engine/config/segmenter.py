"""Chips to a semantic segmenter."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidParameter
from .base import DEVICES, PRECISIONS, Config, require_choice, require_given, require_range

SEGMENTERS = ("compact", "deeplabv3_resnet50", "deeplabv3_mobilenet_v3")


@dataclass(frozen=True)
class TrainSegmenterConfig(Config):
    """Orthophotos and annotations, or chips, to a model package whose buildings are found by a semantic segmenter,
    with or without SegGAN.

    Attributes:
        output: zip to write.
        work_folder: chips, checkpoints and log; a run found there is continued.
        chips: chip folders; training uses their ``train`` split, model selection and scores their ``val`` split.
        rasters, crs, annotations, area, val_share: see `ExportConfig`; instead of chips or beside them.
        base: model package to start from; its refiner goes along. The trunk and dense head of a compact detector
            are a compact segmenter. Empty: from scratch.
        from_scratch: start from fresh weights all the same; the base lends only its refiner and settings.
        gan_steps: steps in which generator and discriminator learn to rebuild images from masks before they are
            frozen and judge the segmenter (SegGAN); 0 for a segmenter alone.
        lambda_content, lambda_adversarial: weights of the frozen networks' losses.
        gan_width: channels of their first layers. gan_learning_rate: of both.
        steps, minutes: as in `TrainDetectorConfig`; both 0 measures and packs the base as it is.
        figures, report: JSON file and page to write; optional.
    """

    output: str
    work_folder: str
    chips: tuple[str, ...] = ()
    rasters: tuple[str, ...] = ()
    crs: tuple[str, ...] = ()
    annotations: str = ""
    area: str = ""
    val_share: float = 0.2
    base: str = ""
    from_scratch: bool = False
    architecture: str = "compact"
    gan_steps: int = 0
    lambda_content: float = 0.1
    lambda_adversarial: float = 0.1
    gan_width: int = 32
    gan_learning_rate: float = 1e-3
    pixel_m: float = 0.0
    crop_px: int = 256
    scale_min: float = 0.6
    scale_max: float = 1.8
    steps: int = 0
    minutes: float = 60.0
    batch_size: int = 8
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    copy_paste: float = 0.3
    source_weights: tuple[str, ...] = ()
    validate_every: int = 1000
    figures: str = ""
    report: str = ""
    name: str = ""
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0
    seed: int = 1

    @property
    def is_untrained(self) -> bool:
        """Whether the base is only measured and packed."""
        return not self.steps and not self.minutes

    def validate(self) -> None:
        if bool(self.rasters) != bool(self.annotations):
            raise InvalidParameter("Rasters and annotations belong together", "Give both, or a chip folder")
        if not (self.rasters or self.chips):
            raise InvalidParameter("There is nothing to learn from", "Give rasters and annotations, or a chip folder")
        require_given("output", self.output)
        require_given("work_folder", self.work_folder)
        require_choice("architecture", self.architecture, SEGMENTERS)
        require_range("val_share", self.val_share, 0.01, 0.8)
        if self.is_untrained and (self.from_scratch or not self.base):
            raise InvalidParameter("There is nothing to train and nothing to pack", "Give steps, minutes or a base")
        require_range("gan_steps", self.gan_steps, 0, 1e7)
        require_range("lambda_content", self.lambda_content, 0.0, 1e3)
        require_range("lambda_adversarial", self.lambda_adversarial, 0.0, 1e3)
        require_range("gan_width", self.gan_width, 8, 256)
        if self.gan_width % 8:
            raise InvalidParameter(f"gan_width {self.gan_width} is no multiple of 8", "Choose 32 or 64")
        require_range("gan_learning_rate", self.gan_learning_rate, 1e-7, 1.0)
        if self.pixel_m:
            require_range("pixel_m", self.pixel_m, 0.03, 2.0)
        require_range("steps", self.steps, 0, 1e7)
        require_range("minutes", self.minutes, 0.0, 1e5)
        require_range("threads", self.threads, 0, 1024)
        require_range("seed", self.seed, 0, 2**31 - 1)
        require_choice("device", self.device, DEVICES)
        require_choice("precision", self.precision, PRECISIONS)
