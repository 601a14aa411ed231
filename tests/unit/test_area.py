"""The area that bounds the work: any CRS, any size, and a sentence for what is none."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.area import AreaOutside, read_area
from cadastral_vectorizer.engine.contracts import Grid
from cadastral_vectorizer.engine.crs import parse_crs
from cadastral_vectorizer.engine.errors import VectorError

UTM = parse_crs("EPSG:32633").to_wkt()
GRID = Grid(500, 400, (0.2, 0.0, 500_000.0, 0.0, -0.2, 4_650_000.0), UTM, 0.2)
GROUND = shapely.box(500_000, 4_649_920, 500_100, 4_650_000)


@pytest.fixture
def area(tmp_path):
    """Write shapes and read them as the area of `GRID`."""

    def read(*shapes, crs="EPSG:32633", name="area.gpkg"):
        path = tmp_path / name
        gpd.GeoDataFrame(geometry=list(shapes), crs=crs).to_file(path)
        return read_area(str(path), GRID, UTM)

    return read


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32634", "EPSG:2263", "EPSG:3035"])
def test_the_same_area_in_another_crs_is_the_same_pixels(area, crs):
    half = shapely.box(500_000, 4_649_920, 500_050, 4_650_000)
    moved = gpd.GeoSeries([half.segmentize(1)], crs=UTM).to_crs(crs).iloc[0]
    found = area(moved, crs=crs)
    assert found.pixels.intersection(shapely.box(0, 0, 500, 400)).area == pytest.approx(250 * 400, rel=1e-3)


def test_an_area_larger_than_the_world_of_the_raster_covers_it(area):
    found = area(shapely.box(-180, -90, 180, 90), crs="EPSG:4326")
    assert found.pixels.covers(shapely.box(0, 0, 500, 400)) and found.metres.covers(GROUND)


@pytest.mark.parametrize(
    ("shape", "crs"),
    [
        (shapely.box(0, 0, 1, 1), "EPSG:32633"),
        (shapely.box(0, 0, 1, 1), "EPSG:4326"),
        (shapely.box(170, -80, 171, -79), "EPSG:4326"),
        (shapely.box(500_101, 4_650_001, 500_110, 4_650_010), "EPSG:32633"),
        (shapely.box(1e30, 1e30, 2e30, 2e30), "EPSG:32633"),
    ],
)
def test_an_area_elsewhere_is_refused_as_such(area, shape, crs):
    with pytest.raises(AreaOutside, match="outside the raster"):
        area(shape, crs=crs)


@pytest.mark.parametrize("side_m", [0.0, 1e-9, 0.1])
def test_an_area_smaller_than_a_pixel_is_refused_as_such(area, side_m):
    x, y = 500_010.0, 4_649_990.0
    with pytest.raises(VectorError, match="pixel|no polygon|outside"):
        area(shapely.Polygon([(x, y), (x + side_m, y), (x + side_m, y + side_m), (x, y + side_m)]))


def test_a_tiny_area_is_worked_on(area):
    assert area(shapely.box(500_010, 4_649_990, 500_010.5, 4_649_990.5)).pixels.area == pytest.approx(6.25)


def test_crossed_holed_and_three_dimensional_polygons_are_mended(area):
    x, y = 500_010.0, 4_649_950.0
    bow = shapely.Polygon([(x, y), (x + 10, y + 10), (x + 10, y), (x, y + 10)])
    tall = shapely.force_3d(shapely.box(x + 20, y, x + 30, y + 10), 7.0)
    assert area(bow, tall).pixels.area == pytest.approx((50 + 100) / 0.04)


@pytest.mark.parametrize("text", [b"", b"SQLite format 3\x00" + bytes(500), b"{", b"<kml>", b"%PDF"])
@pytest.mark.parametrize("ending", ["gpkg", "geojson", "shp", "kml", "gml"])
def test_files_that_are_none_end_in_a_sentence(tmp_path, text, ending):
    path = tmp_path / f"area.{ending}"
    path.write_bytes(text)
    with pytest.raises(VectorError) as caught:
        read_area(str(path), GRID, UTM)
    assert str(caught.value).endswith(".") and str(path) in str(caught.value)


def test_layers_without_polygons_or_crs_end_in_a_sentence(area):
    with pytest.raises(VectorError, match="no polygon"):
        area(shapely.Point(500_010, 4_649_990))
    with pytest.raises(VectorError, match="coordinate reference system"):
        area(GROUND, crs=None, name="area.shp")
    with pytest.raises(VectorError):
        area(shapely.Polygon([(np.inf, 0), (1, 0), (1, 1)]))
