"""Polygons to polygons a cadastre accepts."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Config, require_choice, require_given, require_range
from .vectorize import REGULARIZATIONS


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
