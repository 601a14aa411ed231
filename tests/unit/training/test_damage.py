"""Synthetic damage: every defect does what its name says, and the whole stays a mask of its building."""

import cv2
import numpy as np
import pytest
from cadastral_vectorizer.engine.training import damage
from cadastral_vectorizer.engine.training.damage import damage_mask, mask_iou


@pytest.fixture
def labels():
    """Two houses sharing a wall, an L-shape, and an unknown corner, on 128 x 128."""
    labels = np.zeros((128, 128), np.int32)
    labels[30:90, 30:70] = 1
    labels[30:80, 70:100] = 2
    labels[108:122, 10:60] = 3
    labels[100:122, 10:22] = 3
    labels[:8, :8] = -1
    return labels


def seeds(n):
    return [np.random.default_rng(seed) for seed in range(n)]


def test_the_same_seed_gives_the_same_damage_and_another_seed_another(labels):
    first, again, other = (damage_mask(labels, 1, np.random.default_rng(s)) for s in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_damaged_masks_still_belong_to_their_building(labels):
    ious = [mask_iou(damage_mask(labels, 1, rng) >= 128, labels == 1) for rng in seeds(150)]
    assert min(ious) >= damage.MIN_IOU_BY_HAND
    assert np.mean(np.array(ious) < damage.MIN_IOU) < 0.125  # those drawn by hand, at most
    # neither trivial nor hopeless: real masks of a detector lie between .5 and .95
    assert 0.7 < np.mean(ious) < 0.9
    assert np.percentile(ious, 5) < 0.65 and np.percentile(ious, 95) > 0.9


def test_the_labels_are_left_alone(labels):
    before = labels.copy()
    for rng in seeds(20):
        damage_mask(labels, 3, rng)
    assert np.array_equal(labels, before)


@pytest.mark.parametrize("defect", [damage.split_off, damage.cut_gap, damage.punch_holes, damage.clip_box])
def test_losses_only_take_away(labels, defect):
    mask = labels == 1
    damaged = [defect(mask, labels, 1, rng, 1.0) for rng in seeds(20)]
    assert not any((d & ~mask).any() for d in damaged)
    assert all(d.sum() < mask.sum() for d in damaged)


def test_a_false_hole_lies_inside(labels):
    mask = labels == 1
    holed = [damage.punch_holes(mask, labels, 1, rng, 1.0) for rng in seeds(30)]
    parts = [cv2.findContours(h.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[1] for h in holed]
    assert any((hierarchy[0, :, 3] >= 0).any() for hierarchy in parts)


def test_fusing_swallows_only_the_neighbour(labels):
    mask = labels == 1
    for rng in seeds(20):
        fused = damage.fuse_neighbour(mask, labels, 1, rng, 1.0)
        assert (fused & mask).sum() == mask.sum()
        assert (fused & (labels == 2)).any()
        assert not (fused & (labels == 3)).any()


def test_a_building_without_neighbours_cannot_fuse(labels):
    alone = np.where(labels == 1, 1, 0)
    mask = alone == 1
    assert damage.fuse_neighbour(mask, alone, 1, np.random.default_rng(0), 1.0) is mask


def test_the_mask_head_leaves_stair_steps_and_soft_edges(labels):
    large = np.zeros((256, 256), bool)
    large[28:228, 28:228] = True
    given = damage.predict_on_grid(large, np.random.default_rng(3))
    assert given.dtype == np.uint8 and given.shape == large.shape
    assert mask_iou(given >= 128, large) > 0.9
    assert np.count_nonzero((given > 20) & (given < 235)) > 400  # a soft rim all around
    assert not damage.predict_on_grid(np.zeros((64, 64), bool), np.random.default_rng(0)).any()


def test_hand_drawn_masks_lie_on_the_building(labels):
    truth = labels == 3
    drawn = [damage.draw_by_hand(truth, rng, 1.0) for rng in seeds(40)]
    overlap = [(d & truth).sum() / max(d.sum(), 1) for d in drawn]
    assert np.mean(overlap) > 0.6
    assert len({int(d.sum()) for d in drawn}) > 10


@pytest.mark.parametrize("size", [1, 2, 3])
def test_buildings_of_a_few_pixels_survive(size):
    labels = np.zeros((32, 32), np.int32)
    labels[10 : 10 + size, 10 : 10 + size] = 1
    for rng in seeds(20):
        assert (damage_mask(labels, 1, rng) >= 128).any()
