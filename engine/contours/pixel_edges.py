"""Outlines of a mask along exact pixel edges."""

from __future__ import annotations

import numpy as np
import shapely
from rasterio import features
from rasterio.transform import Affine


def trace_mask(mask: np.ndarray, *, offset_xy: tuple[float, float] = (0, 0)) -> list[shapely.Polygon]:
    """Trace the pixel edges around every 4-connected part of a mask.

    Pixels that touch only at a corner belong to different parts, so every polygon is valid and the
    polygons cover exactly the mask.

    Args:
        mask: bool[H, W].
        offset_xy: global pixel coordinates of the mask's top-left outer corner.

    Returns:
        Polygons in global pixel coordinates (integers), holes kept, largest first, exterior rings
        counter-clockwise in a y-up reading of the numbers.
    """
    mask = np.ascontiguousarray(mask, dtype=bool)
    if not mask.any():
        return []
    pixels = mask.view(np.uint8)
    shift = Affine.translation(*offset_xy)
    found = [
        shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:])
        for shape, _ in features.shapes(pixels, mask=mask, connectivity=4, transform=shift)
    ]
    return order_polygons(found)


def order_polygons(polygons: list[shapely.Polygon]) -> list[shapely.Polygon]:
    """Largest first, ties by position; exterior rings counter-clockwise."""
    polygons = list(shapely.orient_polygons(polygons))
    return sorted(polygons, key=lambda p: (-p.area, *p.bounds))
