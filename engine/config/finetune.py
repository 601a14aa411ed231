"""Annotations to chips and to a fine-tuned detector, and trainings that go to another machine."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..errors import InvalidParameter
from .base import Config, require_given, require_range
from .detector import TrainDetectorConfig

ARCHITECTURES = ("compact", "resnet34", "resnet50", "resnet101")


def chip_pixel_m(pixel_m: float) -> float:
    """Ground pixel of chips for a model that works at `pixel_m`: finer, because training magnifies them, too."""
    return round(max(0.6 * pixel_m, 0.02), 4)


@dataclass(frozen=True)
class ExportConfig(Config):
    """Orthophotos and annotations to a folder of training chips.

    Attributes:
        rasters: paths or GDAL names of the orthophotos.
        annotations: vector file with the outlines of buildings.
        output_folder: chip folder to write; an earlier chip folder there is replaced.
        area: vector file whose polygons say where every building is outlined; outside nothing is known.
            Empty: everywhere.
        negatives: vector file with polygons of what is no building, inside or outside the area; crops are
            drawn there more often.
        pixel_m: ground pixel of the chips; coarser rasters keep their own.
        chip_px, overlap_px: side of the training chips, and how far they reach into each other.
        empty_share: greatest share of chips without a building.
        val_share: share of the buildings kept aside, block by block, to measure with.
        block_m: side of those blocks; 0 chooses it by the extent.
        seed: decides which blocks.
        crs: WKT of the CRS of each raster, as `VectorizeConfig.crs`; none for the files' own.
    """

    rasters: tuple[str, ...]
    annotations: str
    output_folder: str
    area: str = ""
    negatives: str = ""
    pixel_m: float = 0.12
    chip_px: int = 768
    overlap_px: int = 128
    empty_share: float = 0.2
    val_share: float = 0.2
    block_m: float = 0.0
    seed: int = 1
    crs: tuple[str, ...] = ()

    def validate(self) -> None:
        if not self.rasters:
            raise InvalidParameter("No raster is given", "Give at least one")
        if len(self.crs) not in (0, len(self.rasters)):
            raise InvalidParameter(
                f"crs has {len(self.crs)} entries for {len(self.rasters)} rasters", "Give one for each of them, or none"
            )
        require_given("annotations", self.annotations)
        require_given("output_folder", self.output_folder)
        require_range("pixel_m", self.pixel_m, 0.02, 2.0)
        require_range("chip_px", self.chip_px, 128, 4096)
        require_range("overlap_px", self.overlap_px, 0, self.chip_px // 2)
        require_range("empty_share", self.empty_share, 0.0, 0.9)
        require_range("val_share", self.val_share, 0.0, 0.8)
        require_range("block_m", self.block_m, 0.0, 1e5)
        require_range("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class FinetuneConfig(Config):
    """Orthophotos and annotations, or chips, to a fine-tuned model package.

    Attributes:
        output: zip to write.
        work_folder: chips, checkpoints and log; a run found there is continued.
        rasters, crs, annotations, area, negatives: see `ExportConfig`.
        chips: chip folders, instead of rasters and annotations or beside them.
        base: model package to start from; empty for the bundled one.
        from_scratch: start from fresh weights instead; the base lends only its refiner.
        architecture: of a model from scratch; empty for that of the base.
        pixel_m: ground pixel the model works at; 0 for that of the base.
        report: HTML page to write; figures: JSON file to write; both optional.
        minutes: time budget, validations not counted; `steps` or `epochs` instead where they are not 0. In
            an epoch as much ground is seen as the training chips show.
        batch_size, accumulate, optimizer, learning_rate, weight_decay, warmup_share, trunk_rate, anchor,
            clip_norm, ema_decay, copy_paste, adversarial, adversarial_depth: see `TrainDetectorConfig`.
        frozen_stages: parts of the trunk that do not learn: 1 is the stem with the first stage, 4 all.
        scenes_share: share of the crops taken from generated scenes.
        validations: how often the weights are measured on the way.
        patience: measurements without gain that end the run early; 0 never.
    """

    output: str
    work_folder: str
    rasters: tuple[str, ...] = ()
    crs: tuple[str, ...] = ()
    annotations: str = ""
    area: str = ""
    negatives: str = ""
    chips: tuple[str, ...] = ()
    base: str = ""
    from_scratch: bool = False
    architecture: str = ""
    pixel_m: float = 0.0
    report: str = ""
    figures: str = ""
    name: str = ""
    minutes: float = 15.0
    steps: int = 0
    epochs: float = 0.0
    batch_size: int = 8
    accumulate: int = 1
    optimizer: str = "adamw"
    learning_rate: float = 3e-4
    weight_decay: float = 0.02
    warmup_share: float = 0.02
    trunk_rate: float = 0.3
    anchor: float = 0.0
    clip_norm: float = 2.0
    ema_decay: float = 0.998
    copy_paste: float = 0.3
    adversarial: str = "none"
    adversarial_depth: int = 5
    frozen_stages: int = 0
    scenes_share: float = 0.3
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
            raise InvalidParameter("Rasters and annotations belong together", "Give both, or a chip folder")
        if not (self.rasters or self.chips):
            raise InvalidParameter("There is nothing to learn from", "Give rasters and annotations, or a chip folder")
        if self.pixel_m:
            require_range("pixel_m", self.pixel_m, 0.03, 2.0)
        require_range("epochs", self.epochs, 0.0, 1e5)
        if self.steps and self.epochs:
            raise InvalidParameter("Both steps and epochs are given", "Give one of them")
        require_range("frozen_stages", self.frozen_stages, 0, 4)
        require_range("scenes_share", self.scenes_share, 0.0, 0.9)
        require_range("val_share", self.val_share, 0.01, 0.8)
        require_range("validations", self.validations, 1, 1000)
        require_range("patience", self.patience, 0, 1000)
        require_range("threads", self.threads, 0, 1024)
        require_range("seed", self.seed, 0, 2**31 - 1)
        self.training(chips=("-",), pixel_m=self.pixel_m or 1.0, architecture=self.architecture or "-").validate()

    def training(self, **changes: Any) -> TrainDetectorConfig:
        """What is asked of the trainer: fields of the same name, and `changes`."""
        names = {field.name for field in fields(TrainDetectorConfig)} & {field.name for field in fields(self)}
        settings = {name: getattr(self, name) for name in names} | {"base": ""} | changes
        if self.epochs and not self.steps:
            settings["steps"] = 1
        return TrainDetectorConfig(**settings)


@dataclass(frozen=True)
class PackTrainingConfig(TrainDetectorConfig):
    """A training of a detector, packed for another machine; all of `TrainDetectorConfig`, and:

    Attributes:
        output: zip or new folder to write.
        most_mb: largest size allowed, megabytes.
        jpeg_quality: of the chips, 1 to 100; 0 leaves them as they are.
    """

    output: str = ""
    most_mb: float = 60.0
    jpeg_quality: int = 0

    def validate(self) -> None:
        super().validate()
        require_given("output", self.output)
        require_range("most_mb", self.most_mb, 0.1, 1e6)
        require_range("jpeg_quality", self.jpeg_quality, 0, 100)


@dataclass(frozen=True)
class CollectTrainingConfig(Config):
    """What a packed training brought back, to a work folder.

    Attributes:
        parts: folder with ``state.json`` and the files it names.
        work_folder: where ``last.pt`` and the log are put.
    """

    parts: str
    work_folder: str

    def validate(self) -> None:
        require_given("parts", self.parts)
        require_given("work_folder", self.work_folder)
