"""Polygons against a reference, and against the cadastre."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Config, require_given, require_range


@dataclass(frozen=True)
class EvaluateConfig(Config):
    """Predicted polygons against reference polygons.

    Attributes:
        predicted, reference: vector files.
        area: vector file bounding the comparison; empty for everything.
        raster: gives ground pixel and pictures; optional. crs: WKT of its CRS, as in `VectorizeConfig`.
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
    crs: str = ""

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
