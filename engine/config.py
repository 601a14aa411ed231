"""What each job is asked to do: one frozen dataclass per sub-command, validated once.

Standard library only, because the QGIS side builds these too. Units stand in the field names. The
dictionary form is the wire format between QGIS and the engine and is stored with every result.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import InvalidParameter

REGULARIZATIONS = ("none", "right_angles", "diagonals", "any_angle")
SMOOTHINGS = ("none", "opening_closing", "gaussian", "active_contour", "spline")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
OPTIMIZERS = ("adamw", "sgd")
ADVERSARIAL = ("none", "box", "mask", "both", "only")
STYLES = (
    "mixed", "european_suburb", "terraces", "dense_town", "villas_tropical", "informal", "industrial",
    "rural", "rural_tropical", "american_suburb",
)

C = TypeVar("C", bound="Config")


@dataclass(frozen=True)
class Config:
    """Base of all job configurations."""

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """Build and validate from plain JSON values; unknown names and wrong types are refused."""
        fields = typing.get_type_hints(cls)
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise InvalidParameter(
                f"Unknown parameter {', '.join(unknown)}", f"Known are: {', '.join(sorted(fields))}"
            )
        try:
            config = cls(**{name: _coerce(name, fields[name], v) for name, v in values.items()})
        except TypeError as error:
            raise InvalidParameter(f"Parameters are incomplete ({error})", "Give every input and output") from error
        config.validate()
        return config

    def validate(self) -> None:
        """Raise `InvalidParameter` for values the job cannot run with."""


def _coerce(name: str, hint: Any, value: Any) -> Any:
    """Check one JSON value against its type hint; integers pass as floats, lists become tuples."""
    options = typing.get_args(hint) if typing.get_origin(hint) is typing.Union else (hint,)
    for option in options:
        if option is type(None) and value is None:
            return None
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if option is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if option in (bool, str) and isinstance(value, option):
            return value
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            item, *rest = typing.get_args(option)
            items = [item] * len(value) if rest == [Ellipsis] else [item, *rest]
            if len(items) == len(value):
                return tuple(_coerce(name, i, v) for i, v in zip(items, value))  # noqa: B905  (strict= needs Python 3.10)
    readable = str(hint).replace("<class '", "").replace("'>", "")
    raise InvalidParameter(f"{name} = {value!r} is not of type {readable}", "Correct the value")


def require_range(name: str, value: float, low: float, high: float) -> None:
    """Raise `InvalidParameter` unless ``low <= value <= high``."""
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidParameter(f"{name} is {value:g}", f"Choose a value from {low:g} to {high:g}")


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `InvalidParameter` unless `value` is one of `choices`."""
    if value not in choices:
        raise InvalidParameter(f"{name} is {value!r}", f"Choose one of {', '.join(choices)}")


def require_given(name: str, value: str) -> None:
    """Raise `InvalidParameter` for an empty path."""
    if not value:
        raise InvalidParameter(f"{name} is empty", "Give a path")


@dataclass(frozen=True)
class VectorizeConfig(Config):
    """Orthophoto to building polygons.

    Attributes:
        raster: path or GDAL name of the orthophoto.
        output: GeoPackage to write, layer ``buildings``.
        job_folder: where the journal and partial results live; resumes what it finds.
        model: model package (folder or zip); empty for the bundled one.
        area: vector file whose polygons bound the work; empty for the whole raster.
        min_area_m2: smaller buildings are left out and counted in the log.
        tolerance_m: greatest distance the simplification may move an outline; masks of a network round
            their corners by about a metre, so much less keeps the rounding.
        smoothing, smoothing_m: how masks are smoothed before they are outlined, and how far that reaches.
        split_terraces: take masks of several houses apart where the probability shows a party wall.
        tile_size_px, overlap_px: on the working grid; 0 lets the model choose.
        bands: numbers from 1 of red, green and blue, or of one band for grey; empty for the marked or first ones.
        skip_unreadable: leave out what cannot be read of the raster, and mark the buildings beside it.
        crs: WKT of the raster's CRS, where its file has none or a wrong one; empty for the file's.
        threads: CPU threads, 0 for all cores.
    """

    raster: str
    output: str
    job_folder: str
    model: str = ""
    area: str = ""
    bands: tuple[int, ...] = ()
    skip_unreadable: bool = False
    crs: str = ""
    score_threshold: float = 0.5
    refine: bool = True
    smoothing: str = "none"
    smoothing_m: float = 0.3
    split_terraces: bool = False
    tolerance_m: float = 1.0
    regularization: str = "right_angles"
    min_area_m2: float = 6.0
    tile_size_px: int = 0
    overlap_px: int = 0
    batch_size: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0

    def validate(self) -> None:
        require_given("raster", self.raster)
        require_given("output", self.output)
        require_given("job_folder", self.job_folder)
        if len(self.bands) not in (0, 1, 3) or min(self.bands, default=1) < 1:
            raise InvalidParameter(
                f"Bands {', '.join(map(str, self.bands))} make no picture",
                "Choose three for red, green and blue, one for grey, or none for the usual ones",
            )
        require_range("score_threshold", self.score_threshold, 0.0, 1.0)
        require_choice("smoothing", self.smoothing, SMOOTHINGS)
        require_range("smoothing_m", self.smoothing_m, 0.01, 10.0)
        require_range("tolerance_m", self.tolerance_m, 0.0, 10.0)
        require_range("min_area_m2", self.min_area_m2, 0.0, 1e6)
        require_choice("regularization", self.regularization, REGULARIZATIONS)
        require_choice("device", self.device, DEVICES)
        require_choice("precision", self.precision, PRECISIONS)
        require_range("batch_size", self.batch_size, 0, 256)
        require_range("threads", self.threads, 0, 1024)
        if self.tile_size_px:
            require_range("tile_size_px", self.tile_size_px, 128, 4096)
        require_range("overlap_px", self.overlap_px, 0, 2048)
        if self.tile_size_px and self.overlap_px * 2 > self.tile_size_px:
            raise InvalidParameter(
                f"overlap_px {self.overlap_px} is more than half of tile_size_px {self.tile_size_px}",
                "Choose a smaller overlap or larger tiles",
            )


@dataclass(frozen=True)
class SeveralConfig(VectorizeConfig):
    """Several orthophotos to one layer of building polygons.

    Attributes:
        more_rasters: paths or GDAL names beside `raster`.
        more_crs: WKT for each of them, as `crs`; none for the files' own.
    """

    more_rasters: tuple[str, ...] = ()
    more_crs: tuple[str, ...] = ()

    def validate(self) -> None:
        super().validate()
        for raster in self.more_rasters:
            require_given("more_rasters", raster)
        if len(self.more_crs) not in (0, len(self.more_rasters)):
            raise InvalidParameter(
                f"more_crs has {len(self.more_crs)} entries for {len(self.more_rasters)} rasters",
                "Give one for each of more_rasters, or none",
            )

    def each(self) -> list[VectorizeConfig]:
        """The job of each raster, in a folder of its own inside the job folder."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(VectorizeConfig)}
        systems = (self.crs, *(self.more_crs or ("",) * len(self.more_rasters)))
        jobs = []
        for number, (raster, crs) in enumerate(zip((self.raster, *self.more_rasters), systems), 1):  # noqa: B905
            folder = f"{self.job_folder}/raster-{number}"
            own = {"raster": raster, "crs": crs, "job_folder": folder, "output": f"{folder}/buildings.gpkg"}
            jobs.append(VectorizeConfig(**{**shared, **own}))
        return jobs


@dataclass(frozen=True)
class RegularizeConfig(Config):
    """Any polygons to simplified, regularised, topologically clean ones.

    Attributes:
        input: vector file; every attribute and the feature id are kept.
        output: GeoPackage to write.
        snap_m: neighbours closer than this get one common wall.
    """

    input: str
    output: str
    tolerance_m: float = 0.4
    regularization: str = "right_angles"
    min_area_m2: float = 0.0
    snap_m: float = 0.3

    def validate(self) -> None:
        require_given("input", self.input)
        require_given("output", self.output)
        require_range("tolerance_m", self.tolerance_m, 0.0, 10.0)
        require_range("min_area_m2", self.min_area_m2, 0.0, 1e6)
        require_range("snap_m", self.snap_m, 0.0, 5.0)
        require_choice("regularization", self.regularization, REGULARIZATIONS)


@dataclass(frozen=True)
class SceneConfig(Config):
    """A generated orthophoto and its true outlines.

    Attributes:
        raster: GeoTIFF to write.
        outlines: GeoPackage to write, layer ``buildings``.
        rotation_deg: of the grid against north, counter-clockwise.
        density: share of parcels that carry a building, 0 to 1.
    """

    raster: str
    outlines: str
    width_px: int = 1024
    height_px: int = 1024
    pixel_m: float = 0.2
    style: str = "mixed"
    density: float = 0.8
    crs: str = "EPSG:32633"
    rotation_deg: float = 0.0
    seed: int = 1

    def validate(self) -> None:
        require_given("raster", self.raster)
        require_given("outlines", self.outlines)
        require_range("width_px", self.width_px, 64, 16384)
        require_range("height_px", self.height_px, 64, 16384)
        require_range("pixel_m", self.pixel_m, 0.03, 2.0)
        require_choice("style", self.style, STYLES)
        require_range("density", self.density, 0.0, 1.0)
        require_range("rotation_deg", self.rotation_deg, -360.0, 360.0)
        require_range("seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Predicted polygons against reference polygons.

    Attributes:
        predicted, reference: vector files.
        area: vector file bounding the comparison; empty for everything.
        raster: gives ground pixel and pictures; optional.
        matches: GeoPackage to write, one feature per match; optional.
        report: HTML page to write; optional.
        figures: JSON file to write; optional.
        limit_m: limiting mean-square error of corner positions, metres.
        others: more predicted layers, shown beside the first.
        pixel_m: ground pixel for pixel figures; 0 takes it from the raster.
        surveyed: the reference was measured in the field, independently of the imagery.
        size_limits_m2: buildings below the first are small, above the second large.
    """

    predicted: str
    reference: str
    area: str = ""
    raster: str = ""
    matches: str = ""
    report: str = ""
    figures: str = ""
    limit_m: float = 0.1
    others: tuple[str, ...] = ()
    pixel_m: float = 0.0
    surveyed: bool = False
    size_limits_m2: tuple[float, float] = (50.0, 250.0)

    def validate(self) -> None:
        require_given("predicted", self.predicted)
        require_given("reference", self.reference)
        require_range("limit_m", self.limit_m, 0.001, 100.0)
        require_range("pixel_m", self.pixel_m, 0.0, 100.0)
        require_range("size_limits_m2", self.size_limits_m2[0], 0.0, self.size_limits_m2[1])


@dataclass(frozen=True)
class CompareConfig(Config):
    """Detected buildings against the existing cadastre.

    Attributes:
        predicted: detected buildings, vector file.
        cadastre: existing buildings, vector file.
        output: GeoPackage to write, one feature per finding.
        area: vector file bounding the comparison; empty for everything.
        figures: JSON file for the summary; optional.
        cadastre_id: field of the identifier kept from the cadastre; the feature id where it does not exist.
        tolerance_m: outlines closer than this along 95 % of their length are unchanged.
        shift_m: buildings of the same shape farther than this are shifted.
        min_overlap: share of the smaller polygon that two must have in common to be the same building.
        min_area_m2: smaller detections without a counterpart are not new buildings.
    """

    predicted: str
    cadastre: str
    output: str
    area: str = ""
    figures: str = ""
    cadastre_id: str = "id"
    tolerance_m: float = 0.5
    shift_m: float = 0.5
    min_overlap: float = 0.3
    min_area_m2: float = 10.0

    def validate(self) -> None:
        require_given("predicted", self.predicted)
        require_given("cadastre", self.cadastre)
        require_given("output", self.output)
        require_range("tolerance_m", self.tolerance_m, 0.01, 100.0)
        require_range("shift_m", self.shift_m, 0.01, 100.0)
        require_range("min_overlap", self.min_overlap, 0.05, 0.95)
        require_range("min_area_m2", self.min_area_m2, 0.0, 1e6)


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
