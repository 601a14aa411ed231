"""Detected buildings against a cadastre made by hand, through qgis_process."""

from __future__ import annotations

import json

import pytest
from osgeo import ogr
from support import box, polygon_file, read_layer, reproject

STATUSES = ("unchanged", "modified", "shifted", "split", "merged", "new", "demolished")

CADASTRE = {
    "77:01:1": box(0, 0),
    "77:01:2": box(40, 0),
    "77:01:3": box(80, 0),
    "77:01:4": box(120, 0, 20),
    "77:01:5": box(160, 0),
    "77:01:6": box(170, 0),
    "77:01:7": box(200, 0),
}
DETECTED = {
    "same": box(0.1, 0, 10, 10.1),
    "annex": box(40, 0, 16, 10),
    "moved": box(82, 1.5),
    "left half": box(120, 0, 9.8),
    "right half": box(130.2, 0, 9.8),
    "both": box(160, 0, 20),
    "fresh": box(240, 0),
    "shed": box(280, 0, 2, 3),
}


@pytest.fixture(scope="module")
def cadastre(tmp_path_factory):
    """The cadastre in UTM; its identifier is a text field of its own."""
    path = tmp_path_factory.mktemp("cadastre") / "cadastre.gpkg"
    return polygon_file(path, CADASTRE.values(), number=list(CADASTRE))


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """The detections in degrees."""
    path = tmp_path_factory.mktemp("detected") / "detected.gpkg"
    scores = [round(0.9 - 0.1 * row, 1) for row in range(len(DETECTED))]
    return polygon_file(path, reproject(DETECTED.values(), 4326), 4326, id=list(DETECTED), score=scores)


@pytest.fixture(scope="module")
def compared(qgis_process, detected, cadastre, tmp_path_factory):
    """The run, its features by detection or identifier, and its figures."""
    folder = tmp_path_factory.mktemp("compared")
    output, figures = folder / "changes.gpkg", folder / "figures.json"
    done = qgis_process(
        "comparewithcadastre", INPUT=detected, CADASTRE=cadastre, CADASTRE_ID="number", OUTPUT=output, FIGURES=figures
    )
    assert done.returncode == 0, done.errors
    assert sorted(path.name for path in folder.iterdir()) == ["changes.gpkg", "figures.json"]
    rows = {row["detected_id"] or row["cadastre_id"]: (row, geometry) for row, geometry in read_layer(output)[1]}
    return done, rows, json.loads(figures.read_text()), output


def test_every_building_gets_its_status(compared):
    assert {name: row["status"] for name, (row, _) in compared[1].items()} == {
        "same": "unchanged",
        "annex": "modified",
        "moved": "shifted",
        "left half": "split",
        "right half": "split",
        "both": "merged",
        "fresh": "new",
        "77:01:7": "demolished",
    }


def test_identifiers_of_the_cadastre_are_kept(compared):
    rows = {name: row for name, (row, _) in compared[1].items()}
    assert rows["same"]["cadastre_id"] == "77:01:1"
    assert rows["annex"]["cadastre_id"] == "77:01:2"
    assert rows["moved"]["cadastre_id"] == "77:01:3"
    assert {(rows[n]["cadastre_id"], rows[n]["part"]) for n in ("left half", "right half")} == {
        ("77:01:4", 1),
        ("77:01:4", 2),
    }
    assert set(rows["both"]["cadastre_ids"].split(",")) == {"77:01:5", "77:01:6"}
    assert rows["fresh"]["cadastre_id"].startswith("new-")
    assert rows["77:01:7"]["detected_id"] is None


def test_measures_are_those_of_the_drawing(compared):
    rows = {name: row for name, (row, _) in compared[1].items()}
    assert rows["annex"]["area_change_m2"] == pytest.approx(60, abs=0.1)
    assert rows["annex"]["area_change_pct"] == pytest.approx(60, abs=0.1)
    assert rows["annex"]["removed_m2"] == pytest.approx(0, abs=0.1)
    assert rows["moved"]["shift_m"] == pytest.approx(2.5, abs=0.01)
    assert (rows["moved"]["dx_m"], rows["moved"]["dy_m"]) == pytest.approx((2.0, 1.5), abs=0.01)
    assert rows["annex"]["score"] == pytest.approx(0.8)


def test_geometry_is_in_the_cadastre_s_crs_and_unchanged_ones_keep_theirs(compared):
    dataset = ogr.Open(str(compared[3]))
    assert dataset.GetLayer(0).GetSpatialRef().GetAuthorityCode(None) == "32633"
    kept = compared[1]["same"][1]
    assert kept.SymDifference(ogr.CreateGeometryFromWkt(CADASTRE["77:01:1"])).GetArea() < 1e-4
    moved = compared[1]["moved"][1]
    assert moved.SymDifference(ogr.CreateGeometryFromWkt(DETECTED["moved"])).GetArea() < 0.05


def test_counts_are_outputs_log_lines_and_figures(compared):
    done, rows, figures, _ = compared
    for status in STATUSES:
        count = sum(row["status"] == status for row, _ in rows.values())
        assert done.value(status.upper()) == str(count)
        assert figures["figures"][f"{status}_findings"] == count
        assert f"{status}: {count} (" in done.output
    assert "1 detections without a counterpart are smaller than 10 m2" in done.output
    assert "reprojected for the comparison" in done.output
    assert figures["figures"]["merged_cadastral"] == 2
    assert figures["parameters"]["predicted"] == "detected"
    assert figures["parameters"]["cadastre_id"] == "number"


def test_the_layer_says_how_it_was_made(compared):
    dataset = ogr.Open(str(compared[3]))
    metadata = dataset.GetLayer(0).GetMetadata()
    parameters = json.loads(metadata["parameters"])
    assert parameters["tolerance_m"] == 0.5
    assert parameters["cadastre"] == "cadastre"
    assert "tmp" not in metadata["parameters"]


def test_an_area_and_wider_tolerances_change_the_verdict(qgis_process, detected, cadastre, tmp_path):
    area, output = polygon_file(tmp_path / "area.gpkg", [box(-5, -5, 110, 30)]), tmp_path / "out.gpkg"
    done = qgis_process(
        "comparewithcadastre", INPUT=detected, CADASTRE=cadastre, AREA=area, TOLERANCE=7, OUTPUT=output
    )
    assert done.returncode == 0, done.errors
    rows = [row for row, _ in read_layer(output)[1]]
    assert [row["status"] for row in rows] == ["unchanged"] * 3
    assert [row["cadastre_id"] for row in rows] == ["1", "2", "3"]  # without a field the feature ids


def test_no_detection_at_all_is_everything_demolished(qgis_process, cadastre, tmp_path):
    empty, output = polygon_file(tmp_path / "empty.gpkg", []), tmp_path / "out.gpkg"
    done = qgis_process("comparewithcadastre", INPUT=empty, CADASTRE=cadastre, CADASTRE_ID="number", OUTPUT=output)
    assert done.returncode == 0, done.errors
    rows = [row for row, _ in read_layer(output)[1]]
    assert [row["cadastre_id"] for row in rows] == list(CADASTRE)
    assert done.value("DEMOLISHED") == str(len(CADASTRE))


def test_no_cadastre_yet_is_everything_new(qgis_process, detected, tmp_path):
    empty, output = polygon_file(tmp_path / "empty.gpkg", []), tmp_path / "out.gpkg"
    done = qgis_process("comparewithcadastre", INPUT=detected, CADASTRE=empty, MIN_AREA=0, OUTPUT=output)
    assert done.returncode == 0, done.errors
    rows = [row for row, _ in read_layer(output)[1]]
    assert {row["status"] for row in rows} == {"new"}
    assert {row["detected_id"] for row in rows} == set(DETECTED)
    assert len({row["cadastre_id"] for row in rows}) == len(DETECTED)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"CADASTRE_ID": "cadnum"}, "The cadastre has no field 'cadnum'. Choose one of: fid, number."),
        ({"AREA": "{folder}/empty.gpkg"}, "The layer 'empty' holds no polygons."),
        ({"INPUT": "{folder}/empty.gpkg", "CADASTRE": "{folder}/empty.gpkg"}, "Neither layer has a polygon"),
        ({"FIGURES": "{folder}/empty.gpkg/figures.json"}, "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_no_output(qgis_process, detected, cadastre, tmp_path, parameters, words):
    polygon_file(tmp_path / "empty.gpkg", [])
    output = tmp_path / "out.gpkg"
    given = {name: value.format(folder=tmp_path) for name, value in parameters.items()}
    done = qgis_process("comparewithcadastre", **{"INPUT": detected, "CADASTRE": cadastre, "OUTPUT": output, **given})
    assert words in done.sentence
    assert [path.name for path in tmp_path.iterdir()] == ["empty.gpkg"]
