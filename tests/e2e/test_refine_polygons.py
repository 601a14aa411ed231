"""Boxes, strokes and rough polygons to precise outlines, through qgis_process."""

from __future__ import annotations

import json

import pytest
from osgeo import gdal, ogr, osr
from support import MODEL, SAMPLE, polygon_file, read_layer, reproject

QUALITY = [
    "score", "refined", "area_m2", "perimeter_m", "vertices", "regularized", "max_shift_m", "iou_raw", "iou_input",
    "edge", "check", "model",
]  # fmt: skip


@pytest.fixture(scope="module")
def refine(qgis_process):
    """``refine(drawings, output, NAME=value, ...)`` over the bundled sample."""
    if not MODEL.exists() or not SAMPLE.exists():
        pytest.skip("there is no bundled model or sample")

    def run(drawings, output, **parameters):
        settings = {"RASTER": SAMPLE / "orthophoto.tif", "MODEL": MODEL, **parameters}
        return qgis_process("refinepolygons", INPUT=drawings, OUTPUT=output, **settings)

    return run


@pytest.fixture(scope="module")
def truth():
    """Outlines of houses well inside the sample that stand alone, largest first, and the CRS."""
    dataset = gdal.OpenEx(str(SAMPLE / "buildings.gpkg"))
    layer = dataset.GetLayer(0)
    west, east, south, north = layer.GetExtent()
    inside = ogr.CreateGeometryFromWkt(box_wkt(west + 15, east - 15, south + 15, north - 15))
    shapes = [feature.GetGeometryRef().Clone() for feature in layer]
    alone = [s for s in shapes if s.Within(inside) and all(s is o or s.Distance(o) > 1.5 for o in shapes)]
    assert len(alone) >= 6
    return sorted(alone, key=lambda s: -s.GetArea()), int(layer.GetSpatialRef().GetAuthorityCode(None))


def box_wkt(west, east, south, north):
    return f"POLYGON(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))"


def iou(first, second):
    common = first.Intersection(second).Area()
    return common / (first.Area() + second.Area() - common)


def write(path, rows, crs, kind=ogr.wkbUnknown, **columns):
    """Write ``(feature id, geometry or None)`` rows with text columns."""
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(crs)
    dataset = ogr.GetDriverByName("GPKG").CreateDataSource(str(path))
    layer = dataset.CreateLayer(path.stem, reference, kind)
    for name in columns:
        layer.CreateField(ogr.FieldDefn(name, ogr.OFTString))
    for row, (number, geometry) in enumerate(rows):
        feature = ogr.Feature(layer.GetLayerDefn())
        feature.SetFID(number)
        feature.SetGeometry(geometry)
        for name, values in columns.items():
            feature.SetField(name, values[row])
        layer.CreateFeature(feature)
    return path


def read_ids(path):
    """Attributes with geometry by feature id."""
    dataset = ogr.Open(str(path))
    return {f.GetFID(): (f.items(), g.Clone() if (g := f.GetGeometryRef()) else None) for f in dataset.GetLayer(0)}


def test_boxes_in_degrees_get_closer_to_the_truth_and_keep_ids_and_attributes(refine, truth, tmp_path):
    shapes, crs = truth
    boxes = [ogr.CreateGeometryFromWkt(box_wkt(*s.GetEnvelope())) for s in shapes]
    degrees = [ogr.CreateGeometryFromWkt(w) for w in reproject([b.ExportToWkt() for b in boxes], 4326, crs)]
    ids = [7 + 10 * row for row in range(len(boxes))]
    names = [f"house {n}" for n in ids]
    drawings = write(tmp_path / "boxes.gpkg", list(zip(ids, degrees)), 4326, ogr.wkbPolygon, name=names, check=names)
    output = tmp_path / "out.gpkg"
    done = refine(drawings, output)
    assert done.returncode == 0, done.errors
    rows = read_ids(output)
    assert sorted(rows) == ids
    assert int(done.value("FEATURES")) == len(ids)
    assert int(done.value("REFINED")) == sum(a["refined"] for a, _ in rows.values()) > len(ids) / 2
    before, after = [], []
    for number, shape, rough in zip(ids, shapes, boxes):
        attributes, geometry = rows[number]
        assert list(attributes) == ["name", "check_input", *QUALITY]
        assert attributes["name"] == attributes["check_input"] == f"house {number}"
        metric = ogr.CreateGeometryFromWkt(reproject([geometry.ExportToWkt()], crs, 4326)[0])
        assert metric.IsValid()
        assert attributes["area_m2"] == pytest.approx(metric.Area(), rel=0.01)
        before.append(iou(rough, shape))
        after.append(iou(metric, shape))
        assert not attributes["refined"] or 0.5 < attributes["score"] <= 1
        assert attributes["refined"] or attributes["check"]
    assert sum(after) > sum(before) + 0.01 * len(ids)


def test_strokes_become_buildings(refine, truth, tmp_path):
    shapes, crs = truth
    shapes = shapes[:6]
    lines = []
    for shape in shapes:
        x, y = shape.Centroid().GetX(), shape.Centroid().GetY()
        west, east, south, north = shape.GetEnvelope()
        dx, dy = (0.3 * (east - west), 0) if east - west > north - south else (0, 0.3 * (north - south))
        lines.append(ogr.CreateGeometryFromWkt(f"LINESTRING({x - dx} {y - dy}, {x + dx} {y + dy})"))
    rows = list(enumerate(lines, start=1))
    drawings = write(tmp_path / "strokes.gpkg", rows, crs, ogr.wkbLineString, name=["a"] * len(rows))
    output = tmp_path / "out.gpkg"
    done = refine(drawings, output, STROKE_WIDTH=3, REGULARIZATION=0)
    assert done.returncode == 0, done.errors
    found = read_ids(output)
    assert sorted(found) == [number for number, _ in rows]
    strokes = [iou(line.Buffer(1.5), shape) for line, shape in zip(lines, shapes)]
    refined = [iou(found[n][1], shape) for (n, _), shape in zip(rows, shapes)]
    assert sum(refined) > sum(strokes)


def test_features_nothing_can_be_done_with_are_kept_and_marked(refine, truth, tmp_path):
    shapes, crs = truth
    west, east, south, north = shapes[0].GetEnvelope()
    x, y = (west + east) / 2, (south + north) / 2
    cases = {
        "good": box_wkt(west, east, south, north),
        "outside": box_wkt(west + 5000, east + 5000, south, north),
        "bow tie": f"POLYGON(({west} {south}, {east} {north}, {east} {south}, {west} {north}, {west} {south}))",
        "dot": f"POLYGON(({x} {y}, {x} {y}, {x} {y}, {x} {y}))",
        "tiny": box_wkt(x, x + 0.2, y, y + 0.2),
        "town": box_wkt(west - 900, east + 900, south - 900, north + 900),
        "nothing": None,
        "empty": "POLYGON EMPTY",
    }
    geometries = [ogr.CreateGeometryFromWkt(w) if w else None for w in cases.values()]
    rows = list(enumerate(geometries, start=1))
    drawings = write(tmp_path / "cases.gpkg", rows, crs, ogr.wkbPolygon, name=list(cases))
    output = tmp_path / "out.gpkg"
    done = refine(drawings, output, PASSES=1)
    assert done.returncode == 0, done.errors
    found = {a["name"]: (a, g) for a, g in read_ids(output).values()}
    assert list(found) == list(cases)
    assert found["good"][0]["refined"]
    said = {"outside": "outside", "dot": "no area", "tiny": "too small", "town": "m long", "nothing": "no geometry",
            "empty": "no geometry"}  # fmt: skip
    for name, words in said.items():
        attributes, geometry = found[name]
        assert not attributes["refined"] and words in attributes["check"], attributes
        if name in ("outside", "tiny", "town"):
            given = ogr.CreateGeometryFromWkt(cases[name])
            assert geometry.GetGeometryRef(0).Equals(given)
    assert "repaired" in found["bow tie"][0]["check"]


def test_a_layer_beside_the_raster_and_an_empty_layer_are_refused(refine, truth, tmp_path):
    _, crs = truth
    beside = polygon_file(tmp_path / "beside.gpkg", ["POLYGON((0 0, 10 0, 10 10, 0 10, 0 0))"], crs)
    assert "No feature lies on the raster" in refine(beside, tmp_path / "out.gpkg").sentence
    empty = polygon_file(tmp_path / "empty.gpkg", [], crs)
    assert "holds no features" in refine(empty, tmp_path / "out.gpkg").sentence
    assert not (tmp_path / "out.gpkg").exists()


def test_a_filtered_layer_gives_only_what_the_filter_lets_through(refine, truth, tmp_path):
    shapes, crs = truth
    wkts = [box_wkt(*s.GetEnvelope()) for s in shapes[:3]]
    drawings = polygon_file(tmp_path / "boxes.gpkg", wkts, crs, name=["a", "b", "c"])
    chosen = f"{drawings}|subset=\"name\" = 'b'"
    output = tmp_path / "out.geojson"
    done = refine(chosen, output, PASSES=1)
    assert done.returncode == 0, done.errors
    assert [attributes["name"] for attributes, _ in read_layer(output)[1]] == ["b"]


def test_a_key_that_is_there_twice_does_not_break_a_geopackage(refine, truth, tmp_path):
    shapes, crs = truth
    path = tmp_path / "boxes.geojson"
    wkts = reproject([box_wkt(*s.GetEnvelope()) for s in shapes[:2]], 4326, crs)
    features = [
        {"type": "Feature", "properties": {"fid": 7, "name": name},
         "geometry": json.loads(ogr.CreateGeometryFromWkt(wkt).ExportToJson())}
        for name, wkt in zip("ab", wkts)
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    done = refine(path, tmp_path / "out.gpkg", PASSES=1)
    assert done.returncode == 0, done.errors
    assert sorted(attributes["name"] for attributes, _ in read_layer(tmp_path / "out.gpkg")[1]) == ["a", "b"]
