"""Opening rasters through GDAL without surprises: no network nobody asked for, no code, bounded caches."""

from __future__ import annotations

import re
import stat
import warnings
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from ..errors import RasterError
from ..network import gdal_network_options, is_remote
from .vrt import check_sources

_LIMITS = {
    "GDAL_CACHEMAX": 192 << 20,  # bytes, for rasterio; the default is a share of the machine's memory
    "GDAL_VRT_ENABLE_PYTHON": "NO",  # a VRT may carry Python code
    "GDAL_HTTP_TIMEOUT": 30,
    "GDAL_HTTP_MAX_RETRY": 3,
}
_MAX_BLOCK_BYTES = 2**30


def gdal_environment(path: str) -> AbstractContextManager:
    """GDAL's settings for reading `path`, for the calling thread, to be entered around every access."""
    return rasterio.Env(**{**_LIMITS, **gdal_network_options(path)})


def open_dataset(path: str, *, overview: int | None = None) -> rasterio.DatasetReader:
    """Open a raster, or one of its overview levels, for reading. To be called inside `gdal_environment`.

    Raises:
        RasterError: there is no such file, it is no raster, or it cannot be read within bounds.
    """
    _check_path(path)
    options = {} if overview is None else {"overview_level": overview}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path, **options)
    except (RasterioError, OSError, ValueError, TypeError, UnicodeError) as error:
        raise RasterError(
            f"{_name(path)} cannot be opened as a raster ({explain(error)})",
            "Check that it opens in QGIS, or convert it to GeoTIFF",
        ) from error
    try:
        _check_dataset(path, dataset)
    except BaseException:
        dataset.close()
        raise
    return dataset


def _check_path(path: str) -> None:
    if path.lower().startswith("/vsistdin"):
        raise RasterError("A raster cannot be read from the standard input", "Give a file")
    if is_remote(path):
        return
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        if re.match(r"\w{2,}:", path):  # a GDAL name such as NETCDF:"file":variable
            return
        raise RasterError(f"{_name(path)} does not exist or cannot be reached", "Check the path") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise RasterError(f"{_name(path)} is neither a file nor a folder", "Give a raster file")
    check_sources(path)


def _check_dataset(path: str, dataset: rasterio.DatasetReader) -> None:
    if dataset.count == 0:
        inside = dataset.subdatasets
        raise RasterError(
            f"{_name(path)} holds no bands of its own",
            f"Choose one of the rasters inside, such as {inside[0]}" if inside else "Choose another raster",
        )
    if dataset.width < 1 or dataset.height < 1:
        raise RasterError(f"{_name(path)} has no pixels", "Choose another raster")
    height, width = dataset.block_shapes[0]
    block_bytes = height * width * dataset.count * np.dtype(dataset.dtypes[0]).itemsize
    if block_bytes > _MAX_BLOCK_BYTES:
        raise RasterError(
            f"{_name(path)} is stored in blocks of {width} x {height} pixels, too large to read piecemeal",
            "Convert it to a tiled GeoTIFF",
        )


def _name(path: str) -> str:
    name = " ".join(path.split())  # a line break in a name would break the sentence
    return name if len(name) <= 200 else name[:197] + "..."


def explain(error: BaseException) -> str:
    """GDAL's own words, one line, from the bottom of a chain of exceptions."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
