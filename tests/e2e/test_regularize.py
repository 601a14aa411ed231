"""A layer of rough building outlines made clean, through qgis_process."""

from __future__ import annotations

import pytest
from osgeo import ogr
from support import box, polygon_file, read_layer, reproject

ROUGH = {
    "wobbly": [(0, 0), (7, 0.15), (14, -0.1), (14.1, 9), (6, 9.1), (0.1, 8.9), (0, 4)],
    "bow tie": [(40, 0), (50, 10), (50, 0), (40, 10)],
    "spike": [(70, 0), (80, 0), (80, 10), (80, 25), (80, 10), (70, 10)],
    "prong": [(200, 0), (210, 0), (210, 4.7), (214, 5), (210, 5.3), (210, 10), (200, 10)],
}
QUALITY = {"area_m2", "perimeter_m", "vertices", "regularized", "max_shift_m", "iou_raw", "check"}


def wkt(corners):
    shifted = [f"{500000 + x} {4000000 + y}" for x, y in [*corners, corners[0]]]
    return f"POLYGON(({', '.join(shifted)}))"


@pytest.fixture(scope="module", params=[32633, 4326])
def regularized(request, qgis_process, tmp_path_factory):
    """Rough shapes, two of which nearly touch, one that is too small; by name."""
    folder = tmp_path_factory.mktemp("regularized")
    shapes = {name: wkt(corners) for name, corners in ROUGH.items()}
    shapes |= {"left": box(100, 0), "right": box(110.2, 0.05, 8), "shed": box(140, 0, 1, 1)}
    shapes["two parts"] = f"MULTIPOLYGON({box(160, 0)[7:]}, {box(180, 0)[7:]})"
    source = folder / "rough.gpkg"
    wkts = list(shapes.values()) if request.param == 32633 else reproject(shapes.values(), request.param)
    polygon_file(source, wkts, request.param, name=list(shapes), storeys=[float(k) for k in range(len(shapes))])
    output = folder / "clean.gpkg"
    done = qgis_process("regularizepolygons", INPUT=source, TOLERANCE=0.5, MIN_AREA=4, OUTPUT=output)
    assert done.returncode == 0, done.errors
    names, rows = read_layer(output)
    return done, names, rows, request.param


def by_name(rows, name):
    return [(attributes, geometry) for attributes, geometry in rows if attributes["name"] == name]


def test_attributes_and_quality_fields_come_with_every_feature(regularized):
    done, names, rows, _ = regularized
    assert {"name", "storeys"} | QUALITY <= set(names)
    assert {a["name"] for a, _ in rows} == {"wobbly", "bow tie", "spike", "prong", "left", "right", "two parts"}
    assert {a["name"]: a["storeys"] for a, _ in rows} == {
        "wobbly": 0.0, "bow tie": 1.0, "spike": 2.0, "prong": 3.0, "left": 4.0, "right": 5.0, "two parts": 7.0,
    }  # fmt: skip
    assert "smaller than 4" in done.output + done.errors


def test_walls_are_straight_and_bad_geometry_is_repaired_and_marked(regularized):
    _, _, rows, _ = regularized
    ((wobbly, shape),) = by_name(rows, "wobbly")
    assert wobbly["regularized"] == "right_angles"
    assert wobbly["vertices"] == 4
    assert 0.1 < wobbly["max_shift_m"] <= 0.5
    assert 0.9 < wobbly["iou_raw"] < 1
    assert by_name(rows, "bow tie")[0][0]["check"].startswith("repaired")
    ((spike, shape),) = by_name(rows, "spike")
    assert spike["area_m2"] == pytest.approx(100, abs=3)
    assert all(geometry.IsValid() for _, geometry in rows)


def test_a_prong_of_the_mask_goes_and_the_feature_says_so(regularized):
    """A roof with a spike four metres long and 0.6 m wide where it leaves the wall."""
    _, _, rows, _ = regularized
    ((prong, shape),) = by_name(rows, "prong")
    assert prong["storeys"] == 3.0
    assert prong["check"].startswith("prong of ")
    assert prong["check"].endswith(" m cut off")
    assert prong["vertices"] == 4
    assert prong["area_m2"] == pytest.approx(100, abs=0.5)
    assert prong["max_shift_m"] == pytest.approx(4, abs=0.1)  # the tip of the spike, which is gone


def test_neighbours_share_their_wall_with_the_same_vertices(regularized):
    _, _, rows, crs = regularized
    ((_, left),), ((_, right),) = by_name(rows, "left"), by_name(rows, "right")
    assert left.Touches(right)
    points = [{p[:2] for p in ring_points(geometry)} for geometry in (left, right)]
    assert len(points[0] & points[1]) >= 2
    shared = left.Boundary().Intersection(right.Boundary())
    assert shared.Length() > (9 if crs == 32633 else 9 / 111_320)


def ring_points(geometry):
    polygon = geometry if geometry.GetGeometryType() == ogr.wkbPolygon else geometry.GetGeometryRef(0)
    return polygon.GetGeometryRef(0).GetPoints()
