"""Bends the outline does not show go, those it shows stay; walls may lean on the frame."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import shapely.affinity
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.regularise import regularise
from cadastral_vectorizer.engine.walls.bends import Significance, drop_weak_bends
from cadastral_vectorizer.engine.walls.fits import FREE, Pieces, fit_lines
from cadastral_vectorizer.engine.walls.rings import sample_rings

shapes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "shapes.py")))
LEAST = Significance(bend=0.06, lever_m=2.7, free=0.1)
FRAME = np.array([[0, np.pi / 2]])


def ring_of(*corners, step_m=0.15):
    return sample_rings(np.array([shapely.LinearRing(corners)]), step_m=step_m)


def pieces_at(rings, corners):
    """Pieces that start at the samples nearest to these corners."""
    z = np.array([complex(*c) for c in corners]) - rings.centre[0]
    start = np.sort(np.abs(rings.xy[:, None] - z).argmin(0))
    return Pieces(np.zeros(len(start), int), start, np.full(len(start), FREE))


def remaining(corners, extra, **options):
    """How many of the corners and the extra ones on their walls survive the test."""
    rings = ring_of(*corners)
    return drop_weak_bends(rings, pieces_at(rings, [*corners, *extra]), directions=FRAME, least=LEAST, **options)


RECTANGLE = ((0, 0), (14, 0), (14, 9), (0, 9))


def test_a_corner_on_a_straight_wall_goes_and_the_wall_takes_its_class():
    kept = remaining(RECTANGLE, [(6, 0), (14, 4), (9, 9)])
    assert len(kept.start) == 4
    # The walls that were joined lie in the frame again.
    assert (kept.kind != FREE).sum() == 3


@pytest.mark.parametrize(("bend_m", "stays"), [(0.05, False), (0.1, False), (0.5, True), (1.0, True)])
def test_a_bend_stays_if_the_outline_shows_it(bend_m, stays):
    corners = ((0, 0), (7, -bend_m), (14, 0), (14, 9), (0, 9))
    assert len(remaining(corners, []).start) == (5 if stays else 4)


def test_a_bend_near_a_corner_must_show_more():
    far, near = ((0, 0), (7, -0.25), (14, 0), (14, 9), (0, 9)), ((0, 0), (1.0, -0.25), (14, 0), (14, 9), (0, 9))
    assert len(remaining(far, []).start) == 5
    assert len(remaining(near, []).start) == 4


def test_corners_are_no_bends_and_no_ring_falls_below_four():
    assert len(remaining(RECTANGLE, []).start) == 4
    nearly = ((0, 0), (9, -0.02), (18, 0), (9, 0.9))
    assert len(remaining(nearly, [(4, -0.01), (14, -0.01)]).start) == 4


def test_result_does_not_depend_on_the_batch():
    raws = [
        shapely.affinity.translate(shapes.pixel_outline(shapes.place(s), seed=5), 200 * k, 0)
        for k, s in enumerate(shapes.SHAPES.values())
    ]
    outlines = [Outline(id=str(k), geometry=r) for k, r in enumerate(raws)]
    together = regularise(outlines, raws, mode="any_angle", tolerance_m=0.6)
    for outline, raw, found in zip(outlines, raws, together):
        (alone,) = regularise([outline], [raw], mode="any_angle", tolerance_m=0.6)
        assert alone.geometry.equals_exact(found.geometry, 1e-6)


def test_walls_lean_on_the_frame_as_far_as_they_are_long():
    corners = ((0, 0), (14, 0.25), (14, 9), (0, 9))
    rings = ring_of(*corners)
    pieces = pieces_at(rings, corners)
    pieces = Pieces(pieces.ring, pieces.start, np.array([0, 1, 0, 1]))
    turned = {}
    for stiffness in (np.inf, 50.0, 0.0):
        lines = fit_lines(rings, pieces, directions=FRAME, trim_m=0.2, stiffness=stiffness)
        turned[stiffness] = np.degrees(np.angle(lines.along[0]))
    assert turned[np.inf] == 0
    assert 0.6 < turned[50.0] < turned[0.0] == pytest.approx(np.degrees(np.arctan(0.25 / 14)), abs=0.05)


def test_any_angle_is_nearer_to_a_house_out_of_square_than_right_angles_are():
    truth = shapes.place(shapely.Polygon([(0, 0), (16, 0.3), (15.8, 11), (0, 11)]))
    raw = shapes.pixel_outline(truth, seed=4)
    off = {}
    for mode in ("right_angles", "any_angle"):
        (found,) = regularise([Outline(id="a", geometry=raw)], [raw], mode=mode, tolerance_m=0.6)
        assert shapely.get_num_coordinates(found.geometry) == 5
        off[mode] = shapely.hausdorff_distance(found.geometry, truth)
    assert off["any_angle"] < off["right_angles"]
