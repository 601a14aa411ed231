"""Contours: exact pixel edges, sub-pixel level lines, and the half pixel on every kind of grid."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contours import outline_instance, trace_distance, trace_mask, trace_probability
from cadastral_vectorizer.engine.contracts import Grid, Instance
from cadastral_vectorizer.engine.errors import InvalidParameter
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

MASKS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))

GRIDS = {
    "north_up": (0.2, 0, 1000, 0, -0.2, 2000),
    "south_up": (0.2, 0, 1000, 0, 0.2, 2000),
    "rotated": (0.16, 0.12, 1000, 0.12, -0.16, 2000),
    "anisotropic": (0.5, 0, 1000, 0, -0.1, 2000),
    "sheared": (0.2, 0.05, 1000, -0.03, -0.25, 2000),
    "degrees": (2e-6, 0, 39.2, 0, -2e-6, -6.1),
}


def centres(mask):
    rows, cols = np.nonzero(np.ones_like(mask))
    return np.column_stack((cols + 0.5, rows + 0.5))


@given(MASKS)
@settings(max_examples=80, deadline=None)
def test_pixel_edges_cover_exactly_the_mask(mask):
    polygons = trace_mask(mask, offset_xy=(3, 7))
    assert all(p.is_valid for p in polygons)
    assert sum(p.area for p in polygons) == mask.sum()
    inside = shapely.contains_xy(shapely.union_all(polygons), centres(mask) + (3, 7))
    np.testing.assert_array_equal(inside.reshape(mask.shape), mask)


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=80, deadline=None)
def test_level_line_separates_pixel_centres_as_the_mask_does(probability):
    polygons = trace_probability(probability)
    assert all(p.is_valid for p in polygons)
    inside = shapely.contains_xy(shapely.union_all(polygons), centres(probability))
    np.testing.assert_array_equal(inside.reshape(probability.shape), probability >= 128)


def test_pixels_that_touch_at_a_corner_are_two_parts():
    polygons = trace_mask(np.eye(2, dtype=bool))
    assert [p.area for p in polygons] == [1, 1]


def test_holes_are_kept_by_both_methods():
    mask = np.ones((7, 7), bool)
    mask[2:5, 2:5] = False
    for polygons in (trace_mask(mask), trace_probability(mask.astype(float))):
        assert len(polygons) == 1
        assert len(polygons[0].interiors) == 1


def test_an_island_in_a_courtyard_is_a_part_of_its_own():
    mask = np.ones((9, 9), bool)
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    large, small = trace_probability(mask.astype(float))
    assert len(large.interiors) == 1
    assert not small.interiors


def test_level_line_finds_an_edge_between_pixels():
    """A ramp that crosses one half at x = 5.3 is traced there, not at a pixel border."""
    x = np.arange(12) + 0.5
    ramp = np.clip(0.5 - (x - 5.3) / 4, 0, 1)
    polygon = trace_probability(np.tile(ramp, (9, 1)))[0]
    middle = polygon.intersection(shapely.box(0, 3, 20, 6))
    assert middle.bounds[2] == pytest.approx(5.3, abs=1e-9)


def test_level_line_of_a_disc_has_sub_pixel_radius():
    y, x = np.mgrid[:41, :41] + 0.5
    distance = 12.3 - np.hypot(x - 20.4, y - 19.7)
    polygon = trace_probability(np.clip(distance / 4 + 0.5, 0, 1))[0]
    assert polygon.area == pytest.approx(np.pi * 12.3**2, rel=2e-3)
    assert polygon.centroid.x == pytest.approx(20.4, abs=0.01)
    assert polygon.centroid.y == pytest.approx(19.7, abs=0.01)


@pytest.mark.parametrize("method", ["pixel_edges", "probability"])
@pytest.mark.parametrize("transform", GRIDS.values(), ids=GRIDS.keys())
def test_outline_lies_where_the_pixels_are(transform, method):
    """The half pixel: a mask of whole pixels has its outline on the outer edges of these pixels."""
    grid = Grid(100, 80, transform, "EPSG:32637", 0.2)
    probability = np.zeros((8, 9), np.uint8)
    probability[1:7, 2:8] = 255
    instance = Instance("a", (30, 20, 39, 28), probability, 1.0)
    (polygon,) = outline_instance(instance, grid, method=method)
    corners = np.array([[32, 21], [38, 21], [38, 27], [32, 27]], float)
    truth = shapely.Polygon(grid.to_map(corners))
    assert polygon.is_valid
    assert polygon.exterior.is_ccw
    # The level line cuts the four corner pixels in half: half of a half pixel square each.
    missing = 4 / 8 if method == "probability" else 0
    assert shapely.intersection(polygon, truth).area / truth.area == pytest.approx(1 - missing / 36, abs=1e-9)
    assert shapely.difference(polygon, truth).area / truth.area < 1e-9
    np.testing.assert_allclose(
        shapely.get_coordinates(polygon.centroid), shapely.get_coordinates(truth.centroid), rtol=0, atol=1e-9
    )


def test_largest_part_comes_first():
    probability = np.zeros((10, 10), np.uint8)
    probability[0:2, 0:2] = 255
    probability[5:9, 5:9] = 255
    grid = Grid(10, 10, (1, 0, 0, 0, -1, 10), "EPSG:32637", 1.0)
    parts = outline_instance(Instance("a", (0, 0, 10, 10), probability, 1.0), grid, method="pixel_edges")
    assert [p.area for p in parts] == [16, 4]


def test_empty_mask_gives_no_outline():
    grid = Grid(10, 10, (1, 0, 0, 0, -1, 10), "EPSG:32637", 1.0)
    assert outline_instance(Instance("a", (0, 0, 3, 3), np.zeros((3, 3), np.uint8), 1.0), grid) == []


def test_unknown_method_names_the_choices():
    grid = Grid(10, 10, (1, 0, 0, 0, -1, 10), "EPSG:32637", 1.0)
    with pytest.raises(InvalidParameter, match="probability, pixel_edges"):
        outline_instance(Instance("a", (0, 0, 3, 3), np.zeros((3, 3), np.uint8), 1.0), grid, method="magic")


@pytest.mark.parametrize("radius", [3.3, 9.0, 20.4])
def test_distance_field_gives_the_circle_it_was_made_from(radius):
    y, x = np.mgrid[:50, :50] + 0.5
    centre = np.array([24.8, 25.1])
    field = radius - np.hypot(x - centre[0], y - centre[1])
    (polygon,) = trace_distance(field, offset_xy=(100, 200))
    away = np.hypot(*(shapely.get_coordinates(polygon) - (100, 200) - centre).T)
    np.testing.assert_allclose(away, radius, atol=0.05)
    field[24:26, 24] = np.nan
    assert len(trace_distance(field)[0].interiors) == 1


def test_distance_field_cut_by_its_border_ends_at_the_pixel_edge():
    field = np.minimum(5.0, np.arange(12) - 3.5)[None].repeat(8, 0)
    (polygon,) = trace_distance(field, offset_xy=(10, 20))
    np.testing.assert_allclose(polygon.bounds, (14, 20, 22, 28), atol=1e-6)


def test_distance_field_without_an_inside_is_empty():
    assert trace_distance(np.full((5, 5), -1.0)) == []
    assert trace_distance(np.full((5, 5), np.nan)) == []
