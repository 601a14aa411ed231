"""The regularize job: any polygon layer, every bad input, no attribute lost."""

from __future__ import annotations

import datetime

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from cadastral_vectorizer.engine.config import RegularizeConfig
from cadastral_vectorizer.engine.errors import OutputError, VectorError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.regularize import regularize_file
from shapely import MultiPolygon, Point, Polygon, affinity, box

BAD = {
    "bow_tie": Polygon([(20, 0), (30, 10), (30, 0), (20, 10)]),
    "repeated": Polygon([(40, 0), (50, 0), (50, 0), (50, 0), (50, 10), (40, 10)]),
    "no_area": Polygon([(60, 0), (61, 0), (62, 0), (60, 0)]),
    "spike": Polygon([(80, 0), (90, 0), (90, 10), (90, 30), (90, 10), (80, 10)]),
    "twin_a": box(0, 40, 10, 50),
    "twin_b": box(0, 40, 10, 50),
    "nested": box(2, 42, 8, 48),
    "z": Polygon([(100, 0, 5), (110, 0, 5), (110, 10, 6), (100, 10, 6)]),
    "multi": MultiPolygon([box(120, 0, 130, 10), box(140, 0, 145, 5)]),
    "none": None,
    "empty": Polygon(),
    "hole_outside": Polygon(box(160, 0, 170, 10).exterior, [box(175, 2, 178, 5).exterior]),
    "tiny": box(200, 0, 201, 1),
    "many": Point(400, 0).buffer(20, quad_segs=2000),
    "good": Polygon([(220, 0), (232, 0.1), (232, 8), (226, 8.1), (220, 8)]),
}


def layer(crs="EPSG:32637"):
    """The bad polygons with attributes of many kinds, in `crs`."""
    names = list(BAD)
    count = len(names)
    shapes = [None if g is None else affinity.translate(g, 533_000, 9_367_000) for g in BAD.values()]
    table = gpd.GeoDataFrame(
        {
            "name": names,
            "owner": [f"Владелец №{k}" for k in range(count)],
            "parcel": pd.array([k if k % 3 else None for k in range(count)], dtype="Int64"),
            "share": np.linspace(0, 1, count),
            "area_m2": np.arange(count) * 1.5,
            "surveyed": [datetime.datetime(2024, 2, 29, 12, 0, k) for k in range(count)],
            "listed": [k % 2 == 0 for k in range(count)],
        },
        geometry=gpd.GeoSeries(shapes, crs="EPSG:32637"),
    )
    return table.to_crs(crs)


def run(tmp_path, table, *, name="in.gpkg", **options):
    source, output = tmp_path / name, tmp_path / "out.gpkg"
    table.to_file(source, engine="pyogrio")
    options = {"tolerance_m": 0.4, "min_area_m2": 0.0} | options
    result = regularize_file(RegularizeConfig(input=str(source), output=str(output), **options), Reporter())
    return result, gpd.read_file(output, fid_as_index=True), gpd.read_file(source, fid_as_index=True)


@pytest.mark.parametrize("crs", ["EPSG:32637", "EPSG:4326", "EPSG:3857", "EPSG:2263"])
def test_every_feature_comes_back_with_all_its_attributes(tmp_path, crs):
    table = layer(crs) if crs != "EPSG:2263" else layer("EPSG:21037").to_crs(crs)
    result, found, given = run(tmp_path, table)
    assert result["buildings"] == len(given)
    assert result["left_out"] == 0
    assert found.crs == given.crs
    assert list(found.index) == list(given.index)
    for field in ("name", "owner", "parcel", "share", "surveyed", "listed"):
        pd.testing.assert_series_equal(found[field], given[field])
    pd.testing.assert_series_equal(found["area_m2_input"], given["area_m2"], check_names=False)
    kinds = dict(zip(*(pyogrio.read_info(tmp_path / "out.gpkg")[k] for k in ("fields", "dtypes"))))
    assert kinds["parcel"].startswith("int")
    assert kinds["vertices"] == "int32"


def test_bad_geometries_are_repaired_or_kept_and_marked(tmp_path):
    _, found, _ = run(tmp_path, layer())
    by_name = found.set_index("name")
    check = by_name["check"]
    assert check["bow_tie"].startswith("repaired: self-intersection")
    assert check["spike"].startswith("repaired")
    assert check["no_area"] == "has no area"
    assert check["none"] == "has no geometry"
    assert check["empty"] == "has no geometry"
    assert check["twin_b"] == "lies on feature 5"
    assert check["nested"] == "lies on feature 5"
    assert check["hole_outside"].startswith("repaired")
    assert check["good"] == ""
    whole = by_name.geometry.dropna()
    assert (whole.is_valid | (whole.area == 0)).all()
    assert by_name.geometry["multi"].geom_type == "MultiPolygon"
    assert len(by_name.geometry["multi"].geoms) == 2
    assert by_name["area_m2"]["multi"] == pytest.approx(125, abs=0.5)
    assert by_name["vertices"]["repeated"] == 4
    assert by_name["regularized"]["many"] == "circle"
    assert by_name["regularized"]["none"] == "kept"
    assert not by_name.geometry["z"].has_z


def test_degrees_are_worked_on_in_metres(tmp_path):
    _, metric, _ = run(tmp_path, layer())
    _, degrees, _ = run(tmp_path, layer("EPSG:4326"))
    back = degrees.to_crs("EPSG:32637")
    for name in ("good", "multi", "many"):
        a, b = (f.set_index("name").geometry[name] for f in (metric, back))
        assert shapely.hausdorff_distance(a, b) < 0.05
    # UTM is 0.04 % short at its centre; the local projection is not.
    areas = [f.set_index("name")["area_m2"].drop("no_area").dropna() for f in (metric, degrees)]
    np.testing.assert_allclose(*areas, rtol=2e-3, atol=0.02)


def test_small_features_are_left_out_and_counted(tmp_path):
    result, found, given = run(tmp_path, layer(), min_area_m2=6.0)
    assert result["left_out"] == 1
    assert set(given["name"]) - set(found["name"]) == {"tiny"}


def test_other_formats_and_feature_ids(tmp_path):
    table = layer("EPSG:4326")[["name", "geometry"]]
    table = table[[g is not None and not g.is_empty for g in table.geometry]]
    _, found, given = run(tmp_path, table, name="in.geojson")
    assert list(found["name"]) == list(given["name"])


def test_curves_heights_and_measures_are_read(tmp_path):
    """A round tower drawn as a curve, and corners with height and measure."""
    (tmp_path / "in.csv").write_text(
        "n,WKT\n"
        '1,"CURVEPOLYGON (CIRCULARSTRING (0 0, 10 0, 0 0))"\n'
        '2,"POLYGON ZM ((50 0 1 9, 60 0 1 9, 60 10 1 9, 50 10 1 9, 50 0 1 9))"\n'
        '3,"MULTISURFACE (CURVEPOLYGON (COMPOUNDCURVE ((100 0, 110 0, 110 10, 100 10), '
        'CIRCULARSTRING (100 10, 95 5, 100 0))))"\n'
    )
    (tmp_path / "in.vrt").write_text(
        "<OGRVRTDataSource><OGRVRTLayer name='in'><SrcDataSource relativeToVRT='1'>in.csv</SrcDataSource>"
        "<LayerSRS>EPSG:32637</LayerSRS><GeometryField encoding='WKT' field='WKT'/></OGRVRTLayer></OGRVRTDataSource>"
    )
    output = tmp_path / "out.gpkg"
    regularize_file(RegularizeConfig(input=str(tmp_path / "in.vrt"), output=str(output)), Reporter())
    found = gpd.read_file(output)
    np.testing.assert_allclose(found["area_m2"], [np.pi * 25, 100, 100 + np.pi * 12.5], rtol=0.01)
    assert found["regularized"].iloc[0] == "circle"
    assert not found.has_z.any()


def test_layer_name_after_a_bar_is_understood(tmp_path):
    path = tmp_path / "two.gpkg"
    layer().iloc[[-1]].to_file(path, layer="first")
    layer().iloc[[4]].to_file(path, layer="second")
    config = RegularizeConfig(input=f"{path}|layername=second", output=str(tmp_path / "out.gpkg"))
    regularize_file(config, Reporter())
    assert list(gpd.read_file(tmp_path / "out.gpkg")["name"]) == ["twin_a"]


def test_no_crs_is_refused_with_a_remedy(tmp_path):
    path = tmp_path / "in.gpkg"
    gpd.GeoDataFrame({"n": [1]}, geometry=[box(0, 0, 10, 10)]).to_file(path)
    with pytest.raises(VectorError, match="no coordinate system.*Assign"):
        regularize_file(RegularizeConfig(input=str(path), output=str(tmp_path / "out.gpkg")), Reporter())


def test_missing_unreadable_and_unfit_input_is_refused(tmp_path):
    broken, points, good = tmp_path / "broken.gpkg", tmp_path / "points.gpkg", tmp_path / "good.gpkg"
    broken.write_bytes(b"this is no GeoPackage" * 100)
    gpd.GeoDataFrame({"n": [1]}, geometry=[Point(0, 0)], crs="EPSG:32637").to_file(points)
    layer().iloc[[-1]].to_file(good, layer="x")
    cases = {
        tmp_path / "missing.gpkg": "no file",
        broken: "cannot be read",
        points: "has no polygons",
        f"{good}|layername=y": "no layer 'y'",
    }
    for source, message in cases.items():
        with pytest.raises(VectorError, match=message):
            regularize_file(RegularizeConfig(input=str(source), output=str(tmp_path / "out.gpkg")), Reporter())
    assert not (tmp_path / "out.gpkg").exists()


def test_output_that_cannot_be_written_is_said(tmp_path):
    source = tmp_path / "in.gpkg"
    layer().iloc[[-1]].to_file(source)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        regularize_file(RegularizeConfig(input=str(source), output=str(tmp_path / "file" / "out.gpkg")), Reporter())


def test_running_on_its_own_output_keeps_the_first_figures(tmp_path):
    _, first, _ = run(tmp_path, layer().iloc[[-1]][["name", "geometry"]])
    _, second, _ = run(tmp_path, first, name="again.gpkg")
    assert second["max_shift_m_input"].iloc[0] == first["max_shift_m"].iloc[0]
    assert shapely.hausdorff_distance(first.geometry.iloc[0], second.geometry.iloc[0]) < 0.02


def test_places_far_apart_get_their_own_projection(tmp_path):
    here = affinity.scale(box(0, 0, 1e-4, 1e-4), 1, 1)
    table = gpd.GeoDataFrame(
        {"n": [1, 2]}, geometry=[affinity.translate(here, 39, -6), affinity.translate(here, 19, 60)], crs="EPSG:4326"
    )
    _, found, _ = run(tmp_path, table)
    geod = found.crs.get_geod()
    true = [abs(geod.geometry_area_perimeter(g)[0]) for g in found.geometry]
    np.testing.assert_allclose(found["area_m2"], true, rtol=1e-3)
