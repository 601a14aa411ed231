"""Outlines to a segmenter that stands in for the detector, through qgis_process."""

from __future__ import annotations

import json
import zipfile

import pytest
from osgeo import gdal
from support import BUNDLED, MODEL, SAMPLE, read_layer


def test_a_segmenter_learns_from_outlines_and_is_used(qgis_process, tmp_path):
    if not MODEL.exists():
        pytest.skip("there is no bundled model")
    package, figures, small = tmp_path / "segmenter.zip", tmp_path / "figures.json", tmp_path / "small.tif"
    gdal.Translate(str(small), gdal.Open(str(SAMPLE / "orthophoto.tif")), srcWin=[0, 0, 512, 512])
    model = {} if MODEL == BUNDLED else {"MODEL": MODEL}
    done = qgis_process(
        "trainsegmenter", INPUT=small, ANNOTATIONS=SAMPLE / "buildings.gpkg", STEPS=2, GAN_STEPS=2, GAN_WIDTH=8,
        BATCH_SIZE=2, CROP_SIZE=128, LEARNING_RATE=0.000001, OUTPUT_MODEL=package, FIGURES=figures,
        REPORT=tmp_path / "report.html", JOB_FOLDER=tmp_path / "job", **model,
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    facts = json.loads(figures.read_text())
    assert facts["steps"] == 2 and facts["settings"]["gan_steps"] == 2
    assert float(done.value("MEAN_IOU")) == facts["pixels"]["all"]["mean_iou"] >= facts["start"]["all"]["mean_iou"]
    assert float(done.value("AP50")) == facts["instances"]["AP50"]
    assert facts["model"] in (tmp_path / "report.html").read_text(encoding="utf-8")
    manifest = json.loads(zipfile.ZipFile(package).read("model.json"))
    assert manifest["segmenter"]["architecture"] == "compact" and manifest["refiner"] and not manifest["detector"]
    used = qgis_process("vectorizebuildings", INPUT=small, MODEL=package, OUTPUT=tmp_path / "out.gpkg")
    assert used.returncode == 0, used.errors
    assert used.value("MODEL_HASH") == done.value("MODEL_HASH")
    _, rows = read_layer(tmp_path / "out.gpkg")
    assert len(rows) >= 3 and {attributes["model"] for attributes, _ in rows} == {facts["model"]}


def test_what_cannot_be_learnt_from_is_said_in_a_sentence(qgis_process, tmp_path):
    output = tmp_path / "m.zip"
    assert "nothing to learn from" in qgis_process("trainsegmenter", OUTPUT_MODEL=output).sentence
    nothing = qgis_process("trainsegmenter", CHIPS=tmp_path, FROM_SCRATCH=True, MINUTES=0, OUTPUT_MODEL=output)
    assert "nothing to train" in nothing.sentence
    assert not output.exists()
