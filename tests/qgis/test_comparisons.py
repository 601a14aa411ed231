"""Comparison and evaluation inside QGIS: what goes to the engine, and how the results look."""

from __future__ import annotations

from pathlib import Path

import pytest
from osgeo import ogr
from qgis.core import (
    NULL,
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProcessingFeedback,
    QgsProject,
    QgsVectorLayer,
)

BOW_TIE = "Polygon((500100 4000000, 500110 4000010, 500110 4000000, 500100 4000010, 500100 4000000))"


def box(west, south=0, width=10, height=10):
    west, south = 500000 + west, 4000000 + south
    east, north = west + width, south + height
    return f"Polygon(({west} {south}, {east} {south}, {east} {north}, {west} {north}, {west} {south}))"


@pytest.fixture
def buildings(provider):
    """Make a memory layer: ``buildings([(wkt, attribute ...), ...], fields="field=id:string", name="houses")``."""

    def make(rows, fields="field=id:string", name="houses", crs="EPSG:32633"):
        layer = QgsVectorLayer(f"Polygon?crs={crs}&{fields}", name, "memory")
        for wkt, *attributes in rows:
            feature = QgsFeature(layer.fields())
            feature.setGeometry(QgsGeometry.fromWkt(wkt) if wkt else QgsGeometry())
            feature.setAttributes(attributes)
            assert layer.dataProvider().addFeature(feature)
        return layer

    return make


@pytest.fixture
def written(provider, tmp_path):
    """Hand a layer over as the engine gets it; gives the path and rows of ``(id, score, has a shape)``."""
    from cadastral_vectorizer.processing_provider.layers import write_buildings

    def hand_over(value, context=None, **options):
        context = context or QgsProcessingContext()
        algorithm = provider.algorithm("evaluate").create()
        source = algorithm.parameterAsSource({"INPUT": value}, "INPUT", context)
        path = write_buildings(source, tmp_path, context, QgsProcessingFeedback(), **options)
        dataset = ogr.Open(path)
        rows = []
        for feature in dataset.GetLayer(0):
            geometry = feature.GetGeometryRef()
            score = feature["score"] if "score" in feature.keys() else None  # noqa: SIM118
            shape = geometry is not None and not geometry.IsEmpty()
            rows.append((feature["id"], score, shape))
        return Path(path), rows

    return hand_over


def test_identifiers_arrive_as_text_and_the_feature_number_stands_in_for_missing_ones(buildings, written):
    layer = buildings(
        [(box(0), 12.0, "0.5"), (box(20), 13.5, "high"), (box(40), NULL, NULL)],
        fields="field=Number:double&field=SCORE:string",
    )
    _, rows = written(layer, identifier="number")
    numbers = [feature.id() for feature in layer.getFeatures()]
    assert [row[:2] for row in rows] == [("12", 0.5), ("13.5", None), (str(numbers[2]), None)]
    _, rows = written(layer)
    assert [row[0] for row in rows] == [str(number) for number in numbers]


def test_a_selection_keeps_the_numbers_of_its_features(buildings, written):
    layer = buildings([(box(0), NULL), (box(20), NULL), (box(40), NULL)])
    project = QgsProject()
    project.addMapLayer(layer)
    last = max(feature.id() for feature in layer.getFeatures())
    layer.selectByIds([last])
    context = QgsProcessingContext()
    context.setProject(project)
    source = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
    assert [row[0] for row in written(source, context)[1]] == [str(last)]


def test_broken_and_missing_geometries_go_along_even_where_qgis_would_stop(buildings, written):
    context = QgsProcessingContext()
    context.setInvalidGeometryCheck(QgsFeatureRequest.GeometryAbortOnInvalid)
    _, rows = written(buildings([(BOW_TIE, "a"), (None, "b"), (box(0), "c")]), context)
    assert [(name, shape) for name, _, shape in rows] == [("a", True), ("b", False), ("c", True)]


def test_layers_of_one_name_and_names_no_file_can_have(buildings, written):
    names = [written(buildings([(box(0), "a")], name=name))[0].name for name in ("a|b/../c:d?", "v 1.2", "v 1.2", "")]
    assert names == ["a_b_.._c_d.gpkg", "v 1.2.gpkg", "v 1.2 (2).gpkg", "layer.gpkg"]


def test_changes_are_drawn_by_status_and_tell_how_they_were_made(run, buildings):
    from cadastral_vectorizer.processing_provider.compare_with_cadastre import STATUSES

    context = QgsProcessingContext()
    cadastre = buildings([(box(0), "c1"), (box(100), "c2")], name="register")
    detected = buildings([(box(0), "d1"), (box(50), "d2")], name="found")
    parameters = {"INPUT": detected, "CADASTRE": cadastre, "OUTPUT": "memory:"}
    result = run("comparewithcadastre", parameters, context=context)
    layer = result["OUTPUT"]
    assert {feature["cadastre_id"]: feature["status"] for feature in layer.getFeatures()}.items() >= {
        ("c1", "unchanged"),
        ("c2", "demolished"),
    }
    assert [category.value() for category in layer.renderer().categories()] == list(STATUSES)
    assert (result["UNCHANGED"], result["NEW"], result["DEMOLISHED"], result["SPLIT"]) == (1, 1, 1, 0)
    assert (result["MEDIAN_DX"], result["MEDIAN_DY"]) == pytest.approx((0, 0), abs=1e-6)
    assert any('"cadastre": "register"' in line for line in layer.metadata().history())


def test_matches_are_drawn_by_kind(run, buildings):
    context = QgsProcessingContext()
    predicted = buildings([(box(0), "p1", 0.9), (box(50), "p2", 0.4)], "field=id:string&field=score:double", "found")
    reference = buildings([(box(0), "r1"), (box(100), "r2")], name="true")
    better = buildings([(box(0), "q1"), (box(100), "q2")], name="better")
    parameters = {"INPUT": predicted, "REFERENCE": reference, "OTHERS": [better], "OUTPUT": "memory:"}
    result = run("evaluate", parameters, context=context)
    layer = result["OUTPUT"]
    assert sorted(feature["kind"] for feature in layer.getFeatures()) == ["fn", "fp", "tp"]
    assert [category.value() for category in layer.renderer().categories()] == ["tp", "fp", "fn", "split", "merge"]
    assert (result["tp"], result["F1"], result["limit_m"]) == (1, 0.5, 0.1)
    assert "AP_small" not in result  # the ground pixel is not known
    assert any('"others": ["better"]' in line for line in layer.metadata().history())


def test_figures_alone_need_no_layer(run, buildings):
    same = buildings([(box(0), "a")])
    result = run("evaluate", {"INPUT": same, "REFERENCE": same, "PIXEL_SIZE": "0.5"})
    assert "OUTPUT" not in result
    assert (result["AP"], result["IoU"], result["AP_small"]) == pytest.approx((1, 1, 1))


def test_layers_without_a_crs_are_compared_in_metres(run, buildings):
    cadastre, detected = buildings([(box(0), "c1")], crs=""), buildings([(box(3), "d1")], crs="")
    result = run("comparewithcadastre", {"INPUT": detected, "CADASTRE": cadastre, "OUTPUT": "memory:"})
    (change,) = result["OUTPUT"].getFeatures()
    assert (change["status"], change["shift_m"]) == ("shifted", pytest.approx(3, abs=0.01))


def test_multi_part_buildings_come_back_as_they_are(run, buildings):
    parts = f"Multi{box(0).replace('((', '(((')}, {box(20)[7:]})"
    layer = QgsVectorLayer("MultiPolygon?crs=EPSG:32633&field=id:string", "parts", "memory")
    feature = QgsFeature(layer.fields())
    feature.setGeometry(QgsGeometry.fromWkt(parts))
    feature.setAttributes(["m"])
    assert layer.dataProvider().addFeature(feature)
    result = run("comparewithcadastre", {"INPUT": buildings([(box(200), "d")]), "CADASTRE": layer, "OUTPUT": "memory:"})
    gone = {change["status"]: change.geometry() for change in result["OUTPUT"].getFeatures()}["demolished"]
    assert gone.constGet().numGeometries() == 2
    assert gone.area() == pytest.approx(200, abs=1e-3)


def test_a_file_is_replaced_whole_or_left_as_it_was(provider, tmp_path):
    from cadastral_vectorizer.engine.errors import OutputError
    from cadastral_vectorizer.processing_provider.reports import publish

    made, target = tmp_path / "made.html", tmp_path / "report.html"
    made.write_text("new")
    target.write_text("old")
    publish(made, target)
    assert target.read_text() == "new"
    with pytest.raises(OutputError, match="cannot be written"):
        publish(made, tmp_path / "made.html" / "report.html")
    with pytest.raises(OutputError, match="cannot be written"):
        publish(tmp_path / "nothing", target)
    assert target.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made.html", "report.html"]


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("comparewithcadastre", {"CADASTRE_ID": "cadnum"}, "no field 'cadnum'. Choose one of: id"),
        ("comparewithcadastre", {"MIN_OVERLAP": 0.99}, "MIN_OVERLAP"),
        ("comparewithcadastre", {"SHIFT": "-1"}, "SHIFT"),
        ("evaluate", {"SMALL_AREA": 300.0}, "size_limits_m2"),
        ("evaluate", {"ACCURACY_CLASS": 9}, "ACCURACY_CLASS"),
        ("evaluate", {"REFERENCE": "nowhere.gpkg"}, "REFERENCE"),
    ],
)
def test_bad_values_are_refused_before_the_run(provider, engine, buildings, name, parameters, words):
    layer = buildings([(box(0), "a")])
    algorithm = provider.algorithm(name).create()
    given = {"INPUT": layer, "REFERENCE": layer, "CADASTRE": layer, "OUTPUT": "memory:", **parameters}
    ok, message = algorithm.checkParameterValues(given, QgsProcessingContext())
    assert not ok
    assert words in message
