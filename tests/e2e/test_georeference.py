"""Outlines lie where the pixels lie, to a tenth of a pixel, whatever way the raster is placed on the map.

The same picture is stored north-up, south-up (rows from south to north, the same ground), rotated, and in
degrees. Seen from the picture the outlines must be the same; a mix-up of pixel corner and centre would show
as half a pixel.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from osgeo import gdal, osr
from support import read_layer

EAST, NORTH, PIXEL_M, ROWS = 500000.0, 4650000.0, 0.3, 320
TURN = math.radians(25)
DEGREE_M = 111_320.0
LATITUDE = 0.5

PLACES = {
    "north_up": (32633, (EAST, PIXEL_M, 0.0, NORTH, 0.0, -PIXEL_M)),
    "south_up": (32633, (EAST, PIXEL_M, 0.0, NORTH - ROWS * PIXEL_M, 0.0, PIXEL_M)),
    "rotated": (
        32633,
        (
            EAST,
            PIXEL_M * math.cos(TURN),
            PIXEL_M * math.sin(TURN),
            NORTH,
            PIXEL_M * math.sin(TURN),
            -PIXEL_M * math.cos(TURN),
        ),
    ),
    "degrees": (
        4326,
        (15.0, PIXEL_M / (DEGREE_M * math.cos(math.radians(LATITUDE))), 0.0, LATITUDE, 0.0, -PIXEL_M / 110_576.0),
    ),
}


@pytest.fixture(scope="module")
def outlines(vectorize, scene, tmp_path_factory):
    """Vectorize the scene's pixels placed by name; outlines as ``{number: points in pixels}``, by place."""
    folder = tmp_path_factory.mktemp("places")
    pixels = gdal.Open(str(scene[0])).ReadAsArray()
    done = {}

    def in_pixels(place):
        if place in done:
            return done[place]
        code, transform = PLACES[place]
        raster, output = folder / f"{place}.tif", folder / f"{place}.gpkg"
        reference = osr.SpatialReference()
        reference.ImportFromEPSG(code)
        dataset = gdal.GetDriverByName("GTiff").Create(str(raster), pixels.shape[2], pixels.shape[1], 3)
        dataset.SetGeoTransform(transform)
        dataset.SetProjection(reference.ExportToWkt())
        dataset.WriteArray(pixels[:, ::-1] if place == "south_up" else pixels)
        del dataset
        run = vectorize(raster, output, REGULARIZATION=0, TOLERANCE=0.05)
        assert run.returncode == 0, run.errors
        a, b, c, d, e, f = (transform[i] for i in (1, 2, 0, 4, 5, 3))
        inverse = np.linalg.inv([[a, b], [d, e]])
        done[place] = [
            (np.array(geometry.GetGeometryRef(0).GetPoints())[:, :2] - (c, f)) @ inverse.T
            for _, geometry in read_layer(output)[1]
        ]
        if place == "south_up":  # its row 0 is the picture's last
            done[place] = [(0.0, ROWS) + ring * (1.0, -1.0) for ring in done[place]]
        return done[place]

    return in_pixels


def centres(rings):
    """Centroids of rings, float[N, 2]."""
    found = []
    for ring in rings:
        x, y = ring[:, 0], ring[:, 1]
        cross = x[:-1] * y[1:] - x[1:] * y[:-1]
        area = cross.sum() / 2
        found.append(
            (((x[:-1] + x[1:]) * cross).sum() / (6 * area), ((y[:-1] + y[1:]) * cross).sum() / (6 * area))
        )
    return np.array(found)


@pytest.mark.parametrize("place", ["south_up", "rotated", "degrees"])
def test_the_same_picture_gives_the_same_outlines_wherever_it_lies(outlines, place):
    expected, found = centres(outlines("north_up")), centres(outlines(place))
    assert len(expected) > 5
    distance = np.linalg.norm(expected[:, None] - found[None], axis=2)
    nearest = distance.argmin(axis=1)
    matched = distance.min(axis=1) < 2.0
    assert matched.mean() > 0.8
    shift = np.median(found[nearest[matched]] - expected[matched], axis=0)
    assert np.abs(shift).max() < 0.1, shift
