"""Areas of one colour, and which of them are fills."""

from __future__ import annotations

import numpy as np
import pytest
from cadastral_vectorizer.engine.fills import filled_areas, flat_areas


@pytest.fixture
def ground():
    return np.random.default_rng(1).integers(60, 90, (3, 96, 96), dtype=np.uint8)


def test_one_colour_is_flat_and_a_picture_is_not(ground):
    ground[:, :, :40] = 255
    flat = flat_areas(ground)
    assert flat[:, :35].all() and not flat[:, 35:].any()


def test_a_margin_is_filled_up_to_where_the_picture_begins():
    image = np.random.default_rng(1).integers(60, 90, (3, 400, 400), dtype=np.uint8)
    image[:, :, :150] = 255
    filled = filled_areas(image)
    assert filled[:, :150].all() and not filled[:, 150:].any()


def test_a_raster_of_one_colour_is_filled():
    assert filled_areas(np.full((3, 200, 200), 7, np.uint8)).all()


@pytest.mark.parametrize("part", [np.s_[:, 100:300, 100:300], np.s_[:, :100, :100]], ids=["inside", "small"])
def test_a_roof_of_one_colour_is_no_fill(part):
    image = np.random.default_rng(1).integers(60, 90, (3, 400, 400), dtype=np.uint8)
    image[part] = 255
    assert not filled_areas(image).any()
