"""The polygons that bound the work, in the coordinates the stages need."""

from __future__ import annotations

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely

from .contracts import Grid
from .crs import transform_geometries
from .errors import VectorError


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
        VectorError: not a polygon layer, without a CRS, or outside the raster.
    """
    try:
        frame = gpd.read_file(path)
    except Exception as error:  # pyogrio raises several unrelated types
        raise VectorError(f"The area {path} cannot be read ({error})", "Choose a polygon layer") from error
    polygons = frame.geometry[frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"])]
    if polygons.empty:
        raise VectorError(f"The area {path} holds no polygon", "Choose a polygon layer with at least one feature")
    if polygons.crs is None:
        raise VectorError(f"The area {path} has no coordinate reference system", "Set the layer's CRS")
    dissolved = np.array([shapely.union_all(shapely.make_valid(polygons.to_numpy()))], dtype=object)
    on_map = transform_geometries(dissolved, polygons.crs.to_wkt(), grid.crs_wkt)[0]
    a, b, c, d, e, f = grid.transform
    inverse = np.linalg.inv(np.array([[a, b], [d, e]]))
    pixels = shapely.transform(on_map, lambda xy: (xy - (c, f)) @ inverse.T)
    if not shapely.intersects(pixels, shapely.box(0, 0, grid.width, grid.height)):
        raise VectorError("The area lies outside the raster", "Choose an area that overlaps it, or check both CRSs")
    return Area(pixels, transform_geometries(dissolved, polygons.crs.to_wkt(), metric_wkt)[0])
