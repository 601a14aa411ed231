"""Regularisation: right angles where the building has them, round ends round, refused with a reason."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.errors import InvalidParameter
from cadastral_vectorizer.engine.regularise import regularise
from cadastral_vectorizer.engine.regularise.arcs import fit_circle
from cadastral_vectorizer.engine.regularise.directions import (
    dominant_directions,
    estimate_frames,
    polygon_edges,
    share_frames,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

shapes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "geometry" / "shapes.py")))
TOLERANCE_M = 0.6
RIGHT_ANGLED = ("rectangle", "l", "t", "u", "z", "cross", "courtyard")
RAW = {name: shapes.pixel_outline(shapes.place(shape), seed=3) for name, shape in shapes.SHAPES.items()}
WOBBLY = {name: shapes.wobbly_outline(shapes.place(shape), seed=5) for name, shape in shapes.SHAPES.items()}


def square(raw, mode="right_angles", tolerance_m=TOLERANCE_M, **options):
    """Regularise one raw outline, itself the fallback."""
    return regularise([Outline(id="a", geometry=raw)], [raw], mode=mode, tolerance_m=tolerance_m, **options)[0]


@pytest.mark.parametrize("mode", ["right_angles", "diagonals", "any_angle"])
@pytest.mark.parametrize("name", RAW)
def test_result_is_valid_near_and_overlaps(name, mode):
    result = square(RAW[name], mode)
    assert result.geometry.is_valid
    assert result.regularized in (mode, "circle")
    assert result.max_shift_m <= TOLERANCE_M
    assert result.max_shift_m == pytest.approx(shapely.hausdorff_distance(RAW[name], result.geometry), abs=1e-3)
    assert shapes.iou(result.geometry, shapes.place(shapes.SHAPES[name])) > 0.955
    assert len(result.geometry.interiors) == len(shapes.SHAPES[name].interiors)


@pytest.mark.parametrize("name", RIGHT_ANGLED)
def test_clean_right_angled_shapes_come_back_exactly(name):
    truth = shapes.place(shapes.SHAPES[name])
    result = square(truth)
    assert shapely.get_num_coordinates(result.geometry) == shapely.get_num_coordinates(truth)
    assert shapely.hausdorff_distance(result.geometry, truth) < 0.005
    np.testing.assert_allclose(shapes.corner_angles_deg(result.geometry), 90, atol=1e-6)


@pytest.mark.parametrize("name", ["rectangle", "l", "t", "u"])
def test_noisy_right_angled_shapes_get_right_angles(name):
    turns = shapes.corner_angles_deg(square(RAW[name]).geometry)
    assert len(turns) == len(shapes.SHAPES[name].exterior.coords) - 1
    np.testing.assert_allclose(turns, 90, atol=1e-6)


def test_a_true_bend_of_eight_degrees_is_not_squared():
    """An accepted outline may not trade a wall's true direction for a neat angle."""
    truth = shapes.place(shapely.Polygon([(0, 0), (18, 2.5), (18, 14), (0, 14)]))
    result = square(shapes.pixel_outline(truth, seed=2))
    turns = np.sort(shapes.corner_angles_deg(result.geometry))
    np.testing.assert_allclose(turns, np.sort(shapes.corner_angles_deg(truth)), atol=2.0)


def test_direction_is_continuous():
    """Rounded to whole degrees a wall of 20 m would end 0.17 m off."""
    for angle in np.linspace(0, 44.7, 9):
        truth = affinity.rotate(shapely.box(0, 0, 20, 10), angle, origin=(0, 0))
        frame, _ = dominant_directions(*polygon_edges(np.array([truth])), 1)
        assert np.degrees(frame[0]) == pytest.approx(angle, abs=1e-6)


def test_direction_ignores_a_diagonal_wing():
    truth = affinity.rotate(shapes.SHAPES["diagonal_wing"], 11.0, origin=(0, 0))
    frame, agreement = dominant_directions(*polygon_edges(np.array([truth])), 1)
    off = (np.degrees(frame[0]) - 11.0 + 45) % 90 - 45
    assert min(abs(off), abs(off - 32), abs(off + 58)) < 1.0
    assert agreement[0] < 0.9


def test_neighbours_share_their_direction_softly():
    """A small house at 2 degrees in a street of large ones at 0 gives in; one at 30 degrees does not."""
    street = [affinity.translate(shapely.box(0, 0, 20, 10), 25 * k, 0) for k in range(6)]
    small = affinity.rotate(shapely.box(60, 14, 65, 18), 2.0)
    other = affinity.rotate(shapely.box(85, 14, 90, 18), 30.0)
    polygons = np.array([*street, small, other])
    frame, trust = estimate_frames(polygons, tolerance_m=0.3)
    shared, weight = share_frames(polygons, frame, trust)
    assert np.degrees(frame[6]) == pytest.approx(2.0, abs=0.02)  # chords cut corners
    assert 1.0 < np.degrees(shared[6]) < 1.99
    assert np.degrees(shared[7]) == pytest.approx(np.degrees(frame[7]), abs=0.01)
    assert abs(np.degrees(shared[0])) < 0.01
    assert weight[6] > 0


@pytest.mark.parametrize("name", ["round_tower", "round_courtyard", "apse"])
def test_round_walls_become_arcs(name):
    truth, result = shapes.place(shapes.SHAPES[name]), square(RAW[name])
    assert (result.regularized == "circle") == (name == "round_tower")
    turns = shapes.corner_angles_deg(result.geometry)
    if name == "round_courtyard":
        turns = shapes.corner_angles_deg(shapely.Polygon(result.geometry.interiors[0]))
    assert (turns < 30).sum() >= 6
    assert shapely.hausdorff_distance(truth, result.geometry) < 0.35


def test_circle_has_the_radius_and_place_of_the_tower():
    result = square(RAW["round_tower"]).geometry
    assert result.area == pytest.approx(np.pi * 25, rel=0.02)
    assert result.centroid.distance(shapely.Point(533_000, 9_367_000)) < 0.1


@given(st.floats(1, 50), st.floats(-1e3, 1e3), st.floats(0.5, 6.2))
@settings(max_examples=30, deadline=None)
def test_circle_is_found_from_an_arc(radius, x, sweep):
    points = complex(x, -x) + radius * np.exp(1j * np.linspace(0, sweep, 40))
    centre, found = fit_circle(points)
    assert found == pytest.approx(radius, rel=1e-4)
    assert abs(centre - complex(x, -x)) < 1e-3 * radius


def test_an_octagon_keeps_its_corners():
    angle = np.arange(8) * np.pi / 4
    truth = shapes.place(shapely.Polygon(np.column_stack((9 * np.cos(angle), 9 * np.sin(angle)))))
    result = square(shapes.pixel_outline(truth, seed=1), "diagonals")
    assert result.regularized == "diagonals"
    np.testing.assert_allclose(shapes.corner_angles_deg(result.geometry), 45, atol=4)


def test_diagonals_are_drawn_at_45_degrees():
    truth = shapes.place(shapes.SHAPES["chamfer"])
    turns = np.sort(shapes.corner_angles_deg(square(shapes.pixel_outline(truth, seed=8), "diagonals").geometry))
    np.testing.assert_allclose(turns, [45, 45, 90, 90, 90], atol=1e-6)


def test_what_cannot_be_regularised_is_kept_and_says_so():
    result = square(RAW["l"], min_iou=0.99)
    assert result.regularized == "kept"
    assert result.geometry.equals(RAW["l"])
    assert result.check.startswith("not regularized: would overlap by 9")


def test_mode_none_changes_nothing():
    outline = Outline(id="a", geometry=RAW["l"])
    assert regularise([outline], [RAW["l"]], mode="none", tolerance_m=0.6) == [outline]


def test_tolerance_zero_keeps_every_outline():
    assert square(RAW["l"], tolerance_m=0).regularized == "kept"


def test_unknown_mode_names_the_choices():
    with pytest.raises(InvalidParameter, match="right_angles, diagonals, any_angle"):
        square(RAW["l"], mode="wavy")


@pytest.mark.parametrize("mode", ["right_angles", "any_angle"])
@pytest.mark.parametrize("name", RAW)
def test_regularising_twice_changes_little(name, mode):
    once = square(RAW[name], mode).geometry
    twice = square(once, mode).geometry
    assert shapely.hausdorff_distance(once, twice) < 0.12


@given(
    st.sampled_from(sorted(WOBBLY)),
    st.sampled_from(["right_angles", "diagonals", "any_angle"]),
    st.floats(0, 360),
    st.floats(-500, 500),
)
@settings(max_examples=25, deadline=None)
def test_result_moves_and_turns_with_the_outline(name, mode, angle, dx):
    def move(polygon):
        return affinity.translate(affinity.rotate(polygon, angle, origin=WOBBLY[name].centroid), dx, -dx)

    here, there = move(square(WOBBLY[name], mode).geometry), square(move(WOBBLY[name]), mode).geometry
    assert shapely.hausdorff_distance(here, there) < 1e-4


def test_result_does_not_depend_on_the_order():
    names = sorted(RAW)
    raws = [affinity.translate(RAW[n], 200 * k, 0) for k, n in enumerate(names)]
    outlines = [Outline(id=n, geometry=r) for n, r in zip(names, raws)]
    forth = regularise(outlines, raws, mode="right_angles", tolerance_m=TOLERANCE_M)
    back = regularise(outlines[::-1], raws[::-1], mode="right_angles", tolerance_m=TOLERANCE_M)[::-1]
    assert all(a.geometry.equals_exact(b.geometry, 1e-6) for a, b in zip(forth, back))
