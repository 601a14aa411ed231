"""A building needs an outline of which something is to be seen."""

from __future__ import annotations

import numpy as np
import pytest
from cadastral_vectorizer.engine.detect.evidence import has_visible_outline
from cadastral_vectorizer.engine.fills import flat_areas
from cadastral_vectorizer.models.detector import Prediction

ROOF = Prediction((20, 20, 60, 50), np.full((30, 40), 255, np.uint8), 0.9)


@pytest.fixture
def ground():
    return np.random.default_rng(1).integers(60, 90, (3, 96, 96), dtype=np.uint8)


def is_visible(image, valid=None):
    return has_visible_outline(ROOF, flat_areas(image), np.ones(image.shape[1:], bool) if valid is None else valid)


@pytest.mark.parametrize("value", [0, 90, 255])
def test_nothing_is_seen_on_one_colour(value):
    assert not is_visible(np.full((3, 96, 96), value, np.uint8))


def test_an_over_exposed_roof_is_seen_by_its_edge(ground):
    ground[:, 20:50, 20:60] = 255
    assert is_visible(ground)


def test_a_roof_of_one_colour_on_ground_of_one_colour_may_be_outlined_a_metre_off():
    painted = np.full((3, 96, 96), 60, np.uint8)
    painted[:, 24:46, 24:56] = 210
    assert is_visible(painted)


def test_one_band_that_changes_is_enough(ground):
    ground[:2] = 128
    assert is_visible(ground)


def test_half_an_outline_on_filled_ground_is_enough_and_less_is_not(ground):
    filled = ground.copy()
    filled[:, :, :38] = 255
    assert is_visible(filled)
    filled[:, :, :55] = 255
    assert not is_visible(filled)


def test_where_the_raster_holds_nothing_nothing_speaks_against_a_building(ground):
    ground[:, :, :55] = 0
    valid = np.ones((96, 96), bool)
    valid[:, :55] = False
    assert is_visible(ground, valid)
    assert is_visible(np.zeros((3, 96, 96), np.uint8), np.zeros((96, 96), bool))
