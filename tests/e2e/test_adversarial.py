"""GAN Mask R-CNN as an option of fine-tuning, through qgis_process."""

from __future__ import annotations

import json
import zipfile

import pytest
from support import BUNDLED, MODEL, SAMPLE


def test_fine_tuning_with_both_discriminators(qgis_process, tmp_path):
    if not MODEL.exists():
        pytest.skip("there is no bundled model")
    chips, job, model, figures = (tmp_path / name for name in ("chips", "job", "town.zip", "figures.json"))
    done = qgis_process(
        "exporttrainingdata", INPUT=SAMPLE / "orthophoto.tif", ANNOTATIONS=SAMPLE / "buildings.gpkg", CHIP_SIZE=512,
        OUTPUT_FOLDER=chips,
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    settings = {} if MODEL == BUNDLED else {"MODEL": MODEL}
    done = qgis_process(
        "finetunedetector", CHIPS=chips, ADVERSARIAL=3, ADVERSARIAL_DEPTH=4, MINUTES=0.03, BATCH_SIZE=1, PATIENCE=1,
        SCENES_SHARE=0, OUTPUT_MODEL=model, FIGURES=figures, JOB_FOLDER=job, **settings,
    )  # fmt: skip
    assert done.returncode == 0, done.errors
    facts = json.loads(figures.read_text())
    assert facts["steps"] > 0
    assert (facts["settings"]["adversarial"], facts["settings"]["adversarial_depth"]) == ("both", 4)
    checkpoint = zipfile.ZipFile(next(job.rglob("last.pt")))
    names = checkpoint.read(next(n for n in checkpoint.namelist() if n.endswith("data.pkl")))
    assert b"box.layers.0.weight" in names and b"mask.levels.3." in names and b"mask.levels.4." not in names
    package = zipfile.ZipFile(model)
    assert set(package.namelist()) == {"model.json", "detector.safetensors", "refiner.safetensors"}
    assert b"mask.levels" not in package.read("detector.safetensors")
