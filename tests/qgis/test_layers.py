"""Between QGIS's layers and the engine's files: nothing lost, nothing half-written, everything explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from osgeo import gdal
from qgis.core import (
    QgsFeature,
    QgsFeatureRequest,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingUtils,
    QgsProject,
    QgsVectorLayer,
)

SQUARE = "Polygon((500000 4000000, 500010 4000000.2, 500010 4000008, 500000 4000008, 500000 4000000))"
TWO_PARTS = (
    "MultiPolygon(((500100 4000000, 500110 4000000, 500110 4000010, 500100 4000010, 500100 4000000)),"
    "((500200 4000000, 500210 4000000, 500210 4000010, 500200 4000010, 500200 4000000)))"
)


@pytest.fixture
def polygons(provider):
    """Make a memory layer from WKT: ``polygons(wkt, ...)``, with fields that are hard to carry."""

    def make(*wkts, crs="EPSG:32633"):
        fields = "field=fid:integer&field=name:string(20)&field=tags:string[]&field=check:string"
        layer = QgsVectorLayer(f"MultiPolygon?crs={crs}&{fields}", "houses", "memory")
        for number, wkt in enumerate(wkts):
            feature = QgsFeature(layer.fields())
            geometry = QgsGeometry.fromWkt(wkt)
            geometry.convertToMultiType()
            feature.setGeometry(geometry)
            feature.setAttributes([7, f"house {number}", ["a", f"b{number}"], "old"])
            layer.dataProvider().addFeature(feature)
        assert layer.featureCount() == len(wkts)
        return layer

    return make


def fields_of(layer) -> list[str]:
    return [field.name() for field in layer.fields()]


def test_attributes_come_back_whole_and_each_part_becomes_a_polygon(run, polygons):
    layer = run("regularizepolygons", {"INPUT": polygons(SQUARE, TWO_PARTS), "OUTPUT": "memory:"})["OUTPUT"]
    assert fields_of(layer)[:3] == ["fid", "name", "tags"]
    assert {"regularized", "max_shift_m", "iou_raw", "check"} <= set(fields_of(layer))
    rows = sorted((feature["name"], feature["fid"], tuple(feature["tags"])) for feature in layer.getFeatures())
    assert rows == [
        ("house 0", 7, ("a", "b0")),
        ("house 1", 7, ("a", "b1")),
        ("house 1", 7, ("a", "b1")),
    ]
    assert "old" not in {feature["check"] for feature in layer.getFeatures()}
    assert layer.crs().authid() == "EPSG:32633"
    assert all(feature.geometry().isGeosValid() for feature in layer.getFeatures())


def test_only_the_selection_is_worked_on_when_asked(run, polygons):
    from qgis.core import QgsProcessingFeatureSourceDefinition

    layer = polygons(SQUARE, TWO_PARTS)
    QgsProject.instance().addMapLayer(layer)
    try:
        layer.selectByExpression("\"name\" = 'house 0'")
        source = QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True)
        context = QgsProcessingContext()
        context.setProject(QgsProject.instance())
        result = run("regularizepolygons", {"INPUT": source, "OUTPUT": "memory:"}, context=context)["OUTPUT"]
        assert [feature["name"] for feature in result.getFeatures()] == ["house 0"]
    finally:
        QgsProject.instance().removeMapLayer(layer.id())


def test_a_duplicated_key_in_the_source_does_not_break_a_geopackage(run, polygons, tmp_path):
    output = str(tmp_path / "out.gpkg")
    run("regularizepolygons", {"INPUT": polygons(SQUARE, TWO_PARTS), "OUTPUT": output})
    written = QgsVectorLayer(output, "written", "ogr")
    assert written.featureCount() == 3
    assert len({feature.id() for feature in written.getFeatures()}) == 3


def test_the_result_says_how_it_was_made(run, polygons, tmp_path):
    output = str(tmp_path / "out.gpkg")
    run("regularizepolygons", {"INPUT": polygons(SQUARE), "TOLERANCE": "0.7", "OUTPUT": output})
    dataset = gdal.OpenEx(output)
    metadata = dataset.GetLayer(0).GetMetadata()
    assert metadata["software"].startswith("Cadastral Vectorizer ")
    assert metadata["date"]
    made_with = json.loads(metadata["parameters"])
    assert made_with["tolerance_m"] == 0.7
    assert made_with["input"] == "houses"
    assert "output" not in made_with


def test_the_layer_in_the_project_has_style_and_metadata(run, polygons):
    context = QgsProcessingContext()
    layer = run("regularizepolygons", {"INPUT": polygons(SQUARE), "OUTPUT": "memory:"}, context=context)["OUTPUT"]
    assert layer.renderer().type() == "RuleRenderer"
    assert [rule.label() for rule in layer.renderer().rootRule().children()] == ["Worth a look", "Building"]
    assert any("parameters" in line for line in layer.metadata().history())


def test_a_file_that_is_loaded_afterwards_gets_the_style_too(run, polygons, tmp_path):
    context, project = QgsProcessingContext(), QgsProject()
    context.setProject(project)
    output = str(tmp_path / "out.gpkg")
    details = QgsProcessingContext.LayerDetails("Result", project, "OUTPUT")
    context.addLayerToLoadOnCompletion(output, details)
    run("regularizepolygons", {"INPUT": polygons(SQUARE), "OUTPUT": output}, context=context)
    layer = QgsProcessingUtils.mapLayerFromString(output, context)
    assert layer.renderer().type() == "RuleRenderer"
    assert "made by Cadastral Vectorizer" in layer.metadata().abstract()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:2263"])
def test_geometry_stays_in_the_layer_s_crs(run, polygons, crs):
    from qgis.core import QgsCoordinateReferenceSystem, QgsCoordinateTransform

    there = QgsCoordinateTransform(
        QgsCoordinateReferenceSystem("EPSG:32633"), QgsCoordinateReferenceSystem(crs), QgsProject.instance()
    )
    if crs == "EPSG:2263":
        wkt = "Polygon((980000 200000, 980040 200001, 980040 200030, 980000 200030, 980000 200000))"
    else:
        geometry = QgsGeometry.fromWkt(SQUARE)
        geometry.transform(there)
        wkt = geometry.asWkt(10)
    layer = run("regularizepolygons", {"INPUT": polygons(wkt, crs=crs), "OUTPUT": "memory:"})["OUTPUT"]
    (feature,) = layer.getFeatures()
    before = QgsGeometry.fromWkt(wkt)
    overlap = feature.geometry().intersection(before).area() / before.area()
    assert layer.crs().authid() == crs
    assert overlap > 0.95


def test_arcs_and_heights_are_taken_as_the_straight_ground_plan(run, provider):
    layer = QgsVectorLayer("CurvePolygonZ?crs=EPSG:32633", "round", "memory")
    feature = QgsFeature()
    ring = "CircularStringZ(500000 4000000 5, 500010 4000010 5, 500020 4000000 5, 500010 3999990 5, 500000 4000000 5)"
    feature.setGeometry(QgsGeometry.fromWkt(f"CurvePolygonZ({ring})"))
    assert layer.dataProvider().addFeatures([feature])[0]
    result = run("regularizepolygons", {"INPUT": layer, "REGULARIZATION": 0, "OUTPUT": "memory:"})["OUTPUT"]
    (outline,) = result.getFeatures()
    assert outline.geometry().area() == pytest.approx(314.16, rel=0.05)


def test_an_empty_layer_is_refused_with_a_sentence(run, polygons):
    with pytest.raises(QgsProcessingException, match="'houses' holds no polygons. Choose another layer"):
        run("regularizepolygons", {"INPUT": polygons(), "OUTPUT": "memory:"})


def test_a_layer_without_crs_is_refused_with_a_sentence(run, polygons):
    with pytest.raises(QgsProcessingException, match="'houses' has no coordinate reference system. Set it"):
        run("regularizepolygons", {"INPUT": polygons(SQUARE, crs=""), "OUTPUT": "memory:"})


def test_an_output_in_a_place_that_cannot_be_written_is_refused_before_the_work(run, polygons, tmp_path):
    (tmp_path / "file").write_text("")
    output = str(tmp_path / "file" / "out.gpkg")
    with pytest.raises(QgsProcessingException, match="cannot be written"):
        run("regularizepolygons", {"INPUT": polygons(SQUARE), "OUTPUT": output})


def test_a_sink_that_fails_leaves_nothing_under_the_output_s_name(provider, run, polygons, tmp_path):
    from cadastral_vectorizer.engine.errors import Cancelled
    from cadastral_vectorizer.processing_provider.results import Result

    made = tmp_path / "made.gpkg"
    run("regularizepolygons", {"INPUT": polygons(SQUARE), "OUTPUT": str(made)})
    output = tmp_path / "out.gpkg"
    feedback = QgsProcessingFeedback()
    feedback.cancel()
    algorithm = provider.algorithm("regularizepolygons").create()
    with pytest.raises(Cancelled):
        Result(str(made)).write(algorithm, {"OUTPUT": str(output)}, "OUTPUT", QgsProcessingContext(), feedback)
    assert list(Path(tmp_path).glob("out*")) == []


def test_destinations_are_told_apart(provider):
    from cadastral_vectorizer.processing_provider.layers import destination_file
    from qgis.core import QgsProcessingOutputLayerDefinition

    assert destination_file("/tmp/a.gpkg") == Path("/tmp/a.gpkg")
    assert destination_file(QgsProcessingOutputLayerDefinition("/tmp/a.gpkg")) == Path("/tmp/a.gpkg")
    for value in (None, "", "TEMPORARY_OUTPUT", "memory:", "ogr:dbname='/tmp/a.gpkg' table=\"x\" (geom)"):
        assert destination_file(value) is None


def test_the_same_job_has_the_same_folder_and_another_has_another(provider, tmp_path):
    from cadastral_vectorizer.processing_provider.jobs import fingerprint

    raster = tmp_path / "a.tif"
    raster.write_bytes(b"1")
    first = fingerprint({"tolerance_m": 0.4}, str(raster))
    assert fingerprint({"tolerance_m": 0.4}, str(raster)) == first
    assert fingerprint({"tolerance_m": 0.5}, str(raster)) != first
    raster.write_bytes(b"12")
    assert fingerprint({"tolerance_m": 0.4}, str(raster)) != first


def test_content_of_an_area_names_it_not_its_file(provider, polygons):
    from cadastral_vectorizer.processing_provider.layers import content_hash

    class Source:
        def __init__(self, layer):
            self._layer = layer

        def sourceCrs(self):
            return self._layer.crs()

        def getFeatures(self):
            return self._layer.getFeatures(QgsFeatureRequest())

    assert content_hash(Source(polygons(SQUARE))) == content_hash(Source(polygons(SQUARE)))
    assert content_hash(Source(polygons(SQUARE))) != content_hash(Source(polygons(TWO_PARTS)))
    assert content_hash(None) == ""
