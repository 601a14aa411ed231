"""Previews: outlines lie where the raster shows the building, whatever the raster's orientation and type."""

import cv2
import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.errors import InvalidParameter, OutputError, RasterError, VectorError
from cadastral_vectorizer.engine.evaluation.pictures import PREDICTED_RGB, REFERENCE_RGB
from cadastral_vectorizer.engine.preview import render_preview
from rasterio.transform import Affine

ORIGIN = (500000.0, 5000000.0)
TRANSFORMS = {
    "north_up": Affine.translation(*ORIGIN) @ Affine.scale(0.2, -0.2),
    "south_up": Affine.translation(*ORIGIN) @ Affine.scale(0.2, 0.2),
    "rotated": Affine.translation(*ORIGIN) @ Affine.rotation(30) @ Affine.scale(0.2, -0.3),
}
HOUSE_PX = shapely.Polygon(
    [(40, 30), (160, 30), (160, 110), (40, 110)], [[(80, 50), (120, 50), (120, 90), (80, 90)]]
)


def write_raster(path, transform, *, dtype="uint8", count=3, width=240, height=150, nodata=None):
    data = np.full((count, height, width), 90 if dtype == "uint8" else 900, dtype)
    profile = {"driver": "GTiff", "width": width, "height": height, "count": count, "dtype": dtype}
    with rasterio.open(path, "w", crs="EPSG:32633", transform=transform, nodata=nodata, **profile) as sink:
        sink.write(data)
    return str(path)


def write_house(path, transform, *, crs="EPSG:32633", geometry=HOUSE_PX):
    on_map = shapely.transform(geometry, lambda xy: np.column_stack(transform @ (xy[:, 0], xy[:, 1])))
    frame = geopandas.GeoDataFrame(geometry=[on_map], crs="EPSG:32633").to_crs(crs)
    frame.to_file(path, layer="buildings")
    return str(path)


def read_rgb(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def pixels_of(image, colour):
    """(x, y) centres of pixels close to `colour`."""
    rows, cols = np.nonzero((np.abs(image.astype(int) - colour) < 60).all(axis=2))
    return np.column_stack((cols + 0.5, rows + 0.5))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_outline_and_hole_lie_on_their_pixels_in_any_orientation_and_crs(tmp_path, name, crs):
    raster = write_raster(tmp_path / "a.tif", TRANSFORMS[name])
    vectors = write_house(tmp_path / "a.gpkg", TRANSFORMS[name], crs=crs)
    render_preview(raster, vectors, str(tmp_path / "out.png"), max_side_px=240)
    image = read_rgb(tmp_path / "out.png")
    assert image.shape == (150, 240, 3)
    drawn = pixels_of(image, PREDICTED_RGB)
    distance = shapely.distance(HOUSE_PX.boundary, shapely.points(drawn))
    assert distance.max() <= 1.6
    along = shapely.points(
        [HOUSE_PX.boundary.interpolate(t, normalized=True).coords[0] for t in (0, 0.3, 0.6)]
    )
    hole = shapely.points([(100, 50), (100, 90), (80, 70)])
    for place in (*along, *hole):
        assert shapely.distance(place, shapely.points(drawn)).min() < 1.5


def test_large_raster_is_decimated_and_small_one_enlarged(tmp_path):
    transform = TRANSFORMS["north_up"]
    vectors = write_house(tmp_path / "a.gpkg", transform)
    render_preview(
        write_raster(tmp_path / "a.tif", transform, width=2000, height=500),
        vectors,
        str(tmp_path / "out.png"),
        max_side_px=500,
    )
    assert read_rgb(tmp_path / "out.png").shape == (125, 500, 3)
    small = write_raster(tmp_path / "b.tif", transform, width=240, height=150)
    render_preview(small, vectors, str(tmp_path / "out.png"))
    image = read_rgb(tmp_path / "out.png")
    assert image.shape == (600, 960, 3)
    distance = shapely.distance(
        shapely.transform(HOUSE_PX.boundary, lambda xy: xy * 4),
        shapely.points(pixels_of(image, PREDICTED_RGB)),
    )
    assert distance.max() <= 1.6


def test_reference_shows_beside_the_prediction(tmp_path):
    transform = TRANSFORMS["rotated"]
    raster = write_raster(tmp_path / "a.tif", transform)
    vectors = write_house(tmp_path / "a.gpkg", transform)
    moved = shapely.transform(HOUSE_PX, lambda xy: xy + [20, 15])
    reference = write_house(tmp_path / "r.gpkg", transform, geometry=moved)
    render_preview(raster, vectors, str(tmp_path / "out.png"), reference=reference, max_side_px=240)
    image = read_rgb(tmp_path / "out.png")
    reference_pixels = pixels_of(image, REFERENCE_RGB)
    assert len(reference_pixels) > 200
    assert shapely.distance(moved.boundary, shapely.points(reference_pixels)).max() <= 2.6
    assert len(pixels_of(image, PREDICTED_RGB)) > 200


@pytest.mark.parametrize(("dtype", "count"), [("uint16", 4), ("float32", 1), ("uint8", 1), ("uint8", 2)])
def test_any_type_and_band_count_becomes_a_picture(tmp_path, dtype, count):
    transform = TRANSFORMS["north_up"]
    raster = write_raster(tmp_path / "a.tif", transform, dtype=dtype, count=count)
    if dtype == "float32":
        with rasterio.open(raster, "r+") as dataset:
            values = dataset.read(1)
            values[:20] = np.nan
            dataset.write(values, 1)
    render_preview(
        raster, write_house(tmp_path / "a.gpkg", transform), str(tmp_path / "out.png"), max_side_px=240
    )
    image = read_rgb(tmp_path / "out.png")
    assert len(pixels_of(image, PREDICTED_RGB)) > 200
    if dtype == "float32":
        assert (image[5, 200] == 236).all()


def test_empty_layer_gives_the_plain_orthophoto(tmp_path):
    transform = TRANSFORMS["north_up"]
    frame = geopandas.GeoDataFrame(geometry=geopandas.GeoSeries([], crs="EPSG:32633"))
    frame.to_file(tmp_path / "empty.gpkg")
    render_preview(
        write_raster(tmp_path / "a.tif", transform), str(tmp_path / "empty.gpkg"), str(tmp_path / "o.png")
    )
    assert (read_rgb(tmp_path / "o.png") == 90).all()


def test_bad_inputs_are_refused_with_a_sentence_and_leave_nothing(tmp_path):
    transform = TRANSFORMS["north_up"]
    raster = write_raster(tmp_path / "a.tif", transform)
    vectors = write_house(tmp_path / "a.gpkg", transform)
    out = str(tmp_path / "pictures" / "out.png")
    with pytest.raises(RasterError, match="cannot be opened"):
        render_preview(str(tmp_path / "missing.tif"), vectors, out)
    with pytest.raises(VectorError, match="cannot be read"):
        render_preview(raster, str(tmp_path / "missing.gpkg"), out)
    with pytest.raises(VectorError, match="cannot be read"):
        render_preview(raster, f"{vectors}|layername=none", out)
    with pytest.raises(InvalidParameter, match="max_side_px"):
        render_preview(raster, vectors, out, max_side_px=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        render_preview(raster, vectors, str(tmp_path / "file" / "out.png"))
    assert not (tmp_path / "pictures").exists()
