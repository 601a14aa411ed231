"""An orthophoto with outlines on it, as one picture."""

from __future__ import annotations

import numpy as np
import shapely

from .errors import InvalidParameter
from .evaluation.layers import read_vectors
from .evaluation.pictures import (
    PREDICTED_RGB,
    REFERENCE_RGB,
    Orthophoto,
    draw_outlines,
    encode_png,
    write_atomically,
)


def render_preview(raster: str, vectors: str, output_png: str, *, reference: str = "", max_side_px: int = 1600) -> None:
    """Draw outlines over an orthophoto and write the picture as PNG, whole or not at all.

    The picture stays on the raster's pixel grid: rotated and south-up rasters appear as they are stored.
    Outlines are reprojected to the raster's CRS; holes are drawn; anything outside is left out.

    Args:
        raster: orthophoto, anything GDAL opens.
        vectors: polygons, drawn in yellow; ``path|layername=name`` chooses a layer.
        output_png: file to write.
        reference: polygons drawn under them in a broader cyan line; empty for none.
        max_side_px: longest side of the picture; smaller rasters are enlarged up to four times.

    Raises:
        RasterError, VectorError: an input cannot be read.
        OutputError: the picture cannot be written.
        InvalidParameter: `max_side_px` is below 16.
    """
    if max_side_px < 16:
        raise InvalidParameter(f"max_side_px is {max_side_px}", "Choose at least 16")
    with Orthophoto(raster) as photo:
        image = photo.read(max_side_px=max_side_px)
        scale = np.array([image.shape[1] / photo.width, image.shape[0] / photo.height])
        predicted, true = (
            shapely.transform(photo.to_pixels(_read_outlines(path, photo.crs_wkt)), lambda xy: xy * scale)
            if path
            else np.empty(0, dtype=object)
            for path in (vectors, reference)
        )
    width = 2 if _typical_side(np.concatenate([predicted, true])) >= 20 else 1
    draw_outlines(image, true, REFERENCE_RGB, width_px=width + 2)
    draw_outlines(image, predicted, PREDICTED_RGB, width_px=width)
    write_atomically(output_png, encode_png(image))


def _read_outlines(path: str, crs_wkt: str) -> np.ndarray:
    """Geometries of a layer in the raster's CRS; either side without a CRS is taken as it is."""
    frame, _ = read_vectors(path)
    outlines = frame.geometry
    if outlines.crs and crs_wkt and outlines.crs != crs_wkt:
        outlines = outlines.to_crs(crs_wkt)
    geometries = outlines.to_numpy()
    return geometries[~(shapely.is_missing(geometries) | shapely.is_empty(geometries))]


def _typical_side(geometries: np.ndarray) -> float:
    """Median square root of the areas, in pixels of the picture."""
    return float(np.sqrt(np.median(shapely.area(geometries)))) if len(geometries) else 0.0
