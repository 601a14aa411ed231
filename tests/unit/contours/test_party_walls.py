"""Fused terraces: cut where a party wall shows, and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contours import outline_instance
from cadastral_vectorizer.engine.contours.party_walls import Cut, find_party_walls, split_at
from cadastral_vectorizer.engine.contracts import Grid, Instance
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, affinity, box

PIXEL_M = 0.2
HOUSES = 5
WIDTH_PX, DEPTH_PX = 30, 50

WHOLE = {
    "l": Polygon([(0, 0), (150, 0), (150, 45), (60, 45), (60, 110), (0, 110)]),
    "t": Polygon([(0, 0), (160, 0), (160, 50), (110, 50), (110, 130), (55, 130), (55, 50), (0, 50)]),
    "u": Polygon([(0, 0), (160, 0), (160, 110), (115, 110), (115, 45), (45, 45), (45, 110), (0, 110)]),
    "courtyard": box(0, 0, 180, 130).difference(box(60, 40, 120, 90)),
    "h": box(0, 0, 40, 120).union(box(0, 40, 160, 80)).union(box(120, 0, 160, 120)),
    "staggered": Polygon([(0, 0), (60, 0), (60, 12), (120, 12), (120, 70), (60, 70), (60, 58), (0, 58)]),
    "long": box(0, 0, 220, 55),
}


def field(shape, turn_deg, *, lines=(), dip=0.0, seed=0, noise=0.04):
    """A network's soft probability of a shape, lower along lines, with smooth noise; uint8[H, W]."""
    turned = affinity.rotate(shape, turn_deg, origin=(0, 0))
    left, top, right, bottom = (int(v) for v in turned.bounds)
    move = lambda g: affinity.translate(affinity.rotate(g, turn_deg, origin=(0, 0)), 12 - left, 12 - top)  # noqa: E731
    size = bottom - top + 25, right - left + 25
    solid = np.zeros(size, np.float32)
    polygon = move(shape)
    cv2.fillPoly(solid, [np.round(polygon.exterior.coords).astype(np.int32)], 1.0)
    for hole in polygon.interiors:
        cv2.fillPoly(solid, [np.round(hole.coords).astype(np.int32)], 0.0)
    for line in lines:
        ends = np.round(move(line).coords).astype(np.int32)
        cv2.line(solid, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1.0 - dip, 3)
    rng = np.random.default_rng(seed)
    wobble = cv2.GaussianBlur(rng.normal(size=size), (0, 0), 3.0)
    soft = 0.97 * cv2.GaussianBlur(solid, (0, 0), 1.5) + noise * wobble / wobble.std() * (solid > 0)
    return (255 * np.clip(soft, 0, 1)).astype(np.uint8)


def terrace(turn_deg, *, dip, seed=0, houses=HOUSES):
    """A row of houses in one mask, its party walls shown by a dip, 0 for none."""
    row = box(0, 0, WIDTH_PX * houses, DEPTH_PX)
    walls = [shapely.LineString([(WIDTH_PX * k, 0), (WIDTH_PX * k, DEPTH_PX)]) for k in range(1, houses)]
    return field(row, turn_deg, lines=walls, dip=dip, seed=seed)


def notched(turn_deg):
    """A row of houses whose roofs leave a crack at every party wall, front and back."""
    row = box(0, 0, WIDTH_PX * HOUSES, DEPTH_PX)
    for k in range(1, HOUSES):
        x = WIDTH_PX * k
        row = row.difference(box(x - 2, 0, x + 2, 12)).difference(box(x - 2, DEPTH_PX - 12, x + 2, DEPTH_PX))
    return field(row, turn_deg)


def instance(probability):
    height, width = probability.shape
    return Instance(id="a", box=(100, 200, 100 + width, 200 + height), probability=probability, score=0.9)


def grid():
    return Grid(2000, 2000, (PIXEL_M, 0, 500_000, 0, -PIXEL_M, 4_000_000), "EPSG:32633", PIXEL_M)


@pytest.mark.parametrize("turn_deg", [0, 17, 45, 90, 133])
def test_a_terrace_is_cut_at_its_party_walls(turn_deg):
    probability = terrace(turn_deg, dip=0.45)
    parts = outline_instance(instance(probability), grid(), party_walls=True)
    assert len(parts) == HOUSES
    areas = np.array([p.area for p in parts])
    assert areas.max() < 1.2 * areas.min()
    (whole,) = outline_instance(instance(probability), grid())
    assert sum(areas) == pytest.approx(whole.area)
    assert shapely.union_all(parts).symmetric_difference(whole).area < 1e-6


def test_opposite_cracks_are_party_walls():
    assert len(outline_instance(instance(notched(20)), grid(), party_walls=True)) == HOUSES


@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 180), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_other_shapes_are_left_whole(name, turn_deg, seed):
    probability = field(WHOLE[name], turn_deg, seed=seed)
    assert find_party_walls(probability, pixel_m=PIXEL_M) == []


@given(st.floats(0, 180), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_terrace_that_shows_no_walls_is_left_whole(turn_deg, seed):
    assert find_party_walls(terrace(turn_deg, dip=0.0, seed=seed), pixel_m=PIXEL_M) == []


def test_a_line_across_half_the_house_is_no_party_wall():
    half = shapely.LineString([(75, 0), (75, 30)])
    assert find_party_walls(field(box(0, 0, 150, 60), 10, lines=[half], dip=0.6), pixel_m=PIXEL_M) == []


def test_a_wide_strip_of_doubt_is_no_party_wall():
    lines = [shapely.LineString([(x, 0), (x, 50)]) for x in range(65, 90, 2)]
    assert find_party_walls(field(box(0, 0, 150, 50), 0, lines=lines, dip=0.4), pixel_m=PIXEL_M) == []


def test_houses_narrower_than_a_house_are_not_made():
    walls = [shapely.LineString([(x, 0), (x, 50)]) for x in range(10, 120, 10)]
    cuts = find_party_walls(field(box(0, 0, 120, 50), 0, lines=walls, dip=0.5), pixel_m=PIXEL_M)
    along = sorted(c.point.real for c in cuts)
    assert np.diff([12, *along, 132]).min() >= 3.5 / PIXEL_M - 1.5


def test_a_cut_through_a_courtyard_is_refused():
    ring = box(0, 0, 20, 10).difference(box(5, 3, 15, 7))
    assert split_at(ring, [Cut(10 + 5j, 1j)], pixel_m=1.0) == [ring]


def test_nothing_is_cut_unless_asked():
    assert len(outline_instance(instance(terrace(0, dip=0.45)), grid())) == 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (40, 3)])
def test_small_masks_are_left_whole(shape):
    assert find_party_walls(np.full(shape, 255, np.uint8), pixel_m=PIXEL_M) == []
