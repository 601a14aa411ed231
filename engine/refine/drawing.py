"""Polygons drawn by a person as masks on the working grid, by the share of each pixel they cover."""

from __future__ import annotations

import math

import cv2
import numpy as np
import shapely
from rasterio.features import rasterize
from rasterio.transform import Affine

from ..contracts import Instance

FINER = 4
"""Sub-pixels a pixel, along x and y."""
MARGIN_PX = 2


def draw_polygon(polygon: shapely.Polygon, name: str) -> Instance | None:
    """A polygon in global pixel coordinates as an instance; None where no pixel is half covered.

    Args:
        polygon: valid; holes stay holes.
        name: id of the instance.
    """
    x_min, y_min, x_max, y_max = polygon.bounds
    left, top = math.floor(x_min) - MARGIN_PX, math.floor(y_min) - MARGIN_PX
    width, height = math.ceil(x_max) + MARGIN_PX - left, math.ceil(y_max) + MARGIN_PX - top
    canvas = rasterize(
        [(polygon, 255)], out_shape=(height * FINER, width * FINER), dtype="uint8",
        transform=Affine(1 / FINER, 0, left, 0, 1 / FINER, top),
    )  # fmt: skip
    share = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
    if not (share >= 128).any():
        return None
    return Instance(name, (left, top, left + width, top + height), np.asarray(share), 1.0)
