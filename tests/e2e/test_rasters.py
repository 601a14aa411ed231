"""Several orthophotos, bands in any order, damaged files and tiles of a web layer, through qgis_process."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from osgeo import gdal, ogr
from support import FIELDS, polygon_file, read_layer

WORLD = 2 * 20037508.342789244
ZOOM = 19


def matched(found, truth):
    """Number of outlines of `truth` with one of `found` of IoU 0.5 or more."""
    count = 0
    for outline in truth:
        shares = (outline.Intersection(f).Area() / outline.Union(f).Area() for f in found if f.Intersects(outline))
        count += max(shares, default=0.0) >= 0.5
    return count


def geometries(path):
    return [geometry for _, geometry in read_layer(path)[1]]


def overlap(shapes):
    """Greatest area two of the shapes share."""
    pairs = ((a, b) for k, a in enumerate(shapes) for b in shapes[:k] if a.Intersects(b))
    return max((a.Intersection(b).Area() for a, b in pairs), default=0.0)


@pytest.fixture(scope="module")
def whole(vectorize, scene, tmp_path_factory):
    """The buildings of the whole scene."""
    output = tmp_path_factory.mktemp("whole") / "out.gpkg"
    done = vectorize(scene[0], output)
    assert done.returncode == 0, done.errors
    return geometries(output)


def test_two_orthophotos_give_every_building_once_and_whole(vectorize, scene, whole, tmp_path):
    """The scene in two parts that overlap, the second with other bands first, in degrees and in 16 bit."""
    swapped = [3, 2, 1]
    west, east, output = tmp_path / "west.tif", tmp_path / "east.tif", tmp_path / "out.gpkg"
    gdal.Translate(str(west), str(scene[0]), srcWin=[0, 0, 240, 320], bandList=swapped)
    part = gdal.Translate("", str(scene[0]), format="MEM", srcWin=[160, 0, 240, 320], bandList=swapped)
    gdal.Warp(str(east), part, dstSRS="EPSG:4326", resampleAlg="cubic", dstNodata=0)
    done = vectorize(west, output, MORE_INPUTS=east, BANDS="3;2;1")
    assert done.returncode == 0, done.errors
    names, rows = read_layer(output)
    found = [geometry for _, geometry in rows]
    assert names == FIELDS and int(done.value("BUILDINGS")) == len(rows)
    assert overlap(found) < 0.01
    assert matched(found, whole) >= 0.75 * len(whole)
    assert len(found) <= 1.3 * len(whole)
    refused = vectorize(west, output, MORE_INPUTS=tmp_path / "nowhere.tif").sentence
    assert "nowhere.tif" in refused or "MORE_INPUTS" in refused


def test_what_cannot_be_read_ends_the_run_or_is_left_out_and_marked(vectorize, scene, whole, tmp_path):
    damaged, output = tmp_path / "damaged.tif", tmp_path / "out.gpkg"
    options = ["TILED=YES", "BLOCKXSIZE=128", "BLOCKYSIZE=128", "COMPRESS=DEFLATE"]
    gdal.Translate(str(damaged), str(scene[0]), creationOptions=options)
    dataset = gdal.Open(str(damaged))
    band = dataset.GetRasterBand(1)
    offset, size = (int(band.GetMetadataItem(f"BLOCK_{what}_1_1", "TIFF")) for what in ("OFFSET", "SIZE"))
    del band, dataset
    with damaged.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    sentence = vectorize(damaged, output, JOB_FOLDER=tmp_path / "job").sentence
    assert "cannot be read at pixels" in sentence and "same job folder" in sentence
    assert not output.exists()
    done = vectorize(damaged, output, JOB_FOLDER=tmp_path / "job", SKIP_UNREADABLE="true")
    assert done.returncode == 0, done.errors
    assert "cannot be read and were left out" in done.output + done.errors
    left, pixel, _, top, _, _ = gdal.Open(str(scene[0])).GetGeoTransform()
    west, north, side = left + 128 * pixel, top - 128 * pixel, 128 * pixel
    corners = [(west, north), (west + side, north), (west + side, north - side), (west, north - side), (west, north)]
    gap = ogr.CreateGeometryFromWkt("POLYGON((" + ", ".join(f"{x} {y}" for x, y in corners) + "))")
    rows = read_layer(output)[1]
    for attributes, geometry in rows:
        marked = "cannot be read" in attributes["check"]
        assert marked <= attributes["edge"]
        assert marked == geometry.Intersects(gap) or 0.0 < geometry.Distance(gap) < 3 * pixel
        assert not gap.Contains(geometry)
    assert 0 < sum("cannot be read" in attributes["check"] for attributes, _ in rows) < len(rows)


@pytest.fixture
def tiles(scene, tmp_path):
    """The scene as tiles of the web, in a folder: the layer's source."""
    warped = gdal.Warp("", str(scene[0]), format="MEM", dstSRS="EPSG:3857", resampleAlg="cubic", dstAlpha=True)
    left, pixel, _, top, _, _ = warped.GetGeoTransform()
    side = WORLD / 2**ZOOM
    columns = range(int((left + WORLD / 2) // side), int((left + pixel * warped.RasterXSize + WORLD / 2) // side) + 1)
    rows = range(int((WORLD / 2 - top) // side), int((WORLD / 2 - top + pixel * warped.RasterYSize) // side) + 1)
    for column in columns:
        folder = tmp_path / "tiles" / str(ZOOM) / str(column)
        folder.mkdir(parents=True)
        for row in rows:
            west, north = column * side - WORLD / 2, WORLD / 2 - row * side
            tile = gdal.Warp("", warped, format="MEM", outputBounds=[west, north - side, west + side, north],
                             width=256, height=256, resampleAlg="cubic")  # fmt: skip
            gdal.GetDriverByName("PNG").CreateCopy(str(folder / f"{row}.png"), tile)
    return f"wms://type=xyz&url=file://{tmp_path}/tiles/{{z}}/{{x}}/{{y}}.png&zmin={ZOOM}&zmax={ZOOM}"


def test_tiles_of_a_web_layer_are_drawn_and_vectorized(vectorize, scene, whole, tiles, tmp_path):
    output = tmp_path / "out.gpkg"
    assert "million are the limit" in vectorize(tiles, output).sentence
    left, pixel, _, top, _, _ = gdal.Open(str(scene[0])).GetGeoTransform()
    right, bottom = left + 400 * pixel, top - 320 * pixel
    ring = f"{left} {top}, {right} {top}, {right} {bottom}, {left} {bottom}, {left} {top}"
    area = polygon_file(tmp_path / "area.gpkg", [f"POLYGON(({ring}))"])
    done = vectorize(tiles, output, AREA=area)
    assert done.returncode == 0, done.errors
    stretch = 1 / math.cos(math.radians(42))  # lengths in Web Mercator
    shapes = geometries(output)
    assert 0.6 * len(whole) <= len(shapes) <= 1.4 * len(whole)
    size = np.sum([g.Area() for g in shapes]) / stretch**2
    assert size == pytest.approx(np.sum([g.Area() for g in whole]), rel=0.3)


def test_tiles_of_a_web_layer_serve_to_refine_and_to_train(qgis_process, scene, tiles, tmp_path):
    """They are drawn around what the user has drawn; the layer as a whole is far beyond the limit."""
    truth = geometries(scene[1])
    left, pixel, _, top, _, _ = gdal.Open(str(scene[0])).GetGeoTransform()
    right, bottom = left + 400 * pixel, top - 320 * pixel
    ring = f"{left} {top}, {right} {top}, {right} {bottom}, {left} {bottom}, {left} {top}"
    within = ogr.CreateGeometryFromWkt(f"POLYGON(({ring}))")
    inside = sorted((outline for outline in truth if within.Buffer(-15).Contains(outline)), key=ogr.Geometry.Area)[-4:]
    rough = polygon_file(tmp_path / "rough.gpkg", [outline.Buffer(0.8).ExportToWkt() for outline in inside])
    output = tmp_path / "refined.gpkg"
    done = qgis_process("refinepolygons", INPUT=rough, RASTER=tiles, OUTPUT=output)
    assert done.returncode == 0, done.errors
    assert "QGIS draws" in done.output + done.errors
    assert int(done.value("FEATURES")) == len(inside) == 4 and int(done.value("REFINED")) >= 2
    found = geometries(output)
    assert matched(found, inside) >= 3
    shift = [[a.Centroid().GetX() - b.Centroid().GetX(), a.Centroid().GetY() - b.Centroid().GetY()]
             for a, b in zip(found, inside)]  # fmt: skip
    assert np.abs(np.median(shift, axis=0)).max() < 0.6  # drawn where it belongs
    chips = tmp_path / "chips"
    done = qgis_process("exporttrainingdata", INPUT=tiles, ANNOTATIONS=scene[1], OUTPUT_FOLDER=chips, CHIP_SIZE=256,
                        PIXEL_SIZE=0.3, BLOCK_SIZE=40)  # fmt: skip
    assert done.returncode == 0, done.errors
    assert int(done.value("TRAIN_BUILDINGS")) + int(done.value("VALIDATION_BUILDINGS")) >= 0.8 * len(truth)
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    done = qgis_process("evaluate", INPUT=output, REFERENCE=rough, RASTER=tiles, REPORT=report, FIGURES=figures)
    assert done.returncode == 0, done.errors
    assert float(done.value("pixel_m")) == pytest.approx(0.3 * math.cos(math.radians(42)), abs=0.01)
    assert report.read_text().count("data:image/jpeg") >= 4  # the buildings, on the ground that was drawn
    assert json.loads(figures.read_text())["parameters"]["raster"] == "wms"


def test_tiles_of_a_web_layer_are_learnt_from(qgis_process, scene, tiles, tmp_path):
    model, chips = tmp_path / "model.zip", tmp_path / "job" / "work" / "chips"
    asked = {"INPUT": tiles, "ANNOTATIONS": scene[1], "JOB_FOLDER": tmp_path / "job", "OUTPUT_MODEL": model}
    done = qgis_process("trainsegmenter", MINUTES=0, **asked)
    assert done.returncode == 0, done.errors
    assert model.exists() and float(done.value("MEAN_IOU")) > 0.4
    drawn = gdal.Open(str(next((tmp_path / "job").glob("drawn-*.tif"))))
    assert drawn.GetGeoTransform()[1] == pytest.approx(WORLD / 2**ZOOM / 256, rel=0.02)  # coarser than what is wanted
    report = json.loads((chips / "report.json").read_text())
    assert sum(report["splits"][split]["buildings"] for split in ("train", "val")) > 0
