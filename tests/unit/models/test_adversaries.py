"""Discriminators, differentiable pooling and adversarial losses: by hand, and where gradients go."""

from __future__ import annotations

import math

import pytest
import torch
from cadastral_vectorizer.models.adversaries import BoxDiscriminator, HeadTap, MaskDiscriminator, pool_regions
from cadastral_vectorizer.models.detector import build_detector
from cadastral_vectorizer.models.losses.adversarial import box_discriminator_loss, box_generator_loss, multi_scale_l1

TINY = {"widths": [16, 16, 32, 32], "fpn_channels": 32, "rpn_channels": 16, "box_width": 32, "mask_width": 16,
        "dense_width": 16}  # fmt: skip


def target(boxes, size=128):
    masks = torch.zeros(len(boxes), size, size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": masks, "unknown": torch.zeros(size, size, dtype=torch.bool),
    }  # fmt: skip


# -- pooling ------------------------------------------------------------------------------------------


def ramp(size, stride):
    """A map whose values are the pixel coordinates x and y of its cell centres."""
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) * stride
    return torch.stack((centres.expand(size, size), centres[:, None].expand(size, size)))[None]


def test_pooled_ramp_is_the_mean_coordinate_of_each_cell():
    maps = (ramp(32, 4), ramp(16, 8))
    boxes = torch.tensor([[20.0, 30.0, 84.0, 62.0], [16.0, 16.0, 112.0, 112.0]], dtype=torch.float64)
    found = pool_regions(maps, (4, 8), boxes, torch.zeros(2).long(), torch.tensor([0, 1]), size=4)
    assert torch.allclose(found[0, 0, 0], torch.tensor([28.0, 44.0, 60.0, 76.0], dtype=torch.float64))
    assert torch.allclose(found[0, 1, :, 0], torch.tensor([34.0, 42.0, 50.0, 58.0], dtype=torch.float64))
    assert torch.allclose(found[1, 0, 0], torch.tensor([28.0, 52.0, 76.0, 100.0], dtype=torch.float64))


def test_pooling_keeps_order_and_image_of_the_boxes():
    values = torch.arange(3.0).view(3, 1, 1, 1)
    maps = values.expand(3, 2, 8, 8), 10 + values.expand(3, 2, 4, 4)
    images, levels = torch.tensor([2, 0, 1, 0]), torch.tensor([1, 0, 1, 1])
    boxes = torch.tensor([[8.0, 8.0, 24.0, 24.0]]).repeat(4, 1)
    found = pool_regions(maps, (4, 8), boxes, images, levels, size=2)
    assert found.mean((1, 2, 3)).tolist() == pytest.approx([12.0, 0.0, 11.0, 10.0])


def test_pooling_of_no_boxes_is_empty():
    none = torch.zeros(0).long()
    assert pool_regions((torch.zeros(1, 5, 8, 8),), (4,), torch.zeros(0, 4), none, none, size=7).shape == (0, 5, 7, 7)


def test_gradient_of_box_coordinates_equals_finite_differences():
    """Through pooling and the box discriminator, in double precision."""
    torch.manual_seed(3)
    maps = (torch.randn(2, 32, 16, 16, dtype=torch.float64), torch.randn(2, 32, 8, 8, dtype=torch.float64))
    judge = BoxDiscriminator(32, width=16, depth=5).double()
    images, levels = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])

    def loss(boxes):
        regions = pool_regions(maps, (4, 8), boxes, images, levels, size=28)
        return torch.nn.functional.softplus(-judge.layers(regions).mean((1, 2, 3))).sum()

    boxes = torch.tensor([[10.3, 12.1, 40.7, 33.9], [5.2, 3.3, 50.1, 58.4], [9.7, 20.2, 60.6, 55.8]],
                         dtype=torch.float64, requires_grad=True)  # fmt: skip
    (gradient,) = torch.autograd.grad(loss(boxes), boxes)
    assert (gradient.abs() > 1e-7).all()
    step = 1e-6
    for row in range(3):
        for column in range(4):
            change = torch.zeros_like(boxes)
            change[row, column] = step
            numeric = (loss(boxes + change) - loss(boxes - change)) / (2 * step)
            assert gradient[row, column].item() == pytest.approx(numeric.item(), rel=1e-3, abs=1e-8)


# -- discriminators -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "sizes"), [(3, [14, 7, 4]), (4, [14, 7, 4, 2]), (5, [14, 7, 3, 2, 1])])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_mask_discriminator_gives_every_level(depth, sizes, count):
    judge = MaskDiscriminator(24, width=16, depth=depth)
    levels = judge(torch.rand(count, 1, 28, 28), torch.randn(count, 24, 28, 28))
    widths = [16, 32, 64, 128, 128][:depth]
    assert [tuple(x.shape) for x in levels] == [(count, w, s, s) for w, s in zip(widths, sizes, strict=True)]


@pytest.mark.parametrize("size", [28, 56])
@pytest.mark.parametrize("depth", [3, 4, 5])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_box_discriminator_gives_one_logit_a_box(depth, size, count):
    assert BoxDiscriminator(24, width=16, depth=depth)(torch.randn(count, 24, size, size)).shape == (count,)


def test_mask_discriminator_stays_bounded_while_it_maximises():
    """Its loss has no bound of its own; spectral norm and norms without weights are what bounds it."""
    torch.manual_seed(0)
    judge = MaskDiscriminator(8, width=16, depth=3)
    optimizer = torch.optim.SGD(judge.parameters(), lr=100.0)
    real, fake, regions = torch.ones(2, 1, 28, 28), torch.rand(2, 1, 28, 28), torch.randn(2, 8, 28, 28)
    for _ in range(40):
        distance = multi_scale_l1(judge(real, regions), judge(fake, regions))
        optimizer.zero_grad()
        (-distance).backward()
        optimizer.step()
    assert 0.0 < distance.item() < 5.0


# -- losses -------------------------------------------------------------------------------------------


def test_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0])

    def entropy(logit, truth):
        p = 1 / (1 + math.exp(-logit))
        return -math.log(p if truth else 1 - p)

    on_real = (entropy(2, True) + entropy(0, True)) / 2
    on_fake = (entropy(-1, False) + entropy(0, False)) / 2
    assert box_discriminator_loss(real, fake).item() == pytest.approx(on_real + on_fake, rel=1e-6)
    assert box_generator_loss(fake).item() == pytest.approx((entropy(-1, True) + entropy(0, True)) / 2, rel=1e-6)
    one = [torch.zeros(1, 2, 2, 2), torch.zeros(1, 1, 1, 1)]
    two = [torch.full((1, 2, 2, 2), 0.5), torch.full((1, 1, 1, 1), -5.0)]
    assert multi_scale_l1(one, two).item() == pytest.approx((8 * 0.5 + 5.0) / 9)


def test_losses_of_nothing_are_zero():
    none = torch.zeros(0)
    levels = [torch.zeros(0, 4, 2, 2)]
    assert [f.item() for f in (box_discriminator_loss(none, none), box_generator_loss(none),
                               multi_scale_l1(levels, levels))] == [0.0, 0.0, 0.0]  # fmt: skip


def test_generator_loss_does_not_saturate():
    """A box the discriminator rejects without doubt still gets a full gradient."""
    logit = torch.tensor([-30.0], requires_grad=True)
    box_generator_loss(logit).backward()
    assert logit.grad.item() == pytest.approx(-1.0, abs=1e-6)


# -- what the tap hands over --------------------------------------------------------------------------


@pytest.fixture
def tapped():
    torch.manual_seed(5)
    model = build_detector("compact", TINY).train()
    tap = HeadTap(model)
    images = torch.randint(0, 255, (2, 3, 128, 128), dtype=torch.uint8)
    boxes = [[(10, 12, 52, 60), (70, 66, 120, 110)], [(30, 20, 90, 100)]]
    losses, _, _ = model(images, [target(b) for b in boxes])
    return model, tap, losses, boxes


def test_tap_matches_every_positive_with_its_building(tapped):
    _, tap, losses, boxes = tapped
    found = tap.take()
    assert len(found) >= 3
    truths = torch.tensor([b for group in boxes for b in group], dtype=torch.float32)
    owner = torch.tensor([0, 0, 1])
    for image, span, true in zip(found.images, found.proposals, found.true_boxes, strict=True):
        match = (truths == true).all(1).nonzero().item()
        assert owner[match] == image
        corner = torch.maximum(span[:2], true[:2]), torch.minimum(span[2:], true[2:])
        shared = (corner[1] - corner[0]).clamp(min=0).prod()
        area = (span[2:] - span[:2]).prod() + (true[2:] - true[:2]).prod() - shared
        assert shared / area >= 0.5
    # what torchvision's own mask loss makes of the same masks
    entropy = torch.nn.functional.binary_cross_entropy(found.masks, found.true_masks)
    assert entropy.item() == pytest.approx(losses["loss_mask"].item(), rel=1e-4)
    assert tap.take() is None


def test_features_are_detached_and_boxes_and_masks_are_not(tapped):
    model, tap, _, _ = tapped
    found = tap.take()
    assert not any(f.requires_grad for f in found.features)
    assert not found.proposals.requires_grad and not found.true_boxes.requires_grad
    assert found.boxes.requires_grad and found.masks.requires_grad


def test_gradient_of_each_term_reaches_its_head_alone(tapped):
    model, tap, _, _ = tapped
    found = tap.take()
    channels = model.trunk.out_channels
    boxes, masks = BoxDiscriminator(channels, width=16), MaskDiscriminator(channels, width=16)
    box_head, mask_head = model.roi_heads.box_predictor.bbox_pred.weight, model.roi_heads.mask_head.layers[0].weight
    regions = found.regions(found.proposals, 28)
    of_box = torch.autograd.grad(
        box_generator_loss(boxes(found.regions(found.boxes, 28))), [box_head, mask_head],
        retain_graph=True, allow_unused=True,
    )  # fmt: skip
    of_mask = torch.autograd.grad(
        multi_scale_l1(masks(found.true_masks, regions), masks(found.masks, regions)), [box_head, mask_head],
        allow_unused=True,
    )  # fmt: skip
    assert of_box[0].abs().sum() > 0 and of_box[1] is None
    assert of_mask[0] is None and of_mask[1].abs().sum() > 0
    assert not of_box[0].view(2, 4, -1)[0].any(), "the deltas of the background are nobody's"


def test_thinned_keeps_rows_together(tapped):
    _, tap, _, _ = tapped
    found = tap.take()
    few = found.thinned(2)
    assert len(few) == 2 and few.features is found.features
    assert torch.equal(few.boxes, found.boxes[[0, len(found) - 1]])
    assert torch.equal(few.true_masks, found.true_masks[[0, len(found) - 1]])
    assert found.thinned(10**6) is found


def test_a_batch_without_buildings_has_no_instances():
    model = build_detector("compact", TINY).train()
    tap = HeadTap(model)
    model(torch.zeros(1, 3, 128, 128, dtype=torch.uint8), [target([])])
    assert len(tap.take()) == 0
    model(torch.zeros(1, 3, 128, 128, dtype=torch.uint8), [target([])], heads=False)
    assert tap.take() is None
