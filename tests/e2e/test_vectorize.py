"""From orthophoto to building layer, through qgis_process."""

from __future__ import annotations

import json

import pytest
from osgeo import gdal, ogr
from support import FIELDS, SAMPLE, polygon_file, read_layer


@pytest.fixture(scope="module")
def job(vectorize, scene, tmp_path_factory):
    """The scene, vectorized once; ``(output, job folder)``. Later runs with that folder are quick."""
    folder = tmp_path_factory.mktemp("job")
    output = folder / "first.gpkg"
    done = vectorize(scene[0], output, JOB_FOLDER=folder / "work")
    assert done.returncode == 0, done.errors
    return output, folder / "work"


def test_the_sample_gives_buildings_that_match_its_truth(vectorize, qgis_process, tmp_path):
    if not SAMPLE.exists():
        pytest.skip("there is no bundled sample")
    output = tmp_path / "buildings.gpkg"
    done = vectorize(SAMPLE / "orthophoto.tif", output)
    assert done.returncode == 0, done.errors
    names, rows = read_layer(output)
    assert names == FIELDS
    assert int(done.value("BUILDINGS")) == len(rows) > 10
    assert float(done.value("SECONDS")) > 0
    assert len(done.value("MODEL_HASH")) == 64
    for attributes, geometry in rows:
        assert geometry.IsValid()
        assert geometry.GetGeometryType() == ogr.wkbPolygon
        assert geometry.GetArea() == pytest.approx(attributes["area_m2"], rel=0.02)
        assert 0.0 <= attributes["score"] <= 1.0
        assert attributes["check"] is not None
    assert len({attributes["id"] for attributes, _ in rows}) == len(rows)
    figures = tmp_path / "figures.json"
    scored = qgis_process(
        "evaluate", INPUT=output, REFERENCE=SAMPLE / "buildings.gpkg", FIGURES=figures, OUTPUT="TEMPORARY_OUTPUT"
    )
    assert scored.returncode == 0, scored.errors
    assert json.loads(figures.read_text())["AP50"] > 0.4


def test_every_parameter_and_the_model_are_in_the_geopackage(job):
    dataset = ogr.Open(str(job[0]))
    metadata = dataset.GetLayer(0).GetMetadata()
    assert set(metadata) >= {"software", "date", "model", "model_hash", "parameters"}
    parameters = json.loads(metadata["parameters"])
    assert parameters["tolerance_m"] == 1.0
    assert parameters["regularization"] == "right_angles"


@pytest.mark.parametrize(
    "output",
    [
        "{folder}/out.geojson",
        "{folder}/out.shp",
        "{folder}/new/folder/out.gpkg",
        "ogr:dbname='{folder}/db.gpkg' table=\"houses\" (geom)",
        "spatialite:dbname='{folder}/db.sqlite' table=\"houses\" (geom)",
        "TEMPORARY_OUTPUT",
    ],
)
def test_the_result_goes_into_any_sink(vectorize, scene, job, tmp_path, output):
    if "db.sqlite" in output:
        options = ["SPATIALITE=YES", "INIT_WITH_EPSG=YES"]
        ogr.GetDriverByName("SQLite").CreateDataSource(str(tmp_path / "db.sqlite"), options)
    output = output.format(folder=tmp_path)
    done = vectorize(scene[0], output, JOB_FOLDER=job[1])
    assert done.returncode == 0, done.errors
    expected = len(read_layer(job[0])[1])
    assert int(done.value("BUILDINGS")) == expected
    written = [path for path in tmp_path.rglob("*") if path.suffix in (".geojson", ".shp", ".gpkg", ".sqlite")]
    if output == "TEMPORARY_OUTPUT":
        assert written == []
        return
    (path,) = written
    names, rows = read_layer(path, "houses" if "houses" in output else 0)
    assert len(rows) == expected
    assert [name[:10] for name in names if name not in ("fid", "ogc_fid")] == [name[:10] for name in FIELDS]


def test_no_building_is_an_empty_layer_with_the_right_fields(vectorize, scene, tmp_path):
    blank, output = tmp_path / "blank.tif", tmp_path / "out.gpkg"
    source = gdal.Open(str(scene[0]))
    target = gdal.GetDriverByName("GTiff").CreateCopy(str(blank), source)
    for band in range(1, target.RasterCount + 1):
        target.GetRasterBand(band).Fill(96)
    del target
    done = vectorize(blank, output, SCORE_THRESHOLD=1)
    assert done.returncode == 0, done.errors
    assert done.value("BUILDINGS") == "0"
    names, rows = read_layer(output)
    assert names == FIELDS
    assert rows == []


def test_an_area_bounds_the_work(vectorize, scene, job, tmp_path):
    _, rows = read_layer(job[0])
    left, pixel, _, top, _, _ = gdal.Open(str(scene[0])).GetGeoTransform()
    border, bottom = left + 200 * pixel, top - 320 * pixel
    ring = f"{left} {top}, {border} {top}, {border} {bottom}, {left} {bottom}, {left} {top}"
    area = polygon_file(tmp_path / "area.gpkg", [f"POLYGON(({ring}))"])
    output = tmp_path / "out.gpkg"
    done = vectorize(scene[0], output, AREA=area)
    assert done.returncode == 0, done.errors
    inside = read_layer(output)[1]
    assert 0 < len(inside) < len(rows)
    assert all(geometry.GetEnvelope()[0] <= border + 0.5 for _, geometry in inside)


def test_an_extent_bounds_the_work_alone_and_with_an_area(vectorize, scene, job, tmp_path):
    _, rows = read_layer(job[0])
    left, pixel, _, top, _, _ = gdal.Open(str(scene[0])).GetGeoTransform()
    border, bottom, middle = left + 200 * pixel, top - 320 * pixel, top - 160 * pixel
    alone = vectorize(scene[0], tmp_path / "alone.gpkg", EXTENT=f"{left},{border},{bottom},{top}")
    assert alone.returncode == 0, alone.errors
    found = read_layer(tmp_path / "alone.gpkg")[1]
    assert 0 < len(found) < len(rows)
    assert all(geometry.GetEnvelope()[0] <= border + 0.5 for _, geometry in found)
    upper = f"{left} {top}, {border + 99} {top}, {border + 99} {middle}, {left} {middle}, {left} {top}"
    area = polygon_file(tmp_path / "area.gpkg", [f"POLYGON(({upper}))"])
    code = read_layer(job[0])[1][0][1].GetSpatialReference().GetAuthorityCode(None)
    both = vectorize(
        scene[0], tmp_path / "both.gpkg", AREA=area, EXTENT=f"{left},{border},{bottom},{top} [EPSG:{code}]"
    )
    assert both.returncode == 0, both.errors
    common = read_layer(tmp_path / "both.gpkg")[1]
    assert 0 < len(common) < len(found)
    assert all(geometry.GetEnvelope()[3] >= middle - 0.5 for _, geometry in common)
    apart = vectorize(scene[0], tmp_path / "no.gpkg", AREA=area, EXTENT=f"{border + 200},{border + 300},{bottom},{top}")
    assert "share no ground" in apart.sentence


def test_looks_and_ground_pixel_belong_to_the_run(vectorize, scene, job, tmp_path):
    output = tmp_path / "out.gpkg"
    done = vectorize(scene[0], output, LOOKS=2, PIXEL_SIZE=0.24)  # the second of the choices is two looks
    assert done.returncode == 0, done.errors
    assert read_layer(output)[1]
    dataset = ogr.Open(str(output))  # its layers live no longer than it
    parameters = json.loads(dataset.GetLayer(0).GetMetadata()["parameters"])
    assert (parameters["looks"], parameters["pixel_m"]) == (2, 0.24)
    far = vectorize(scene[0], tmp_path / "far.gpkg", PIXEL_SIZE=1.5)
    assert "1.5 m is too far from that" in far.sentence
    refused = vectorize(scene[0], tmp_path / "other.gpkg", LOOKS=3, JOB_FOLDER=job[1])
    assert "looks was 1, is 4" in refused.sentence


def test_numbers_may_be_written_as_text_and_out_of_range_is_refused(vectorize, scene, tmp_path):
    done = vectorize(scene[0], tmp_path / "out.gpkg", SCORE_THRESHOLD="1.5")
    assert "SCORE_THRESHOLD" in done.sentence
    assert list(tmp_path.iterdir()) == []
