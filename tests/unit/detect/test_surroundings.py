"""Where the raster shows nothing, networks are shown mirror images of it."""

from __future__ import annotations

import numpy as np
import pytest
from cadastral_vectorizer.engine.detect.surroundings import surround

RNG = np.random.default_rng(0)


def photo(height, width):
    return RNG.integers(0, 256, (3, height, width), np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (40, 64), (64, 50), (33, 47), (1, 1), (5, 60)])
def test_a_small_raster_is_continued_by_its_mirror_image(size):
    image = photo(*size)
    shown = surround(image, np.ones(size, bool), height=64, width=64)
    height, width = min(64, 2 * size[0] - 1), min(64, 2 * size[1] - 1)  # beyond it there is nothing to mirror
    expected = np.pad(image, ((0, 0), (0, height - size[0]), (0, width - size[1])), "reflect")
    np.testing.assert_array_equal(shown[:, :height, :width], expected)
    assert shown.shape == (3, 64, 64)
    if size == (64, 64):
        assert shown is image


@pytest.mark.parametrize("side", range(4))
def test_what_lies_beyond_an_edge_of_the_data_is_its_mirror_image(side):
    image, valid = photo(80, 80), np.zeros((80, 80), bool)
    valid[:50] = True
    shown = surround(np.where(valid, image, 0).astype(np.uint8), valid, height=80, width=80)
    expected = np.concatenate((image[:, :50], image[:, 48:18:-1]), axis=1)
    np.testing.assert_array_equal(shown, expected)
    turned = [np.rot90(a, side, (-2, -1)).copy() for a in (np.where(valid, image, 0).astype(np.uint8), valid, expected)]
    np.testing.assert_array_equal(surround(*turned[:2], height=80, width=80), turned[2])


def test_every_pixel_is_one_of_the_valid_ones_and_those_are_left_alone():
    for share in (0.02, 0.5, 0.98):
        image, valid = photo(70, 90), RNG.random((70, 90)) < share
        image[:, ~valid] = 0
        image[0, valid] = 7  # tells them
        before = image.copy()
        shown = surround(image, valid, height=128, width=128)
        assert (shown[0] == 7).all()
        np.testing.assert_array_equal(shown[:, :70, :90][:, valid], image[:, valid])
        np.testing.assert_array_equal(image, before)


def test_where_nothing_is_valid_it_is_black():
    shown = surround(photo(20, 20) * 0, np.zeros((20, 20), bool), height=64, width=64)
    assert shown.shape == (3, 64, 64) and not shown.any()
