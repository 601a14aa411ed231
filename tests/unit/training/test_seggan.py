"""SegGAN's losses by hand; what learns in which step, and what does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import SEGMENTERS, TrainDetectorConfig, TrainSegmenterConfig
from cadastral_vectorizer.engine.errors import (
    Cancelled,
    EngineError,
    InvalidParameter,
    JobFolderError,
    TrainingError,
)
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.train_segmenter import train_segmenter
from cadastral_vectorizer.engine.training.pixel_metrics import PixelCounter
from cadastral_vectorizer.engine.training.seggan import GanSettings, ImageGan
from cadastral_vectorizer.engine.training.segmenter import SegmenterTrainer
from cadastral_vectorizer.models.detector import build_detector
from cadastral_vectorizer.models.losses.seggan import content_loss, image_losses, judge_loss, smooth_mask
from cadastral_vectorizer.models.package import open_package, write_package
from cadastral_vectorizer.models.segmenters import ARCHITECTURES

TRUNK = {"widths": [16, 16, 32, 32], "blocks": [1, 1, 1, 1], "fpn_channels": 16, "dense_width": 16}
TINY = {**TRUNK, "rpn_channels": 16, "box_width": 32, "mask_width": 16}


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """A plain place: bright squares on dark ground."""
    folder = tmp_path_factory.mktemp("place") / "chips"
    with ChipWriter(folder) as writer:
        for split in ("train", "val"):
            labels = np.zeros((192, 192), np.int32)
            for value, (x, y) in enumerate(((20, 20), (100, 30), (40, 110), (130, 120)), start=1):
                labels[y : y + 40, x : x + 40] = value
            image = np.where(labels[..., None] > 0, np.uint8(210), np.uint8(60)).repeat(3, -1)
            writer.add(split, np.ascontiguousarray(image), labels, split=split, source="made", pixel_m=0.2)
    return str(folder)


def trainer(chips, folder, *, steps=3, gan_steps=0, reporter=None, **changes):
    config = TrainDetectorConfig(
        chips=(chips,), work_folder=str(folder), steps=steps, batch_size=2, crop_px=128, validate_every=100, threads=1,
        precision="float32", device="cpu", **changes,
    )  # fmt: skip
    return SegmenterTrainer(
        config, reporter or Reporter(), parameters=TRUNK, gan=GanSettings(gan_steps, width=8)
    )


def copies(module):
    return [p.detach().clone() for p in module.state_dict().values()]


def same(before, module):
    return all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))


# -- losses -------------------------------------------------------------------------------------------


def test_content_loss_by_hand():
    image, rebuilt = torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.5)
    known = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    rebuilt[..., 1, :] = 9.0  # unknown: does not count
    assert content_loss(image, rebuilt, known).item() == pytest.approx(0.25)
    assert content_loss(image, rebuilt, torch.zeros_like(known)).item() == 0.0


def test_adversarial_losses_by_hand():
    image, known = torch.full((1, 3, 1, 1), 0.5), torch.ones(1, 1, 1, 1)
    mean = torch.nn.Conv2d(3, 1, 1)
    torch.nn.init.constant_(mean.weight, 1 / 3)
    torch.nn.init.zeros_(mean.bias)  # judges an image by its mean
    spread = torch.nn.Conv2d(1, 3, 1, bias=False)
    torch.nn.init.constant_(spread.weight, -1.0)  # rebuilds p as -p
    mask = torch.full((1, 1, 1, 1), 0.25)
    content, deception = image_losses(spread, mean, image, mask, known)
    assert content.item() == pytest.approx(0.75**2)
    assert deception.item() == pytest.approx(-math.log(1 / (1 + math.exp(0.25))))  # -log D(G(p)), D = sigmoid(-0.25)
    judged = judge_loss(mean, image, spread(mask), known).item()
    real, fake = 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.25))
    assert judged == pytest.approx(-0.5 * (math.log(real) + math.log(1 - fake)), rel=1e-5)


def test_the_judge_sees_both_images_blank_where_nothing_is_known():
    seen = []

    def discriminator(image):
        seen.append(image)
        return image.mean((1, 2, 3), keepdim=True)

    known = torch.tensor([[[[1.0, 0.0]]]])
    judge_loss(discriminator, torch.ones(1, 3, 1, 2), torch.full((1, 3, 1, 2), 0.5), known)
    assert seen[0][0, 0, 0].tolist() == [1, 0] and seen[1][0, 0, 0].tolist() == [0.5, 0]


def test_masks_are_smoothed():
    mask = torch.zeros(1, 1, 33, 33)
    mask[..., 16, 16] = 1.0
    soft = smooth_mask(mask, 1.0)
    assert soft.sum().item() == pytest.approx(1.0, rel=1e-5)
    assert soft[0, 0, 16, 16].item() == pytest.approx(1 / (2 * math.pi), rel=0.01)
    assert soft[0, 0, 16, 17].item() == pytest.approx(math.exp(-0.5) / (2 * math.pi), rel=0.01)
    assert torch.equal(smooth_mask(mask, 0.0), mask)
    full = torch.ones(1, 1, 8, 8)
    assert torch.allclose(smooth_mask(full, 1.5), full)  # no darkening at the edges


def test_pixel_figures_by_hand():
    counter = PixelCounter()
    labels = np.array([[0, 0, 0, 5], [7, 7, -1, -1]], np.int32)
    mask = np.array([[False, False, True, True], [True, False, True, False]])
    counter.add(mask, labels)  # tn 2, fp 1, fn 1, tp 2; two unknown
    figures = counter.figures()
    assert figures["pixel_accuracy"] == pytest.approx(4 / 6)
    assert figures["iou"] == pytest.approx(2 / 4) and figures["mean_iou"] == pytest.approx((2 / 4 + 2 / 4) / 2)
    assert figures["class_accuracy"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert PixelCounter().figures()["mean_iou"] == 0.0


def test_a_class_that_does_not_occur_is_left_out_of_the_means():
    counter = PixelCounter()
    counter.add(np.array([[True, False, False, False]]), np.zeros((1, 4), np.int32))
    assert counter.figures()["mean_iou"] == counter.figures()["class_accuracy"] == 0.75


# -- what learns --------------------------------------------------------------------------------------


def test_step_one_teaches_generator_and_discriminator_and_rebuilds_better():
    torch.manual_seed(0)
    gan = ImageGan(GanSettings(40, width=8), torch.device("cpu"), seed=1, bfloat16=False)
    share = torch.zeros(2, 1, 16, 16)
    share[..., 4:12, 4:12] = 1.0
    images = (40 + 180 * share.repeat_interleave(4, 2).repeat_interleave(4, 3)).repeat(1, 3, 1, 1).to(torch.uint8)
    before = copies(gan.generator), copies(gan.discriminator)
    contents = [gan.optimize(images, share, torch.ones_like(share))["content"] for _ in range(40)]
    assert not same(before[0], gan.generator) and not same(before[1], gan.discriminator)
    assert np.mean(contents[-5:]) < 0.5 * contents[0]


def test_step_two_passes_gradients_through_frozen_networks_and_changes_neither(chips, tmp_path):
    run = trainer(chips, tmp_path, gan_steps=2)
    run.train_gan()
    assert not any(p.requires_grad for n in (run.gan.generator, run.gan.discriminator) for p in n.parameters())
    before = copies(run.gan.generator), copies(run.gan.discriminator)
    images, targets = run.batch(0)
    alone = run.losses(images, targets)
    run.model.zero_grad()
    (alone["loss_content"] + alone["loss_deception"]).backward()
    reached = {name for name, p in run.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert "trunk.stem.0.weight" in reached and "dense.3.weight" in reached
    last = dict(run.model.named_parameters())["dense.3.weight"].grad.abs().sum((1, 2, 3))
    assert last[0] > 0 and last[1] == last[2] == 0  # the building's probability alone is rebuilt from
    weights = copies(run.model)
    run.run()
    assert run.step == 3 and not same(weights, run.model)
    assert same(before[0], run.gan.generator) and same(before[1], run.gan.discriminator)


def test_a_flat_answer_is_not_amplified_by_the_frozen_networks():
    gan = ImageGan(GanSettings(3, width=8), torch.device("cpu"), seed=1, bfloat16=False)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    share, known = torch.rand(2, 1, 16, 16).round(), torch.ones(2, 1, 16, 16)
    for _ in range(3):
        gan.optimize(images, share, known)
    gan.freeze()

    def slope(probability):
        probability.requires_grad_(True)
        return torch.autograd.grad(sum(gan.losses(images, probability, known).values()), probability)[0].norm()

    assert slope(torch.full((2, 1, 16, 16), 0.5)) < 3 * slope(share.clone())


def test_frozen_networks_drop_nothing(chips, tmp_path):
    run = trainer(chips, tmp_path, gan_steps=1)
    run.train_gan()
    images, targets = run.batch(0)
    first, second = (run.losses(images, targets) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_weights_of_the_losses_are_the_papers():
    settings = GanSettings(1, width=8)
    assert (settings.lambda_content, settings.lambda_adversarial, settings.learning_rate) == (0.1, 0.1, 1e-3)
    gan = ImageGan(settings, torch.device("cpu"), seed=1, bfloat16=False)
    gan.freeze()
    images, cells = torch.full((1, 3, 64, 64), 200, dtype=torch.uint8), torch.full((1, 1, 16, 16), 0.5)
    losses = gan.losses(images, cells, torch.ones_like(cells))
    image = images.float() / 127.5 - 1
    with torch.no_grad():
        rebuilt = gan.generator(torch.full((1, 1, 64, 64), 0.5))
        content = (image - rebuilt).square().mean()
        deception = torch.nn.functional.softplus(-gan.discriminator(rebuilt)).mean()
    assert losses["loss_content"].item() == pytest.approx(0.1 * content.item(), rel=1e-5)
    assert losses["loss_deception"].item() == pytest.approx(0.1 * deception.item(), rel=1e-5)


@pytest.mark.parametrize("stop", [1, 3, 4])  # in the first step of SegGAN, at its end, in the second
def test_resume_gives_the_weights_of_an_uninterrupted_run(chips, tmp_path, stop):
    whole = trainer(chips, tmp_path / "whole", gan_steps=3)
    whole.train_gan()
    whole.run()

    class Impatient(Reporter):
        left = stop

        def check(self):
            if not self.left:
                raise Cancelled
            self.left -= 1

    first = trainer(chips, tmp_path / "parts", gan_steps=3, reporter=Impatient())
    with pytest.raises(Cancelled):
        first.train_gan()
        first.run()
    second = trainer(chips, tmp_path / "parts", gan_steps=3)
    assert (second.gan.step, second.step) != (0, 0) and (second.gan.step, second.step) != (3, 3)
    second.train_gan()
    second.run()
    assert same(copies(whole.gan.generator), second.gan.generator)
    assert same(copies(whole.model), second.model)


def test_a_gan_of_another_width_is_refused(chips, tmp_path):
    trainer(chips, tmp_path, gan_steps=1).train_gan()
    other = ImageGan(GanSettings(1, width=16), torch.device("cpu"), seed=1, bfloat16=False)
    with pytest.raises(TrainingError, match="another width"):
        other.restore(torch.load(tmp_path / "gan.pt", weights_only=True))


# -- the job ------------------------------------------------------------------------------------------


def job(chips, folder, **changes):
    settings = {"steps": 2, "batch_size": 2, "crop_px": 128, "threads": 1, "precision": "float32", "device": "cpu",
                **changes}  # fmt: skip
    return TrainSegmenterConfig(
        chips=(chips,), output=str(folder / "out.zip"), work_folder=str(folder / "work"), **settings
    )


@pytest.fixture
def base(tmp_path):
    model = build_detector("compact", TINY)
    write_package(tmp_path / "base.zip", name="base", pixel_m=0.3, training={"notes": ["data"]}, metrics={},
                  networks={"detector": ("compact", TINY, model.state_dict())}, tile_size_px=256)  # fmt: skip
    return tmp_path / "base.zip"


def test_a_segmenter_starts_from_a_detector_and_its_package_is_whole(chips, base, tmp_path):
    page = tmp_path / "report.html"
    result = train_segmenter(
        job(chips, tmp_path, base=str(base), steps=40, validate_every=20, gan_steps=40, gan_width=8, report=str(page)),
        Reporter(),
    )
    package = open_package(tmp_path / "out.zip")
    assert package.has_segmenter and package.hash == result["model_hash"]
    assert package.manifest["pixel_m"] == 0.3 and package.manifest["tile_size_px"] == 256
    assert package.manifest["training"]["notes"][0] == "data" and "SegGAN" in package.manifest["training"]["notes"][1]
    assert set(result["pixels"]["all"]) == {"mean_iou", "iou", "pixel_accuracy", "class_accuracy"}
    text = page.read_text(encoding="utf-8")
    assert f"<td>{result['pixels']['all']['mean_iou']:.3f}</td>" in text and result["report"] == str(page)
    charts = ("Figures of the averaged weights", "Training loss", "images from masks", "recommended is", "Best: F1")
    assert [name for name in charts if name not in text] == []
    again = train_segmenter(job(chips, tmp_path / "second", base=str(tmp_path / "out.zip")), Reporter())
    assert again["steps"] == 2


def test_the_start_stays_where_nothing_beats_it_and_a_work_folder_belongs_to_its_run(chips, base, tmp_path):
    result = train_segmenter(job(chips, tmp_path, base=str(base), learning_rate=1.0), Reporter())  # ruins it
    assert result["pixels"] == result["start"]
    packed, detector = open_package(tmp_path / "out.zip").weights("segmenter"), open_package(base).weights("detector")
    assert all(torch.equal(tensor, detector[name]) for name, tensor in packed.items())
    with pytest.raises(JobFolderError, match="belongs to another job"):
        train_segmenter(job(chips, tmp_path, base=str(base), learning_rate=0.5), Reporter())


def test_without_a_budget_the_detectors_own_weights_are_packed(chips, base, tmp_path):
    train_segmenter(job(chips, tmp_path, base=str(base), steps=0, minutes=0.0), Reporter())
    packed, detector = open_package(tmp_path / "out.zip").weights("segmenter"), open_package(base).weights("detector")
    assert all(torch.equal(tensor, detector[name]) for name, tensor in packed.items())


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"architecture": "unet"}, "architecture is 'unet'"), ({"lambda_content": -1.0}, "lambda_content is -1"),
        ({"gan_width": 20}, "multiple of 8"), ({"steps": 0, "minutes": 0.0}, "nothing to train"),
        ({"base": "absent.zip"}, "does not exist"), ({"learning_rate": 0.0}, "learning_rate is 0"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_a_sentence(chips, tmp_path, changes, sentence):
    with pytest.raises(EngineError, match=sentence):
        train_segmenter(job(chips, tmp_path, **changes), Reporter())


def test_chips_without_a_validation_split_are_refused_before_training(tmp_path):
    with ChipWriter(tmp_path / "chips") as writer:
        writer.add("a", np.zeros((128, 128, 3), np.uint8), np.eye(128, dtype=np.int32).cumsum(1), split="train",
                   source="made", pixel_m=0.2)  # fmt: skip
    with pytest.raises(TrainingError, match="no validation split"):
        train_segmenter(job(str(tmp_path / "chips"), tmp_path), Reporter())
    assert not (tmp_path / "work" / "last.pt").exists()


def test_a_base_of_another_kind_is_refused(chips, base, tmp_path):
    with pytest.raises(InvalidParameter, match="no deeplabv3_mobilenet_v3 segmenter can start"):
        train_segmenter(job(chips, tmp_path, base=str(base), architecture="deeplabv3_mobilenet_v3"), Reporter())


def test_the_dialogs_names_are_the_networks():
    assert set(SEGMENTERS) == set(ARCHITECTURES)
