"""A user's loop, small: a model learns a place, keeps what is best, continues, and says what is wrong."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import torch
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import FinetuneConfig
from cadastral_vectorizer.engine.errors import (
    Cancelled,
    InvalidParameter,
    JobFolderError,
    ModelPackageError,
    TrainingError,
    VectorError,
)
from cadastral_vectorizer.engine.finetune import finetune, share_out
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.training.fine_tuner import read_history
from cadastral_vectorizer.models.detector import build_detector
from cadastral_vectorizer.models.package import open_package, write_package
from cadastral_vectorizer.models.refiners import VARIANTS, build_refiner
from rasterio.transform import from_origin

TINY = {"widths": [16, 16, 32, 32], "fpn_channels": 32, "rpn_channels": 32, "box_width": 32, "mask_width": 16,
        "dense_width": 16}  # fmt: skip
LEFT, TOP, PIXEL = 500_000.0, 5_200_000.0, 0.2


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A package with a small untrained detector and a refiner."""
    torch.manual_seed(3)
    architecture, parameters = VARIANTS["guided"]
    networks = {
        "detector": ("compact", TINY, build_detector("compact", TINY).state_dict()),
        "refiner": (architecture, parameters, build_refiner(architecture, parameters).state_dict()),
    }
    path = tmp_path_factory.mktemp("base") / "base.zip"
    write_package(path, name="tiny", pixel_m=PIXEL, networks=networks, training={"notes": ["made up"]}, metrics={},
                  tile_size_px=256, overlap_px=64, pixel_range_m=[0.04, 0.7], score_exponent=1.0)  # fmt: skip
    return str(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A plain town: an orthophoto with bright roofs on dark ground, and their outlines."""
    folder = tmp_path_factory.mktemp("place")
    size = 640
    image = np.full((3, size, size), 60, np.uint8)
    image += np.random.default_rng(0).integers(0, 12, image.shape, dtype=np.uint8)
    shapes = []
    for row in range(20, size - 50, 80):
        for col in range(20, size - 50, 80):
            image[:, row : row + 44, col : col + 44] = 205
            west, north = LEFT + col * PIXEL, TOP - row * PIXEL
            shapes.append(shapely.box(west, north - 44 * PIXEL, west + 44 * PIXEL, north))
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(folder / "town.tif", "w", transform=from_origin(LEFT, TOP, PIXEL, PIXEL), **profile) as file:
        file.write(image)
    gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32633").to_file(folder / "roofs.gpkg")
    return folder


def config(base, place, folder, **changes):
    """Two steps unless asked for more."""
    settings = {
        "rasters": (str(place / "town.tif"),), "annotations": str(place / "roofs.gpkg"), "base": base, "steps": 2,
        "output": str(folder / "out.zip"), "work_folder": str(folder / "work"), "scenes_share": 0.0, "batch_size": 2,
        "threads": 1, "precision": "float32", "device": "cpu", "validations": 1, "patience": 0, **changes,
    }  # fmt: skip
    return FinetuneConfig(**settings)


def weights(path):
    return open_package(path).weights("detector")


def test_a_few_steps_make_it_better_and_the_package_and_the_report_say_so(base, place, tmp_path):
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    result = finetune(
        config(base, place, tmp_path, steps=40, learning_rate=5e-3, trunk_rate=1.0, validations=1, report=str(report),
               figures=str(figures)), Reporter(),
    )  # fmt: skip
    assert result["gained"]
    assert result["before"]["AP50"] < 0.1 and result["after"]["AP50"] > 0.6
    package, old = open_package(result["output"]), open_package(base)
    assert package.hash == result["model_hash"] and package.manifest["pixel_range_m"] == [0.04, 0.7]
    assert package.manifest["training"]["base"] == old.name
    assert package.manifest["metrics"]["detector"]["val"]["all"]["AP"] == result["after"]["AP"]
    for name, tensor in old.weights("refiner").items():
        assert torch.equal(tensor, package.weights("refiner")[name])
    facts = json.loads(figures.read_text())
    assert facts["buildings"]["val"] > 0 and facts["export"]["used"] == 64
    page = report.read_text()
    assert page.count("<svg") >= 4 and page.count("data:image/jpeg") >= 1 and "http" not in page
    assert f"{result['after']['AP50']:.3f}" in page


def test_a_run_that_was_stopped_continues_to_the_same_weights(base, place, tmp_path):
    class StopAfterTwo(Reporter):
        def check(self):
            if (work / "run" / "last.pt").exists() and calls["batches"] >= 2:
                self.cancel()
            super().check()

    whole = finetune(config(base, place, tmp_path / "whole", steps=4, validations=2), Reporter())
    from cadastral_vectorizer.engine.training.fine_tuner import FineTuner

    work, calls, original = tmp_path / "parts" / "work", {"batches": 0}, FineTuner.train_step

    def counted(self, images, targets):
        calls["batches"] += 1
        return original(self, images, targets)

    FineTuner.train_step = counted
    try:
        with pytest.raises(Cancelled):
            finetune(config(base, place, tmp_path / "parts", steps=4, validations=2), StopAfterTwo())
        assert calls["batches"] == 2
        finetune(config(base, place, tmp_path / "parts", steps=4, validations=2), Reporter())
    finally:
        FineTuner.train_step = original
    assert calls["batches"] == 4
    for folder in ("whole", "parts"):
        assert (tmp_path / folder / "work" / "run" / "last.pt").exists()
    a, b = (torch.load(tmp_path / f / "work" / "run" / "last.pt", weights_only=True) for f in ("whole", "parts"))
    for name in a["model"]:
        assert torch.equal(a["model"][name], b["model"][name]), name
    assert whole["steps"] == b["step"] == 4


def test_when_nothing_is_better_the_old_weights_stay(base, place, tmp_path):
    result = finetune(config(base, place, tmp_path, learning_rate=1e-7), Reporter())
    if not result["gained"]:
        for name, tensor in weights(base).items():
            assert torch.equal(tensor, weights(result["output"])[name])
    assert result["after"]["AP"] >= result["before"]["AP"]


def test_frozen_stages_stay_as_they_are(base, place, tmp_path):
    finetune(config(base, place, tmp_path, frozen_stages=2, learning_rate=1e-2), Reporter())
    old, new = weights(base), torch.load(tmp_path / "work" / "run" / "last.pt", weights_only=True)["model"]
    for name, tensor in old.items():
        frozen = name.startswith(("trunk.stem", "trunk.stages.0", "trunk.stages.1"))
        if frozen:
            assert torch.equal(tensor, new[name].float().half().float()), name
    moved = [n for n in old if n.startswith("trunk.stages.3") and not torch.equal(old[n], new[n])]
    assert moved


def test_a_work_folder_of_another_run_is_refused(base, place, tmp_path):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "finetune.json").write_text("{}")
    with pytest.raises(JobFolderError, match="another job"):
        finetune(config(base, place, tmp_path), Reporter())


def chip_folder(folder, splits):
    with ChipWriter(folder) as writer:
        for number, split in enumerate(splits):
            labels = np.zeros((128, 128), np.int32)
            labels[40:80, 40:80] = 1
            image = np.full((128, 128, 3), 90, np.uint8)
            writer.add(f"{split}{number}", image, labels, split=split, source="made", pixel_m=PIXEL)
    return str(folder)


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"rasters": (), "annotations": ""}, InvalidParameter, "nothing to learn"),
        ({"annotations": ""}, InvalidParameter, "belong together"),
        ({"base": "/nowhere.zip"}, ModelPackageError, "does not exist"),
        ({"architecture": "resnet34"}, InvalidParameter, "architecture compact"),
        ({"annotations": "/nowhere.gpkg"}, VectorError, "nowhere"),
        ({"learning_rate": 0.0}, InvalidParameter, "learning_rate"),
        ({"frozen_stages": 9}, InvalidParameter, "frozen_stages"),
    ],
)
def test_bad_input_is_one_sentence(base, place, tmp_path, changes, kind, sentence):
    with pytest.raises(kind, match=sentence):
        finetune(config(**{"base": base, "place": place, "folder": tmp_path, **changes}), Reporter())
    assert not (tmp_path / "out.zip").exists()


@pytest.mark.parametrize(("splits", "sentence"), [(("train",), "kept aside"), (("val",), "no building to learn")])
def test_chips_of_one_split_are_refused(base, place, tmp_path, splits, sentence):
    chips = chip_folder(tmp_path / "chips", splits)
    with pytest.raises(TrainingError, match=sentence):
        finetune(config(base, place, tmp_path, rasters=(), annotations="", chips=(chips,)), Reporter())


def test_a_broken_chip_is_named(base, place, tmp_path):
    chips = chip_folder(tmp_path / "chips", ("train", "val"))
    (tmp_path / "chips" / "images" / "train0.jpg").write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="train0.jpg"):
        finetune(config(base, place, tmp_path, rasters=(), annotations="", chips=(chips,)), Reporter())


def test_generated_scenes_get_their_share():
    shares = dict(entry.split("=") for entry in share_out({"a": 99, "b": 24}, 0.25))
    assert float(shares["generated"]) == 0.25
    assert float(shares["a"]) == pytest.approx(2 * float(shares["b"]), rel=1e-4)
    assert sum(map(float, shares.values())) == pytest.approx(1.0, abs=1e-5)


def test_history_forgets_what_came_after_the_checkpoint(tmp_path):
    log = tmp_path / "log.jsonl"
    entries = [{"step": s, "mix": 1.0, "value": s} | {"validation": {}} for s in (0, 10, 20)]
    entries += [{"step": 10, "mix": 0.5, "value": 3.0, "validation": {}}, {"step": 15, "loss_mask": 1.0}]
    log.write_text("\n".join(json.dumps(e) for e in entries) + '\n{"step": 5, "val')
    assert [(e["step"], e["mix"]) for e in read_history(log, 15)] == [(0, 1.0), (10, 1.0), (10, 0.5)]
    assert [e["step"] for e in read_history(log, 15, losses=True)] == [15]


def test_what_lies_between_old_and_learnt_weights_is_tried(base, place, tmp_path):
    finetune(config(base, place, tmp_path, learning_rate=1e-3), Reporter())
    history = read_history(tmp_path / "work" / "run" / "log.jsonl", 2)
    assert [(entry["step"], entry["mix"]) for entry in history] == [
        (0, 1.0), (2, 1.0), (2, 0.75), (2, 0.5), (2, 0.25),
    ]  # fmt: skip
    lines = (tmp_path / "work" / "run" / "log.jsonl").read_text().splitlines()
    finetune(config(base, place, tmp_path, learning_rate=1e-3), Reporter())  # finished: nothing is done again
    assert (tmp_path / "work" / "run" / "log.jsonl").read_text().splitlines() == lines
    state = torch.load(tmp_path / "work" / "run" / "last.pt", weights_only=True)
    old = weights(base)["dense.3.bias"]
    assert not torch.equal(state["average"]["dense.3.bias"], old)  # the last state is the learnt one, not a mixture


def test_losing_generated_scenes_counts_against_the_gain(base, place, tmp_path, monkeypatch):
    """AP grows in the place at every measurement and falls on the scenes kept aside: the start wins."""
    from cadastral_vectorizer.engine.training import fine_tuner

    calls = {"local": 0, "watched": 0}

    def measured(model, chips, **_):
        kind = "watched" if chips[0].source == "generated" else "local"
        calls[kind] += 1
        value = 0.3 + 0.02 * calls[kind] if kind == "local" else 0.5 - 0.1 * calls[kind]
        return {"all": {"AP": value, "AP50": value, "best_F1": value, "best_score": 0.5}}

    monkeypatch.setattr(fine_tuner, "validate_detector", measured)
    chips = chip_folder(tmp_path / "chips", ("train", "val"))
    with ChipWriter(tmp_path / "work" / "scenes") as writer:
        for split in ("train", "val"):
            labels = np.zeros((128, 128), np.int32)
            labels[40:80, 40:80] = 1
            writer.add(split, np.full((128, 128, 3), 90, np.uint8), labels, split=split, source="generated",
                       pixel_m=PIXEL)  # fmt: skip
    result = finetune(
        config(base, place, tmp_path, rasters=(), annotations="", chips=(chips,), scenes_share=0.3), Reporter()
    )
    assert calls == {"local": 5, "watched": 5} and not result["gained"]


def test_an_epoch_shows_as_much_ground_as_the_chips(base, place, tmp_path):
    chips = chip_folder(tmp_path / "chips", ("train",) * 6 + ("val",))
    settings = {"rasters": (), "annotations": "", "chips": (chips,), "steps": 0, "batch_size": 1}
    result = finetune(config(base, place, tmp_path, epochs=2.0, **settings), Reporter())
    assert result["steps"] == 2 * 6 * 128**2 / 256**2
