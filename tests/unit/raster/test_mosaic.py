"""Sheets that were cut along one grid are one raster again; what does not fit stays by itself."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from cadastral_vectorizer.engine.raster.mosaic import gather, look_at, write_mosaic
from cadastral_vectorizer.engine.raster.source import RasterSource
from rasterio.transform import Affine, from_origin

PLACE = from_origin(500_000.0, 5_500_000.0, 0.2, 0.2)
TURNED = PLACE @ Affine.rotation(20)
UP = Affine(0.2, 0, 500_000.0, 0, 0.2, 5_499_900.0)


def cut(write_raster, image, boxes, *, transform=PLACE, **options):
    """Sheets of an image by boxes ``(x0, y0, x1, y1)``."""
    paths = []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        place = transform @ Affine.translation(x0, y0)
        paths.append(write_raster(image[:, y0:y1, x0:x1], name=f"sheet & {number}.tif", transform=place, **options))
    return paths


def read(path):
    with RasterSource.open(path, pixel_m=None) as source:
        pixels, valid = source.read((0, 0, source.grid.width, source.grid.height))
        return pixels, valid, source.grid


@pytest.mark.parametrize("transform", [PLACE, TURNED, UP], ids=["north-up", "turned", "south-up"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_sheets_put_together_read_like_the_whole(write_raster, noise, tmp_path, transform, dtype):
    image = noise.astype(dtype) * (1 if dtype == "uint8" else 100)
    boxes = [(150, 0, 310, 100), (0, 0, 150, 100), (0, 90, 310, 230)]  # two touch, the third overlaps
    paths = cut(write_raster, image, boxes, transform=transform)
    whole = write_raster(image, name="whole.tif", transform=transform)
    sheets = [look_at(str(path)) for path in paths]
    assert gather(sheets) == [[0, 1, 2]]
    write_mosaic(sheets, tmp_path / "mosaic.vrt")
    found, expected = read(tmp_path / "mosaic.vrt"), read(whole)
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1].all() and np.allclose(found[2].transform, expected[2].transform)
    assert rasterio.crs.CRS.from_wkt(found[2].crs_wkt) == rasterio.crs.CRS.from_wkt(expected[2].crs_wkt)


def test_the_first_is_on_top_where_it_shows_anything(write_raster, tmp_path):
    top, below = np.full((3, 100, 100), 200, np.uint8), np.full((3, 100, 100), 100, np.uint8)
    top[:, :50] = 0
    first = write_raster(top, name="top.tif", nodata=0)
    second = write_raster(below, name="below.tif", transform=PLACE @ Affine.translation(20, 0), nodata=0)
    sheets = [look_at(str(path)) for path in (first, second)]
    write_mosaic(sheets, tmp_path / "mosaic.vrt")
    pixels, valid, _ = read(tmp_path / "mosaic.vrt")
    assert pixels.shape == (3, 100, 120)
    assert (pixels[:, 50:, :100] == 200).all() and (pixels[:, :, 100:] == 100).all()
    assert (pixels[:, :50, 20:] == 100).all() and not valid[:50, :20].any() and valid[:, 20:].all()


def test_alpha_and_masks_of_the_sheets_count_and_gaps_are_no_image(write_raster, noise, tmp_path):
    image = np.concatenate([noise, np.full((1, 230, 310), 255, np.uint8)])
    image[3, 10:20, 10:20] = 0
    paths = cut(write_raster, image, [(0, 0, 160, 100), (160, 50, 310, 230)], photometric="rgb", alpha="yes")
    sheets = [look_at(str(path)) for path in paths]
    assert gather(sheets) == [[0, 1]]
    write_mosaic(sheets, tmp_path / "mosaic.vrt")
    pixels, valid, _ = read(tmp_path / "mosaic.vrt")
    expected = np.zeros((230, 310), bool)
    expected[:100, :160] = expected[50:, 160:] = True
    expected[10:20, 10:20] = False
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(pixels[:, valid], noise[:, valid])


def test_what_does_not_fit_stays_alone(write_raster, noise, tmp_path):
    part = noise[:, :100, :100]

    def sheet(name, x, y, image=part, **options):
        place = options.pop("transform", PLACE) @ Affine.translation(x, y)
        return look_at(str(write_raster(image, name=f"{name}.tif", transform=place, **options)))

    sheets = [
        sheet("a", 0, 0), sheet("half a pixel off", 100.5, 0), sheet("b", 100, 0), sheet("far", 5000, 0),
        sheet("other crs", 0, 100, crs="EPSG:32634"), sheet("coarser", 0, 100, transform=PLACE @ Affine.scale(2)),
        sheet("16 bit", 0, 100, image=part.astype(np.uint16)), sheet("grey", 0, 100, image=part[:1]),
        look_at("/vsicurl/http://127.0.0.1:9/x.tif"), sheet("c", 100, 100), sheet("a corner only", 200, 200),
    ]  # fmt: skip
    assert gather(sheets) == [[0, 2, 9, 10], [1], [3], [4], [5], [6], [7], [8]]
    line = [sheet(f"stair {k}", 100 * k, 100 * k) for k in range(12)]
    assert gather(line) == [[k] for k in range(12)]  # a mosaic of them would be nearly empty
