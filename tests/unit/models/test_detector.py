"""The detector: pooling, pasting, losses and what stays out of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.errors import ModelPackageError
from cadastral_vectorizer.models.detector import build_detector, predict
from cadastral_vectorizer.models.detector.mask_rcnn import LEVELS, STRIDES
from cadastral_vectorizer.models.detector.predict import paste_mask
from cadastral_vectorizer.models.detector.roi_align import PyramidRoIAlign
from cadastral_vectorizer.models.losses import dense_loss
from torchvision.ops import MultiScaleRoIAlign

TINY = {"widths": [16, 16, 32, 32], "fpn_channels": 16, "rpn_channels": 16, "box_width": 32, "mask_width": 16,
        "dense_width": 16}  # fmt: skip


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return build_detector("compact", TINY)


def target(size=128, box=(20, 30, 80, 90)):
    x0, y0, x1, y1 = box
    mask = torch.zeros(1, size, size, dtype=torch.uint8)
    mask[0, y0:y1, x0:x1] = 1
    return {
        "boxes": torch.tensor([box], dtype=torch.float32), "labels": torch.ones(1, dtype=torch.int64),
        "masks": mask, "unknown": torch.zeros(size, size, dtype=torch.bool),
    }  # fmt: skip


def pyramid(channels=8, images=2):
    return {name: torch.randn(images, channels, 256 // s, 256 // s) for name, s in zip(LEVELS, STRIDES, strict=True)}


def random_boxes(count):
    corner = torch.rand(count, 2) * 150
    return torch.cat([corner, corner + 2 + torch.rand(count, 2) * 120], 1)


def test_roi_align_equals_torchvision():
    torch.manual_seed(1)
    features, boxes = pyramid(), [random_boxes(30), random_boxes(17)]
    ours = PyramidRoIAlign(LEVELS, STRIDES, 7)(features, boxes, [(256, 256)] * 2)
    theirs = MultiScaleRoIAlign(LEVELS, 7, 2, canonical_scale=112, canonical_level=4)(features, boxes, [(256, 256)] * 2)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_roi_align_gradient_equals_torchvision():
    torch.manual_seed(2)
    boxes, grads = [random_boxes(9), random_boxes(5)], []
    base = pyramid(channels=3)
    for pool in (
        PyramidRoIAlign(LEVELS, STRIDES, 7),
        MultiScaleRoIAlign(LEVELS, 7, 2, canonical_scale=112, canonical_level=4),
    ):
        features = {k: v.clone().requires_grad_() for k, v in base.items()}
        pool(features, boxes, [(256, 256)] * 2).square().sum().backward()
        grads.append([f.grad if f.grad is not None else torch.zeros_like(f) for f in features.values()])
    for ours, theirs in zip(*grads, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-3)


def test_roi_align_of_no_boxes_is_empty():
    out = PyramidRoIAlign(LEVELS, STRIDES, 7)(pyramid(), [torch.zeros(0, 4)] * 2, [(256, 256)] * 2)
    assert out.shape == (0, 8, 7, 7)


def test_compact_detector_is_small():
    model = build_detector("compact")
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert millions < 6.5  # under 13 MB in float16


def test_unknown_architecture_is_refused_with_the_alternatives():
    with pytest.raises(ModelPackageError, match="compact"):
        build_detector("yolo")


def test_training_gives_every_loss_and_reaches_every_parameter(tiny):
    tiny.train()
    losses, detections, dense = tiny(torch.randint(0, 255, (2, 3, 128, 128), dtype=torch.uint8), [target(), target()])
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}
    assert dense.shape == (2, 3, 32, 32)
    (sum(losses.values()) + dense.square().mean()).backward()
    assert all(p.grad is not None for p in tiny.parameters())


def test_inference_gives_boxes_scores_and_masks(tiny):
    tiny.eval()
    with torch.inference_mode():
        losses, detections, _ = tiny(torch.randint(0, 255, (2, 3, 128, 128), dtype=torch.uint8))
    assert losses == {} and len(detections) == 2
    assert detections[0]["masks"].shape[1:] == (1, 28, 28)


def test_background_in_unknown_areas_teaches_nothing(tiny):
    """With everything unknown but one building, no anchor or proposal may count as background."""
    tiny.train()
    known = target()
    known["unknown"][:] = True
    tiny.rpn.unknown = [torch.nn.functional.pad(known["unknown"].float().cumsum(0).cumsum(1), (1, 0, 1, 0))]
    anchors = [random_boxes(200) / 2]
    labels, _ = tiny.rpn.assign_targets_to_anchors(anchors, [known])
    assert not (labels[0] == 0).any()
    tiny.rpn.unknown = None
    labels, _ = tiny.rpn.assign_targets_to_anchors(anchors, [known])
    assert (labels[0] == 0).any()


def test_a_batch_of_which_nothing_is_known_has_no_loss(tiny):
    images = torch.randint(0, 255, (1, 3, 128, 128), dtype=torch.uint8)
    target = {
        "boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 128, 128, dtype=torch.uint8), "unknown": torch.ones(128, 128, dtype=torch.bool),
    }  # fmt: skip
    tiny.train()
    losses, _, _ = tiny(images, [target])
    assert len(losses) == 5 and all(float(loss.detach()) == 0 for loss in losses.values())
    target["unknown"][:] = False
    losses, _, _ = tiny(images, [target])
    assert losses["loss_objectness"] > 0 and losses["loss_classifier"] > 0


def test_predictions_do_not_depend_on_the_batch(tiny):
    torch.manual_seed(5)
    images = torch.randint(0, 255, (3, 3, 128, 128), dtype=torch.uint8)
    tiny.eval()
    together = predict(tiny, images, score_threshold=0.0)
    alone = predict(tiny, images[1:2], score_threshold=0.0)[0]
    assert len(together[1]) == len(alone)
    for a, b in zip(together[1], alone, strict=True):
        assert a.box == b.box and abs(a.score - b.score) < 1e-4


def test_pasted_mask_keeps_its_place_to_a_tenth_of_a_pixel():
    """A disc drawn in the mask's frame has its centroid where the box says."""
    size, box = 28, np.array([10.3, 20.7, 52.3, 48.7])
    y, x = np.mgrid[0:size, 0:size] + 0.5
    soft = np.clip(8 - np.hypot(x - 14, y - 14) + 0.5, 0, 1).astype(np.float32)
    (x0, y0, _, _), probability = paste_mask(soft, box, (100, 100))
    rows, cols = np.mgrid[0 : probability.shape[0], 0 : probability.shape[1]] + 0.5
    weight = probability / probability.sum()
    assert abs((cols * weight).sum() + x0 - 31.3) < 0.1
    assert abs((rows * weight).sum() + y0 - 34.7) < 0.1


def test_pasting_outside_the_image_gives_nothing():
    assert paste_mask(np.ones((28, 28), np.float32), np.array([-20.0, 5, -3, 9]), (50, 50)) is None


def test_pasting_over_the_border_is_cut_there():
    box, probability = paste_mask(np.ones((28, 28), np.float32), np.array([-5.0, 40.0, 6.0, 60.0]), (50, 50))
    assert box == (0, 40, 6, 50) and probability.shape == (10, 6) and probability.min() > 0.99


def test_dense_loss_by_hand():
    logits = torch.zeros(1, 1, 2, 2)
    truth = torch.tensor([[[[1.0, 0], [0, 0]]]])
    known = torch.tensor([[[[1.0, 1], [0, 0]]]])
    # cross-entropy log 2 on both known pixels; Dice: overlap 0.5, total 1 + 1
    expected = np.log(2) + 0.5 * (1 - (2 * 0.5 + 1) / (2 + 1))
    assert dense_loss(logits, truth, known).item() == pytest.approx(expected, abs=1e-6)


def test_dense_loss_ignores_what_is_unknown():
    logits = torch.randn(1, 3, 4, 4)
    known = torch.ones(1, 1, 4, 4)
    known[..., 2:] = 0
    a, b = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    b[..., 2:] = 1
    assert dense_loss(logits, a, known).item() == pytest.approx(dense_loss(logits, b, known).item())
