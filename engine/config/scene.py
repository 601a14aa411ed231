"""Generated orthophotos."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Config, require_choice, require_given, require_range

STYLES = (
    "mixed", "european_suburb", "terraces", "dense_town", "villas_tropical", "informal", "industrial",
    "rural", "rural_tropical", "american_suburb",
)


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
