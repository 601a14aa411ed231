"""A training that travels: packed, run where only PyTorch, NumPy and OpenCV are, stopped, resumed, brought back."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import CollectTrainingConfig, PackTrainingConfig
from cadastral_vectorizer.engine.errors import OutputError, TrainingError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.training.carry import collect_training, pack_training
from cadastral_vectorizer.engine.training.checkpoint import load_checkpoint
from cadastral_vectorizer.engine.training.parts import PART_BYTES, read_parts, write_parts

FOREIGN = ("rasterio", "safetensors", "shapely", "geopandas", "pyproj", "pandas", "scipy", "skimage", "pyogrio")
BARE = f"""
import importlib.machinery, runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FOREIGN}:  # torch asks whether some are there; importing them is what fails
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        raise ModuleNotFoundError(spec.name)
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def chips(tmp_path):
    rng = np.random.default_rng(0)
    with ChipWriter(tmp_path / "chips") as writer:
        for split in ("train", "val", "test"):
            labels = np.zeros((160, 160), np.int32)
            labels[20:70, 30:90], labels[90:140, 60:120] = 1, 2
            image = (labels[..., None] > 0) * np.uint8(120) + rng.integers(0, 90, (160, 160, 3), dtype=np.uint8)
            writer.add(split, image.astype(np.uint8), labels, split=split, source="made", pixel_m=0.2)
    return str(tmp_path / "chips")


def packing(chips, folder, **changes):
    settings = {"steps": 3, "batch_size": 1, "crop_px": 128, "validate_every": 100, "trunk_share": 0.0,
                "precision": "float32", **changes}  # fmt: skip
    places = {"work_folder": str(folder / "work"), "output": str(folder / "b.zip")}
    return PackTrainingConfig(chips=(chips,), **places, **settings)


def run_bare(folder, *options):
    """Run a bundle with an interpreter that has nothing of this project and refuses all other libraries."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", BARE, str(folder / "run.py"), *options],
        capture_output=True, text=True, timeout=900, check=False, env={"OMP_NUM_THREADS": "1", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out" / "state.json").read_text())


def test_a_bundle_trains_alone_stops_in_time_goes_on_and_comes_back(chips, tmp_path):
    result = pack_training(packing(chips, tmp_path), Reporter())
    assert result["chips"] == 2 and result["megabytes"] < 1
    with zipfile.ZipFile(result["output"]) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "away")
    assert not [n for n in names if "export" in n or "qgis" in n or n.endswith("test.jpg")]
    away = tmp_path / "away" / "b"
    first = run_bare(away, "--minutes", "0", "--device", "cpu")
    assert (first["finished"], first["step"]) == (False, 1)
    assert max(f.stat().st_size for f in (away / "out").iterdir()) <= PART_BYTES < 16e6

    fresh = tmp_path / "another" / "b"  # a bare machine again, to which only the results were carried
    with zipfile.ZipFile(result["output"]) as archive:
        archive.extractall(fresh.parent)
    (fresh / "out").mkdir()
    for file in (away / "out").iterdir():
        (fresh / "out" / file.name).write_bytes(file.read_bytes())
    second = run_bare(fresh, "--device", "cpu")
    assert (second["finished"], second["step"]) == (True, 3)

    collected = collect_training(CollectTrainingConfig(str(fresh / "out"), str(tmp_path / "back")), Reporter())
    assert collected["step"] == 3 and collected["architecture"] == "compact"
    away_state = torch.load(fresh / "run" / "last.pt", weights_only=True)["average"]
    for name, tensor in load_checkpoint(tmp_path / "back" / "last.pt")["average"].items():
        assert tensor.dtype in (torch.float32, torch.int64)
        assert torch.allclose(tensor.float(), away_state[name].float(), rtol=1e-3, atol=1e-6), name
    assert (tmp_path / "back" / "log.jsonl").exists()


def test_a_run_that_began_here_is_taken_along(chips, tmp_path):
    config = packing(chips, tmp_path)
    state = {"step": 7, "architecture": "compact", "model": {"w": torch.rand(9)}}
    (tmp_path / "work").mkdir()
    torch.save(state, tmp_path / "work" / "last.pt")
    pack_training(replace(config, output=str(tmp_path / "folder")), Reporter())
    packed = read_parts(tmp_path / "folder" / "state")
    assert packed["step"] == 7 and torch.allclose(packed["model"]["w"], state["model"]["w"], atol=1e-3)


def test_parts_keep_small_numbers_of_the_optimiser_and_hold_together(tmp_path):
    big = torch.rand(10_000_000)
    state = {"model": {"w": big}, "optimizer": {"state": {0: {"exp_avg_sq": torch.full((4,), 1e-12)}}}, "step": 3}
    write_parts(tmp_path, state)
    assert len(list(tmp_path.glob("state.0*"))) == 2
    back = read_parts(tmp_path)
    assert back["optimizer"]["state"][0]["exp_avg_sq"].tolist() == pytest.approx([1e-12] * 4, rel=1e-2)
    assert torch.allclose(back["model"]["w"], big, atol=1e-3) and back["step"] == 3


def test_missing_and_damaged_parts_are_said(tmp_path):
    write_parts(tmp_path, {"model": {"w": torch.rand(10)}, "step": 1})
    part = tmp_path / "state.000"
    data = part.read_bytes()
    part.write_bytes(data[:-1] + b"x")
    with pytest.raises(TrainingError, match="damaged or of different states"):
        read_parts(tmp_path)
    part.unlink()
    with pytest.raises(TrainingError, match=r"state.000 is missing"):
        read_parts(tmp_path)
    with pytest.raises(TrainingError, match=r"state.json is missing"):
        read_parts(tmp_path / "nowhere")


def test_a_run_that_has_come_further_is_not_overwritten(tmp_path):
    write_parts(tmp_path / "out", {"step": 5, "architecture": "compact"})
    (tmp_path / "work").mkdir()
    torch.save({"step": 9}, tmp_path / "work" / "last.pt")
    with pytest.raises(TrainingError, match="at step 9"):
        collect_training(CollectTrainingConfig(str(tmp_path / "out"), str(tmp_path / "work")), Reporter())


def test_too_large_a_bundle_is_refused_with_the_reason(chips, tmp_path):
    with pytest.raises(TrainingError, match=r"more than 0\.1 \(chips"):
        pack_training(packing(chips, tmp_path, most_mb=0.1), Reporter())
    assert not list(tmp_path.glob("b.zip*"))


def test_lower_quality_makes_it_smaller(chips, tmp_path):
    sizes = []
    for quality in (0, 40):
        pack_training(packing(chips, tmp_path, jpeg_quality=quality), Reporter())
        sizes.append((tmp_path / "b.zip").stat().st_size)
    assert sizes[1] < sizes[0] - 5000


def test_a_folder_that_exists_is_left_alone(chips, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(OutputError, match="exists"):
        pack_training(replace(packing(chips, tmp_path), output=str(tmp_path / "mine")), Reporter())
