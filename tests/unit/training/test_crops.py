"""Crops: the picture and its truth stay together through every rotation, scale and mirror."""

from __future__ import annotations

import numpy as np
import pytest
from cadastral_vectorizer.engine.training.augment import augment, coarsen
from cadastral_vectorizer.engine.training.chips import UNKNOWN, Chip
from cadastral_vectorizer.engine.training.copy_paste import paste_buildings
from cadastral_vectorizer.engine.training.crops import Crop, CropSampler
from cadastral_vectorizer.engine.training.targets import dense_fields, detector_target


def chip(source="a", pixel_m=0.2):
    labels = np.zeros((300, 400), np.int32)
    labels[60:140, 80:200] = 1
    labels[200:240, 250:330] = 2
    image = np.where(labels[..., None] > 0, np.uint8(220), np.uint8(40)).repeat(3, -1)
    return Chip("x", source, "train", pixel_m, np.ascontiguousarray(image), labels)


def sampler(chips, **changes):
    return CropSampler(chips, **{"size_px": 128, "pixel_m": 0.2, "scale_range": (0.6, 1.8), **changes})


def test_image_and_labels_stay_together():
    draw = sampler([chip()])
    for seed in range(40):
        crop = draw.draw(np.random.default_rng(seed))
        known = crop.labels != UNKNOWN
        bright = crop.image[..., 0] > 130
        # pixels on the very edge may round either way
        assert (bright != (crop.labels > 0))[known].mean() < 0.02


def test_outside_the_chip_nothing_is_known():
    draw = sampler([chip()], size_px=512)
    crop = draw.draw(np.random.default_rng(0))
    assert (crop.labels == UNKNOWN).any()


def test_scale_follows_the_ground_pixel():
    """A chip of half the ground pixel shows buildings half as large in pixels of the model."""
    areas = []
    for pixel_m in (0.2, 0.1):
        draw = sampler([chip(pixel_m=pixel_m)], scale_range=(1.0, 1.0 + 1e-9), size_px=512)
        crop = draw.draw(np.random.default_rng(3))
        areas.append((crop.labels == 1).sum())
    assert areas[0] / areas[1] == pytest.approx(4, rel=0.05)


def test_the_same_generator_draws_the_same_crop():
    draw = sampler([chip("a"), chip("b")])
    a, b = (draw.draw(np.random.default_rng((1, 2, 3))) for _ in range(2))
    assert (a.image == b.image).all() and (a.labels == b.labels).all()


def test_source_weights_decide_the_shares():
    draw = sampler([chip("a"), chip("b")], source_weights={"a": 1.0, "b": 0.0})
    assert draw._share.tolist() == [1.0, 0.0]


def test_places_marked_as_no_building_are_seen_more_often():
    """A corner of a large chip comes into view several times as often once it is marked."""
    corner = np.zeros((900, 1200), np.int32)
    corner[60:140, 80:200] = 1
    image = np.zeros((*corner.shape, 3), np.uint8)
    image[880:, 1180:] = 255

    def seen(negatives):
        draw = sampler([Chip("x", "a", "train", 0.2, image, corner, negatives)])
        return sum(bool((draw.draw(np.random.default_rng(seed)).image > 128).any()) for seed in range(200))

    assert seen(((1190.0, 890.0),)) > 3 * seen(()) + 10


def test_a_pasted_building_is_whole_and_stays_off_others():
    rng = np.random.default_rng(3)
    ground = np.full((128, 128, 3), 60, np.uint8)
    labels = np.zeros((128, 128), np.int32)
    labels[10:50, 10:50] = 1
    labels[100:, :] = UNKNOWN
    other = np.zeros((128, 128), np.int32)
    other[40:60, 30:70] = 4
    other[0:30, 100:128] = 9  # cut by the border: never pasted
    bright = np.where(other[..., None] > 0, np.uint8(220), np.uint8(90)).repeat(3, -1)
    pasted = 0
    for _ in range(20):
        crop = paste_buildings(Crop(ground, labels), Crop(bright, other), rng)
        assert (crop.labels[labels == 1] == 1).all() and (crop.labels[labels == UNKNOWN] == UNKNOWN).all()
        new = crop.labels > 1
        assert new.sum() in (0, 20 * 40) and crop.labels.max() <= 2
        assert (crop.image[14:46, 14:46] == 60).all()  # no shadow on a roof, but for its soft rim
        if new.any():
            pasted += 1
            assert np.median(crop.image[new]) == 220 and (crop.image[~new] <= 60).all()
    assert pasted > 10
    assert (ground == 60).all() and labels.max() == 1  # what was given stays as it was


def test_pasting_needs_free_land():
    full = np.ones((64, 64), np.int32)
    other = np.zeros((64, 64), np.int32)
    other[20:40, 20:40] = 1
    image = np.zeros((64, 64, 3), np.uint8)
    crop = paste_buildings(Crop(image, full), Crop(image, other), np.random.default_rng(0))
    assert (crop.labels == full).all()


def test_coarser_ground_pixels_lose_the_finest_detail_only():
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    halves = np.zeros((96, 96, 3), np.uint8)
    halves[:, 48:] = 255
    for seed in range(10):
        assert coarsen(stripes, np.random.default_rng(seed)).std() < 0.75 * stripes.std()
        after = coarsen(halves, np.random.default_rng(seed))
        assert after.shape == halves.shape and after.dtype == np.uint8
        assert after[:, :40].max() < 30 and after[:, 56:].min() > 225


def test_targets_by_hand():
    labels = np.zeros((64, 64), np.int32)
    labels[8:24, 12:40] = 7
    labels[60:64, 0:3] = 9  # 12 pixels: too little is left to learn from
    target = detector_target(Crop(np.zeros((64, 64, 3), np.uint8), labels))
    assert target["boxes"].tolist() == [[12, 8, 40, 24]]
    assert target["masks"].sum().item() == 16 * 28
    assert target["unknown"].sum().item() == 12
    assert target["dense"][0].sum().item() * 16 == pytest.approx(16 * 28 + 12)


def test_empty_crop_has_empty_targets():
    target = detector_target(Crop(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.int32)))
    assert target["boxes"].shape == (0, 4) and target["masks"].shape == (0, 64, 64)


def test_rim_separates_touching_buildings():
    labels = np.zeros((64, 64), np.int32)
    labels[16:48, 8:32], labels[16:48, 32:56] = 1, 2
    interior, rim, core = dense_fields(labels)
    # the rim is two pixels on either side of the wall: half of the cell of four
    assert interior[8, 7] == 1 and rim[8, 7] == 0.5 and core[8, 7] == 0.5
    assert core[8, 4] == 1 and rim[8, 4] == 0


def test_augmentation_keeps_shape_and_is_decided_by_the_generator():
    image = chip().image[:128, :128]
    for seed in range(30):
        a = augment(image, np.random.default_rng(seed))
        assert a.shape == image.shape and a.dtype == np.uint8
        assert (a == augment(image, np.random.default_rng(seed))).all()
