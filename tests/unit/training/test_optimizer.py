"""How a step is made: optimisers, the slower trunk, the pull to the start, pieces of a batch, lack of memory."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from cadastral_vectorizer.engine.config import TrainDetectorConfig
from cadastral_vectorizer.engine.errors import InvalidParameter, OutOfMemory
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.training.detector import DetectorTrainer
from cadastral_vectorizer.engine.training.optimizer import make_optimizer
from cadastral_vectorizer.models.detector import build_detector
from torch import nn

CONFIG = TrainDetectorConfig(
    chips=("-",), work_folder="-", learning_rate=0.1, weight_decay=0.0, steps=10, batch_size=4, device="cpu",
    precision="float32", trunk_share=0.0,
)  # fmt: skip
TINY = {"widths": [16, 16, 32, 32], "fpn_channels": 32, "rpn_channels": 32, "box_width": 32, "mask_width": 16,
        "dense_width": 16}  # fmt: skip


def pair():
    """A trunk and a head of one weight each, both 1, with gradient 1."""
    model = nn.Sequential(OrderedDict(trunk=nn.Linear(1, 1, bias=False), head=nn.Linear(1, 1, bias=False)))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
        parameter.grad = torch.ones_like(parameter)
    return model


def stepped(**changes):
    model = pair()
    optimizer = make_optimizer(model, replace(CONFIG, **changes), is_anchored=True)
    for group in optimizer.param_groups:
        group["lr"] *= group["rate"]
    optimizer.step()
    return model.trunk.weight.item(), model.head.weight.item()


def test_sgd_by_hand():
    # Nesterov at the first step: gradient + momentum * gradient
    assert stepped(optimizer="sgd") == pytest.approx((1 - 0.1 * 1.9,) * 2)


def test_adamw_by_hand():
    assert stepped() == pytest.approx((0.9, 0.9), abs=1e-6)  # the first step is as long as the learning rate


def test_the_trunk_learns_more_slowly():
    assert stepped(trunk_rate=0.25) == pytest.approx((0.975, 0.9), abs=1e-6)


def test_weights_are_drawn_to_where_they_started():
    # after the step to 0.9, a share of 0.1 * 2 of the way back to 1
    assert stepped(anchor=2.0) == pytest.approx((0.92, 0.92), abs=1e-6)
    assert stepped(anchor=2.0, weight_decay=0.5) == pytest.approx((0.92, 0.92), abs=1e-6)  # not to zero as well


@pytest.mark.parametrize("changes", [{"optimizer": "lion"}, {"accumulate": 9}, {"ema_decay": 1.0}, {"anchor": -1.0}])
def test_nonsense_is_refused(changes):
    with pytest.raises(InvalidParameter, match=next(iter(changes))):
        replace(CONFIG, **changes).validate()


class TinyTrainer(DetectorTrainer):
    """Losses that add over the images, so that pieces must give the same step; memory for `ROOM` images."""

    ROOM = 100
    ERROR: type[Exception] = MemoryError

    def _build(self):
        torch.manual_seed(0)
        return build_detector("compact", TINY)

    def losses(self, images, targets):
        if len(images) > self.ROOM:
            raise self.ERROR("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes")
        return {"loss_dense": self.model.trunk(images.float() / 255)["0"].square().mean()}


class Warnings(Reporter):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, event, **fields):
        if fields.get("level") == "warning":
            self.lines.append(fields["message"])


def after_a_step(folder, kind, **changes):
    reporter = Warnings()
    trainer = kind(replace(CONFIG, work_folder=str(folder), learning_rate=1e-3, **changes), reporter)
    images = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    loss = trainer.train_step(images, [{}] * 4)["loss_dense"]
    return trainer, loss, reporter.lines


def test_pieces_of_a_batch_give_the_step_of_the_whole(tmp_path):
    whole, loss, _ = after_a_step(tmp_path / "a", TinyTrainer)
    parts, loss_of_parts, _ = after_a_step(tmp_path / "b", TinyTrainer, accumulate=4)
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_a_batch_that_does_not_fit_is_computed_in_pieces_and_stays_so(tmp_path, error):
    kind = type("Short", (TinyTrainer,), {"ROOM": 1, "ERROR": error})
    trainer, loss, warnings = after_a_step(tmp_path / "a", kind)
    assert trainer.pieces == 4 and len(warnings) == 2
    _, whole, _ = after_a_step(tmp_path / "b", TinyTrainer)
    assert loss == pytest.approx(whole, rel=1e-5)
    trainer.save()
    assert kind(trainer.config, Reporter()).pieces == 4  # a run that goes on remembers


def test_not_even_one_crop_fits(tmp_path):
    with pytest.raises(OutOfMemory, match="Not even one crop"):
        after_a_step(tmp_path, type("None", (TinyTrainer,), {"ROOM": 0}))


def test_other_errors_are_passed_on(tmp_path):
    class Broken(TinyTrainer):
        def losses(self, images, targets):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        after_a_step(tmp_path, Broken)
