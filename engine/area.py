"""The polygons that bound the work, in the coordinates the stages need."""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely

from .contracts import Grid
from .crs import transform_geometries
from .errors import EngineError, VectorError
from .network import vector_access

LEAST_PX = 1.0
"""A smaller area, in pixels of the working grid, is a slip of the mouse."""


class AreaOutside(VectorError):
    """The area does not reach the raster."""

    def __init__(self) -> None:
        super().__init__("The area lies outside the raster", "Choose an area that overlaps it, or check both CRSs")


@dataclass(frozen=True)
class Area:
    """One area in two planes.

    Attributes:
        pixels: in working-grid pixels.
        metres: in the metric CRS of the geometry stages.
    """

    pixels: shapely.Geometry
    metres: shapely.Geometry


def read_area(path: str, grid: Grid, metric_wkt: str) -> Area:
    """Read and dissolve the polygons of a layer.

    Raises:
        VectorError: not a polygon layer, without a CRS, or with no surface on the raster. AreaOutside: it does
            not reach the raster.
    """
    shapes, crs_wkt = _read(path)
    near = _reach(grid, crs_wkt)  # what is farther away may have no coordinates in the raster's CRS
    dissolved = np.array([shapely.union_all(shapely.intersection(shapes, near))], object)
    if shapely.is_empty(dissolved[0]):
        raise AreaOutside
    on_map = transform_geometries(dissolved, crs_wkt, grid.crs_wkt)[0]
    a, b, c, d, e, f = grid.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    pixels = shapely.make_valid(shapely.transform(on_map, lambda xy: (xy - (c, f)) @ inverse.T))
    frame = shapely.box(0, 0, grid.width, grid.height)
    if not shapely.intersects(pixels, frame):
        raise AreaOutside
    if shapely.area(shapely.intersection(pixels, frame)) < LEAST_PX:
        raise VectorError("The area covers less than one pixel of the raster", "Draw a larger one")
    return Area(pixels, shapely.make_valid(transform_geometries(dissolved, crs_wkt, metric_wkt)[0]))


def _reach(grid: Grid, crs_wkt: str) -> shapely.Polygon:
    """Bounds of a grid in another CRS, enlarged by a tenth. Raises `AreaOutside` where it has none there."""
    edge = shapely.segmentize(shapely.box(0, 0, grid.width, grid.height), max(grid.width, grid.height) / 16)
    try:
        frame = transform_geometries(np.array([shapely.transform(edge, grid.to_map)], object), grid.crs_wkt, crs_wkt)
    except EngineError as error:
        raise AreaOutside from error
    x0, y0, x1, y1 = frame[0].bounds
    margin = 0.1 * max(x1 - x0, y1 - y0)
    return shapely.box(x0 - margin, y0 - margin, x1 + margin, y1 + margin)


def _read(path: str) -> tuple[np.ndarray, str]:
    """The polygons of a layer, valid, object[N], and the WKT of its CRS. Raises `VectorError`."""
    try:
        with vector_access(path):
            geometry = gpd.read_file(path).geometry
    except Exception as error:  # pyogrio raises several unrelated types
        reason = " ".join(str(error).split())[:200]
        raise VectorError(f"The area {path} cannot be read ({reason})", "Choose a polygon layer") from error
    polygons = geometry[geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty:
        raise VectorError(f"The area {path} holds no polygon", "Choose a polygon layer with at least one feature")
    if polygons.crs is None:
        raise VectorError(f"The area {path} has no coordinate reference system", "Set the layer's CRS")
    shapes = shapely.force_2d(polygons.to_numpy())
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise VectorError(f"The area {path} has corners that are no numbers", "Draw it again")
    return shapely.make_valid(shapes), polygons.crs.to_wkt()
