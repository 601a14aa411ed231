"""Shape metrics: hand-computed cases, degenerate ones, symmetry and bounds."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.evaluation.boundaries import (
    boundary_segments,
    nearest_on_boundary,
    sample_boundaries,
)
from cadastral_vectorizer.engine.evaluation.shapes import (
    boundary_iou,
    complexity_aware_iou,
    measure_shapes,
)
from hypothesis import given, settings

SQUARE = shapely.box(0, 0, 10, 10)
COURTYARD = shapely.Polygon(SQUARE.exterior.coords, [shapely.box(4, 4, 6, 6).exterior.coords])


def array(*geometries):
    return np.array(geometries, dtype=object)


def moved(geometry, x, y):
    return shapely.transform(geometry, lambda xy: xy + (x, y))


def turned(geometry, degrees):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return shapely.transform(geometry, lambda xy: (xy - 5) @ turn.T + 5)


def blob(seed):
    """A star-shaped polygon of 3 to 12 corners."""
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 13))) + np.arange(1e-3, 1.0, 1)[0]
    radius = rng.uniform(4, 10, len(angle))
    return shapely.Polygon(np.column_stack((radius * np.cos(angle), radius * np.sin(angle)))).buffer(0)


def test_identical_outlines_have_no_error():
    shapes = measure_shapes(array(COURTYARD), array(COURTYARD))
    assert shapes.polis_m == pytest.approx([0], abs=1e-12)
    assert shapes.hausdorff_m == pytest.approx([0], abs=1e-12)
    assert shapes.hausdorff95_m == pytest.approx([0], abs=1e-12)
    assert shapes.tangent_deg == pytest.approx([0], abs=1e-5)
    assert shapes.predicted_vertices.tolist() == shapes.reference_vertices.tolist() == [8]


def test_polis_of_a_shifted_square_by_hand():
    # Two corners of each lie on the other's boundary, two are 1 m off: (1 + 1 + 0 + 0) / 4 both ways.
    # Counting the closing vertex twice would give another figure.
    shapes = measure_shapes(array(SQUARE), array(moved(SQUARE, 1, 0)))
    assert shapes.polis_m == pytest.approx([0.5], abs=1e-12)
    assert shapes.hausdorff_m == pytest.approx([1.0], abs=1e-12)


def test_polis_counts_the_vertices_of_holes():
    # The outer corners agree; the hole's four are 4 m from the outer ring.
    shapes = measure_shapes(array(COURTYARD), array(SQUARE))
    assert shapes.polis_m == pytest.approx([(4 * 4 / 8 + 0) / 2], abs=1e-12)
    assert shapes.hausdorff_m == pytest.approx([4.0], abs=1e-12)
    assert shapes.predicted_vertices.tolist() == [8]


def test_repeated_vertices_count_once():
    doubled = shapely.Polygon([(0, 0), (0, 0), (10, 0), (10, 10), (10, 10), (0, 10)])
    shapes = measure_shapes(array(doubled), array(moved(SQUARE, 1, 0)))
    assert shapes.predicted_vertices.tolist() == [4]
    assert shapes.polis_m == pytest.approx([0.5], abs=1e-12)


def test_hausdorff_sees_a_deep_notch_and_its_percentile_does_not():
    notched = SQUARE.difference(shapely.box(4.95, 6, 5.05, 10))
    shapes = measure_shapes(array(SQUARE), array(notched))
    assert shapes.hausdorff_m == pytest.approx([4.0], abs=0.06)
    wide = SQUARE.difference(shapely.box(4.95, 9.5, 5.05, 10))
    shapes = measure_shapes(array(SQUARE), array(wide))
    assert shapes.hausdorff_m == pytest.approx([0.5], abs=1e-9)
    assert shapes.hausdorff95_m[0] < 0.06


@pytest.mark.parametrize("angle", [1.0, 3.0, 10.0, 20.0])
def test_tangent_angle_of_a_turned_square_is_the_turn(angle):
    shapes = measure_shapes(array(turned(SQUARE, angle)), array(SQUARE))
    assert shapes.tangent_deg == pytest.approx([angle], abs=0.01)


def test_tangent_angle_sees_a_cut_corner_and_lies_between_0_and_90():
    cut = shapely.Polygon([(0, 0), (10, 0), (10, 8), (8, 10), (0, 10)])
    shapes = measure_shapes(array(cut), array(SQUARE))
    assert shapes.tangent_deg == pytest.approx([45.0], abs=0.01)


def test_multi_part_polygons_are_measured_as_one():
    double = shapely.MultiPolygon([SQUARE, moved(SQUARE, 20, 0)])
    shapes = measure_shapes(array(double), array(shapely.MultiPolygon([moved(SQUARE, 1, 0), moved(SQUARE, 21, 0)])))
    assert shapes.polis_m == pytest.approx([0.5])
    assert shapes.predicted_vertices.tolist() == [8]


def test_no_pairs_give_empty_figures():
    shapes = measure_shapes(array(), array())
    assert shapes.polis_m.shape == (0,)
    assert boundary_iou(array(), array(), band_m=0.25).shape == (0,)


@given(first=st.integers(0, 5000), second=st.integers(0, 5000))
@settings(max_examples=30, deadline=None)
def test_distances_are_symmetric_not_negative_and_bounded_by_hausdorff(first, second):
    a, b = array(blob(first), SQUARE), array(blob(second), COURTYARD)
    forward, backward = measure_shapes(a, b), measure_shapes(b, a)
    for name in ("polis_m", "hausdorff_m", "hausdorff95_m"):
        assert getattr(forward, name) == pytest.approx(getattr(backward, name), abs=1e-9)
    assert (forward.polis_m >= 0).all()
    assert (forward.polis_m <= forward.hausdorff_m + 1e-9).all()
    assert (forward.hausdorff95_m <= forward.hausdorff_m + 1e-9).all()


@given(first=st.integers(0, 5000), second=st.integers(0, 5000))
@settings(max_examples=20, deadline=None)
def test_hausdorff_agrees_with_geos_within_half_the_spacing(first, second):
    a, b = blob(first), blob(second)
    expected = shapely.hausdorff_distance(a.boundary, b.boundary, densify=0.002)
    assert measure_shapes(array(a), array(b)).hausdorff_m[0] == pytest.approx(expected, abs=0.27)


@given(seed=st.integers(0, 5000))
@settings(max_examples=30, deadline=None)
def test_nearest_points_are_those_of_geos(seed):
    rng = np.random.default_rng(seed)
    polygons = np.array([blob(seed + k) for k in range(4)], dtype=object)
    polygons[2] = shapely.segmentize(polygons[2], 0.02)  # enough segments for a tree
    owner = np.sort(rng.integers(0, 4, 50))
    xy = rng.uniform(-12, 12, (50, 2))
    distance, foot, where = nearest_on_boundary(xy, owner, boundary_segments(polygons))
    boundary = shapely.boundary(polygons)[owner]
    assert distance == pytest.approx(shapely.distance(shapely.points(xy), boundary), abs=1e-9)
    assert shapely.distance(shapely.points(foot), boundary) == pytest.approx(np.zeros(50), abs=1e-9)
    assert np.hypot(*(foot - xy).T) == pytest.approx(distance)
    assert (boundary_segments(polygons).owner[where] == owner).all()


def test_samples_close_every_ring():
    segments = boundary_segments(array(COURTYARD, SQUARE))
    samples = sample_boundaries(segments, spacing=np.array([1.0, 3.0]))
    step = np.hypot(*(samples.xy[samples.following] - samples.xy).T)
    assert step.sum() == pytest.approx(40 + 8 + 40)
    assert step.max() <= 3.0
    assert samples.vertex.sum() == 12


def test_boundary_iou_by_hand():
    # Bands of 36 m2 each. Common: 90 - 64 - 64 + 56 = 18. Union: 36 + 36 - 18 = 54.
    found = boundary_iou(array(SQUARE), array(moved(SQUARE, 1, 0)), band_m=1.0)
    assert found == pytest.approx([1 / 3], abs=1e-9)


def test_boundary_iou_is_iou_for_polygons_thinner_than_the_band():
    found = boundary_iou(array(SQUARE), array(moved(SQUARE, 5, 0)), band_m=6.0)
    assert found == pytest.approx([1 / 3], abs=1e-9)


def test_boundary_iou_counts_the_band_along_holes():
    # The core is 8 x 8 less the hole grown by 1 with round corners (4 + 8 + pi): a band of 96 - 64 + 12 + pi.
    found = boundary_iou(array(COURTYARD), array(SQUARE), band_m=1.0)
    assert found == pytest.approx([36 / (44 + np.pi)], abs=1e-3)


def test_outlines_traced_around_pixels_are_measured_in_reasonable_time():
    steps = np.arange(0, 400)
    stairs = np.repeat(np.column_stack((steps * 0.15, steps * 0.1)), 2, axis=0)
    stairs[1::2, 0] += 0.15
    ragged = shapely.Polygon([*stairs, (60, -20), (0, -20)])
    smooth = shapely.Polygon([(0, 0), (60, 40), (60, -20), (0, -20)])
    shapes = measure_shapes(array(ragged), array(smooth))
    assert shapes.predicted_vertices[0] > 700
    assert shapes.hausdorff_m[0] == pytest.approx(0.1)  # the last step ends a step below the top
    assert boundary_iou(array(ragged), array(smooth), band_m=2.0)[0] > 0.93


@given(first=st.integers(0, 5000), second=st.integers(0, 5000), band=st.floats(0.05, 5))
@settings(max_examples=30, deadline=None)
def test_boundary_iou_is_symmetric_and_bounded(first, second, band):
    a, b = array(blob(first)), array(blob(second))
    found = boundary_iou(a, b, band_m=band)
    assert 0 <= found[0] <= 1
    assert found == pytest.approx(boundary_iou(b, a, band_m=band), abs=1e-6)
    assert boundary_iou(a, a, band_m=band) == pytest.approx([1], abs=1e-6)


def test_complexity_aware_iou_by_hand():
    found = complexity_aware_iou(np.array([0.9, 0.5]), np.array([4, 7]), np.array([6, 7]))
    assert found == pytest.approx([0.72, 0.5])
