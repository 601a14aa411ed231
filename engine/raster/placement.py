"""Where a raster lies on the Earth, and the working grid laid over it."""

from __future__ import annotations

import math

import rasterio
from rasterio.errors import RasterioError

from ..contracts import Grid
from ..crs import choose_crs, ground_pixel_m
from ..errors import EngineError, InvalidParameter, RasterError

SNAP = 0.02
"""Native pixels within this share of the wanted size are used as they are: resampling would only blur."""


def measure_grid(
    dataset: rasterio.DatasetReader, path: str, *, crs: str = ""
) -> tuple[Grid, tuple[float, float], list[str]]:
    """Find the native grid of a raster and the ground size of a pixel along its rows and columns, metres.

    Args:
        crs: WKT of the CRS to use instead of the file's; empty for the file's.

    Returns:
        The grid; the ground size in the raster's middle; and what the user should know about the CRS.

    Raises:
        RasterError: the raster has no georeference or no usable CRS.
    """
    a, b, _, d, e, _ = transform = dataset.transform[:6]
    if dataset.transform.is_identity or not math.isfinite(sum(transform)) or a * e == b * d:
        by_points = bool(dataset.gcps[0]) or dataset.rpcs is not None
        raise RasterError(
            f"{path} is georeferenced by control points only" if by_points else f"{path} is not georeferenced",
            "Warp it to a map projection first" if by_points else "Georeference it first",
        )
    try:
        corners = [dataset.transform * (x, y) for x in (0, dataset.width) for y in (0, dataset.height)]
        crs_wkt, notes = choose_crs(dataset.crs.to_wkt() if dataset.crs else "", crs, corners, path)
        if not crs_wkt:
            raise RasterError(f"{path} has no coordinate system", "Assign one, for example with 'Assign projection'")
        ground_m = ground_pixel_m(transform, crs_wkt, dataset.width / 2, dataset.height / 2)
    except RasterError:
        raise
    except EngineError as error:
        raise RasterError(f"{path}: {error.what}", error.todo) from error
    except (RasterioError, ValueError) as error:
        raise RasterError(f"The coordinate system of {path} is not understood", "Assign a known one") from error
    grid = Grid(dataset.width, dataset.height, transform, crs_wkt, math.sqrt(ground_m[0] * ground_m[1]))
    return grid, ground_m, notes


def is_mirrored(native: Grid) -> bool:
    """Whether the file shows the ground as in a mirror: rows run from south to north in most such files."""
    a, b, _, d, e, _ = native.transform
    return a * e - b * d > 0


def unmirror(native: Grid) -> Grid:
    """The same pixels with the last row first where the file is mirrored, so that shadows fall as they do in
    every other image and a detector sees the same picture; else the grid itself."""
    if not is_mirrored(native):
        return native
    a, b, c, d, e, f = native.transform
    transform = (a, -b, c + b * native.height, d, -e, f + e * native.height)
    return Grid(native.width, native.height, transform, native.crs_wkt, native.pixel_m)


def lay_grid(native: Grid, ground_m: tuple[float, float], pixel_m: float | None) -> tuple[Grid, tuple[float, float]]:
    """Lay a grid of another ground pixel over a raster, from the same corner along the same axes.

    Args:
        native: the raster's grid, not mirrored.
        ground_m: see `measure_grid`.
        pixel_m: wanted ground pixel, metres, the same in both directions; None for the native one.

    Returns:
        The grid, which covers the raster whole, and the native pixels per pixel of it along x and y:
        exactly 1 where the native grid serves as it is.

    Raises:
        InvalidParameter: `pixel_m` is not positive.
    """
    if pixel_m is None:
        return native, (1.0, 1.0)
    if not (math.isfinite(pixel_m) and pixel_m > 0):
        raise InvalidParameter(f"The ground pixel is {pixel_m:g} m", "Choose a positive size")
    scale = pixel_m / ground_m[0], pixel_m / ground_m[1]
    if all(abs(s - 1.0) <= SNAP for s in scale):
        return native, (1.0, 1.0)
    # Whole pixels; what hangs over by less than a thousandth of one does not count.
    width, height = (max(1, math.ceil(n / s - 1e-3)) for n, s in zip((native.width, native.height), scale))
    a, b, c, d, e, f = native.transform
    transform = (a * scale[0], b * scale[1], c, d * scale[0], e * scale[1], f)
    return Grid(width, height, transform, native.crs_wkt, pixel_m), scale


def check_ground_pixel(native: Grid, path: str, *, min_pixel_m: float, max_pixel_m: float) -> None:
    """Raise `RasterError` if a pixel of the raster is too small or too large on the ground."""
    if not min_pixel_m <= native.pixel_m <= max_pixel_m:
        raise RasterError(
            f"A pixel of {path} is {native.pixel_m:.3g} m on the ground,"
            f" outside the {min_pixel_m:.3g} to {max_pixel_m:.3g} m that can be used",
            "Use imagery of another resolution or another model",
        )
