"""Looks in several directions: turned back to where they belong, and agreed upon."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from cadastral_vectorizer.engine.detect.looks import TURNS, agree, look_around, turn_back
from cadastral_vectorizer.models.detector import Prediction


def square(x, y, side=20, score=0.8, value=255):
    return Prediction((x, y, x + side, y + side), np.full((side, side), value, np.uint8), score)


def find_bright(model, images, *, bfloat16, score_threshold):
    """Every bright rectangle of one shade is a building; its shade is its score."""
    found = []
    for image in images[:, 0].numpy():
        items = []
        for shade in np.unique(image[image > 0]):
            rows, cols = np.nonzero(image == shade)
            box = (int(cols.min()), int(rows.min()), int(cols.max()) + 1, int(rows.max()) + 1)
            mask = (image[box[1] : box[3], box[0] : box[2]] == shade) * np.uint8(200)
            items.append(Prediction(box, mask, float(shade) / 255))
        found.append([p for p in items if p.score >= score_threshold])
    return found


@pytest.mark.parametrize("turns", range(4))
def test_what_is_found_in_a_turned_image_comes_back_to_its_place(turns):
    image = torch.zeros(1, 3, 64, 128, dtype=torch.uint8)
    image[:, :, 10:30, 100:110] = 250
    image[:, :, 10:14, 108:110] = 0  # a corner is missing: no symmetry
    turned = torch.rot90(image, turns, (-2, -1))
    back = turn_back(find_bright(None, turned, bfloat16=False, score_threshold=0)[0][0], turns, (64, 128))
    assert back.box == (100, 10, 110, 30)
    assert np.array_equal(back.probability >= 128, image[0, 0, 10:30, 100:110].numpy() > 0)


@pytest.mark.parametrize("looks", TURNS)
def test_a_finder_that_knows_no_direction_finds_the_same_with_any_number_of_looks(looks):
    images = torch.zeros(2, 3, 64, 128, dtype=torch.uint8)
    images[0, :, 5:25, 7:47] = 240
    images[0, :, 40:60, 100:110] = 200
    images[1, :, 0:10, 0:10] = 180
    found = look_around(find_bright, None, images, looks=looks, bfloat16=False, score_threshold=0.5)
    (once, other) = find_bright(None, images, bfloat16=False, score_threshold=0.5)
    for mine, theirs in zip(found, (once, other), strict=True):
        mine, theirs = (sorted(found, key=lambda p: p.box) for found in (mine, theirs))
        assert [p.box for p in mine] == [p.box for p in theirs]
        assert [p.score for p in mine] == pytest.approx([p.score for p in theirs])
        for a, b in zip(mine, theirs, strict=True):
            assert np.array_equal(a.probability, b.probability)


def test_score_and_mask_are_means_by_hand():
    found = agree([[square(10, 10, score=0.9, value=250)], [square(12, 10, score=0.6, value=150)]])
    (mean,) = found
    assert mean.box == (10, 10, 32, 30) and mean.score == pytest.approx((0.9 + 0.6) / 2)
    row = mean.probability[5]
    assert row[0] == 150 and row[10] == 210 and row[21] == 60  # 0.6 * 250, 0.6 * 250 + 0.4 * 150, 0.4 * 150


def test_what_one_look_alone_saw_loses_its_share():
    (alone,) = agree([[square(10, 10, score=0.8)], [], [], []])
    assert alone.score == pytest.approx(0.2)


def test_neighbours_stay_apart_and_a_look_counts_once_for_a_building():
    near = [square(10, 10, score=0.9), square(31, 10, score=0.7)]
    found = agree([near, near])
    assert [p.box for p in found] == [p.box for p in near]
    twice = agree([[square(10, 10, score=0.9), square(12, 10, score=0.8)], []])  # of one look: a double
    assert [(p.box, p.score) for p in twice] == [((10, 10, 30, 30), 0.45)]


def test_the_order_of_the_detections_does_not_matter():
    rng = random.Random(3)
    looks = [[square(rng.randrange(80), rng.randrange(80), score=rng.random()) for _ in range(25)] for _ in range(4)]
    expected = [(p.box, p.score) for p in agree(looks)]
    for look in looks:
        rng.shuffle(look)
    assert [(p.box, p.score) for p in agree(looks)] == expected
    assert len(expected) < 100


def test_the_threshold_is_that_of_the_mean():
    images = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    images[0, :, 8:40, 8:40] = 100  # a score of 0.39 in every look
    assert not look_around(find_bright, None, images, looks=4, bfloat16=False, score_threshold=0.5)[0]
    assert look_around(find_bright, None, images, looks=4, bfloat16=False, score_threshold=0.39)[0]
