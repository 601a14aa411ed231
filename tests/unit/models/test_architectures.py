"""The published architectures: as large as they should be, and usable as packages."""

from __future__ import annotations

import pytest
import torch
import torchvision
from cadastral_vectorizer.engine.config import ARCHITECTURES as OFFERED
from cadastral_vectorizer.models.detector import build_detector, predict
from cadastral_vectorizer.models.detector.mask_rcnn import ARCHITECTURES
from cadastral_vectorizer.models.package import open_package, write_package

NARROW = {"fpn_channels": 16, "rpn_channels": 16, "box_width": 32, "mask_width": 16, "dense_width": 16}
NARROW_STAGES = {"compact": [16, 16, 32, 32], "resnet34": [16, 16, 32, 32], "resnet50": [32, 64, 64, 128],
                 "resnet101": [32, 64, 64, 128]}  # fmt: skip


def test_the_dialog_offers_every_architecture():
    assert set(OFFERED) == set(ARCHITECTURES)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("name", ["resnet34", "resnet50", "resnet101"])
def test_trunks_have_the_published_size(name):
    with torch.device("meta"):  # shapes only
        ours = build_detector(name).trunk
        theirs = getattr(torchvision.models, name)()
    expected = count(theirs) - count(theirs.fc)  # a norm has two numbers a channel, whatever its kind
    assert count(ours.stem) + count(ours.stages) == expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_package_of_each_finds_the_same_after_being_written(name, tmp_path):
    parameters = {**NARROW, "widths": NARROW_STAGES[name], "stem_width": 16}
    torch.manual_seed(0)
    model = build_detector(name, parameters).eval()
    state = {key: t.half().float() if t.is_floating_point() else t for key, t in model.state_dict().items()}
    model.load_state_dict(state)  # packages hold half precision
    write_package(tmp_path / "p.zip", name=name, pixel_m=0.2, networks={"detector": (name, parameters, state)},
                  training={}, metrics={})  # fmt: skip
    loaded = open_package(tmp_path / "p.zip").detector()
    image = torch.randint(0, 255, (1, 3, 128, 128), dtype=torch.uint8)
    before, after = (predict(m, image, score_threshold=0.0)[0] for m in (model, loaded))
    assert [p.box for p in before] == [p.box for p in after]
    assert [p.score for p in before] == pytest.approx([p.score for p in after], abs=1e-5)


def test_gradients_reach_every_bottleneck():
    model = build_detector("resnet50", {**NARROW, "widths": NARROW_STAGES["resnet50"], "stem_width": 16})
    for name, parameter in model.trunk.named_parameters():
        if "norm3.weight" in name:
            parameter.data.fill_(1.0)  # they start at zero, which would stop the gradient of what is before
    model.trunk(torch.rand(1, 3, 64, 64))["0"].sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.trunk.stages[0].parameters())
