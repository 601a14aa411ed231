"""Simplification stays within its bound, keeps holes, and does not bias corners inward."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.simplify import (
    refit_polygons,
    simplify_douglas_peucker,
    simplify_refit,
    simplify_visvalingam,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

shapes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "geometry" / "shapes.py")))
METHODS = [simplify_douglas_peucker, simplify_refit, simplify_visvalingam]
TOLERANCE_M = 0.6
RAW = {name: shapes.pixel_outline(shapes.place(shape), seed=3) for name, shape in shapes.SHAPES.items()}
WOBBLY = {name: shapes.wobbly_outline(shapes.place(shape), seed=5) for name, shape in shapes.SHAPES.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("tolerance_m", [0.2, 0.6])
def test_nothing_is_farther_than_the_tolerance(method, name, tolerance_m):
    simple = method(RAW[name], tolerance_m=tolerance_m)
    assert simple.is_valid
    assert simple.geom_type == "Polygon"
    assert shapely.hausdorff_distance(RAW[name], simple) <= tolerance_m + 1e-9
    # Steps of 0.15 m are larger than any triangle Visvalingam may take out within 0.2 m.
    assert shapely.get_num_coordinates(simple) <= shapely.get_num_coordinates(RAW[name])
    if method is not simplify_visvalingam:
        assert shapely.get_num_coordinates(simple) < 0.7 * shapely.get_num_coordinates(RAW[name])


@pytest.mark.parametrize("method", METHODS)
def test_courtyard_survives(method):
    assert len(method(RAW["courtyard"], tolerance_m=TOLERANCE_M).interiors) == 1


@pytest.mark.parametrize("method", METHODS)
def test_tolerance_zero_keeps_the_outline(method):
    assert method(RAW["l"], tolerance_m=0.0).equals(RAW["l"])


def test_refit_does_not_bias_inward():
    """Over many noisy outlines the refitted area is right and the corners are not cut."""
    truth = shapes.place(shapes.SHAPES["l"])
    raws = np.array([shapes.pixel_outline(truth, seed=s) for s in range(40)])
    refit = refit_polygons(raws, tolerance_m=TOLERANCE_M)
    assert abs(np.mean(shapely.area(refit) - shapely.area(raws)) / truth.area) < 0.003
    corners = shapely.points(shapely.get_coordinates(truth)[:-1])
    away = np.array([shapely.distance(corners, shapely.multipoints(shapely.get_coordinates(p))) for p in refit])
    plain = [simplify_douglas_peucker(r, tolerance_m=0.5) for r in raws]
    away_plain = np.array([shapely.distance(corners, shapely.multipoints(shapely.get_coordinates(p))) for p in plain])
    assert np.sqrt((away**2).mean()) < 0.7 * np.sqrt((away_plain**2).mean())


def test_refit_finds_the_exact_corners_of_clean_shapes():
    for name in ("rectangle", "l", "t", "u", "z", "cross", "courtyard", "diagonal_wing", "chamfer"):
        truth = shapes.place(shapes.SHAPES[name])
        refit = simplify_refit(truth, tolerance_m=TOLERANCE_M)
        assert shapely.hausdorff_distance(truth, refit) < 0.02, name
        assert shapely.get_num_coordinates(refit) == shapely.get_num_coordinates(truth), name


@given(st.sampled_from(sorted(WOBBLY)), st.floats(0, 360), st.floats(-500, 500))
@settings(max_examples=15, deadline=None)
def test_refit_moves_and_turns_with_the_outline(name, angle, dx):
    def move(polygon):
        return affinity.translate(affinity.rotate(polygon, angle, origin=WOBBLY[name].centroid), dx, -dx)

    here = move(simplify_refit(WOBBLY[name], tolerance_m=TOLERANCE_M))
    there = simplify_refit(move(WOBBLY[name]), tolerance_m=TOLERANCE_M)
    assert shapely.hausdorff_distance(here, there) < 1e-5


@given(st.sampled_from(sorted(RAW)), st.floats(0, 360))
@settings(max_examples=10, deadline=None)
def test_refit_of_a_pixel_outline_hardly_depends_on_its_direction(name, angle):
    """Steps of pixels are alike, and which of them is a corner is a matter of the last digit."""
    centre = RAW[name].centroid
    here = affinity.rotate(simplify_refit(RAW[name], tolerance_m=TOLERANCE_M), angle, origin=centre)
    there = simplify_refit(affinity.rotate(RAW[name], angle, origin=centre), tolerance_m=TOLERANCE_M)
    assert shapes.iou(here, there) > 0.97


@pytest.mark.parametrize("name", RAW)
def test_refit_of_its_own_result_stays(name):
    once = simplify_refit(RAW[name], tolerance_m=TOLERANCE_M)
    twice = simplify_refit(once, tolerance_m=TOLERANCE_M)
    assert shapes.iou(once, twice) > 0.99


def test_batch_equals_one_by_one():
    batch = refit_polygons(np.array(list(RAW.values())), tolerance_m=TOLERANCE_M)
    for raw, polygon in zip(RAW.values(), batch):
        assert shapely.hausdorff_distance(simplify_refit(raw, tolerance_m=TOLERANCE_M), polygon) < 1e-9


def test_douglas_peucker_keeps_a_hole_inside():
    """GEOS alone lets the hole of this outline come to lie across the simplified shell."""
    shell = [(0, 0), (10, 0), (10, 4.6), (10.5, 4.8), (10.5, 5.2), (10, 5.4), (10, 10), (0, 10)]
    raw = shapely.Polygon(shell, [[(10.1, 4.9), (10.4, 4.9), (10.4, 5.1), (10.1, 5.1)]])
    simple = simplify_douglas_peucker(raw, tolerance_m=0.6)
    assert simple.is_valid
    assert len(simple.interiors) == 1


@given(st.integers(3, 40), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_any_star_shape_stays_valid_and_near(corners, seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
    z = rng.uniform(1, 12, corners) * np.exp(1j * angle)
    polygon = shapely.Polygon(np.column_stack((z.real, z.imag)))
    if not polygon.is_valid or polygon.area < 0.1:
        return
    simple = simplify_refit(polygon, tolerance_m=TOLERANCE_M)
    assert simple.is_valid
    assert shapely.hausdorff_distance(polygon, simple) <= TOLERANCE_M + 1e-9
