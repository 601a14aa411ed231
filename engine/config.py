"""What each job is asked to do: one frozen dataclass per sub-command, validated once.

Standard library only, because the QGIS side builds these too. Units stand in the field names. The
dictionary form is the wire format between QGIS and the engine and is stored with every result.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, TypeVar

from .errors import InvalidParameter

REGULARIZATIONS = ("none", "right_angles", "diagonals", "any_angle")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
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
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
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
                return tuple(_coerce(name, i, v) for i, v in zip(items, value, strict=True))
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
        tolerance_m: greatest distance the simplification may move an outline.
        tile_size_px, overlap_px: on the working grid; 0 lets the model choose.
        threads: CPU threads, 0 for all cores.
    """

    raster: str
    output: str
    job_folder: str
    model: str = ""
    area: str = ""
    score_threshold: float = 0.5
    refine: bool = True
    tolerance_m: float = 0.4
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
        require_range("score_threshold", self.score_threshold, 0.0, 1.0)
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
    """

    predicted: str
    reference: str
    area: str = ""
    raster: str = ""
    matches: str = ""
    report: str = ""
    figures: str = ""
    limit_m: float = 0.1

    def validate(self) -> None:
        require_given("predicted", self.predicted)
        require_given("reference", self.reference)
        require_range("limit_m", self.limit_m, 0.001, 100.0)
