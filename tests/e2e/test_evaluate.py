"""Predicted against reference polygons drawn by hand, through qgis_process."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from osgeo import gdal, osr
from support import box, call, polygon_file, read_layer, reproject

REFERENCE = {
    "found": box(0, 0),
    "found shifted": box(30, 0, 10, 20),
    "missed": box(60, 0),
    "in pieces": box(90, 0, 20),
    "left": box(130, 0),
    "right": box(140.5, 0),
}
PREDICTED = {  # each with its score
    "exact": (box(0, 0), 0.9),
    "one east": (box(31, 0, 10, 20), 0.8),
    "false": (box(60, 40), 0.7),
    "west piece": (box(90, 0, 9.8), 0.6),
    "east piece": (box(100.2, 0, 9.8), 0.5),
    "over both": (box(130, 0, 20.5), 0.4),
}


class Links(HTMLParser):
    """Collects what a page would load or lead to."""

    def __init__(self):
        super().__init__()
        self.targets, self.tags = [], set()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]


@pytest.fixture(scope="module")
def layers(tmp_path_factory):
    """Predicted polygons in degrees, reference in UTM, and a small orthophoto of 0.5 m."""
    folder = tmp_path_factory.mktemp("layers")
    shapes, scores = zip(*PREDICTED.values())
    predicted = polygon_file(
        folder / "model A.gpkg", reproject(shapes, 4326), 4326, id=list(PREDICTED), score=list(scores)
    )
    reference = polygon_file(folder / "reference.gpkg", REFERENCE.values(), id=list(REFERENCE))
    return predicted, reference, photo(folder / "photo.tif")


def photo(path):
    """Noise over the buildings."""
    dataset = gdal.GetDriverByName("GTiff").Create(str(path), 400, 200, 3)
    dataset.SetGeoTransform((499980, 0.5, 0, 4000070, 0, -0.5))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32633)
    dataset.SetProjection(reference.ExportToWkt())
    generator = np.random.default_rng(2)
    for band in (1, 2, 3):
        dataset.GetRasterBand(band).WriteArray(generator.integers(60, 200, (200, 400)))
    return path


@pytest.fixture(scope="module")
def evaluated(qgis_process, layers, tmp_path_factory):
    """The run, its folder with matches.gpkg, report.html and figures.json, and the figures."""
    folder = tmp_path_factory.mktemp("evaluated")
    done = qgis_process(
        "evaluate", INPUT=layers[0], REFERENCE=layers[1], RASTER=layers[2], ACCURACY_CLASS=2, SMALL_AREA=150,
        OUTPUT=folder / "matches.gpkg", REPORT=folder / "report.html", FIGURES=folder / "figures.json",
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    assert sorted(path.name for path in folder.iterdir()) == ["figures.json", "matches.gpkg", "report.html"]
    return done, folder, json.loads((folder / "figures.json").read_text())


def test_counts_are_those_of_the_drawing(evaluated):
    done, _, figures = evaluated
    expected = {"tp": 2, "fp": 4, "fn": 4, "splits": 1, "merges": 1, "precision": 1 / 3, "recall": 1 / 3, "F1": 1 / 3}
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value)
        assert float(done.value(name)) == pytest.approx(value)
    # "one east" overlaps with IoU 9/11 = .818: right up to .80. Recall 1/6 or 2/6 of 101 points at precision 1.
    at_50, at_85 = 34 / 101, 17 / 101
    assert float(done.value("AP50")) == pytest.approx(at_50)
    assert float(done.value("AP75")) == pytest.approx(at_50)
    assert float(done.value("AP")) == pytest.approx((7 * at_50 + 3 * at_85) / 10)
    assert float(done.value("best_threshold")) == pytest.approx(0.8)


def test_corners_and_their_limit(evaluated):
    done, _, figures = evaluated
    assert figures["limit_m"] == 0.2  # garden plots
    assert float(done.value("pixel_m")) == pytest.approx(0.5, abs=0.001)
    assert float(done.value("corner_dx_m")) == pytest.approx(0.5, abs=0.002)  # four corners at 0, four at 1 m
    assert float(done.value("corner_rmse_m")) == pytest.approx(0.5**0.5, abs=0.002)
    assert float(done.value("corner_within_limit")) == pytest.approx(0.5)
    assert figures["parameters"]["size_limits_m2"] == [150.0, 250.0]
    assert any("no compliance" in note for note in figures["accuracy_notes"])


def test_every_polygon_is_in_the_match_layer(evaluated):
    rows = [row for row, _ in read_layer(evaluated[1] / "matches.gpkg")[1]]
    kinds = {(row["kind"], row["predicted_id"], row["reference_id"]) for row in rows}
    assert kinds == {
        ("tp", "exact", "found"),
        ("tp", "one east", "found shifted"),
        ("fp", "false", None),
        ("fp", "west piece", None),
        ("fp", "east piece", None),
        ("merge", "over both", "left,right"),
        ("fn", None, "missed"),
        ("fn", None, "left"),
        ("fn", None, "right"),
        ("split", "west piece,east piece", "in pieces"),
    }
    (shifted,) = (row for row in rows if row["predicted_id"] == "one east")
    assert shifted["iou"] == pytest.approx(9 / 11, abs=1e-4)
    assert (shifted["dx_m"], shifted["dy_m"]) == pytest.approx((1.0, 0.0), abs=0.002)


def test_the_report_needs_no_network_and_no_scripts(evaluated):
    done, folder, _ = evaluated
    text = (folder / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(text)
    assert links.targets  # chips of the worst buildings
    assert all(target.startswith(("data:", "#")) for target in links.targets)
    assert not links.tags & {"script", "link", "iframe", "object"}
    assert "url(" not in text
    assert "@import" not in text
    assert "model A against reference" in text
    assert str(folder) not in text
    assert "cadastral-" not in text  # the folder in which the engine worked
    assert f"Report: file://{folder}/report.html" in done.output


def test_figures_name_the_layers_as_the_user_knows_them(evaluated):
    parameters = evaluated[2]["parameters"]
    assert (parameters["predicted"], parameters["reference"]) == ("model A", "reference")
    assert "cadastral-" not in json.dumps(evaluated[2])


def test_several_layers_stand_side_by_side(layers, tmp_path):
    predicted, reference, _ = layers
    better = polygon_file(tmp_path / "model B.gpkg", REFERENCE.values())
    again = polygon_file(tmp_path / "model C.gpkg", [box(500, 500)])
    figures, report = tmp_path / "figures.json", tmp_path / "report.html"
    done = call(
        "run", "cadastral:evaluate", "--", f"INPUT={predicted}", f"REFERENCE={reference}", f"OTHERS={better}",
        f"OTHERS={again}", f"FIGURES={figures}", f"REPORT={report}",
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    compared = json.loads(figures.read_text())["comparison"]
    assert [(layer["name"], layer["tp"]) for layer in compared] == [("model A", 2), ("model B", 6), ("model C", 0)]
    assert "Models side by side" in report.read_text(encoding="utf-8")


def test_broken_and_multi_part_polygons_without_scores_are_said_and_measured(qgis_process, layers, tmp_path):
    spike = "500060 4000005, 500050 4000005, 500060 4000005"
    spiked = f"POLYGON((500060 4000000, 500070 4000000, 500070 4000010, 500060 4000010, {spike}, 500060 4000000))"
    parts = [box(90, 0, 9.8), box(100.2, 0, 9.8)]
    both = f"MULTI{parts[0][:-1].replace('POLYGON(', 'POLYGON((')}), {parts[1].removeprefix('POLYGON')})"
    predicted = polygon_file(tmp_path / "rough.gpkg", [spiked, both, "MULTIPOLYGON EMPTY"])
    output = tmp_path / "matches.gpkg"
    done = qgis_process("evaluate", INPUT=predicted, REFERENCE=layers[1], OUTPUT=output)
    assert done.returncode == 0, done.errors
    log = done.output + done.errors
    assert "rough: 1 invalid polygons were repaired" in log
    assert "rough: 1 features without a usable polygon were left out" in log
    assert "rough: 1 multi-part polygons count as one feature each" in log
    assert "rough has no score field" in log
    assert done.value("tp") == "2"  # the square without its spike, and the two parts with a gap between
    assert "best_threshold" not in done.output.partition("Results")[2]


def test_an_empty_prediction_misses_everything(qgis_process, layers, tmp_path):
    empty = polygon_file(tmp_path / "empty.gpkg", [])
    done = qgis_process("evaluate", INPUT=empty, REFERENCE=layers[1], REPORT=tmp_path / "report.html")
    assert done.returncode == 0, done.errors
    assert (done.value("fn"), done.value("recall")) == (str(len(REFERENCE)), "0")
    assert "empty has no polygons here" in done.output + done.errors


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"INPUT": "{folder}/empty.gpkg", "REFERENCE": "{folder}/empty.gpkg"}, "Neither layer has a polygon"),
        ({"OTHERS": "{folder}/nowhere.gpkg"}, "OTHERS"),
        ({"SMALL_AREA": "300"}, "size_limits_m2"),
        ({"REPORT": "{folder}/empty.gpkg/report.html"}, "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_no_output(qgis_process, layers, tmp_path, parameters, words):
    polygon_file(tmp_path / "empty.gpkg", [])
    given = {name: value.format(folder=tmp_path) for name, value in parameters.items()}
    outputs = {"OUTPUT": tmp_path / "out.gpkg", "REPORT": tmp_path / "out.html", "FIGURES": tmp_path / "out.json"}
    done = qgis_process("evaluate", **{"INPUT": layers[0], "REFERENCE": layers[1], **outputs, **given})
    assert words in done.sentence
    assert [path.name for path in tmp_path.iterdir()] == ["empty.gpkg"]
