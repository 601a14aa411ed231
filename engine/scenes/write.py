"""A scene as files: a georeferenced GeoTIFF and a GeoPackage with the true outlines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import rasterio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError

from ..config import SceneConfig
from ..contracts import Grid
from ..crs import ground_pixel_m, parse_crs
from ..errors import EngineError, InvalidParameter, OutputError
from ..progress import Reporter
from .scene import Scene, generate_scene

LAYER = "buildings"
PLACE_LON_LAT = (15.0, 47.0)
"""Where scenes lie whose coordinate system covers the whole Earth."""


def write_scene(config: SceneConfig, reporter: Reporter) -> dict[str, Any]:
    """Generate a scene and write both files, whole or not at all.

    Returns:
        ``{"raster": path, "outlines": path, "buildings": count}``.

    Raises:
        InvalidParameter: a parameter or the coordinate system cannot be used.
        OutputError: a file cannot be written.
    """
    config.validate()
    grid = place_grid(config)
    with reporter.span(0.0, 0.85):
        scene = generate_scene(
            width_px=config.width_px,
            height_px=config.height_px,
            pixel_m=config.pixel_m,
            style=config.style,
            density=config.density,
            seed=config.seed,
            reporter=reporter,
        )
    raster, outlines = Path(config.raster), Path(config.outlines)
    if raster.absolute() == outlines.absolute():
        raise InvalidParameter("raster and outlines are the same file", "Give two different paths")
    raster_part = raster.with_name(f".{raster.name}.{os.getpid()}.tif")
    outlines_part = outlines.with_name(f".{outlines.name}.{os.getpid()}.gpkg")
    try:
        raster.parent.mkdir(parents=True, exist_ok=True)
        outlines.parent.mkdir(parents=True, exist_ok=True)
        reporter.progress(0.88, "Writing the orthophoto")
        _write_raster(raster_part, scene, grid)
        reporter.progress(0.95, "Writing the outlines")
        _write_outlines(outlines_part, scene, grid)
        os.replace(raster_part, raster)
        os.replace(outlines_part, outlines)
    except (OSError, RasterioError, DataSourceError, DataLayerError, FeatureError) as error:
        raise OutputError(
            f"The scene cannot be written to {raster} and {outlines} ({error})",
            "Choose another place or free some disk space",
        ) from error
    finally:
        for part in (raster_part, outlines_part):
            for leftover in part.parent.glob(f"{part.name}*"):
                leftover.unlink(missing_ok=True)
    reporter.log(f"{len(scene.outlines)} buildings, {config.width_px} x {config.height_px} pixels, {config.style}")
    return {"raster": str(raster), "outlines": str(outlines), "buildings": len(scene.outlines)}


def place_grid(config: SceneConfig) -> Grid:
    """Lay the pixel grid of a scene on the map: its middle at a place inside the coordinate system's area.

    The pixel measures `pixel_m` on the ground there whatever the unit of the system is.

    Raises:
        InvalidParameter: the coordinate system is unknown or cannot hold a map.
    """
    try:
        crs = parse_crs(config.crs)
        if not (crs.is_geographic or crs.is_projected) or len(crs.axis_info) < 2:
            raise InvalidParameter(
                f"The coordinate system {crs.name!r} is neither geographic nor projected",
                "Choose one such as EPSG:32633",
            )
        wkt = crs.to_wkt()
        x, y = _place(crs)
        step = 1e-5 if crs.is_geographic else 1.0
        width_m, height_m = ground_pixel_m((step, 0.0, x, 0.0, -step, y), wkt, 0.0, 0.0)
    except InvalidParameter:
        raise
    except EngineError as error:
        raise InvalidParameter(error.what, error.todo) from error
    except ProjError as error:
        raise InvalidParameter(
            f"The coordinate system {config.crs!r} cannot be used for a scene", "Choose one such as EPSG:32633"
        ) from error
    scale_x, scale_y = config.pixel_m * step / width_m, config.pixel_m * step / height_m
    angle = np.radians(config.rotation_deg)
    c, s = float(np.cos(angle)), float(np.sin(angle))
    if config.rotation_deg == 0:
        c, s = 1.0, 0.0
    a, b = scale_x * c, scale_x * s
    d, e = scale_y * s, -scale_y * c
    middle_x, middle_y = config.width_px / 2, config.height_px / 2
    origin = x - a * middle_x - b * middle_y, y - d * middle_x - e * middle_y
    return Grid(config.width_px, config.height_px, (a, b, origin[0], d, e, origin[1]), wkt, config.pixel_m)


def _place(crs: pyproj.CRS) -> tuple[float, float]:
    """Map coordinates of a place inside the area of a coordinate system."""
    area = crs.area_of_use
    lon, lat = PLACE_LON_LAT
    if area is None:
        return PLACE_LON_LAT if crs.is_geographic else (0.0, 0.0)
    east = area.east if area.east >= area.west else area.east + 360
    if not (east - area.west > 350 and area.south < lat < area.north):
        lon, lat = (area.west + east) / 2, (area.south + area.north) / 2
    x, y = pyproj.Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
    if not (np.isfinite(x) and np.isfinite(y)):
        raise InvalidParameter(
            f"The coordinate system {crs.name!r} does not reach its own area", "Choose one such as EPSG:32633"
        )
    digits = 3 if crs.is_geographic else -2
    return round(float(x), digits), round(float(y), digits)


def _write_raster(path: Path, scene: Scene, grid: Grid) -> None:
    """Tiled GeoTIFF, JPEG compressed as orthophotos usually are; positions are not touched by that."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=grid.width,
        height=grid.height,
        count=3,
        dtype="uint8",
        crs=rasterio.crs.CRS.from_wkt(grid.crs_wkt),
        transform=rasterio.Affine(*grid.transform),
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="JPEG",
        jpeg_quality=92,
        photometric="YCBCR",
    ) as target:
        target.write(np.moveaxis(scene.image, 2, 0))


def _write_outlines(path: Path, scene: Scene, grid: Grid) -> None:
    """GeoPackage layer ``buildings`` in the raster's coordinate system; empty scenes keep the fields."""
    geometry = shapely.transform(np.array(scene.outlines, dtype=object), grid.to_map)
    frame = gpd.GeoDataFrame(
        {
            "id": np.array([f"b{i:05d}" for i in range(len(geometry))], dtype=object),
            "area_m2": np.round(shapely.area(np.array(scene.outlines, dtype=object)) * grid.pixel_m**2, 3).astype(
                float
            ),
        },
        geometry=geometry,
        crs=grid.crs_wkt,
    )
    frame.to_file(
        path, layer=LAYER, driver="GPKG", engine="pyogrio", geometry_type="Polygon", promote_to_multi=False,
        dataset_options={"VERSION": "1.2"},  # newer ones make the GDAL of QGIS 3.22 warn
    )  # fmt: skip
