"""Segmenters: shapes, weights taken over from a detector, packages of either kind."""

from __future__ import annotations

import pytest
import torch
from cadastral_vectorizer.engine.errors import ModelPackageError
from cadastral_vectorizer.models.detector import build_detector
from cadastral_vectorizer.models.package import open_package, write_package
from cadastral_vectorizer.models.seggan import ImageDiscriminator, ImageGenerator, to_image_range
from cadastral_vectorizer.models.segmenters import ARCHITECTURES, build_segmenter, take_over

TRUNK = {"widths": [16, 16, 32, 32], "fpn_channels": 16, "dense_width": 16}
TINY = {**TRUNK, "rpn_channels": 16, "box_width": 32, "mask_width": 16}


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_segmenter_answers_at_stride_four_and_learns(architecture):
    model = build_segmenter(architecture, TRUNK if architecture == "compact" else {}).train()
    logits = model(torch.randint(0, 256, (1, 3, 64, 128), dtype=torch.uint8))
    assert logits.shape == (1, 3, 16, 32) and logits.dtype == torch.float32
    logits.sum().backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    assert all(name.startswith("trunk.fpn.layer_blocks") for name in unused)  # coarse levels, which a detector has
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())


def test_deeplab_answers_buildings_alone_when_asked():
    model = build_segmenter("deeplabv3_mobilenet_v3", {"fields": 1}).eval()
    assert model.fields == ("interior",)
    assert model(torch.zeros((1, 3, 64, 64), dtype=torch.uint8)).shape == (1, 1, 16, 16)


def test_a_detectors_trunk_and_dense_head_are_a_segmenter():
    torch.manual_seed(1)
    detector = build_detector("compact", TINY).eval()
    segmenter = build_segmenter("compact", TRUNK).eval()
    segmenter.load_state_dict(take_over(detector.state_dict()))
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(segmenter(images), detector(images)[2])


@pytest.mark.parametrize("architecture, parameters", [
    ("unet", {}), ("deeplabv3_resnet50", {"fields": 4}), ("compact", {"depth": 3})
])  # fmt: skip
def test_unknown_architectures_and_parameters_are_refused(architecture, parameters):
    with pytest.raises(ModelPackageError, match="Segmenter"):
        build_segmenter(architecture, parameters)


def test_a_package_holds_a_segmenter_in_place_of_a_detector(tmp_path):
    model = build_segmenter("compact", TRUNK)
    write_package(tmp_path / "s.zip", name="s", pixel_m=0.2, training={}, metrics={},
                  networks={"segmenter": ("compact", TRUNK, model.state_dict())})  # fmt: skip
    package = open_package(tmp_path / "s.zip")
    assert package.has_segmenter and not package.has_refiner
    assert package.segmenter().fields == ("interior", "edge", "core")
    with pytest.raises(ModelPackageError, match="has no detector"):
        package.detector()


def test_generator_and_discriminator_shapes():
    generator, discriminator = ImageGenerator(8), ImageDiscriminator(8)
    image = generator(torch.rand(2, 1, 64, 96))
    assert image.shape == (2, 3, 64, 96) and image.abs().max() <= 1
    assert discriminator(image).shape == (2, 1, 7, 11)
    convolutions = [m for m in generator.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 4
    assert sum(isinstance(m, torch.nn.ConvTranspose2d) for m in generator.modules()) == 4
    assert all(m.p == 0.5 for m in generator.modules() if isinstance(m, torch.nn.Dropout))
    assert sum(isinstance(m, torch.nn.Conv2d) for m in discriminator.modules()) == 4


def test_image_range():
    assert to_image_range(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
