"""Outlines of one's own town to a better model, through qgis_process."""

from __future__ import annotations

import json
import zipfile

import pytest
from osgeo import gdal
from support import BUNDLED, MODEL, SAMPLE, polygon_file


@pytest.fixture(scope="module")
def exported(qgis_process, tmp_path_factory):
    """The sample as training data, one place of it marked as no building: ``(folder, finished run)``."""
    folder = tmp_path_factory.mktemp("training") / "chips"
    x0, dx, _, y0, _, dy = gdal.Open(str(SAMPLE / "orthophoto.tif")).GetGeoTransform()
    corners = ((900, 900), (1000, 900), (1000, 1000), (900, 1000), (900, 900))
    place = ", ".join(f"{x0 + dx * col} {y0 + dy * row}" for col, row in corners)
    negatives = polygon_file(folder.parent / "yards.gpkg", [f"POLYGON(({place}))"])
    done = qgis_process(
        "exporttrainingdata", INPUT=SAMPLE / "orthophoto.tif", ANNOTATIONS=SAMPLE / "buildings.gpkg",
        NEGATIVES=negatives, CHIP_SIZE=512, OUTPUT_FOLDER=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    return folder, done


def test_the_sample_becomes_training_data(exported):
    folder, done = exported
    coco = json.loads((folder / "annotations.json").read_text())
    report = json.loads((folder / "report.json").read_text())
    assert {image["split"] for image in coco["images"]} == {"train", "val"}
    assert all((folder / image["file_name"]).stat().st_size > 1000 for image in coco["images"])
    assert int(done.value("TRAIN_BUILDINGS")) == report["splits"]["train"]["buildings"] > 10
    assert int(done.value("VALIDATION_BUILDINGS")) > 0
    assert done.value("REPORT") == str(folder / "report.json")
    assert report["negatives"]["given"] == 1


def test_a_model_is_fine_tuned_and_used(exported, qgis_process, tmp_path):
    if not MODEL.exists():
        pytest.skip("there is no bundled model")
    model, report = tmp_path / "town.zip", tmp_path / "report.html"
    settings = {} if MODEL == BUNDLED else {"MODEL": MODEL}
    done = qgis_process(
        "finetunedetector", CHIPS=exported[0], MINUTES=0.2, BATCH_SIZE=2, ACCUMULATE=2, SCENES_SHARE=0,
        OUTPUT_MODEL=model, REPORT=report, JOB_FOLDER=tmp_path / "job", **settings,
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    assert float(done.value("AP_AFTER")) >= float(done.value("AP_BEFORE")) - 0.02  # stored in half precision
    manifest = json.loads(zipfile.ZipFile(model).read("model.json"))
    assert manifest["training"]["base"] and manifest["refiner"]
    assert "<svg" in report.read_text() and "http" not in report.read_text()
    small, source = tmp_path / "small.tif", gdal.Open(str(SAMPLE / "orthophoto.tif"))
    gdal.Translate(str(small), source, srcWin=[0, 0, 256, 256])
    used = qgis_process("vectorizebuildings", INPUT=small, MODEL=model, OUTPUT=tmp_path / "out.gpkg")
    assert used.returncode == 0, used.errors
    assert used.value("MODEL_HASH") == done.value("MODEL_HASH")


def test_what_cannot_be_learnt_from_is_said_in_a_sentence(qgis_process, tmp_path):
    far = polygon_file(tmp_path / "far.gpkg", ["POLYGON((0 0, 9 0, 9 9, 0 9, 0 0))"])
    raster = SAMPLE / "orthophoto.tif"
    folder = tmp_path / "chips"
    done = qgis_process("exporttrainingdata", INPUT=raster, ANNOTATIONS=far, OUTPUT_FOLDER=folder)
    assert "No annotation lies on a raster" in done.sentence
    done = qgis_process("finetunedetector", OUTPUT_MODEL=tmp_path / "m.zip")
    assert "nothing to learn from" in done.sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["far.gpkg"]
