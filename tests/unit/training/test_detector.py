"""Training really trains, continues where it was killed, and says what is wrong."""

from __future__ import annotations

import signal

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import TrainDetectorConfig
from cadastral_vectorizer.engine.errors import Cancelled, InvalidParameter, TrainingError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.scene_chips import rasterize
from cadastral_vectorizer.engine.scenes import generate_scene
from cadastral_vectorizer.engine.training.chips import Chip
from cadastral_vectorizer.engine.training.crops import Crop
from cadastral_vectorizer.engine.training.detector import DetectorTrainer, train_detector
from cadastral_vectorizer.engine.training.ema import MovingAverage
from cadastral_vectorizer.engine.training.targets import detector_target
from cadastral_vectorizer.engine.training.validate import validate_detector
from cadastral_vectorizer.models.detector import build_detector

torch.set_num_threads(1)


@pytest.fixture
def chips(tmp_path):
    """A plain place: bright squares on dark ground."""
    with ChipWriter(tmp_path / "chips") as writer:
        for split in ("train", "val"):
            labels = np.zeros((192, 192), np.int32)
            for value, (x, y) in enumerate(((20, 20), (100, 30), (40, 110), (130, 120)), start=1):
                labels[y : y + 40, x : x + 40] = value
            image = np.where(labels[..., None] > 0, np.uint8(210), np.uint8(60)).repeat(3, -1)
            writer.add(split, np.ascontiguousarray(image), labels, split=split, source="made", pixel_m=0.2)
    return str(tmp_path / "chips")


class Narrow(DetectorTrainer):
    """A detector of a third of the weights."""

    def _build(self):
        return build_detector("compact", {"widths": [32, 64, 96, 128], "fpn_channels": 64, "box_width": 128,
                                          "mask_width": 32, "dense_width": 32})  # fmt: skip


def config(chips, folder, **changes):
    settings = {"steps": 4, "batch_size": 2, "crop_px": 128, "validate_every": 100, "threads": 1,
                "precision": "float32", "device": "cpu", "trunk_share": 0.0, **changes}  # fmt: skip
    return TrainDetectorConfig(chips=(chips,), work_folder=str(folder), **settings)


def test_resume_gives_the_weights_of_an_uninterrupted_run(chips, tmp_path):
    whole = DetectorTrainer(config(chips, tmp_path / "whole"), Reporter())
    whole.run()

    first = DetectorTrainer(config(chips, tmp_path / "parts"), Reporter())
    first.load_data()
    for _ in range(2):
        torch.manual_seed(first.config.seed * 1_000_003 + first.step)
        first.train_step(*first.batch(first.step))
        first.step += 1
    first.save()
    second = DetectorTrainer(config(chips, tmp_path / "parts"), Reporter())
    assert second.step == 2
    second.run()
    for a, b in zip(whole.model.state_dict().values(), second.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_loss_falls(chips, tmp_path):
    trainer = DetectorTrainer(config(chips, tmp_path / "w", steps=40, learning_rate=2e-3), Reporter())
    trainer.load_data()
    totals = []
    for step in range(12):
        losses = trainer.train_step(*trainer.batch(step % 2))
        trainer.step += 1
        totals.append(losses["loss_dense"] + losses["loss_objectness"])
    assert np.mean(totals[-3:]) < 0.85 * np.mean(totals[:2])


def test_one_scene_is_learnt_by_heart_from_nothing(tmp_path):
    scene = generate_scene(width_px=192, height_px=192, pixel_m=0.2, style="informal", density=1.0, seed=7)
    labels = np.zeros((192, 192), np.int32)
    for value, outline in enumerate(scene.outlines, start=1):
        labels[rasterize([outline], labels.shape) > 0] = value
    trainer = Narrow(config("-", tmp_path, steps=10_000, batch_size=1, learning_rate=1.5e-3), Reporter())
    image, targets = torch.from_numpy(scene.image).permute(2, 0, 1)[None], [detector_target(Crop(scene.image, labels))]
    chip = Chip("scene", "made", "val", 0.2, scene.image, labels)

    def figures():
        return validate_detector(trainer.model.eval(), [chip], pixel_m=0.2, bfloat16=False)["all"]

    assert len(scene.outlines) > 20 and figures()["AP50"] < 0.05
    for trainer.step in range(120):
        torch.manual_seed(trainer.step)
        trainer.train_step(image, targets)
    assert figures()["AP50"] > 0.9 and figures()["AP"] > 0.4


def test_result_names_checkpoint_and_validation(chips, tmp_path):
    result = train_detector(config(chips, tmp_path / "w", steps=1), Reporter())
    assert result["steps"] == 1
    assert set(result["validation"]) == {"all", "made"}
    assert (tmp_path / "w" / "last.pt").exists()


def test_cancel_stops_training_and_keeps_what_was_done(chips, tmp_path):
    reporter = Reporter()
    reporter.cancel()
    with pytest.raises(Cancelled):
        train_detector(config(chips, tmp_path / "w", steps=50), reporter)
    assert DetectorTrainer(config(chips, tmp_path / "w", steps=50), Reporter()).step == 1


def test_chips_without_buildings_are_refused(tmp_path):
    with ChipWriter(tmp_path / "empty") as writer:
        writer.add("a", np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int32), split="train", source="a",
                   pixel_m=0.2)  # fmt: skip
    with pytest.raises(TrainingError, match="no building"):
        train_detector(config(str(tmp_path / "empty"), tmp_path / "w"), Reporter())


def test_a_damaged_checkpoint_is_named(chips, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "last.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="last.pt"):
        DetectorTrainer(config(chips, tmp_path / "w"), Reporter())


@pytest.fixture
def full_disk():
    """No file may grow beyond 50 kB while the test asks for it."""
    resource = pytest.importorskip("resource", reason="only Unix can limit the size of files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(chips, tmp_path, full_disk):
    trainer = DetectorTrainer(config(chips, tmp_path / "w"), Reporter())
    trainer.save()
    before = (tmp_path / "w" / "last.pt").read_bytes()
    trainer.step = 3
    full_disk()
    with pytest.raises(TrainingError, match=r"last\.pt cannot be written.*Free some disk space"):
        trainer.save()
    assert (tmp_path / "w" / "last.pt").read_bytes() == before
    assert [p.name for p in (tmp_path / "w").iterdir()] == ["last.pt"]


def test_a_base_of_another_architecture_is_refused(chips, tmp_path):
    small = {"widths": [16, 16, 32, 32]}
    with pytest.raises(TrainingError, match="does not fit the architecture compact"):
        DetectorTrainer(config(chips, tmp_path / "w"), Reporter(), build_detector("compact", small).state_dict())


@pytest.mark.parametrize(
    "changes",
    [{"crop_px": 200}, {"learning_rate": 0.0}, {"architecture": "yolo"}, {"source_weights": ("a",)}, {"device": "tpu"},
     {"scale_min": 3.0}],
)  # fmt: skip
def test_nonsense_is_refused_with_a_sentence(chips, tmp_path, changes):
    with pytest.raises(InvalidParameter):
        train_detector(config(chips, tmp_path / "w", **changes), Reporter())


def test_moving_average_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = MovingAverage(model, decay=0.9)
    torch.nn.init.ones_(model.weight)
    average.update(model, step=10**6)
    assert average.model.weight.item() == pytest.approx(0.1)
