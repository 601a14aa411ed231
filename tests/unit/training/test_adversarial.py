"""The game in a real training: who learns in which step, what a checkpoint carries, and what it may not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.cli import main
from cadastral_vectorizer.engine.config import ADVERSARIAL, TrainDetectorConfig
from cadastral_vectorizer.engine.errors import InvalidParameter, TrainingError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.training.adversarial import LE_2020, RATE
from cadastral_vectorizer.engine.training.checkpoint import load_checkpoint
from cadastral_vectorizer.engine.training.detector import DetectorTrainer
from cadastral_vectorizer.models.detector import build_detector

TINY = {"widths": [16, 16, 32, 32], "blocks": [1, 1, 1, 1], "fpn_channels": 32, "rpn_channels": 16, "box_width": 32,
        "mask_width": 16, "dense_width": 16}  # fmt: skip
MASK_TERMS, BOX_TERMS = {"loss_mask_adversarial"}, {"loss_box_adversarial"}


class TinyTrainer(DetectorTrainer):
    """A detector small enough for a test."""

    def _build(self):
        return build_detector("compact", TINY)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    """Bright squares on dark ground; a second folder of bare ground with one square far from the rest."""
    folder = tmp_path_factory.mktemp("adversarial") / "chips"
    with ChipWriter(folder) as writer:
        labels = np.zeros((192, 192), np.int32)
        for value, (x, y) in enumerate(((20, 20), (100, 30), (40, 110), (130, 120)), start=1):
            labels[y : y + 40, x : x + 40] = value
        image = np.where(labels[..., None] > 0, np.uint8(210), np.uint8(60)).repeat(3, -1)
        writer.add("train", np.ascontiguousarray(image), labels, split="train", source="made", pixel_m=0.2)
    return str(folder)


def trainer(chips, folder, **changes):
    settings = {"steps": 4, "batch_size": 2, "crop_px": 128, "threads": 1, "precision": "float32", "device": "cpu",
                "trunk_share": 0.0, "warmup_share": 0.0, "seed": 3, **changes}  # fmt: skip
    made = TinyTrainer(TrainDetectorConfig(chips=(chips,), work_folder=str(folder), **settings), Reporter())
    made.load_data()
    return made


def advance(run, steps):
    for _ in range(steps):
        torch.manual_seed(run.config.seed * 1_000_003 + run.step)
        figures = run.train_step(*run.batch(run.step))
        run.step += 1
    return figures


def weights(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_each_kind_minimises_what_it_says(chips, tmp_path, kind):
    run = trainer(chips, tmp_path, adversarial=kind)
    names = set(run.losses(*run.batch(0)))
    assert (names >= MASK_TERMS) == (kind in ("mask", "both", "only"))
    assert (names >= BOX_TERMS) == (kind in ("box", "both", "only"))
    assert (names >= {"loss_box_reg", "loss_mask"}) == (kind != "only")
    assert names >= {"loss_classifier", "loss_objectness", "loss_rpn_box_reg", "loss_dense"}


def test_nothing_but_the_losses_changes(chips, tmp_path):
    """The same crops, samples and first losses with and without discriminators."""
    plain, played = (trainer(chips, tmp_path / k, adversarial=k) for k in ("none", "both"))
    found = []
    for run in (plain, played):
        torch.manual_seed(7)
        found.append({name: value.item() for name, value in run.losses(*run.batch(0)).items()})
    assert found[0].items() <= found[1].items()


def test_generator_step_leaves_the_discriminators_alone(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="both")
    losses = run.losses(*run.batch(0))
    before = weights(run.adversary.players)
    run.adversary.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(losses.values())).sum().backward()
    run.optimizer.step()
    assert all(p.grad is None for p in run.adversary.players.parameters())
    after = weights(run.adversary.players)
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_discriminator_step_leaves_the_detector_alone(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="both")
    before, judges = weights(run.model), weights(run.adversary.players)
    run.losses(*run.batch(0))
    assert all(p.grad is None for p in run.model.parameters())
    assert all(torch.equal(v, run.model.state_dict()[k]) for k, v in before.items())
    assert any(not torch.equal(v, run.adversary.players.state_dict()[k]) for k, v in judges.items())


def test_adversarial_gradient_reaches_the_heads(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="only")
    losses = run.losses(*run.batch(0))
    torch.stack([losses[name] for name in BOX_TERMS | MASK_TERMS]).sum().backward()
    heads = run.model.roi_heads
    assert heads.box_predictor.bbox_pred.weight.grad.abs().sum() > 0
    assert heads.mask_head.layers[0].weight.grad.abs().sum() > 0
    assert heads.box_predictor.cls_score.weight.grad is None
    assert run.model.rpn.head.cls_logits.weight.grad is None
    assert run.model.dense[0].weight.grad is None


def test_a_few_steps_teach_both_sides(chips, tmp_path):
    """On one batch again and again the mask discriminator finds the difference, and the detector closes it."""
    run = trainer(chips, tmp_path, adversarial="both", steps=60, batch_size=1, learning_rate=1e-2)
    images, targets = run.batch(0)
    entropies = []
    for _ in range(16):
        torch.manual_seed(1)
        figures = run.train_step(images, targets)
        run.step += 1
        entropies.append(figures["loss_mask"])
        assert figures["mask_discriminator"] < 0 and figures["box_discriminator"] > 0
    assert np.mean(entropies[-4:]) < 0.8 * np.mean(entropies[:4])


def test_masks_are_learnt_from_the_discriminator_alone(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="only", steps=200, batch_size=1, learning_rate=1e-2)
    images, targets = run.batch(0)

    def distance():
        torch.manual_seed(1)
        with torch.no_grad():
            run.model(images, targets)
        found = run.adversary.tap.take()
        return (found.masks - found.true_masks).abs().mean().item()

    before = distance()
    for _ in range(14):
        torch.manual_seed(1)
        run.train_step(images, targets)
        run.step += 1
    assert distance() < 0.85 * before, (distance(), before)


def test_a_batch_without_buildings_is_trained_on(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="both")
    images, targets = run.batch(0)
    empty = [{**t, "boxes": t["boxes"][:0], "labels": t["labels"][:0], "masks": t["masks"][:0]} for t in targets]
    run.train_step(images, targets)
    judges = weights(run.adversary.players)
    figures = run.train_step(images, empty)
    assert np.isfinite(list(figures.values())).all()
    assert not (BOX_TERMS | MASK_TERMS | {"box_discriminator", "mask_discriminator"}) & figures.keys()
    assert all(torch.equal(v, run.adversary.players.state_dict()[k]) for k, v in judges.items())


def test_the_trunk_warms_up_without_a_game(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="both", trunk_share=0.5)
    assert set(run.losses(*run.batch(0))) == {"loss_objectness", "loss_rpn_box_reg", "loss_dense"}


def test_discriminators_learn_at_a_fifth_of_the_rate(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="both", **{k: v for k, v in LE_2020.items() if k != "adversarial"})
    advance(run, 2)
    for group in run.adversary.optimizer.param_groups:
        assert group["lr"] == pytest.approx(RATE * run.optimizer.param_groups[0]["lr"])
    assert isinstance(run.adversary.optimizer, torch.optim.SGD)
    assert run.adversary.optimizer.param_groups[0]["momentum"] == 0.9
    assert run.adversary.optimizer.param_groups[0]["weight_decay"] == 1e-4


def test_resume_gives_the_weights_of_an_uninterrupted_run(chips, tmp_path):
    whole = trainer(chips, tmp_path / "whole", adversarial="both")
    advance(whole, 4)
    first = trainer(chips, tmp_path / "parts", adversarial="both")
    advance(first, 2)
    first.save()
    second = trainer(chips, tmp_path / "parts", adversarial="both")
    assert second.step == 2
    advance(second, 2)
    for a, b in ((whole.model, second.model), (whole.adversary.players, second.adversary.players)):
        other = b.state_dict()
        assert all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


@pytest.mark.parametrize(
    ("first", "then"),
    [({"adversarial": "both"}, {}), ({}, {"adversarial": "both"}), ({"adversarial": "box"}, {"adversarial": "mask"}),
     ({"adversarial": "both"}, {"adversarial": "both", "adversarial_depth": 3})],
)  # fmt: skip
def test_a_run_with_other_discriminators_is_not_continued(chips, tmp_path, first, then):
    trainer(chips, tmp_path, **first).save()
    with pytest.raises(TrainingError, match="discriminators"):
        trainer(chips, tmp_path, **then)


def test_the_averaged_weights_are_a_plain_detector(chips, tmp_path):
    run = trainer(chips, tmp_path, adversarial="both")
    advance(run, 1)
    build_detector("compact", TINY).load_state_dict(run.average.model.state_dict())
    assert not run.average.model.roi_heads._forward_pre_hooks


@pytest.mark.parametrize("changes", [{"adversarial": "gan"}, {"adversarial_depth": 2}, {"adversarial_depth": 6}])
def test_nonsense_is_refused(chips, tmp_path, changes):
    with pytest.raises(InvalidParameter):
        TrainDetectorConfig(chips=(chips,), work_folder=str(tmp_path), **changes).validate()


def test_the_command_line_plays(chips, tmp_path):
    """The bundled architecture, whose channels differ from the tiny one's."""
    options = {"chips": chips, "work-folder": tmp_path / "run", "adversarial": "both", "adversarial-depth": 3,
               "steps": 1, "batch-size": 1, "crop-px": 128, "trunk-share": 0, "threads": 1}  # fmt: skip
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    assert main(["train-detector", *words]) == 0
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    assert state["step"] == 1
    assert state["adversary"]["players"]["box.layers.0.weight"].shape[1] == 96


@pytest.mark.parametrize(
    "architecture", ["resnet50", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet34", "resnet101"))]
)
def test_the_published_architectures_play(chips, tmp_path, architecture):
    settings = TrainDetectorConfig(
        chips=(chips,), work_folder=str(tmp_path), architecture=architecture, adversarial="only", steps=2,
        batch_size=1, crop_px=128, trunk_share=0.0, threads=1, device="cpu", precision="float32",
    )  # fmt: skip
    run = DetectorTrainer(settings, Reporter())
    run.load_data()
    losses = run.losses(*run.batch(0))
    torch.stack(list(losses.values())).sum().backward()
    assert torch.isfinite(run.model.roi_heads.box_predictor.bbox_pred.weight.grad).all()
    assert losses.keys() >= BOX_TERMS | MASK_TERMS
    assert run.adversary.players["box"].layers[0].in_channels == 256
