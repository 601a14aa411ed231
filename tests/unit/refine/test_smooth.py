"""The paper's smoothing methods: ragged squares get closer to the square they were."""

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.contracts import Grid, Instance
from cadastral_vectorizer.engine.errors import InvalidParameter
from cadastral_vectorizer.engine.pipeline import trace
from cadastral_vectorizer.engine.refine.smooth import METHODS, smooth_instance
from pyproj import CRS

BOX = (10, 20, 74, 76)


def make(mask):
    return Instance("a", BOX, 255 * mask.astype(np.uint8), 0.8)


def draw(instance):
    canvas = np.zeros((120, 120), bool)
    x_min, y_min, x_max, y_max = instance.box
    canvas[y_min:y_max, x_min:x_max] = instance.mask
    return canvas


@pytest.fixture
def square():
    mask = np.zeros((56, 64), bool)
    mask[8:48, 8:56] = True
    return mask


@pytest.fixture
def ragged(square):
    """The square with an edge of one-pixel teeth, two on, two off."""
    mask = square.copy()
    mask[7, 8:56:4] = mask[7, 9:56:4] = True
    mask[8:48:4, 56] = mask[9:48:4, 56] = True
    mask[47, 8:56:4] = mask[47, 9:56:4] = False
    return mask


def perimeter(mask):
    padded = np.pad(mask, 1).astype(int)
    return np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()


@pytest.mark.parametrize("method", METHODS)
def test_a_ragged_edge_becomes_smoother_and_stays_in_place(method, ragged, square):
    smoothed = smooth_instance(make(ragged), method, size_px=2)
    assert perimeter(draw(smoothed)) < 0.93 * perimeter(ragged)
    first, second = draw(smoothed), draw(make(square))
    assert (first & second).sum() / (first | second).sum() > 0.93
    assert (smoothed.id, smoothed.score) == ("a", 0.8)


@pytest.mark.parametrize("method", METHODS)
def test_a_courtyard_survives(method, square):
    square[20:36, 24:42] = False
    smoothed = draw(smooth_instance(make(square), method, size_px=1.5))
    assert not smoothed[20 + 28, 10 + 33]
    assert smoothed[20 + 10, 10 + 12]


@pytest.mark.parametrize("method", METHODS)
def test_the_mask_may_touch_its_box(method):
    full = np.ones((56, 64), bool)
    smoothed = draw(smooth_instance(make(full), method, size_px=2))
    expected = draw(make(full))
    assert (smoothed & expected).sum() / (smoothed | expected).sum() > 0.93
    rows, cols = np.nonzero(smoothed)
    assert cols.mean() == pytest.approx(41.5, abs=0.5) and rows.mean() == pytest.approx(47.5, abs=0.5)


def test_opening_and_closing_remove_specks_and_fill_gaps(square):
    square[20:40, 30] = False  # a gap one pixel wide
    square[2, 2] = True  # a speck
    smoothed = draw(smooth_instance(make(square), "opening_closing", size_px=1))
    assert smoothed[20 + 30, 10 + 30] and not smoothed[22, 12]


@pytest.mark.parametrize("method", METHODS)
def test_what_would_vanish_is_kept(method):
    speck = np.zeros((56, 64), bool)
    speck[30, 30] = True
    assert smooth_instance(make(speck), method, size_px=3).mask.any()
    nothing = make(np.zeros((56, 64), bool))
    assert smooth_instance(nothing, method) is nothing


def test_none_changes_nothing_and_unknown_methods_are_refused(square):
    instance = make(square)
    assert smooth_instance(instance, "none") is instance
    with pytest.raises(InvalidParameter, match="Choose one of none, opening_closing"):
        smooth_instance(instance, "median")
    with pytest.raises(InvalidParameter, match="smoothing size"):
        smooth_instance(instance, "gaussian", size_px=0)


def test_the_pipeline_smooths_between_refiner_and_contour(square):
    grid = Grid(200, 200, (0.2, 0, 500000, 0, -0.2, 4650100), CRS.from_epsg(32633).to_wkt(), 0.2)
    instance = make(square)
    (sharp,), (soft,) = (
        trace(VectorizeConfig("-", "-", "-", smoothing=method, smoothing_m=0.6), [instance], grid, grid.crs_wkt, None)
        for method in ("none", "gaussian")
    )
    corner = shapely.Point(grid.to_map(np.array([[BOX[0] + 8.0, BOX[1] + 8.0]]))[0])
    assert sharp.geometry.distance(corner) < 0.1 < soft.geometry.distance(corner) < 0.6
    assert soft.geometry.hausdorff_distance(sharp.geometry) < 0.6
