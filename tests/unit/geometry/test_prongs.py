"""Prongs and needles: cut off where they stick out, marked where they cannot be, and nothing else touched."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.geometry import NEEDLE_DEG, shape_outlines
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.walls.prongs import blunt_needles, drop_prongs, sharpest_corners
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import LineString, Polygon, affinity, box

shapes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "shapes.py")))
HOUSE = box(0, 0, 12, 9)
CUT = {"width_m": 1.0, "length_m": 0.5, "crumb_m2": 4.0}
MODES = ("none", "right_angles", "diagonals", "any_angle")


def shape(polygons, *, mode="right_angles", tolerance_m=0.6):
    outlines = [Outline(id=f"{k:04d}", geometry=p, score=1 - 0.01 * k) for k, p in enumerate(polygons)]
    options = {"tolerance_m": tolerance_m, "regularization": mode, "min_area_m2": 0.0}
    return shape_outlines(outlines, reporter=Reporter(), keep_covered=True, **options)[0]


def tendril(start, end, width_m):
    return LineString([start, end]).buffer(width_m / 2)


def test_a_tendril_is_cut_and_the_rest_keeps_its_vertices():
    raw = shapely.segmentize(HOUSE, 0.5).union(tendril((6, 8), (8, 14), 0.5))
    (cut,), (reach,) = drop_prongs(np.array([raw]), **CUT)
    assert 3.5 < reach < 5.5
    assert shapely.hausdorff_distance(cut, HOUSE) < 0.3
    untouched = {p for p in map(tuple, shapely.get_coordinates(raw)) if p[1] < 8.5}
    assert untouched <= set(map(tuple, shapely.get_coordinates(cut)))


def test_what_is_thick_or_short_stays_the_same_object():
    thick = HOUSE.union(box(5, 8, 6.2, 12))
    short = HOUSE.union(box(5, 8, 5.5, 9.3))
    given_ = np.array([HOUSE, thick, short])
    cut, reach = drop_prongs(given_, **CUT)
    assert all(a is b for a, b in zip(cut, given_))
    assert not reach.any()


def test_a_neck_that_holds_a_building_is_not_cut():
    pair = HOUSE.union(box(20, 0, 32, 9)).union(box(11, 4, 21, 4.4))
    (cut,), (reach,) = drop_prongs(np.array([pair]), **CUT)
    assert cut is pair
    assert reach == 0


def test_a_crumb_at_the_end_of_a_neck_goes_with_it():
    crumb = HOUSE.union(tendril((12, 4), (16, 4), 0.4)).union(shapely.Point(16, 4).buffer(0.9))
    (cut,), _ = drop_prongs(np.array([crumb]), **CUT)
    assert cut.bounds[2] < 12.6


@pytest.mark.parametrize("inward", [False, True])
def test_a_needle_is_cut_where_it_is_wide_enough(inward):
    corner = (6, 5) if inward else (6, 14)
    raw = Polygon([(0, 0), (12, 0), (12, 9), (6.5, 9), corner, (5.5, 9), (0, 9)])
    (blunt,) = blunt_needles(np.array([raw]), least_deg=35.0, width_m=0.3)
    assert blunt.is_valid
    assert sharpest_corners(np.array([blunt]))[0] > 60
    assert abs(blunt.area - raw.area) < 2.6


def test_a_polygon_that_is_nothing_but_a_needle_stays():
    needle = Polygon([(0, 0), (30, 0.1), (0, 0.2)])
    (same,) = blunt_needles(np.array([needle]), least_deg=35.0, width_m=0.5)
    assert same is needle


def test_a_square_has_right_angles():
    wedge = Polygon([(0, 0), (10, 0), (0, 1)])
    assert sharpest_corners(np.array([HOUSE, wedge])) == pytest.approx([90, 5.71], abs=0.01)


@st.composite
def spiked(draw):
    """A building with up to three thin wedges on it, as a noisy mask or as drawn."""
    name = draw(st.sampled_from(["rectangle", "l", "u", "courtyard", "chamfer", "apse"]))
    base = shapes.SHAPES[name]
    for _ in range(draw(st.integers(1, 3))):
        at = base.exterior.interpolate(draw(st.floats(0, 1)), normalized=True)
        turn, long_m = draw(st.floats(0, 360)), draw(st.floats(1.0, 6.0))
        wide_m = draw(st.floats(0.02, 0.8))
        wedge = affinity.rotate(Polygon([(-0.5, -wide_m / 2), (long_m, 0), (-0.5, wide_m / 2)]), turn, origin=(0, 0))
        joined = base.union(affinity.translate(wedge, at.x, at.y))
        base = joined if joined.geom_type == "Polygon" else base
    placed = shapes.place(base, turn_deg=draw(st.floats(0, 90)))
    return shapes.pixel_outline(placed, seed=draw(st.integers(0, 99))) if draw(st.booleans()) else placed


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(raw=spiked())
def test_no_needle_leaves_the_geometry_stages(mode, raw):
    (found,) = shape([raw], mode=mode)
    assert found.geometry.is_valid
    # Rounding to the grid turns the short wall at a tip by a few degrees at most.
    assert sharpest_corners(np.array([found.geometry]))[0] > NEEDLE_DEG - 5


@settings(max_examples=12, deadline=None, derandomize=True)
@given(first=spiked(), second=spiked(), dx=st.floats(-12, 12), dy=st.floats(-12, 12))
def test_a_needle_between_neighbours_is_cut_or_marked(first, second, dx, dy):
    found = shape([first, affinity.translate(second, dx, dy)])
    sharp = sharpest_corners(np.array([o.geometry for o in found]))
    for outline, least in zip(found, sharp):
        assert outline.geometry.is_valid
        assert least >= NEEDLE_DEG or "degrees" in outline.check
    if not any("lies on" in o.check for o in found):
        assert found[0].geometry.intersection(found[1].geometry).area == 0


def test_what_was_cut_is_said_and_measured_against_the_raw_outline():
    raw = shapes.place(HOUSE.union(tendril((6, 8), (8, 14), 0.3)))
    (found,) = shape([raw])
    assert "prong of" in found.check
    assert found.regularized == "right_angles"
    assert found.max_shift_m == pytest.approx(shapely.hausdorff_distance(found.geometry, raw), abs=0.011)
    assert found.max_shift_m > 4
    assert shapes.iou(found.geometry, shapes.place(HOUSE)) > 0.98


def test_nothing_is_cut_where_nothing_may_move():
    raw = Polygon([(0, 0), (12, 0), (12, 9), (6.1, 9), (6, 14), (5.9, 9), (0, 9)])
    (found,) = shape([raw], tolerance_m=0.0, mode="none")
    assert found.geometry.equals(raw)
    assert "has a corner of 2 degrees" in found.check
