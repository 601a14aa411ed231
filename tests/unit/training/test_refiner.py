"""Training a refiner: one pair is learnt, a resumed run equals an uninterrupted one, D is frozen."""

import dataclasses
import json

import cv2
import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.config import TrainRefinerConfig
from cadastral_vectorizer.engine.errors import Cancelled, InvalidParameter, OutOfMemory, TrainingError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.training.refiner import RefinerRun, train_refiner
from cadastral_vectorizer.engine.training.refiner_step import (
    PAPER_PRESETS,
    Batch,
    RefinerTrainer,
    choose_recipe,
    stack_pairs,
)
from cadastral_vectorizer.models.losses import refiner as losses

torch.set_num_threads(1)


def write_pairs(folder, count=6, size=64):
    """Mask pairs and images: bright roofs, and masks that miss a strip of them."""
    for part in ("predicted", "exact", "image"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(1)
    for index in range(count):
        x, y = rng.integers(14, 22, 2)
        truth = np.zeros((size, size), np.uint8)
        truth[y : y + 28, x : x + 24] = 255
        coarse = np.roll(truth, 4, axis=1)
        image = np.where(truth[:, :, None] > 0, 210, 60).astype(np.uint8).repeat(3, axis=2)
        for part, picture in (("predicted", coarse), ("exact", truth), ("image", image)):
            cv2.imwrite(str(folder / part / f"{index}.png"), picture)
    return folder


@pytest.fixture
def pairs(tmp_path):
    return write_pairs(tmp_path / "pairs")


def make_config(tmp_path, pairs, **changes):
    settings = {"work_folder": str(tmp_path / "work"), "pairs": str(pairs), "device": "cpu", "threads": 1,
                "precision": "float32", "batch_size": 2, "steps": 6, "validate_every": 3}  # fmt: skip
    return TrainRefinerConfig.from_dict({**settings, **changes})


def weights(folder):
    state = torch.load(folder / "last.pt", weights_only=True)["trainer"]
    return {**state["model"], **{f"ema.{k}": v for k, v in state["average"].items()}}


def one_batch(tmp_path, pairs, variant, **changes):
    """A trainer and two pairs of 64 x 64."""
    run = RefinerRun(make_config(tmp_path, pairs, variant=variant, **changes), Reporter())
    batch = stack_pairs(run.validation["pairs"][:2], torch.device("cpu"))
    step = batch.image.shape[-1] // 64
    parts = (getattr(batch, f.name)[..., ::step, ::step] for f in dataclasses.fields(batch))
    return run.trainer, Batch(*(part.contiguous() for part in parts))


@pytest.mark.parametrize("variant,steps", [("guided", 30), ("tiny16-32", 45)])
def test_a_single_batch_is_learnt_by_heart(tmp_path, pairs, variant, steps):
    trainer, batch = one_batch(tmp_path, pairs, variant, learning_rate=5e-3)
    before = ((batch.coarse >= 0.5) != (batch.truth >= 0.5)).float().mean().item()
    for _ in range(steps):
        trainer.optimize(batch, share=0.1)
    trainer.model.eval()
    with torch.no_grad():
        logits = trainer.model(batch.image, batch.coarse, batch.others).logits
    wrong = ((logits >= 0) != (batch.truth >= 0.5)).float().mean().item()
    assert before > 0.02
    assert wrong < 0.2 * before


def test_the_papers_generator_learns_against_its_discriminator(tmp_path, pairs):
    trainer, batch = one_batch(tmp_path, pairs, "vinokurov")
    figures = [trainer.optimize(batch, share=0.0) for _ in range(8)]
    assert figures[-1]["loss"] < 0.75 * figures[0]["loss"]  # lambda x L1
    assert {"loss", "deception", "discriminator"} == set(figures[0])


def test_the_discriminator_is_frozen_in_the_generator_step(tmp_path, pairs):
    trainer, batch = one_batch(tmp_path, pairs, "guided", adversarial_weight=0.1)
    seen = {}

    def watch(logits, batch):
        result = play(logits, batch)
        seen["frozen"] = not any(p.requires_grad for p in trainer.discriminator.parameters())
        seen["after its own step"] = {k: v.clone() for k, v in trainer.discriminator.state_dict().items()}
        return result

    play, trainer._play = trainer._play, watch
    start = {k: v.clone() for k, v in trainer.discriminator.state_dict().items()}
    generator = [p.clone() for p in trainer.model.parameters()]
    trainer.optimize(batch, share=0.9)
    final = trainer.discriminator.state_dict()
    trained = [n for n, _ in trainer.discriminator.named_parameters()]
    assert seen["frozen"]
    assert any(not torch.equal(start[n], final[n]) for n in trained)
    assert all(torch.equal(seen["after its own step"][n], final[n]) for n in trained)
    assert any(not torch.equal(a, b) for a, b in zip(generator, trainer.model.parameters(), strict=True))


def test_the_discriminator_of_the_default_joins_late(tmp_path, pairs):
    trainer, batch = one_batch(tmp_path, pairs, "guided", adversarial_weight=0.1)
    assert "deception" not in trainer.optimize(batch, share=0.5)
    assert "deception" in trainer.optimize(batch, share=0.8)


@pytest.mark.parametrize("variant,settings", [("guided", {"adversarial_weight": 0.05}), ("tiny16-32", {})])
def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, pairs, variant, settings):
    whole = make_config(tmp_path, pairs, work_folder=str(tmp_path / "whole"), variant=variant, **settings)
    train_refiner(whole, Reporter())

    class Impatient(Reporter):
        def progress(self, fraction, message=""):
            if message == "step 4":
                self.cancel()
            super().progress(fraction, message)

    broken = make_config(tmp_path, pairs, work_folder=str(tmp_path / "broken"), variant=variant, **settings)
    with pytest.raises(Cancelled):
        train_refiner(broken, Impatient())
    card = train_refiner(broken, Reporter())
    first, second = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    assert card["step"] in (3, 6)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_reports_before_and_after_and_can_be_asked_again(tmp_path, pairs):
    config = make_config(tmp_path, pairs)
    card = train_refiner(config, Reporter())
    assert train_refiner(config, Reporter()) == card
    before, after = card["validation"]["pairs"]["before"], card["validation"]["pairs"]["after"]
    assert set(before) == set(after) >= {
        "iou", "iou50_95", "precision", "recall", "f1", "pixel_accuracy", "boundary_iou", "hausdorff_px",
        "hausdorff95_px",
    }  # fmt: skip
    assert 0.5 < before["iou"] < 0.95
    lines = [json.loads(line) for line in (tmp_path / "work" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]


def test_patience_ends_a_run_that_no_longer_gains(tmp_path, pairs):
    config = make_config(tmp_path, pairs, steps=500, validate_every=1, patience=2, learning_rate=1e-7)
    train_refiner(config, Reporter())
    assert torch.load(tmp_path / "work" / "last.pt", weights_only=True)["trainer"]["step"] < 20


def test_a_work_folder_of_another_variant_is_refused(tmp_path, pairs):
    train_refiner(make_config(tmp_path, pairs, steps=1, validate_every=1), Reporter())
    with pytest.raises(TrainingError, match="another variant"):
        train_refiner(make_config(tmp_path, pairs, variant="tiny16-32"), Reporter())


def test_base_weights_are_where_training_starts(tmp_path, pairs):
    card = train_refiner(make_config(tmp_path, pairs, steps=3), Reporter())
    onwards = make_config(tmp_path, pairs, work_folder=str(tmp_path / "next"), base=card["checkpoint"])
    run = RefinerRun(onwards, Reporter())
    best = torch.load(card["checkpoint"], weights_only=True)["weights"]
    assert all(torch.equal(best[n], v) for n, v in run.trainer.model.state_dict().items())


def test_what_a_killed_run_wrote_after_its_checkpoint_does_not_count(tmp_path, pairs):
    card = train_refiner(make_config(tmp_path, pairs, steps=3), Reporter())
    with open(tmp_path / "work" / "log.jsonl", "a") as log:
        log.write(json.dumps({**card["history"][0], "step": 5, "score": 1.0}) + '\n{"step": 6, "va')
    for _ in range(2):
        onwards = train_refiner(make_config(tmp_path, pairs, steps=6), Reporter())
        assert [entry["step"] for entry in onwards["history"]] == [3, 6]


def test_a_true_mask_that_is_empty_or_fills_the_picture_can_be_learnt(tmp_path, pairs):
    for name, value in (("0", 0), ("1", 255)):
        cv2.imwrite(str(pairs / "exact" / f"{name}.png"), np.full((64, 64), value, np.uint8))
    card = train_refiner(make_config(tmp_path, pairs), Reporter())
    assert all(np.isfinite(entry["loss"]) for entry in card["history"])
    assert all(np.isfinite(list(card["validation"]["all"]["after"].values())))


def test_base_weights_are_measured_first_and_kept_if_nothing_beats_them(tmp_path, pairs):
    first = train_refiner(make_config(tmp_path, pairs, steps=30, learning_rate=5e-3), Reporter())
    worse = make_config(
        tmp_path, pairs, work_folder=str(tmp_path / "next"), base=first["checkpoint"], steps=2, validate_every=1,
        learning_rate=0.5,
    )  # fmt: skip
    card = train_refiner(worse, Reporter())
    assert card["step"] == 0 and [entry["step"] for entry in card["history"]] == [0, 1, 2]
    assert card["validation"]["all"] == first["validation"]["all"]
    assert "they are kept" in (tmp_path / "next" / "report.html").read_text()


def test_base_weights_of_another_variant_are_refused(tmp_path, pairs):
    card = train_refiner(make_config(tmp_path, pairs, steps=1, validate_every=1), Reporter())
    other = make_config(
        tmp_path, pairs, work_folder=str(tmp_path / "next"), base=card["checkpoint"], variant="res16-32"
    )
    with pytest.raises(TrainingError, match="do not fit the variant res16-32"):
        RefinerRun(other, Reporter())


def test_trained_weights_are_changed_more_slowly(tmp_path):
    fresh, base, given = (
        choose_recipe(TrainRefinerConfig(work_folder="w", pairs="p", **changes)).learning_rate
        for changes in ({}, {"base": "b.pt"}, {"base": "b.pt", "learning_rate": 0.1})
    )
    assert (base, given) == (fresh / 4, 0.1)


def test_measurements_can_be_spread_over_the_budget(tmp_path, pairs):
    card = train_refiner(make_config(tmp_path, pairs, steps=6, validations=2), Reporter())
    assert [entry["step"] for entry in card["history"]] == [3, 6]


def test_a_batch_that_does_not_fit_into_memory_is_halved(tmp_path, pairs):
    config = make_config(tmp_path, pairs, variant="tiny16-32", batch_size=4, steps=2)
    run = RefinerRun(config, Reporter())
    learn, sizes = run.trainer.optimize, []

    def small_machine(batch, share):
        sizes.append(len(batch.image))
        if len(batch.image) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return learn(batch, share)

    run.trainer.optimize, limit = small_machine, 2
    run.go()
    assert sizes == [4, 2, 2] and run.trainer.step == 2
    limit = 0
    with pytest.raises(OutOfMemory, match="Not even one crop"):
        run.learn(run.draw_batch(0))


@pytest.mark.parametrize("terms", [("bce",), ("dice",), ("boundary",), ("bce", "dice"), ("bce", "dice", "boundary")])
def test_losses_can_be_chosen(tmp_path, terms):
    config = TrainRefinerConfig(work_folder="w", pairs="p", variant="tiny16-32", loss_terms=terms)
    generator = torch.Generator().manual_seed(0)
    logits, truth = torch.randn(1, 1, 8, 8, generator=generator), torch.eye(8)[None, None]
    known = torch.ones_like(truth)
    expected = losses.segmentello_loss(logits, truth, known, terms=terms)
    assert choose_recipe(config).loss(logits, truth, known).item() == pytest.approx(expected.item())


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, pairs):
    trainer, batch = one_batch(tmp_path, pairs, "guided")
    with torch.no_grad():
        trainer.model.head.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match="smaller learning rate"):
        trainer.optimize(batch, share=0.1)


def test_the_papers_settings_are_kept_as_presets(tmp_path):
    assert PAPER_PRESETS["table1-best"] == {
        "learning_rate": 1e-6, "batch_size": 10, "epochs": 500, "lambda_l1": 100.0
    }  # fmt: skip
    assert [PAPER_PRESETS[f"figure{n}"]["lambda_l1"] for n in (6, 7, 8)] == [80, 100, 120]
    for preset in PAPER_PRESETS.values():
        config = TrainRefinerConfig(
            work_folder="w", pairs="p", variant="vinokurov", learning_rate=preset["learning_rate"],
            lambda_l1=preset["lambda_l1"],
        )  # fmt: skip
        recipe = choose_recipe(config)
        logits, known = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
        assert recipe.loss(logits, known, known).item() == pytest.approx(preset["lambda_l1"])
        assert recipe.learning_rate == preset["learning_rate"]


@pytest.mark.parametrize(
    "settings,message",
    [
        ({"work_folder": ""}, "work_folder is empty"),
        ({"chips": ["a"]}, "Give one of chips and pairs"),
        ({"variant": "unet"}, "Choose one of guided, vinokurov"),
        ({"steps": 0}, "steps is 0"),
        ({"predictions": "x"}, "Give the chips"),
    ],
)
def test_wrong_settings_are_refused_with_a_sentence(tmp_path, pairs, settings, message):
    with pytest.raises(InvalidParameter, match=message):
        config = make_config(tmp_path, pairs, **settings)
        RefinerTrainer(config, torch.device("cpu"), bfloat16=False)


def test_the_report_shows_figures_curves_and_pictures(tmp_path, pairs):
    card = train_refiner(make_config(tmp_path, pairs), Reporter())
    page = (tmp_path / "work" / "report.html").read_text()
    assert card["report"].endswith("report.html")
    assert page.count("<polyline") == 11  # loss, five figures, and their levels before
    assert "data:image/jpeg;base64," in page
    assert f"{card['validation']['pairs']['after']['boundary_iou']:.4f}" in page
