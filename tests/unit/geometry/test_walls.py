"""Rings, line fits and the division into walls, against the plain way of computing them."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.walls.compare import compare_outlines
from cadastral_vectorizer.engine.walls.fits import FREE, Pieces, fit_lines, fixed_residual, free_residual, line_angle
from cadastral_vectorizer.engine.walls.rings import sample_rings
from cadastral_vectorizer.engine.walls.segmentation import Penalties, candidate_corners, divide_rings
from hypothesis import given, settings
from hypothesis import strategies as st

shapes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "shapes.py")))
RAW = np.array([shapes.pixel_outline(shapes.place(s), seed=9) for s in shapes.SHAPES.values()])
RINGS = sample_rings(shapely.get_exterior_ring(RAW), step_m=0.15)


def test_samples_lie_evenly_on_their_rings():
    for k, raw in enumerate(RAW):
        z = RINGS.xy[RINGS.first[k] : RINGS.first[k + 1]] + RINGS.centre[k]
        assert shapely.distance(shapely.points(z.real, z.imag), raw.exterior).max() < 1e-6
        assert RINGS.count[k] * RINGS.step_m[k] == pytest.approx(raw.exterior.length)


@given(st.integers(0, len(RAW) - 1), st.data())
@settings(max_examples=40, deadline=None)
def test_moments_of_a_piece_are_those_of_its_samples(k, data):
    n = int(RINGS.count[k])
    i = data.draw(st.integers(0, n - 1))
    j = i + data.draw(st.integers(2, n))
    z = RINGS.at(np.full(j - i, k), np.arange(i, j))
    m, x, y, xx, xy, yy = (v[0] for v in RINGS.piece_moments(np.array([k]), np.array([i]), np.array([j])))
    assert m == j - i
    assert complex(x, y) == pytest.approx(z.mean(), abs=1e-9)
    expected = np.cov(z.real, z.imag, bias=True) * m
    np.testing.assert_allclose([xx, xy, yy], expected[[0, 0, 1], [0, 1, 1]], atol=1e-6)
    angle = line_angle(xx, xy, yy)
    assert free_residual(xx, xy, yy) == pytest.approx(np.linalg.eigvalsh(expected)[0], abs=1e-6)
    assert fixed_residual(xx, xy, yy, angle) == pytest.approx(free_residual(xx, xy, yy), abs=1e-6)


def test_division_of_a_clean_l_has_its_six_walls_in_two_classes():
    ring = shapely.get_exterior_ring(np.array([shapes.SHAPES["l"]]))
    rings = sample_rings(ring, step_m=0.15)
    candidates = candidate_corners(rings, tolerance_m=0.05)
    pieces = divide_rings(
        rings, candidates, directions=np.array([[0, np.pi / 2]]), penalties=Penalties(wall=0.1, free=0.1)
    )
    lines = fit_lines(rings, pieces, directions=np.array([[0, np.pi / 2]]), trim_m=0.2)
    assert sorted(np.round(lines.length_m).astype(int)) == [6, 6, 7, 7, 12, 14]
    assert FREE not in pieces.kind
    assert (pieces.kind != np.roll(pieces.kind, 1)).all()
    assert lines.residual.max() < 1e-4


def test_division_is_the_cheapest_of_all():
    """Against every choice of corners among a handful of candidates."""
    rng = np.random.default_rng(4)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 8))
    z = rng.uniform(4, 8, 8) * np.exp(1j * angle)
    rings = sample_rings(np.array([shapely.LinearRing(np.column_stack((z.real, z.imag)))]), step_m=0.2)
    candidates = np.sort(rng.choice(int(rings.count[0]), 8, replace=False))
    penalties = Penalties(wall=1.0, free=0.3)
    away = np.abs(rings.xy[candidates]).argmax()
    pieces = divide_rings(rings, [candidates], directions=np.array([[0.3]]), penalties=penalties)

    def cost(corners):
        total, n = 0.0, int(rings.count[0])
        for i, j in zip(corners, [*corners[1:], corners[0] + n]):
            _, _, _, xx, xy, yy = rings.piece_moments(np.array([0]), np.array([i]), np.array([j]))
            free, fixed = free_residual(xx, xy, yy)[0], fixed_residual(xx, xy, yy, 0.3)[0]
            total += min(free * rings.step_m[0] + 0.3, fixed * rings.step_m[0]) + 1.0
        return total

    subsets = [
        sorted(c for k, c in enumerate(candidates) if bits >> k & 1) for bits in range(1, 256) if bits >> int(away) & 1
    ]
    assert cost(sorted(pieces.start)) == pytest.approx(min(cost(s) for s in subsets))


def test_result_does_not_depend_on_the_batch():
    candidates = candidate_corners(RINGS, tolerance_m=0.2)
    none = np.zeros((len(RAW), 0))
    whole = divide_rings(RINGS, candidates, directions=none, penalties=Penalties(wall=0.1))
    for k in range(len(RAW)):
        ring = sample_rings(shapely.get_exterior_ring(RAW[k : k + 1]), step_m=0.15)
        corners = candidate_corners(ring, tolerance_m=0.2)
        alone = divide_rings(ring, corners, directions=none[:1], penalties=Penalties(wall=0.1))
        np.testing.assert_array_equal(alone.start, whole.start[whole.ring == k])


def test_neighbours_go_around_their_ring():
    pieces = Pieces(np.array([0, 0, 0, 2, 2, 2, 2]), np.arange(7), np.zeros(7, int))
    before, after = pieces.neighbours()
    assert list(before) == [2, 0, 1, 6, 3, 4, 5]
    assert list(after) == [1, 2, 0, 4, 5, 6, 3]


def test_common_share_is_that_of_an_overlay():
    truth = np.array([shapes.place(s) for s in shapes.SHAPES.values()])
    found = compare_outlines(RAW, truth, step_m=0.15)
    exact = [shapes.iou(a, b) for a, b in zip(RAW, truth)]
    np.testing.assert_allclose(found, exact, atol=0.006)


def test_common_share_of_outlines_far_apart_and_of_none():
    a, b = shapely.box(0, 0, 10, 10), shapely.box(5, 0, 15, 10)
    found = compare_outlines(np.array([a, a, a]), np.array([a, b, None]), step_m=0.2)
    assert found[0] == pytest.approx(1.0)
    assert found[1] == pytest.approx(1 / 3)
    assert np.isnan(found[2])
