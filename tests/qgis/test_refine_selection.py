"""Refining what is selected in the project, down to a single feature."""

from __future__ import annotations

from pathlib import Path

import pytest
from qgis.core import (
    QgsFeature,
    QgsGeometry,
    QgsProcessingContext,
    QgsProcessingFeatureSourceDefinition,
    QgsProject,
    QgsVectorLayer,
)

RESOURCES = Path(__file__).resolve().parents[2] / "resources"
SAMPLE = RESOURCES / "sample"


def test_of_a_layer_only_the_selected_feature_is_refined(run):
    if not SAMPLE.exists() or not (RESOURCES / "models/bundled.zip").exists():
        pytest.skip("there is no bundled model or sample")
    truth = QgsVectorLayer(str(SAMPLE / "buildings.gpkg"), "truth", "ogr")
    inside = truth.extent().buffered(-15)
    roofs = [f.geometry() for f in truth.getFeatures() if inside.contains(f.geometry().boundingBox())][:3]
    layer = QgsVectorLayer(f"Polygon?crs={truth.crs().authid()}&field=owner:string(20)", "drawn", "memory")
    for number, roof in enumerate(roofs):
        feature = QgsFeature(layer.fields())
        feature.setGeometry(QgsGeometry.fromRect(roof.boundingBox().buffered(0.3)))
        feature.setAttributes([f"owner {number}"])
        layer.dataProvider().addFeature(feature)
    QgsProject.instance().addMapLayer(layer)
    try:
        layer.selectByExpression("\"owner\" = 'owner 1'")
        context = QgsProcessingContext()
        context.setProject(QgsProject.instance())
        result = run(
            "refinepolygons",
            {
                "INPUT": QgsProcessingFeatureSourceDefinition(layer.id(), selectedFeaturesOnly=True),
                "RASTER": str(SAMPLE / "orthophoto.tif"),
                "OUTPUT": "memory:",
            },
            context=context,
        )
        (row,) = result["OUTPUT"].getFeatures()
        assert result["FEATURES"] == result["REFINED"] == 1
        assert row["owner"] == "owner 1" and row["refined"]
        assert row.geometry().intersection(roofs[1]).area() > 0.6 * roofs[1].area()
    finally:
        QgsProject.instance().removeMapLayer(layer.id())
