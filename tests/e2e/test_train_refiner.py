"""Outlines or mask pairs to a better refiner, through qgis_process."""

from __future__ import annotations

import json
import zipfile

import pytest
from osgeo import gdal
from support import BUNDLED, MODEL, SAMPLE


@pytest.fixture
def model():
    """The ``MODEL`` setting of the package under test."""
    if not MODEL.exists():
        pytest.skip("there is no bundled model")
    return {} if MODEL == BUNDLED else {"MODEL": MODEL}


def write_mask(path, left):
    """A picture of 64 x 64 with a square mask that begins at column `left`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = gdal.GetDriverByName("MEM").Create("", 64, 64, 1)
    memory.GetRasterBand(1).WriteRaster(left, 18, 28, 28, b"\xff" * 28 * 28)
    gdal.GetDriverByName("PNG").CreateCopy(str(path), memory)


def test_a_refiner_learns_from_outlines_and_is_used(qgis_process, model, tmp_path):
    package, report, figures = tmp_path / "town.zip", tmp_path / "report.html", tmp_path / "figures.json"
    small = tmp_path / "small.tif"
    gdal.Translate(str(small), gdal.Open(str(SAMPLE / "orthophoto.tif")), srcWin=[0, 0, 512, 512])
    done = qgis_process(
        "trainrefiner", INPUT=small, ANNOTATIONS=SAMPLE / "buildings.gpkg", STEPS=2, BATCH_SIZE=2, VALIDATIONS=1,
        OUTPUT_MODEL=package, REPORT=report, FIGURES=figures, JOB_FOLDER=tmp_path / "job", **model,
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    facts = json.loads(figures.read_text())
    assert facts["start"] and facts["buildings"]["train"] > 5
    # the best weights are at least as good as those of the start, stored in half precision
    assert float(done.value("BOUNDARY_IOU_AFTER")) == facts["after"]["boundary_iou"]
    gain = [facts["after"][key] - facts["start"][key] for key in ("iou", "boundary_iou")]
    assert sum(gain) >= 0
    manifest = json.loads(zipfile.ZipFile(package).read("model.json"))
    assert manifest["refiner"]["architecture"] == "guided" and manifest["detector"]
    assert "data:image/jpeg" in report.read_text()
    used = qgis_process("vectorizebuildings", INPUT=small, MODEL=package, OUTPUT=tmp_path / "out.gpkg")
    assert used.returncode == 0, used.errors
    assert used.value("MODEL_HASH") == done.value("MODEL_HASH")


@pytest.mark.slow  # tests/unit/training/test_train_refiner.py does the same without QGIS
def test_the_network_of_the_paper_learns_from_mask_pairs_and_is_used(qgis_process, model, tmp_path):
    for number in range(2):
        write_mask(tmp_path / "pairs" / "exact" / f"{number}.png", left=16 + number)
        write_mask(tmp_path / "pairs" / "predicted" / f"{number}.png", left=19 + number)
    package = tmp_path / "paper.zip"  # 8: at a quarter of its width
    done = qgis_process(
        "trainrefiner", PAIRS=tmp_path / "pairs", VARIANT=8, STEPS=1, BATCH_SIZE=2, VALIDATIONS=1,
        OUTPUT_MODEL=package, **model,
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    assert 0 < float(done.value("IOU_BEFORE")) < 1
    refiner = json.loads(zipfile.ZipFile(package).read("model.json"))["refiner"]
    assert (refiner["architecture"], refiner["parameters"]) == ("vinokurov", {"width": 16})
    small = tmp_path / "small.tif"
    gdal.Translate(str(small), gdal.Open(str(SAMPLE / "orthophoto.tif")), srcWin=[0, 0, 256, 256])
    used = qgis_process("vectorizebuildings", INPUT=small, MODEL=package, OUTPUT=tmp_path / "out.gpkg")
    assert used.returncode == 0, used.errors


def test_what_cannot_be_learnt_from_is_said_in_a_sentence(qgis_process, tmp_path):
    (tmp_path / "pairs").mkdir()
    output = tmp_path / "m.zip"
    done = qgis_process("trainrefiner", PAIRS=tmp_path / "pairs", VARIANT=1, OUTPUT_MODEL=output)
    assert "holds no mask pairs" in done.sentence
    assert "nothing to learn from" in qgis_process("trainrefiner", OUTPUT_MODEL=output).sentence
    assert not output.exists()
