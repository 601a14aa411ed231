"""Orthophotos to building polygons, one or several of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ..errors import InvalidParameter
from .base import DEVICES, PRECISIONS, Config, require_choice, require_given, require_range

REGULARIZATIONS = ("none", "right_angles", "diagonals", "any_angle")
SMOOTHINGS = ("none", "opening_closing", "gaussian", "active_contour", "spline")
LOOKS = (0, 1, 2, 4)


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
        pixel_m: ground pixel the networks work at, at most twice or half that of the model; 0 for that of the
            model. Smaller finds smaller buildings, larger takes less time and sees large ones whole.
        tile_size_px, overlap_px: on the working grid; 0 lets the model choose.
        looks: directions every tile is seen from; more find more, and take as many times as long. 0 lets the
            model choose.
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
    pixel_m: float = 0.0
    tile_size_px: int = 0
    overlap_px: int = 0
    looks: int = 0
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
        require_range("pixel_m", self.pixel_m, 0.0, 10.0)
        if self.tile_size_px:
            require_range("tile_size_px", self.tile_size_px, 128, 4096)
        require_range("overlap_px", self.overlap_px, 0, 2048)
        if self.looks not in LOOKS:
            raise InvalidParameter(f"looks is {self.looks}", "Choose 1, 2 or 4, or 0 for the model's choice")
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
