"""Corners matched one to one, and what is said about their accuracy."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.evaluation.accuracy_classes import classify, explain
from cadastral_vectorizer.engine.evaluation.corners import (
    find_corners,
    match_corners,
    mean_shift,
    summarize_shifts,
)
from hypothesis import given, settings
from scipy.optimize import linear_sum_assignment

SQUARE = shapely.box(0, 0, 10, 10)


def array(*geometries):
    return np.array(geometries, dtype=object)


def moved(geometry, x, y):
    return shapely.transform(geometry, lambda xy: xy + (x, y))


def test_vertices_on_a_straight_wall_are_no_corners():
    subdivided = shapely.segmentize(SQUARE, 1.0)
    corners, owner = find_corners(array(subdivided, SQUARE))
    assert sorted(map(tuple, corners[owner == 0])) == [(0, 0), (0, 10), (10, 0), (10, 10)]
    assert (owner == 1).sum() == 4


def test_corners_of_a_courtyard_count():
    courtyard = shapely.Polygon(SQUARE.exterior.coords, [shapely.box(4, 4, 6, 6).exterior.coords])
    assert len(find_corners(array(courtyard))[0]) == 8


def test_shift_of_a_square_is_all_systematic():
    found = match_corners(array(moved(SQUARE, 0.3, -0.1)), array(SQUARE), gate_m=0.5)
    values = summarize_shifts(found.shift, limit_m=0.2)
    assert values["count"] == 4
    assert (values["dx_m"], values["dy_m"]) == pytest.approx((0.3, -0.1))
    assert (values["std_x_m"], values["std_y_m"]) == pytest.approx((0, 0), abs=1e-9)
    assert values["rmse_m"] == pytest.approx(np.sqrt(0.1))
    assert values["max_m"] == values["p95_m"] == pytest.approx(np.sqrt(0.1))
    assert (values["within_limit"], values["within_2limit"]) == (0.0, 1.0)
    assert mean_shift(found) == pytest.approx(np.array([[0.3, -0.1]]))


def test_growing_is_all_random():
    grown = shapely.box(-0.2, -0.2, 10.2, 10.2)
    values = summarize_shifts(match_corners(array(grown), array(SQUARE), gate_m=0.5).shift, limit_m=0.1)
    assert (values["dx_m"], values["dy_m"]) == pytest.approx((0, 0), abs=1e-12)
    assert values["rmse_x_m"] == values["std_x_m"] == pytest.approx(0.2)
    assert values["rmse_x_m"] ** 2 == pytest.approx(values["dx_m"] ** 2 + values["std_x_m"] ** 2)


def test_corners_beyond_the_gate_stay_unmatched():
    found = match_corners(array(moved(SQUARE, 2, 0)), array(SQUARE), gate_m=0.5)
    assert len(found.owner) == 0
    assert found.reference_count.tolist() == [4]
    assert np.isnan(mean_shift(found)).all()
    assert summarize_shifts(found.shift, limit_m=0.1)["rmse_m"] is None


def test_a_corner_is_used_once():
    # Two predicted corners compete for (0, 0); the assignment gives it to the nearer one.
    cut = shapely.Polygon([(0.3, 0), (10, 0), (10, 10), (0, 10), (0, 0.1)])
    found = match_corners(array(cut), array(SQUARE), gate_m=0.5)
    assert len(found.owner) == 4
    assert len(np.unique(found.reference, axis=0)) == 4
    assert (0.0, 0.1) in map(tuple, found.predicted)
    assert found.predicted_count.tolist() == [5]


def test_few_matched_corners_do_not_speak_for_a_building():
    stretched = shapely.Polygon([(0.1, 0), (14, 0), (14, 14), (0, 14)])
    found = match_corners(array(stretched), array(SQUARE), gate_m=0.5)
    assert len(found.owner) == 1
    assert np.isnan(mean_shift(found)).all()


@given(seed=st.integers(0, 5000))
@settings(max_examples=40, deadline=None)
def test_total_cost_is_that_of_the_hungarian_assignment(seed):
    rng = np.random.default_rng(seed)
    a, b = [], []
    for _ in range(6):
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
        points = np.column_stack((np.cos(angle), np.sin(angle))) * rng.uniform(0.5, 2, (len(angle), 1))
        b.append(shapely.Polygon(points))
        a.append(shapely.Polygon(points + rng.normal(0, 0.4, points.shape)))
    a, b = np.array(a), np.array(b)
    gate = 0.5
    found = match_corners(a, b, gate_m=gate)
    for index in range(len(a)):
        mine, theirs = find_corners(a[index : index + 1])[0], find_corners(b[index : index + 1])[0]
        cost = np.minimum(np.hypot(*(mine[:, None] - theirs[None]).transpose(2, 0, 1)), gate)
        rows, cols = linear_sum_assignment(cost)
        expected = np.minimum(cost[rows, cols], gate).sum() + gate * (len(mine) - len(rows))
        lengths = np.hypot(*found.shift[found.owner == index].T)
        assert lengths.sum() + gate * (len(mine) - len(lengths)) == pytest.approx(expected, abs=1e-9)
        assert (lengths < gate).all()


def test_no_pairs_give_no_matches():
    found = match_corners(array(), array(), gate_m=0.5)
    assert len(found.owner) == 0
    assert mean_shift(found).shape == (0, 2)


def test_classes_of_the_rules_beside_the_measured_figures():
    shift = np.array([[0.05, 0.0], [0.15, 0.0], [0.0, 0.15], [0.0, 0.45]])
    entries = {(e.rule, e.name): e for e in classify(shift, limit_m=0.1, pixel_m=0.08)}
    settlements = entries["order P/0393 (2020)", "settlements"]
    assert (settlements.limit_m, settlements.within, settlements.within_twice, settlements.below) == (
        0.1,
        0.25,
        0.75,
        False,
    )
    assert entries["order P/0393 (2020)", "industry, energy, transport, defence"].below
    # RMSE is sqrt((.0025 + .0225 + .0225 + .2025) / 4) = .25.
    assert entries["ASPRS 2023", "25 cm horizontal class"].limit_m == 0.25
    gost = {name: e.below for (rule, name), e in entries.items() if rule.startswith("GOST")}
    assert gost == {
        "scale 1:500": False,
        "scale 1:1000": True,
        "scale 1:2000, dense building": True,
        "scale 1:2000": True,
    }


def test_without_corners_nothing_is_below_a_limit():
    entries = classify(np.empty((0, 2)), limit_m=0.1, pixel_m=0.0)
    assert [e.below for e in entries] == [None] * 6


def test_no_compliance_from_few_points_or_a_digitised_reference():
    few = " ".join(explain(29, 0.2, 0.5, surveyed=True))
    assert "Below 30 points no accuracy class can be stated" in few
    assert "absolute" not in few
    digitised = " ".join(explain(5000, 0.2, 0.5, surveyed=False))
    assert "no compliance with any limit follows" in digitised
    assert "20% of the reference corners" in digitised
    surveyed = " ".join(explain(30, 0.2, 0.5, surveyed=True))
    assert "absolute accuracy" in surveyed
    assert "Below 30" not in surveyed
