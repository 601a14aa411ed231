"""The same pixels stored in another way give the same buildings, to the last bit of their geometry."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import shapely
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.pipeline import vectorize
from cadastral_vectorizer.engine.progress import Reporter
from rasterio.enums import ColorInterp
from rasterio.transform import Affine
from rasterio.windows import Window

SAMPLE = Path(__file__).resolve().parents[2] / "resources" / "sample" / "orthophoto.tif"
SIDE = 448
TILED = {"tiled": True, "blockxsize": 128, "blockysize": 128}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def picture():
    """Pixels, [3, H, W], none of them 0, and where they lie."""
    with rasterio.open(SAMPLE) as dataset:
        window = Window(64, 64, SIDE, SIDE)
        return np.maximum(dataset.read(window=window), 1), dataset.window_transform(window), dataset.crs


def write(path, pixels, transform, crs, *, driver="GTiff", colors=None, mask=None, **options):
    """Write a raster; drivers that cannot be written to get a copy."""
    profile = {
        "width": pixels.shape[2], "height": pixels.shape[1], "count": len(pixels), "dtype": pixels.dtype.name,
        "crs": crs, "transform": transform,
    }  # fmt: skip
    if driver in ("JP2OpenJPEG", "PNG"):
        with rasterio.MemoryFile() as memory:
            with memory.open(driver="GTiff", **profile) as dataset:
                dataset.write(pixels)
            with memory.open() as dataset:
                rasterio.shutil.copy(dataset, path, driver=driver, **options)
        return path
    with rasterio.open(path, "w", driver=driver, **profile, **options) as dataset:
        dataset.write(pixels)
        if colors:
            dataset.colorinterp = colors
        if mask is not None:
            dataset.write_mask(mask)
    return path


def write_virtual(path, parts, transform, crs):
    """A VRT of ``(file, x, y, width, height)``."""
    a, b, c, d, e, f = transform[:6]
    sources = {
        band: "".join(
            f"<SimpleSource><SourceFilename relativeToVRT='1'>{file.name}</SourceFilename>"
            f"<SourceBand>{band}</SourceBand>"
            f"<SrcRect xOff='0' yOff='0' xSize='{w}' ySize='{h}'/>"
            f"<DstRect xOff='{x}' yOff='{y}' xSize='{w}' ySize='{h}'/></SimpleSource>"
            for file, x, y, w, h in parts
        )
        for band in (1, 2, 3)
    }
    bands = "".join(f"<VRTRasterBand dataType='Byte' band='{n}'>{s}</VRTRasterBand>" for n, s in sources.items())
    path.write_text(
        f"<VRTDataset rasterXSize='{SIDE}' rasterYSize='{SIDE}'><SRS>{crs.to_string()}</SRS>"
        f"<GeoTransform>{c}, {a}, {b}, {f}, {d}, {e}</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def mosaic(folder, pixels, transform, crs):
    parts = []
    for x, y, w, h in ((0, 0, 200, 150), (200, 0, 248, 150), (0, 150, 200, 298), (200, 150, 248, 298)):
        part, place = pixels[:, y : y + h, x : x + w], transform @ Affine.translation(x, y)
        file = write(folder / f"{x}-{y}.tif", part, place, crs)
        parts.append((file, x, y, w, h))
    return write_virtual(folder / "mosaic.vrt", parts, transform, crs)


RGBA = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
FULL = np.full((1, SIDE, SIDE), 255, np.uint8)
LAYOUTS = {
    "tiled": lambda f, p, t, c: write(f / "a.tif", p, t, c, **TILED, compress="deflate"),
    "bands apart": lambda f, p, t, c: write(f / "a.tif", p, t, c, interleave="band", compress="lzw", predictor=2),
    "cog": lambda f, p, t, c: write(f / "a.tif", p, t, c, driver="COG", compress="deflate", blocksize=128),
    "vrt": lambda f, p, t, c: write_virtual(
        f / "a.vrt", [(write(f / "s.tif", p, t, c), 0, 0, SIDE, SIDE)], t, c
    ),
    "mosaic of four": mosaic,
    "south-up": lambda f, p, t, c: write(
        f / "a.tif", p[:, ::-1], Affine(t.a, t.b, t.c, t.d, -t.e, t.f + SIDE * t.e), c
    ),
    "envi": lambda f, p, t, c: write(f / "a.dat", p, t, c, driver="ENVI", interleave="bil"),
    "erdas": lambda f, p, t, c: write(f / "a.img", p, t, c, driver="HFA", compressed="yes"),
    "jpeg2000": lambda f, p, t, c: write(f / "a.jp2", p, t, c, driver="JP2OpenJPEG", reversible="yes", quality="100"),
    "alpha": lambda f, p, t, c: write(f / "a.tif", np.concatenate([p, FULL]), t, c, colors=RGBA),
    "no-data": lambda f, p, t, c: write(f / "a.tif", p, t, c, nodata=0),
    "mask": lambda f, p, t, c: write(f / "a.tif", p, t, c, mask=FULL[0]),
    "geopackage": lambda f, p, t, c: write(f / "a.gpkg", p, t, c, driver="GPKG", tile_format="PNG"),
}


def find(raster, folder, **settings):
    config = VectorizeConfig(
        raster=str(raster), output=str(folder / "out.gpkg"), job_folder=str(folder / "job"), threads=2,
        score_threshold=0.3, **settings,
    )  # fmt: skip
    vectorize(config, Reporter())
    return gpd.read_file(config.output).set_index("id").sort_index()


@pytest.fixture(scope="module")
def plain(picture, tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    found = find(write(folder / "plain.tif", *picture), folder)
    assert len(found) > 5
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_file_changes_no_building(picture, plain, tmp_path, layout):
    found = find(LAYOUTS[layout](tmp_path, *picture), tmp_path)
    assert list(found.index) == list(plain.index)
    assert (found.score == plain.score).all() and (found.edge == plain.edge).all()
    away = shapely.hausdorff_distance(found.geometry.to_numpy(), plain.geometry.to_numpy())
    assert away.max() <= (1e-6 if layout in ("south-up", "geopackage") else 0.0)


@pytest.mark.parametrize(("dtype", "scale"), [("uint16", 257), ("uint16", 16), ("int16", 100), ("float32", 1 / 255)])
def test_the_same_picture_in_other_numbers_gives_nearly_the_same_buildings(picture, plain, tmp_path, dtype, scale):
    """Other types are stretched, 8 bit is not, so contrast differs: most buildings are the same, not all."""
    pixels, transform, crs = picture
    found = find(write(tmp_path / "a.tif", (pixels * np.float64(scale)).astype(dtype), transform, crs), tmp_path)
    tree = shapely.STRtree(found.geometry)
    same = 0
    for outline in plain.geometry:
        near = found.geometry.iloc[tree.query(outline, predicate="intersects")]
        same += (near.intersection(outline).area / near.union(outline).area).max() > 0.6 if len(near) else 0
    assert same >= 0.7 * len(plain) and abs(len(found) - len(plain)) <= 0.4 * len(plain)
