"""GeoPackages written whole or not at all, in a version every supported QGIS reads."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyogrio

from .errors import OutputError


def write_geopackage(
    frame: gpd.GeoDataFrame, path: str | Path, *, layer: str, geometry_type: str, metadata: dict[str, Any] | None = None
) -> None:
    """Write one layer beside the target and rename it over.

    Args:
        frame: any table of geometries; its index is not written.
        geometry_type: of the layer; polygons are promoted for a ``MultiPolygon`` one.
        metadata: stored with the layer, as strings.

    Raises:
        OutputError: it cannot be written; what stood there before still does.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.gpkg")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pyogrio.write_dataframe(
            frame, temporary, layer=layer, driver="GPKG", geometry_type=geometry_type,
            promote_to_multi=geometry_type.startswith("Multi"),
            layer_metadata={key: str(value) for key, value in metadata.items()} if metadata else None,
            dataset_options={"VERSION": "1.2"},  # newer ones make the GDAL of QGIS 3.22 warn
        )  # fmt: skip
        os.replace(temporary, target)
    except Exception as error:  # pyogrio raises its own types, GDAL's and OSError
        raise OutputError(
            f"The result {target} cannot be written ({error})", "Choose another place or free some disk space"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            for leftover in target.parent.glob(f"{temporary.name}*"):
                leftover.unlink(missing_ok=True)
