from __future__ import annotations

import math
import os
import socket
import threading

import numpy as np
import pytest
import rasterio
from cadastral_vectorizer.engine.crs import ground_pixel_m
from cadastral_vectorizer.engine.errors import InvalidParameter, RasterError
from cadastral_vectorizer.engine.raster.source import RasterSource
from cadastral_vectorizer.engine.raster.tiling import plan_tiles
from rasterio.enums import ColorInterp, Resampling
from rasterio.transform import Affine, from_origin

GRIDS = {
    "north-up": ("EPSG:32633", from_origin(500_000, 5_500_000, 0.2, 0.2)),
    "south-up": ("EPSG:32633", Affine(0.2, 0, 500_000, 0, 0.2, 5_500_000)),
    "rotated": ("EPSG:32633", Affine(0.168, 0.109, 500_000, 0.109, -0.168, 5_500_000)),
    "anisotropic": ("EPSG:32633", from_origin(500_000, 5_500_000, 0.2, 0.31)),
    "degrees": ("EPSG:4326", from_origin(85.52, 27.63, 2e-6, 2e-6)),
    "feet": ("EPSG:2263", from_origin(987_000, 211_000, 0.7, 0.7)),
    "web mercator": ("EPSG:3857", from_origin(1_800_000, 6_140_000, 0.3, 0.3)),
    "rotated degrees": (
        "EPSG:4326",
        Affine(1.88e-6, -6.8e-7, 16.3, -6.8e-7, -1.88e-6, 48.2),
    ),
}


def read_whole(source: RasterSource) -> tuple[np.ndarray, np.ndarray]:
    return source.read((0, 0, source.grid.width, source.grid.height))


# --- the working grid


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("pixel_m", [0.1, 0.3, 0.47])
def test_working_pixels_have_the_asked_size_on_the_ground_in_both_directions(write_raster, noise, kind, pixel_m):
    crs, transform = GRIDS[kind]
    with RasterSource.open(write_raster(noise, crs=crs, transform=transform), pixel_m=pixel_m) as source:
        grid = source.grid
        ground = ground_pixel_m(grid.transform, grid.crs_wkt, grid.width / 2, grid.height / 2)
        assert ground == (pytest.approx(pixel_m, rel=1e-5), pytest.approx(pixel_m, rel=1e-5))
        assert grid.pixel_m == pixel_m


@pytest.mark.parametrize("kind", GRIDS)
def test_the_working_grid_starts_at_a_corner_and_covers_the_raster_unmirrored(write_raster, noise, kind):
    crs, transform = GRIDS[kind]
    with RasterSource.open(write_raster(noise, crs=crs, transform=transform), pixel_m=0.27) as source:
        width, height = source.native.width, source.native.height
        south_up = kind == "south-up"
        first, last = ((0, height), (width, 0)) if south_up else ((0, 0), (width, height))
        first, last = source.native.to_map(np.array([first, last], dtype=float))
        assert source.grid.to_map(np.zeros((1, 2)))[0] == pytest.approx(first)
        working = np.reshape(source.grid.transform, (2, 3))[:, :2]
        assert np.linalg.det(working) < 0
        x, y = np.linalg.solve(working, last - first)
        assert source.grid.width - 1 < x <= source.grid.width + 1e-2
        assert source.grid.height - 1 < y <= source.grid.height + 1e-2


def test_a_native_grid_close_to_the_wanted_size_is_used_as_it_is(write_raster, noise):
    path = write_raster(noise, pixel=0.2)
    for pixel_m in (None, 0.2, 0.203):
        with RasterSource.open(path, pixel_m=pixel_m) as source:
            assert source.grid == source.native
            pixels, valid = read_whole(source)
            np.testing.assert_array_equal(pixels, noise)
            assert valid.all()


# --- phase: no half-pixel shift


def edge_position(profile: np.ndarray) -> float:
    """Where a dark-to-light step lies in a profile of pixel means, in pixels from its start."""
    low, high = float(profile[0]), float(profile[-1])
    return float(((high - profile.astype(float)) / (high - low)).sum())


@pytest.mark.parametrize("kind", GRIDS)
@pytest.mark.parametrize("pixel_m", [0.05, 0.13, 0.2, 0.31, 0.5, 0.83])
def test_a_known_edge_is_found_where_it_is_at_every_pixel_size(write_raster, kind, pixel_m):
    edge_x, edge_y = 101.37, 77.71  # native pixels; the edge pixels are mixed accordingly
    steps = [np.clip(np.arange(n) + 1 - edge, 0, 1) for n, edge in ((240, edge_x), (200, edge_y))]
    image = np.stack([np.tile(40 + 160 * steps[0], (200, 1)), np.tile((40 + 160 * steps[1])[:, None], (1, 240))])
    crs, transform = GRIDS[kind]
    path = write_raster(np.rint(image[[0, 1, 1]]).astype(np.uint8), crs=crs, transform=transform)
    with RasterSource.open(path, pixel_m=pixel_m) as source:
        pixels, valid = read_whole(source)
        assert valid[:-1, :-1].all()
        scale = np.array(source.native.transform).reshape(2, 3), np.array(source.grid.transform).reshape(2, 3)
        ratio = np.linalg.solve(scale[1][:, :2], scale[0][:, :2])  # native pixel in working pixels
        found_x = edge_position(pixels[0, 5, :-1])
        found_y = edge_position(pixels[1, :-1, 5])
        if kind == "south-up":  # read from the far edge, where the step goes from light to dark
            ratio[1, 1] *= -1
            found_y = 200 * ratio[1, 1] - found_y
        assert found_x == pytest.approx(edge_x * ratio[0, 0], abs=0.05)
        assert found_y == pytest.approx(edge_y * ratio[1, 1], abs=0.05)


@pytest.mark.parametrize("size", [(40, 30), (333, 251), (1000, 700)])
def test_a_box_read_at_another_size_keeps_its_place(write_raster, size):
    step = np.clip(np.arange(240) + 1 - 101.37, 0, 1)
    path = write_raster(np.tile(np.rint(40 + 160 * step).astype(np.uint8), (3, 200, 1)))
    with RasterSource.open(path, pixel_m=None) as source:
        pixels, _ = source.read((60.25, 10, 160.5, 110), size=size)
        assert pixels.shape == (3, size[1], size[0])
        found = 60.25 + edge_position(pixels[0, 3]) * 100.25 / size[0]
        assert found == pytest.approx(101.37, abs=0.05 * max(1, 100.25 / size[0]))


# --- windows agree with each other


@pytest.mark.parametrize("pixel_m", [None, 0.07, 0.13, 0.3, 0.5, 1.37])
@pytest.mark.parametrize("holes", [False, True])
def test_tiles_put_together_equal_the_whole_to_the_last_bit(write_raster, noise, pixel_m, holes):
    if holes:
        noise[:, 60:90, 100:180] = 0
        noise[:, np.random.default_rng(1).random(noise.shape[1:]) < 0.02] = 0
    path = write_raster(noise, nodata=0)
    with RasterSource.open(path, pixel_m=pixel_m) as source:
        whole, whole_valid = read_whole(source)
        assert whole_valid.mean() > 0.8 and whole_valid[:-1, :-1].all() != holes
        for tile in plan_tiles(source.grid, tile_px=61, overlap_px=17):
            x0, y0, x1, y1 = tile.padded
            pixels, valid = source.read(tile.padded)
            np.testing.assert_array_equal(pixels, whole[:, y0:y1, x0:x1])
            np.testing.assert_array_equal(valid, whole_valid[y0:y1, x0:x1])


def test_boxes_may_hang_over_the_edge_or_lie_outside(write_raster, noise):
    with RasterSource.open(write_raster(noise), pixel_m=0.3) as source:
        whole, _ = read_whole(source)
        pixels, valid = source.read((-20, -10, 30, 40))
        assert not valid[:10].any() and not valid[:, :20].any() and valid[10:, 20:].all()
        assert (pixels[:, ~valid] == 0).all()
        np.testing.assert_array_equal(pixels[:, 10:, 20:], whole[:, :40, :30])
        pixels, valid = source.read((5000, 5000, 5032, 5032))
        assert not valid.any() and not pixels.any()
        with pytest.raises(InvalidParameter, match="holds no pixels"):
            source.read((10, 10, 10, 20))


def test_a_large_box_is_read_in_pieces_with_the_same_result(write_raster, noise, monkeypatch):
    with RasterSource.open(write_raster(noise), pixel_m=0.53) as source:
        expected = read_whole(source)
        monkeypatch.setattr("cadastral_vectorizer.engine.raster.source._READ_PX", 900)
        for found, wanted in zip(read_whole(source), expected):
            np.testing.assert_array_equal(found, wanted)


def test_shrinking_by_a_whole_number_is_the_plain_mean(write_raster, noise):
    with RasterSource.open(write_raster(noise), pixel_m=None) as source:
        pixels, _ = source.read((0, 0, 310, 230), size=(62, 46))
        means = noise.reshape(3, 46, 5, 62, 5).mean(axis=(2, 4))
        np.testing.assert_array_equal(pixels, np.floor(means + 0.5))


# --- layouts of the same pixels

LAYOUTS = {
    "striped": {},
    "tiled": {"tiled": True, "blockxsize": 64, "blockysize": 64},
    "compressed": {"compress": "deflate", "predictor": 2},
    "band by band": {"interleave": "band"},
    "COG": {"driver": "COG", "blocksize": 128, "overviews": "none"},
    "PNG": {"driver": "PNG", "name": "image.png", "worldfile": "yes"},
    "big-endian": {"ENDIANNESS": "BIG"},
    "south-up": {"transform": Affine(0.2, 0, 500_000, 0, 0.2, 5_500_000 - 230 * 0.2)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_file_layout_does_not_change_a_pixel(write_raster, noise, layout):
    with RasterSource.open(write_raster(noise, name="plain.tif"), pixel_m=0.3) as source:
        expected = read_whole(source)
        grid = source.grid
    pixels = noise[:, ::-1] if layout == "south-up" else noise
    with RasterSource.open(write_raster(pixels, **LAYOUTS[layout]), pixel_m=0.3) as source:
        assert source.grid.transform == pytest.approx(grid.transform, rel=1e-7)
        for found, wanted in zip(read_whole(source), expected):
            np.testing.assert_array_equal(found, wanted)


def write_mosaic(write_raster, noise, tmp_path) -> str:
    """A VRT of two files side by side; written by hand so that no GDAL tools are needed."""
    write_raster(noise[:, :, :150], name="left.tif")
    write_raster(noise[:, :, 150:], name="right.tif", transform=from_origin(500_030, 5_500_000, 0.2, 0.2))
    with rasterio.open(tmp_path / "left.tif") as left:
        wkt = left.crs.to_wkt()

    def source(file: str, band: int, x: int, width: int) -> str:
        return (
            f'<SimpleSource><SourceFilename relativeToVRT="1">{file}</SourceFilename><SourceBand>{band}</SourceBand>'
            f'<SrcRect xOff="0" yOff="0" xSize="{width}" ySize="230"/>'
            f'<DstRect xOff="{x}" yOff="0" xSize="{width}" ySize="230"/></SimpleSource>'
        )

    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{b}">{source("left.tif", b, 0, 150)}'
        f"{source('right.tif', b, 150, 160)}</VRTRasterBand>"
        for b in (1, 2, 3)
    )
    path = tmp_path / "mosaic.vrt"
    path.write_text(
        f'<VRTDataset rasterXSize="310" rasterYSize="230"><SRS>{wkt.replace("&", "&amp;")}</SRS>'
        f"<GeoTransform>500000, 0.2, 0, 5500000, 0, -0.2</GeoTransform>{bands}</VRTDataset>"
    )
    return str(path)


def test_a_mosaic_of_files_reads_like_one_file(write_raster, noise, tmp_path):
    with RasterSource.open(write_raster(noise, name="plain.tif"), pixel_m=0.3) as source:
        expected = read_whole(source)
    with RasterSource.open(write_mosaic(write_raster, noise, tmp_path), pixel_m=0.3) as source:
        for found, wanted in zip(read_whole(source), expected):
            np.testing.assert_array_equal(found, wanted)


def test_a_missing_part_of_a_mosaic_is_named_or_skipped_by_choice(write_raster, noise, tmp_path):
    path = write_mosaic(write_raster, noise, tmp_path)
    (tmp_path / "right.tif").unlink()
    with RasterSource.open(path, pixel_m=None) as source, pytest.raises(RasterError, match="cannot be read at pixels"):
        read_whole(source)


@pytest.mark.parametrize("resampling", [Resampling.average, Resampling.nearest])
def test_overviews_are_used_only_where_they_are_means(write_raster, noise, resampling):
    smooth = np.cumsum(np.cumsum(noise.astype(float) - noise.mean(), axis=1), axis=2)
    smooth = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    rough = np.where(np.random.default_rng(0).random(noise.shape) < 0.5, 30, 220).astype(np.uint8)
    for image in (smooth, rough):
        image = np.tile(image, (1, 3, 3))
        path = write_raster(image, name=f"{resampling.name}-{image[0, 0, 0]}.tif")
        with RasterSource.open(path, pixel_m=2.4) as source:
            exact, _ = read_whole(source)
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2, 4], resampling)
        with RasterSource.open(path, pixel_m=2.4) as source:
            pixels, _ = read_whole(source)
            used = bool(source._levels) and any(source._trusted.values())
        assert np.abs(pixels.astype(int) - exact).mean() < 0.6
        if image.std() > 80:
            assert used == (resampling is Resampling.average)


# --- pixel types


@pytest.mark.parametrize("dtype", ["uint16", "int16", "int32", "float32", "float64"])
def test_other_types_are_stretched_once_for_the_whole_raster(write_raster, noise, dtype):
    values = (noise.astype(np.float64) * 17 - (500 if dtype[0] != "u" else 0)).astype(dtype)
    with RasterSource.open(write_raster(values), pixel_m=None) as source:
        whole, valid = read_whole(source)
        assert valid.all()
        low, high = np.percentile(values.reshape(3, -1), [2, 98], axis=1)
        assert source.stretch.low == pytest.approx(tuple(low)) and source.stretch.high == pytest.approx(tuple(high))
        assert any("stretched" in note for note in source.notes)
        expected = np.clip((values - low[:, None, None]) / (high - low)[:, None, None] * 182.5 + 27.5, 0, 255)
        assert np.abs(whole - expected).max() <= 0.51
        part, _ = source.read((100, 50, 140, 90))
        np.testing.assert_array_equal(part, whole[:, 50:90, 100:140])


def test_eight_bit_values_pass_unchanged_however_dark(write_raster, noise):
    with RasterSource.open(write_raster(noise // 8), pixel_m=None) as source:
        np.testing.assert_array_equal(read_whole(source)[0], noise // 8)
        assert source.stretch is None and source.notes == ()


def test_nan_and_infinity_are_invalid_and_leave_no_trace(write_raster, noise):
    values = noise.astype(np.float32)
    values[0, 10:20, 10:20] = np.nan
    values[1, 40, 40] = np.inf
    values[2, 41, 41] = -np.inf
    with RasterSource.open(write_raster(values), pixel_m=None) as source:
        pixels, valid = read_whole(source)
    hidden = ~np.isfinite(values).all(axis=0)
    np.testing.assert_array_equal(valid, ~hidden)
    assert (pixels[:, hidden] == 0).all()
    with RasterSource.open(write_raster(values), pixel_m=0.33) as source:
        pixels, valid = read_whole(source)
        assert valid[:-1].mean() > 0.98 and pixels[:, valid].min() > 0


def test_values_beyond_float32_do_not_overflow(write_raster, noise):
    values = noise.astype(np.float64)
    values[:, 5, 5] = 1e300
    values[:, 6, 6] = -1e300
    with RasterSource.open(write_raster(values), pixel_m=None) as source:
        pixels, valid = read_whole(source)
        assert valid.all() and (pixels[:, 5, 5] == 255).all() and (pixels[:, 6, 6] == 0).all()


def test_a_constant_band_does_not_divide_by_zero(write_raster):
    with RasterSource.open(write_raster(np.full((3, 40, 40), 1234, np.uint16)), pixel_m=None) as source:
        pixels, valid = read_whole(source)
        assert valid.all() and len(np.unique(pixels)) == 1


def test_a_raster_without_a_valid_pixel_reads_as_all_invalid(write_raster):
    empty = np.full((3, 40, 40), np.nan, np.float32)
    with RasterSource.open(write_raster(empty), pixel_m=0.3) as source:
        pixels, valid = read_whole(source)
        assert not valid.any() and not pixels.any()
        assert any("No valid pixel" in note for note in source.notes)


def test_complex_values_are_refused(write_raster):
    with pytest.raises(RasterError, match="no plain numbers"):
        RasterSource.open(write_raster(np.ones((3, 20, 20), np.complex64)), pixel_m=None)


# --- what is valid


def test_no_data_hides_a_pixel_only_where_all_bands_have_it(write_raster, noise):
    noise[:, 10:20, 10:20] = 0
    noise[0, 50:60, 50:60] = 0  # a colour without red
    with RasterSource.open(write_raster(noise, nodata=0), pixel_m=None) as source:
        _, valid = read_whole(source)
    assert not valid[10:20, 10:20].any() and valid.sum() == valid.size - 100


def test_alpha_is_recognised_wherever_it_stands(write_raster, noise):
    alpha = np.full(noise.shape[1:], 255, np.uint8)
    alpha[:30] = 0
    path = write_raster(np.stack([alpha, *noise]))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.alpha, ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    with RasterSource.open(path, pixel_m=None) as source:
        assert source.bands == (2, 3, 4)
        pixels, valid = read_whole(source)
    np.testing.assert_array_equal(valid, alpha > 0)
    np.testing.assert_array_equal(pixels[:, 30:], noise[:, 30:])
    assert not pixels[:, :30].any()


def test_an_internal_mask_is_honoured(write_raster, noise):
    path = write_raster(noise)
    mask = np.full(noise.shape[1:], 255, np.uint8)
    mask[:, 200:] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    with RasterSource.open(path, pixel_m=None) as source:
        np.testing.assert_array_equal(read_whole(source)[1], mask > 0)


def test_invalid_pixels_do_not_darken_their_neighbours(write_raster):
    image = np.full((3, 60, 60), 200, np.uint8)
    image[:, :, 31:] = 0
    with RasterSource.open(write_raster(image, nodata=0), pixel_m=0.5) as source:
        pixels, valid = read_whole(source)
        assert set(np.unique(pixels[:, valid])) == {200}
        assert set(np.unique(pixels[:, ~valid])) == {0}


# --- bands


def test_one_band_is_read_as_grey_with_a_warning(write_raster, noise):
    for bands in (None, (1, 2, 3), (1,)):
        with RasterSource.open(write_raster(noise[:1]), pixel_m=None, bands=bands) as source:
            pixels, _ = read_whole(source)
            np.testing.assert_array_equal(pixels, noise[[0, 0, 0]])
            assert "one band" in source.notes[0]


def test_two_bands_are_refused_unless_one_is_alpha_or_chosen(write_raster, noise):
    path = write_raster(noise[:2])
    with pytest.raises(RasterError, match="2 bands, neither grey nor colour"):
        RasterSource.open(path, pixel_m=None)
    with RasterSource.open(path, pixel_m=None, bands=(2,)) as source:
        np.testing.assert_array_equal(read_whole(source)[0][0], noise[1])
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    with RasterSource.open(path, pixel_m=None) as source:
        assert source.bands == (1,)


def test_bands_are_taken_by_choice_then_by_role_then_by_order(write_raster, noise):
    four = np.concatenate([noise, noise[:1] // 2])
    path = write_raster(four, photometric="minisblack", alpha="no")
    with RasterSource.open(path, pixel_m=None) as source:
        assert source.bands == (1, 2, 3) and "of 4" in source.notes[0]
    with RasterSource.open(path, pixel_m=None, bands=(4, 2, 1)) as source:
        np.testing.assert_array_equal(read_whole(source)[0], four[[3, 1, 0]])
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    with RasterSource.open(path, pixel_m=None) as source:
        assert source.bands == (3, 2, 1)
    with pytest.raises(InvalidParameter, match="which has 4"):
        RasterSource.open(path, pixel_m=None, bands=(3, 4, 5))


def test_a_palette_is_read_as_colours(write_raster):
    index = np.tile(np.arange(3, dtype=np.uint8), (1, 30, 10))
    path = write_raster(index)
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {0: (10, 20, 30, 255), 1: (200, 0, 5, 255), 2: (0, 0, 250, 255)})
    with RasterSource.open(path, pixel_m=None) as source:
        pixels, _ = read_whole(source)
        assert pixels[:, 0, :3].T.tolist() == [[10, 20, 30], [200, 0, 5], [0, 0, 250]]


# --- refusals


def test_a_raster_without_crs_or_georeference_is_refused(write_raster, noise):
    with pytest.raises(RasterError, match="has no coordinate system"):
        RasterSource.open(write_raster(noise, crs=None), pixel_m=0.3)
    with pytest.raises(RasterError, match="is not georeferenced"):
        RasterSource.open(write_raster(noise, transform=Affine.identity()), pixel_m=0.3)


def test_control_points_alone_are_refused_with_their_remedy(write_raster, noise):
    path = write_raster(noise, transform=Affine.identity())
    with rasterio.open(path, "r+") as dataset:
        corners = [(0, 0), (0, 300), (200, 0), (200, 300)]
        points = [rasterio.control.GroundControlPoint(r, c, 5e5 + c, 5.5e6 - r) for r, c in corners]
        dataset.gcps = points, rasterio.crs.CRS.from_epsg(32633)
    with pytest.raises(RasterError, match="control points only. Warp it"):
        RasterSource.open(path, pixel_m=0.3)


def test_pixels_outside_the_usable_sizes_are_refused_with_their_size(write_raster, noise):
    path = write_raster(noise, pixel=2.5)
    with pytest.raises(RasterError, match=r"2\.5 m on the ground, outside the 0\.05 to 1 m"):
        RasterSource.open(path, pixel_m=0.3, min_pixel_m=0.05, max_pixel_m=1.0)
    with RasterSource.open(path, pixel_m=0.3, max_pixel_m=3.0) as source:
        assert source.native.pixel_m == pytest.approx(2.5, rel=1e-3)


@pytest.mark.parametrize("pixel_m", [0.0, -1.0, math.nan, math.inf])
def test_a_ground_pixel_that_is_none_is_refused(write_raster, noise, pixel_m):
    with pytest.raises(InvalidParameter, match="ground pixel"):
        RasterSource.open(write_raster(noise), pixel_m=pixel_m)


def test_what_is_no_raster_is_refused(tmp_path):
    with pytest.raises(RasterError, match="does not exist"):
        RasterSource.open(tmp_path / "missing.tif", pixel_m=0.3)
    (tmp_path / "text.tif").write_text("no raster")
    with pytest.raises(RasterError, match="cannot be opened as a raster"):
        RasterSource.open(tmp_path / "text.tif", pixel_m=0.3)
    (tmp_path / "empty.tif").write_bytes(b"")
    with pytest.raises(RasterError, match="cannot be opened as a raster"):
        RasterSource.open(tmp_path / "empty.tif", pixel_m=0.3)
    with pytest.raises(RasterError, match="cannot be opened as a raster"):
        RasterSource.open(tmp_path, pixel_m=0.3)
    for odd in ("", "a\0b.tif", "/vsistdin/", "<VRTDataset"):
        with pytest.raises(RasterError):
            RasterSource.open(odd, pixel_m=0.3)


def test_a_raster_without_pixels_is_refused(tmp_path):
    path = tmp_path / "empty.vrt"
    path.write_text('<VRTDataset rasterXSize="0" rasterYSize="0"></VRTDataset>')
    with pytest.raises(RasterError):
        RasterSource.open(path, pixel_m=0.3)


def test_a_truncated_file_names_the_pixels_and_can_be_skipped_by_choice(write_raster):
    image = np.random.default_rng(0).integers(1, 255, (3, 512, 512), np.uint8)
    path = write_raster(image, tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        source = RasterSource.open(path, pixel_m=None)
    except RasterError as error:  # the directory stood at the end
        assert "cannot be opened" in error.what
        pytest.fail("the test needs a file whose directory stands at its start")
    with source, pytest.raises(RasterError, match=r"cannot be read at pixels x 0 to 512, y 0 to 512"):
        read_whole(source)
    with RasterSource.open(path, pixel_m=None, skip_unreadable=True) as source:
        pixels, valid = read_whole(source)
        assert 0.2 < valid.mean() < 0.8
        np.testing.assert_array_equal(pixels[:, valid], image[:, valid])
        assert source.unreadable and all((x1 - x0, y1 - y0) == (128, 128) for x0, y0, x1, y1 in source.unreadable)
        assert sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in source.unreadable) == (~valid).sum()


def test_a_header_that_claims_monstrous_blocks_is_refused(tmp_path):
    with rasterio.open(
        tmp_path / "block.tif",
        "w",
        driver="GTiff",
        width=100_000,
        height=100_000,
        count=3,
        dtype="uint8",
        crs="EPSG:32633",
        transform=from_origin(5e5, 5.5e6, 0.2, 0.2),
        sparse_ok=True,
        tiled=True,
        blockxsize=32_768,
        blockysize=32_768,
        compress="deflate",
    ):
        pass
    with pytest.raises(RasterError, match="too large to read"):
        RasterSource.open(tmp_path / "block.tif", pixel_m=0.3)


def test_a_sparse_giant_is_read_window_by_window(tmp_path):
    path = tmp_path / "giant.tif"
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "sparse_ok": True, "bigtiff": "yes"}
    grid = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5.5e6, 0.2, 0.2)}
    with rasterio.open(
        path, "w", driver="GTiff", width=200_000, height=200_000, count=3, dtype="uint8", **grid, **options
    ) as dataset:
        dataset.write(np.full((3, 256, 256), 77, np.uint8), window=rasterio.windows.Window(102_400, 102_400, 256, 256))
    with RasterSource.open(path, pixel_m=0.3) as source:
        pixels, valid = source.read((68_300, 68_300, 68_400, 68_400))
        assert valid.all() and pixels.max() == 77
        assert source.fingerprint


# --- the fingerprint


def test_the_fingerprint_follows_the_pixels_and_the_place_not_the_path(write_raster, noise, tmp_path):
    path = write_raster(noise)

    def fingerprint(file, **options) -> str:
        with RasterSource.open(file, pixel_m=0.3, **options) as source:
            return source.fingerprint

    first = fingerprint(path)
    copy = tmp_path / "elsewhere.tif"
    copy.write_bytes(path.read_bytes())
    assert fingerprint(copy) == first and len(first) == 32
    changed = noise.copy()
    changed[1, 0, 0] ^= 1
    assert fingerprint(write_raster(changed)) != first
    assert fingerprint(write_raster(noise, pixel=0.21)) != first
    assert fingerprint(write_raster(noise, crs="EPSG:32634")) != first
    assert fingerprint(write_raster(noise, nodata=7)) != first
    assert fingerprint(write_raster(noise), bands=(3, 2, 1)) != first


# --- no network unless asked


def test_a_local_file_cannot_send_the_engine_to_the_network(tmp_path):
    hits = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(5)

    def serve() -> None:
        try:
            while True:
                connection, _ = server.accept()
                hits.append(connection.recv(200))
                connection.close()
        except OSError:
            return

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/x.tif"
    vrt = tmp_path / "remote.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 0.2, 0, 5500000, 0, -0.2</GeoTransform>"
        + "".join(
            f'<VRTRasterBand dataType="Byte" band="{b}"><SimpleSource>'
            f"<SourceFilename>{name}</SourceFilename><SourceBand>1</SourceBand>"
            "</SimpleSource></VRTRasterBand>"
            for b, name in ((1, f"/vsicurl/{url}"), (2, url), (3, f"/vsicurl_streaming/{url}"))
        )
        + "</VRTDataset>"
    )
    wms = tmp_path / "service.xml"
    wms.write_text(
        f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png</ServerUrl></Service>'
        "<DataWindow><UpperLeftX>-20037508</UpperLeftX><UpperLeftY>20037508</UpperLeftY>"
        "<LowerRightX>20037508</LowerRightX><LowerRightY>-20037508</LowerRightY><TileLevel>3</TileLevel>"
        "<TileCountX>1</TileCountX><TileCountY>1</TileCountY></DataWindow><Projection>EPSG:3857</Projection>"
        "<BlockSizeX>256</BlockSizeX><BlockSizeY>256</BlockSizeY><BandsCount>3</BandsCount></GDAL_WMS>"
    )
    for path in (vrt, wms):
        with pytest.raises(RasterError), RasterSource.open(path, pixel_m=None) as source:
            read_whole(source)
    assert not hits
    with pytest.raises(RasterError):  # what the user names himself is fetched
        RasterSource.open(f"/vsicurl/{url}", pixel_m=None)
    server.close()
    assert hits


# --- nothing that waits for ever


def write_vrt(path, source, *, relative: int = 0):
    band = "".join(
        f'<VRTRasterBand dataType="Byte" band="{b}"><SimpleSource><SourceFilename relativeToVRT="{relative}">{source}'
        f"</SourceFilename><SourceBand>{b}</SourceBand></SimpleSource></VRTRasterBand>"
        for b in (1, 2, 3)
    )
    path.write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:32633</SRS><GeoTransform>500000, 0.2, 0,'
        f" 5500000, 0, -0.2</GeoTransform>{band}</VRTDataset>"
    )
    return path


@pytest.mark.parametrize("source", ["/vsistdin/", "/vsi&#115;tdin/", "/vsisubfile/0_100,/vsistdin/"])
def test_a_virtual_raster_may_not_read_the_standard_input(tmp_path, source):
    with pytest.raises(RasterError, match="standard input"):
        RasterSource.open(write_vrt(tmp_path / "in.vrt", source), pixel_m=None)
    with pytest.raises(RasterError, match="standard input"):
        RasterSource.open(write_vrt(tmp_path / "outer.tif", "in.vrt", relative=1), pixel_m=None)


def test_a_pipe_is_refused_as_raster_and_as_source(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(RasterError, match="neither a file nor a folder"):
        RasterSource.open(tmp_path / "pipe", pixel_m=None)
    with pytest.raises(RasterError, match="which is no file"):
        RasterSource.open(write_vrt(tmp_path / "outer.vrt", tmp_path / "pipe"), pixel_m=None)


def test_a_virtual_raster_of_itself_ends_in_a_sentence(tmp_path):
    path = write_vrt(tmp_path / "self.vrt", "self.vrt", relative=1)
    with pytest.raises(RasterError), RasterSource.open(path, pixel_m=None) as source:
        read_whole(source)
