"""Rasters of every kind, generated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine, from_origin

UTM_ORIGIN = (500_000.0, 5_500_000.0)


@pytest.fixture
def write_raster(tmp_path):
    """A function that writes pixels, [bands, H, W], to a GeoTIFF and returns its path."""

    def write(
        pixels: np.ndarray,
        *,
        name: str = "image.tif",
        crs: str | None = "EPSG:32633",
        transform: Affine | None = None,
        pixel: float = 0.2,
        **options,
    ) -> Path:
        path = tmp_path / name
        if transform is None:
            transform = from_origin(*UTM_ORIGIN, pixel, pixel)
        with rasterio.open(
            path,
            "w",
            driver=options.pop("driver", "GTiff"),
            width=pixels.shape[2],
            height=pixels.shape[1],
            count=pixels.shape[0],
            dtype=pixels.dtype,
            crs=crs,
            transform=transform,
            **options,
        ) as dataset:
            dataset.write(pixels)
        return path

    return write


@pytest.fixture
def noise() -> np.ndarray:
    """uint8[3, 230, 310] with structure at all scales, no value zero."""
    rng = np.random.default_rng(4)
    base = rng.integers(1, 120, size=(3, 230, 310))
    return (base + np.add.outer(np.arange(230), np.arange(310)) % 120 + 1).astype(np.uint8)
