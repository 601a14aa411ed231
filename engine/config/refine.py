"""Rough polygons to precise ones."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidParameter
from .base import DEVICES, PRECISIONS, Config, require_choice, require_given, require_range
from .vectorize import REGULARIZATIONS, SMOOTHINGS


@dataclass(frozen=True)
class RefineConfig(Config):
    """Roughly drawn buildings and their orthophoto to precise polygons.

    Attributes:
        input: vector file of polygons, or of lines taken for brush strokes; every feature, its id and its
            attributes are kept.
        raster: path or GDAL name of the orthophoto. crs: WKT of its CRS, as in `VectorizeConfig`.
        output: GeoPackage to write, layer ``buildings``.
        model: model package (folder or zip) with a refiner; empty for the bundled one.
        stroke_width_m: width of the brush that lines were drawn with.
        passes: how often the network looks; each pass starts from the result of the one before.
        min_certainty: an answer is taken if the network expects at least this IoU of it; less takes more of
            the network's answers, also wrong ones.
        smoothing, smoothing_m, tolerance_m, regularization: as in `VectorizeConfig`.
        bands: red, green and blue band of the raster, from 1, or one for grey; empty lets the raster say.
        threads: CPU threads, 0 for all cores.
    """

    input: str
    raster: str
    output: str
    model: str = ""
    crs: str = ""
    stroke_width_m: float = 4.0
    passes: int = 2
    min_certainty: float = 0.5
    smoothing: str = "none"
    smoothing_m: float = 0.3
    tolerance_m: float = 1.0
    regularization: str = "right_angles"
    bands: tuple[int, ...] = ()
    device: str = "auto"
    precision: str = "auto"
    threads: int = 0

    def validate(self) -> None:
        require_given("input", self.input)
        require_given("raster", self.raster)
        require_given("output", self.output)
        require_range("stroke_width_m", self.stroke_width_m, 0.1, 100.0)
        require_range("passes", self.passes, 1, 10)
        require_range("min_certainty", self.min_certainty, 0.0, 1.0)
        require_choice("smoothing", self.smoothing, SMOOTHINGS)
        require_range("smoothing_m", self.smoothing_m, 0.01, 10.0)
        require_range("tolerance_m", self.tolerance_m, 0.0, 10.0)
        require_choice("regularization", self.regularization, REGULARIZATIONS)
        if len(self.bands) not in (0, 1, 3):
            raise InvalidParameter(
                f"bands names {len(self.bands)} bands", "Give three (red, green, blue), one (grey) or none"
            )
        require_choice("device", self.device, DEVICES)
        require_choice("precision", self.precision, PRECISIONS)
        require_range("threads", self.threads, 0, 1024)
