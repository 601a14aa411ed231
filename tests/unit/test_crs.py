from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine import crs
from cadastral_vectorizer.engine.errors import EngineError
from pyproj import CRS

UTM = CRS("EPSG:32633").to_wkt()
DEGREES = CRS("EPSG:4326").to_wkt()
WEB = CRS("EPSG:3857").to_wkt()
FEET = CRS("EPSG:2263").to_wkt()  # New York Long Island, US survey feet
FOOT_M = 1200 / 3937


def test_a_metric_projection_is_kept_as_it_is():
    assert crs.metric_crs(UTM, lon=15.0, lat=50.0) == UTM
    assert crs.metric_crs("EPSG:27700", lon=-2.0, lat=53.0) == "EPSG:27700"


def test_utm_far_outside_its_zone_is_no_longer_metric():
    assert crs.is_metric(UTM, lon=18.0, lat=50.0)
    assert not crs.is_metric(UTM, lon=25.0, lat=5.0)


@pytest.mark.parametrize(
    ("wkt", "lon", "lat"), [(DEGREES, 85.52, 27.63), (WEB, 16.4, 48.2), (WEB, 0.0, 0.01), (FEET, -74.0, 40.7)]
)
def test_anything_else_gets_a_local_projection_on_its_own_datum(wkt, lon, lat):
    assert not crs.is_metric(wkt, lon=lon, lat=lat)
    local = crs.metric_crs(wkt, lon=lon, lat=lat)
    assert crs.is_metric(local, lon=lon, lat=lat)
    assert CRS(local).geodetic_crs.datum == CRS(wkt).geodetic_crs.datum


def test_an_equal_area_projection_that_stretches_is_not_metric():
    assert not crs.is_metric("EPSG:6933", lon=10.0, lat=55.0)


def test_local_projections_of_neighbouring_places_are_identical():
    assert crs.metric_crs(DEGREES, lon=85.521, lat=27.631) == crs.metric_crs(DEGREES, lon=85.519, lat=27.629)


def test_there_and_back_is_exact_and_keeps_ground_lengths():
    local = crs.metric_crs(DEGREES, lon=85.52, lat=27.63)
    box, point = shapely.box(85.52, 27.63, 85.5202, 27.6302), shapely.Point(85.52, 27.63)
    square = np.array([box, point], dtype=object)
    metric = crs.transform_geometries(square, DEGREES, local)
    back = crs.transform_geometries(metric, local, DEGREES)
    assert shapely.equals_exact(back, square, tolerance=1e-12).all()
    area, _ = CRS(DEGREES).get_geod().geometry_area_perimeter(square[0])
    assert metric[0].area == pytest.approx(abs(area), rel=1e-5)


def test_transform_is_east_north_whatever_the_axis_order_of_the_authority():
    point = crs.transform_geometries(np.array([shapely.Point(15.0, 0.0)]), "EPSG:4326", "EPSG:32633")[0]
    assert (point.x, point.y) == (pytest.approx(500_000.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))


def test_none_and_empty_geometries_pass_through():
    geoms = np.array([None, shapely.Polygon(), shapely.Point(15, 50)], dtype=object)
    moved = crs.transform_geometries(geoms, DEGREES, UTM)
    assert moved[0] is None and moved[1].is_empty and moved[2].x == pytest.approx(500_000, abs=1e-3)
    assert len(crs.transform_geometries(np.array([], dtype=object), DEGREES, UTM)) == 0


def test_coordinates_out_of_reach_end_in_a_sentence():
    with pytest.raises(EngineError, match="outside the area"):
        crs.transform_geometries(np.array([shapely.Point(5e7, 9e9)]), UTM, DEGREES)


@pytest.mark.parametrize("text", ["", "EPSG:999999", "PROJCS[broken", "LOCAL_CS"])
def test_an_unknown_crs_is_named(text):
    with pytest.raises(EngineError, match="not understood"):
        crs.metric_crs(text, lon=0, lat=0)


def test_a_local_engineering_crs_is_refused():
    axes = 'CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]'
    local = f'ENGCRS["site",EDATUM["site"],{axes}]'
    with pytest.raises(EngineError, match="does not say where"):
        crs.center_lonlat(local, (0, 0, 10, 10))


def test_center_is_in_degrees_of_the_own_base():
    lon, lat = crs.center_lonlat(UTM, (499_990, 5_538_620, 500_010, 5_538_640))
    assert lon == pytest.approx(15.0, abs=1e-9) and lat == pytest.approx(50.0, abs=1e-3)
    assert crs.center_lonlat(DEGREES, (10, 20, 12, 24)) == (11.0, 22.0)


def test_a_base_in_grads_from_paris_works():
    lambert = "EPSG:27572"  # NTF (Paris) / Lambert zone II
    lon, lat = crs.center_lonlat(lambert, (599_990, 2_199_990, 600_010, 2_200_010))
    assert (lon, lat) == (pytest.approx(0.0, abs=1e-6), pytest.approx(46.8, abs=1e-3))
    assert crs.is_metric(lambert, lon=lon, lat=lat)
    base = "EPSG:4807"
    local = crs.metric_crs(base, lon=2.0, lat=45.0)
    geoms = crs.transform_geometries(np.array([shapely.Point(2.0 / 0.9, 50.0)]), base, local)
    assert geoms[0].distance(shapely.Point(0, 0)) < 1e-6


def test_ground_pixel_of_a_rotated_anisotropic_grid():
    angle = math.radians(30)
    a, d = 0.25 * math.cos(angle), 0.25 * math.sin(angle)
    b, e = 0.5 * math.sin(angle), -0.5 * math.cos(angle)
    size_x, size_y = crs.ground_pixel_m((a, b, 500_000, d, e, 5_538_630), UTM, 10, 10)
    assert size_x == pytest.approx(0.25 / 0.9996, rel=1e-6)
    assert size_y == pytest.approx(0.5 / 0.9996, rel=1e-6)


def test_ground_pixel_in_feet_web_mercator_and_degrees():
    size, _ = crs.ground_pixel_m((0.5, 0, 987_000, 0, -0.5, 211_000), FEET, 0, 0)
    assert size == pytest.approx(0.5 * FOOT_M, rel=1e-4)
    x, y = crs.transform_geometries(np.array([shapely.Point(10, 60)]), DEGREES, WEB)[0].coords[0]
    size_x, size_y = crs.ground_pixel_m((0.6, 0, x, 0, -0.6, y), WEB, 0, 0)
    assert size_x == pytest.approx(0.6 * 0.5012, rel=1e-3)
    assert size_y == pytest.approx(0.6 * 0.5004, rel=1e-3)
    size_x, size_y = crs.ground_pixel_m((1e-5, 0, 10, 0, -1e-5, 60), DEGREES, 0, 0)
    assert size_x == pytest.approx(1e-5 * 55_800, rel=1e-3)
    assert size_y == pytest.approx(1e-5 * 111_412, rel=1e-3)


def test_a_height_component_does_not_disturb():
    compound = CRS("EPSG:5554").to_wkt()  # ETRS89 / UTM 31N + DHHN92 height
    lon, lat = crs.center_lonlat(compound, (499_990, 5_538_620, 500_010, 5_538_640))
    assert crs.metric_crs(compound, lon=lon, lat=lat) == compound
