"""Topology: no overlaps, shared walls shared, on the grid, whatever the order."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.topology import GRID_M, resolve
from cadastral_vectorizer.engine.topology.grid import snap_to_grid
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity, box

SNAP_M = 0.3


def outlines(polygons, scores=None):
    scores = scores or [0.9] * len(polygons)
    return [Outline(id=f"{k:03d}", geometry=p, score=s) for k, (p, s) in enumerate(zip(polygons, scores))]


def settle(polygons, scores=None, **options):
    return resolve(outlines(polygons, scores), snap_m=SNAP_M, tolerance_m=0.5, **options)


def geometries(found):
    return np.array([o.geometry for o in found])


def overlap_area(polygons):
    a, b = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    a, b = a[a < b], b[a < b]
    return shapely.area(shapely.intersection(polygons[a], polygons[b])).sum()


def terrace(seed, houses=6, jitter_m=0.12, turn=True):
    """Houses in a row, each outline with its own error at the party walls."""
    rng = np.random.default_rng(seed)
    x, row = 0.0, []
    for _ in range(houses):
        width, depth, front = rng.uniform(5, 9), rng.uniform(8, 12), rng.choice([0, 0, 1.5])
        left, right = x + rng.uniform(-1, 1, 2) * jitter_m + (0, width)
        row.append(box(left, front, right, front + depth))
        x += width
    angle = rng.uniform(0, 360) if turn else 0
    return [affinity.translate(affinity.rotate(p, angle, origin=(0, 0)), 533_000, 9_367_000) for p in row]


def scatter(seed, number=8):
    """Rectangles thrown on top of each other."""
    rng = np.random.default_rng(seed)
    thrown = []
    for _ in range(number):
        w, h = rng.uniform(3, 12, 2)
        turned = affinity.rotate(box(-w / 2, -h / 2, w / 2, h / 2), rng.uniform(0, 90))
        thrown.append(affinity.translate(turned, *rng.uniform(0, 25, 2)))
    return thrown


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_any_neighbourhood_becomes_a_clean_coverage(seed, in_a_row):
    polygons = terrace(seed) if in_a_row else scatter(seed)
    found = settle(polygons, keep_covered=False)
    shapes = geometries(found)
    assert shapely.is_valid(shapes).all()
    assert all(s.geom_type == "Polygon" for s in shapes)
    assert overlap_area(shapes) == 0
    assert shapely.coverage_is_valid(shapes)
    xy = shapely.get_coordinates(shapes)
    np.testing.assert_allclose(xy, np.round(xy, 2), atol=1e-8, rtol=0)
    assert (2 * shapely.area(shapes) / shapely.length(shapes) > 0.05).all()


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_order_does_not_matter(seed, random):
    items = outlines(terrace(seed) if seed % 2 else scatter(seed))
    shuffled = items[:]
    random.shuffle(shuffled)
    forth = {o.id: o for o in resolve(items, snap_m=SNAP_M, tolerance_m=0.5)}
    back = {o.id: o for o in resolve(shuffled, snap_m=SNAP_M, tolerance_m=0.5)}
    assert forth.keys() == back.keys()
    assert all(forth[k].geometry.equals_exact(back[k].geometry, 0) for k in forth)
    assert all(forth[k].check == back[k].check for k in forth)


@pytest.mark.parametrize("seed", range(12))
def test_every_pair_of_a_terrace_shares_its_wall_exactly(seed):
    shapes = geometries(settle(terrace(seed)))
    for a, b in zip(shapes[:-1], shapes[1:]):
        wall = shapely.intersection(shapely.boundary(a), shapely.boundary(b))
        assert wall.length > 4
        assert a.distance(b) == 0
        mine = {tuple(c) for c in shapely.get_coordinates(a)}
        theirs = {tuple(c) for c in shapely.get_coordinates(b)}
        ends = shapely.get_coordinates(shapely.line_merge(wall))
        assert all(tuple(c) in mine and tuple(c) in theirs for c in ends)


@pytest.mark.parametrize("seed", range(12))
def test_settling_twice_changes_nothing(seed):
    once = settle(terrace(seed))
    twice = resolve(once, snap_m=SNAP_M, tolerance_m=0.5)
    for a, b in zip(once, twice):
        assert shapely.hausdorff_distance(a.geometry, b.geometry) <= 2 * GRID_M


def test_walls_slide_and_angles_stay_right():
    a, b = box(0, 0, 10, 8), box(10.2, -1, 18, 6)
    _, moved = geometries(settle([a, b]))
    assert moved.bounds == (10, -1, 18, 6)
    assert (10.0, 0.0) in set(moved.exterior.coords), "the corner of the neighbour is a vertex of both"


def test_a_gap_wider_than_the_snapping_distance_stays():
    a, b = geometries(settle([box(0, 0, 10, 8), box(10.4, 0, 18, 8)]))
    assert a.distance(b) == pytest.approx(0.4)


def test_walls_that_face_away_are_not_joined():
    """Two fronts in one line 5 m apart have nothing to do with each other."""
    shapes = geometries(settle([box(0, 0, 10, 8), box(15, 0.2, 25, 8)]))
    assert shapes[1].bounds[1] == pytest.approx(0.2)


def test_the_higher_score_gets_the_ground():
    a, b = box(0, 0, 10, 10), box(8, 0, 18, 10)
    first, second = geometries(settle([a, b], [0.5, 0.9]))
    assert second.equals(b)
    assert first.area == pytest.approx(80)


def test_the_larger_gets_the_ground_when_scores_are_equal():
    a, b = box(0, 0, 10, 10), box(8, 0, 28, 10)
    first, second = geometries(settle([a, b]))
    assert second.equals(b)
    assert first.area == pytest.approx(80)


def test_a_house_in_a_courtyard_stays():
    ring = box(0, 0, 20, 20).difference(box(5, 5, 15, 15))
    shapes = geometries(settle([ring, box(8, 8, 12, 12)]))
    assert len(shapes[0].interiors) == 1
    assert shapes[1].area == 16


def test_identical_outlines_are_kept_and_marked_or_left_out():
    twins = [box(0, 0, 10, 10), box(0, 0, 10, 10)]
    kept = settle(twins)
    assert [o.check for o in kept] == ["", "lies on 000"]
    assert [o.id for o in settle(twins, keep_covered=False)] == ["000"]


def test_great_losses_are_marked():
    found = settle([box(0, 0, 10, 10), box(3, 2, 12, 8)])
    assert found[1].check == "lost ground to neighbours"


def test_identity_and_attributes_travel():
    items = [Outline(id="x", geometry=box(0, 0, 5, 5), score=0.3, refined=True, edge=True, check="old")]
    (found,) = resolve(items, snap_m=SNAP_M, tolerance_m=0.5)
    assert (found.id, found.score, found.refined, found.edge, found.check) == ("x", 0.3, True, True, "old")


def test_nothing_in_nothing_out():
    assert resolve([], snap_m=SNAP_M, tolerance_m=0.5) == []


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_grid_keeps_polygons_valid(seed):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 14))
    z = rng.uniform(0.01, 0.4, 14) * np.exp(1j * angle)
    star = shapely.Polygon(np.column_stack((z.real, z.imag)))
    if not star.is_valid:
        return
    (snapped,) = snap_to_grid(np.array([star]))
    assert snapped.is_valid
    assert snapped.area > 0
    assert shapely.hausdorff_distance(snapped.exterior, star.exterior) < 0.3
