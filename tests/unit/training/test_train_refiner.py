"""A user's loop with the refiner: outlines or pairs in, a package that works out."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import REFINER_VARIANTS, FinetuneRefinerConfig
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.errors import Cancelled, InvalidParameter, JobFolderError, TrainingError
from cadastral_vectorizer.engine.folds import write_folds
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.refine.refine import Refiner
from cadastral_vectorizer.engine.train_refiner import finetune_refiner
from cadastral_vectorizer.engine.training.chips import load_chips
from cadastral_vectorizer.engine.training.rough_mask_files import RoughMask, load_rough_masks, write_rough_masks
from cadastral_vectorizer.models.detector import build_detector
from cadastral_vectorizer.models.package import open_package, write_package
from cadastral_vectorizer.models.refiners import VARIANTS, build_refiner
from cadastral_vectorizer.models.refiners.vinokurov import VinokurovRefiner

torch.set_num_threads(1)
TINY = {"widths": [16, 16, 32, 32], "fpn_channels": 32, "rpn_channels": 32, "box_width": 32, "mask_width": 16,
        "dense_width": 16}  # fmt: skip
SIZE, ROOF, GAP = 200, 40, 60
CORNERS = [(y, x) for y in range(10, SIZE - ROOF, GAP) for x in range(10, SIZE - ROOF, GAP)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A package with a small untrained detector and an untrained refiner, which returns its input."""
    torch.manual_seed(3)
    architecture, parameters = VARIANTS["guided"]
    networks = {
        "detector": ("compact", TINY, build_detector("compact", TINY).state_dict()),
        "refiner": (architecture, parameters, build_refiner(architecture, parameters).state_dict()),
    }
    path = tmp_path_factory.mktemp("base") / "base.zip"
    write_package(path, name="tiny", pixel_m=0.2, networks=networks, training={"notes": ["made up"]},
                  metrics={"detector": {"val": 1}}, tile_size_px=256, score_exponent=0.5)  # fmt: skip
    return str(path)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """Bright roofs on dark ground: four chips to learn from, one to measure with."""
    folder = tmp_path_factory.mktemp("town") / "chips"
    with ChipWriter(folder) as writer:
        for number in range(5):
            image = np.full((SIZE, SIZE, 3), 60, np.uint8)
            image += np.random.default_rng(number).integers(0, 12, image.shape, dtype=np.uint8)
            labels = np.zeros((SIZE, SIZE), np.int32)
            for label, (y, x) in enumerate(CORNERS, start=1):
                image[y : y + ROOF, x : x + ROOF] = 205
                labels[y : y + ROOF, x : x + ROOF] = label
            split = "val" if number == 4 else "train"
            writer.add(f"c{number}", image, labels, split=split, source="town", pixel_m=0.2)
    return folder


def settings(base, folder, **changes):
    """One step unless asked for more."""
    return FinetuneRefinerConfig(**{
        "base": base, "output": str(folder / "out.zip"), "work_folder": str(folder / "work"), "steps": 1,
        "batch_size": 2, "validations": 1, "patience": 0, "threads": 1, "precision": "float32", "device": "cpu",
        **changes,
    })  # fmt: skip


def draw_masks(folder):
    """What a detector would have left in the work folder: every roof, 6 pixels too far to the right."""
    for number in range(5):
        full = np.full((ROOF, ROOF), 255, np.uint8)
        shifted = [RoughMask((x + 6, y, x + 6 + ROOF, y + ROOF), full) for y, x in CORNERS]
        write_rough_masks(folder / "work" / "masks", f"c{number}", shifted)


def test_masks_become_better_and_the_package_and_the_report_say_so(base, chips, tmp_path):
    draw_masks(tmp_path)
    report, figures = tmp_path / "report.html", tmp_path / "figures.json"
    result = finetune_refiner(
        settings(base, tmp_path, chips=(str(chips),), steps=30, learning_rate=5e-3, batch_size=4, validations=2,
                 predicted_share=1.0, report=str(report), figures=str(figures)), Reporter(),
    )  # fmt: skip
    assert result["gained"]
    assert result["start"] == result["before"]  # the identity
    assert result["after"]["iou"] > result["before"]["iou"] + 0.1
    package, old = open_package(result["output"]), open_package(base)
    assert package.hash == result["model_hash"] and package.manifest["score_exponent"] == 0.5
    assert package.manifest["metrics"]["detector"] == {"val": 1}
    assert package.manifest["metrics"]["refiner"]["validation"]["town"]["after"]["iou"] == result["after"]["iou"]
    for name, tensor in old.weights("detector").items():
        assert torch.equal(tensor, package.weights("detector")[name])
    facts = json.loads(figures.read_text())
    assert set(facts["after"]) >= {
        "iou", "iou50_95", "precision", "recall", "f1", "pixel_accuracy", "boundary_iou", "boundary_iou_25cm",
        "hausdorff_px", "hausdorff95_px",
    }  # fmt: skip
    assert facts["buildings"] == {"train": 36, "val": 9} and len(facts["history"]) == 3
    page = report.read_text()
    assert "data:image/jpeg" in page and "http" not in page and "rough masks are those of tiny" in page


def test_the_papers_pairs_and_network_give_a_package_with_that_network(base, tmp_path):
    for part, move in (("predicted", 3), ("exact", 0)):
        (tmp_path / "pairs" / part).mkdir(parents=True)
        for number in range(2):
            mask = np.zeros((64, 64), np.uint8)
            mask[16:44, 18 + move : 46 + move] = 255
            cv2.imwrite(str(tmp_path / "pairs" / part / f"{number}.png"), mask)
    config = settings(base, tmp_path, pairs=str(tmp_path / "pairs"), pairs_pixel_m=0.5, variant="vinokurov16")
    guided = settings(base, tmp_path / "guided", pairs=config.pairs)
    with pytest.raises(TrainingError, match="no images, and the network guided looks at them"):
        finetune_refiner(guided, Reporter())
    result = finetune_refiner(config, Reporter())
    network = open_package(result["output"]).refiner()
    assert isinstance(network, VinokurovRefiner)
    assert result["start"] is None and 0 < result["before"]["iou"] < 1
    assert result["before"]["boundary_iou_25cm"] < 1

    def read(box, *, size):
        return np.zeros((3, *size), np.uint8), np.ones(size, bool)

    mask = Instance("a", (10, 10, 50, 40), np.full((30, 40), 255, np.uint8), 0.9)
    (seen,) = Refiner(network).refine_instances([mask], read)
    assert seen.id == "a" and (seen.probability >= 128).any()


def test_a_cancelled_run_leaves_the_best_model_so_far_and_goes_on(base, chips, tmp_path):
    draw_masks(tmp_path)
    config = settings(base, tmp_path, chips=(str(chips),), steps=20, learning_rate=5e-3, batch_size=4, validations=2,
                      predicted_share=1.0)  # fmt: skip

    class StopAfterGain(Reporter):
        def check(self):
            if (tmp_path / "out.zip").exists():
                self.cancel()
            super().check()

    with pytest.raises(Cancelled):
        finetune_refiner(config, StopAfterGain())
    assert "for 10 steps on 36 outlines" in open_package(config.output).manifest["training"]["notes"][-1]
    result = finetune_refiner(config, Reporter())
    assert result["steps"] == 20


def test_where_the_detector_finds_nothing_the_refiner_learns_from_damage(base, chips, tmp_path):
    class Listener(Reporter):
        def log(self, message, level="info"):
            if level == "warning":
                heard.append(message)

    heard = []
    for number in range(5):
        write_rough_masks(tmp_path / "work" / "masks", f"c{number}", [])
    result = finetune_refiner(settings(base, tmp_path, chips=(str(chips),)), Listener())
    assert "The detector found none of these buildings" in heard[0]
    assert 0.4 < result["before"]["iou"] < 1.0


def test_folds_hold_out_every_training_chip_once(chips, tmp_path):
    folds = write_folds([str(chips)], 3, tmp_path)
    held = [name for fold in folds for name in fold.held_out]
    assert sorted(held) == ["c0", "c1", "c2", "c3"]
    for fold in folds:
        assert {chip.name for chip in load_chips(fold.folder, "train")} == set(held) - fold.held_out
        assert [chip.name for chip in load_chips(fold.folder, "val")] == ["c4"]
        assert load_chips(fold.folder, "val")[0].buildings == 9
    with pytest.raises(TrainingError, match="4 training chips cannot be divided into 5 folds"):
        write_folds([str(chips)], 5, tmp_path / "more")


def test_out_of_fold_masks_come_from_detectors_that_did_not_see_the_ground(base, chips, tmp_path):
    config = settings(base, tmp_path, chips=(str(chips),), folds=2, fold_steps=1, figures=str(tmp_path / "f.json"))
    finetune_refiner(config, Reporter())
    assert set(load_rough_masks(tmp_path / "work" / "masks")) == {f"c{n}" for n in range(5)}
    assert all((tmp_path / "work" / "folds" / str(n) / "run" / "best.pt").exists() for n in range(2))
    notes = json.loads((tmp_path / "f.json").read_text())["notes"]
    assert "out of fold" in notes[0] or "found none" in notes[0]


def test_a_work_folder_of_another_run_is_refused(base, chips, tmp_path):
    draw_masks(tmp_path)
    finetune_refiner(settings(base, tmp_path, chips=(str(chips),)), Reporter())
    with pytest.raises(JobFolderError, match="belongs to another job"):
        finetune_refiner(settings(base, tmp_path, chips=(str(chips),), seed=2), Reporter())


@pytest.mark.parametrize(
    "changes,message",
    [
        ({}, "nothing to learn from"),
        ({"chips": ("a",), "pairs": "b"}, "Mask pairs stand alone"),
        ({"pairs": "b", "folds": 3}, "not divided into folds"),
        ({"chips": ("a",), "folds": 1}, "folds is 1"),
        ({"chips": ("a",), "variant": "unet"}, "Choose one of guided"),
        ({"chips": ("a",), "variant": "vinokurov", "loss_terms": ("dice",)}, "has its own loss"),
        ({"chips": ("a",), "loss_terms": ("l2",)}, "Choose one of bce, dice, boundary"),
        ({"rasters": ("a",)}, "belong together"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(base, tmp_path, changes, message):
    with pytest.raises(InvalidParameter, match=message):
        finetune_refiner(settings(base, tmp_path, **changes), Reporter())


def test_chips_without_buildings_kept_aside_are_refused(base, tmp_path):
    labels = np.zeros((64, 64), np.int32)
    labels[10:40, 10:40] = 1
    with ChipWriter(tmp_path / "chips") as writer:
        writer.add("c", np.zeros((64, 64, 3), np.uint8), labels, split="train", source="s", pixel_m=0.2)
    with pytest.raises(TrainingError, match="No building is kept aside"):
        finetune_refiner(settings(base, tmp_path, chips=(str(tmp_path / "chips"),)), Reporter())


def test_the_dialog_offers_every_network():
    assert set(VARIANTS) == set(REFINER_VARIANTS)
