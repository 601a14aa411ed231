"""The result layer: geometry in the raster's CRS, the attributes of the design, who made it and how."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from ..contracts import Outline
from ..crs import transform_geometries
from ..errors import OutputError
from ..geopackage import write_geopackage

LAYER = "buildings"


def write_buildings(
    outlines: Sequence[Outline], path: str, *, metric_wkt: str, crs_wkt: str, model: str, metadata: dict[str, Any]
) -> None:
    """Write a GeoPackage whole or not at all; an empty one has the same fields.

    Args:
        outlines: geometry in `metric_wkt`.
        crs_wkt: CRS to write in.
        model: value of the ``model`` field.
        metadata: strings by key, stored with the layer.

    Raises:
        OutputError: it cannot be written.
    """
    table = tabulate(outlines, model)
    table["geometry"] = transform_geometries(table["geometry"].to_numpy(), metric_wkt, crs_wkt)
    frame = gpd.GeoDataFrame(table, geometry="geometry", crs=crs_wkt)
    write_geopackage(frame, path, layer=LAYER, geometry_type="Polygon", metadata=metadata)


def require_writable(path: str) -> None:
    """Make the folder of `path` and write into it, so that a bad place is refused before the work, not after.

    Raises:
        OutputError: the folder cannot be made or written to.
    """
    target = Path(path)
    probe = target.with_name(f".{target.name}.{os.getpid()}.probe")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"The result {target} cannot be written ({error.strerror})", "Choose another place"
        ) from error


def tabulate(outlines: Sequence[Outline], model: str) -> gpd.GeoDataFrame:
    """One row per building, geometry in metres, fields as the design names them."""
    geometry = np.array([o.geometry for o in outlines], dtype=object)
    columns = {
        "id": np.array([o.id for o in outlines], dtype=object),
        "score": np.array([round(o.score, 4) for o in outlines], float),
        "area_m2": np.round(shapely.area(geometry), 2).astype(float),
        "perimeter_m": np.round(shapely.length(geometry), 2).astype(float),
        "vertices": np.array([count_vertices(g) for g in geometry], np.int32),
        "refined": np.array([o.refined for o in outlines], bool),
        "regularized": np.array([o.regularized for o in outlines], dtype=object),
        "max_shift_m": np.array([round(o.max_shift_m, 3) for o in outlines], float),
        "iou_raw": np.array([round(o.iou_raw, 4) for o in outlines], float),
        "edge": np.array([o.edge for o in outlines], bool),
        "check": np.array([o.check for o in outlines], dtype=object),
        "model": np.array([model] * len(outlines), dtype=object),
    }
    return gpd.GeoDataFrame(columns, geometry=geometry)


def count_vertices(polygon: shapely.Polygon) -> int:
    """Distinct vertices of all rings."""
    return sum(len(ring.coords) - 1 for ring in (polygon.exterior, *polygon.interiors))
