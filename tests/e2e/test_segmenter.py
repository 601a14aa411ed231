"""A segmenter from the command line, in place of Mask R-CNN in Processing."""

from __future__ import annotations

import json
import subprocess

import pytest
from osgeo import gdal
from support import ENVIRONMENT, MODEL, ROOT, SAMPLE, read_layer


@pytest.fixture(scope="module")
def segmenter(qgis_process, tmp_path_factory):
    """Chips exported in Processing, and a package trained on them for a moment: ``(package, chips, result)``."""
    if not MODEL.exists():
        pytest.skip("there is no bundled model")
    folder = tmp_path_factory.mktemp("segmenter")
    done = qgis_process(
        "exporttrainingdata", INPUT=SAMPLE / "orthophoto.tif", ANNOTATIONS=SAMPLE / "buildings.gpkg",
        CHIP_SIZE=512, OUTPUT_FOLDER=folder / "chips",
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    options = {"chips": folder / "chips", "output": folder / "s.zip", "work-folder": folder / "work", "base": MODEL,
               "steps": 2, "gan-steps": 2, "gan-width": 8, "batch-size": 2, "crop-px": 128, "learning-rate": 1e-6,
               "threads": 2}  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    trained = subprocess.run(
        [str(ENVIRONMENT / "bin" / "python"), "-I", str(ROOT / "engine" / "launch.py"), "train-segmenter", *words],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    return folder / "s.zip", folder / "chips", json.loads(trained.stdout)


def test_vectorize_takes_a_segmenter_in_place_of_mask_r_cnn(segmenter, qgis_process, tmp_path):
    package, _, trained = segmenter
    small, source = tmp_path / "small.tif", gdal.Open(str(SAMPLE / "orthophoto.tif"))
    gdal.Translate(str(small), source, srcWin=[0, 0, 512, 512])
    done = qgis_process("vectorizebuildings", INPUT=small, MODEL=package, OUTPUT=tmp_path / "out.gpkg")
    assert done.returncode == 0, done.errors
    assert done.value("MODEL_HASH") == trained["model_hash"]
    _, rows = read_layer(tmp_path / "out.gpkg")
    assert len(rows) >= 3
    assert {attributes["model"] for attributes, _ in rows} == {trained["model"]}
    assert all(0.5 <= attributes["score"] <= 1 and geometry.IsValid() for attributes, geometry in rows)


def test_a_segmenter_is_no_base_for_the_detector(segmenter, qgis_process, tmp_path):
    package, chips, _ = segmenter
    done = qgis_process("finetunedetector", CHIPS=chips, MODEL=package, MINUTES=0.1, OUTPUT_MODEL=tmp_path / "m.zip")
    assert "has no detector. Choose another package" in done.sentence
    assert not (tmp_path / "m.zip").exists()
