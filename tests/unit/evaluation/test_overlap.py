"""Exact overlaps of vector layers, and of the pixel masks of the same layers."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import rasterio.features
import shapely
from cadastral_vectorizer.engine.evaluation.masks import expand, mask_pairs, rasterize
from cadastral_vectorizer.engine.evaluation.overlap import (
    dissolve_overlaps,
    map_chunks,
    measure_coverage,
    overlap_pairs,
    self_overlaps,
)
from hypothesis import given, settings

SQUARE = shapely.box(0, 0, 10, 10)
RING = shapely.Polygon(SQUARE.exterior.coords, [shapely.box(3, 3, 7, 7).exterior.coords])


def array(*geometries):
    return np.array(geometries, dtype=object)


def random_buildings(seed, count, *, extent=60.0):
    """Rotated rectangles, some with a courtyard, that overlap here and there."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        x, y = rng.uniform(0, extent, 2)
        width, height = rng.uniform(4, 16, 2)
        shape = shapely.box(-width / 2, -height / 2, width / 2, height / 2)
        if rng.random() < 0.3:
            shape = shape.difference(shapely.box(-width / 4, -height / 4, width / 4, height / 4))
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        found.append(shapely.transform(shape, lambda xy, turn=turn, x=x, y=y: xy @ turn.T + (x, y)))
    return np.array(found, dtype=object)


def test_iou_of_half_shifted_square_is_a_third():
    pairs = overlap_pairs(array(SQUARE), array(shapely.box(5, 0, 15, 10)))
    assert pairs.iou == pytest.approx([1 / 3], abs=1e-12)
    assert pairs.intersection == pytest.approx([50])


def test_hole_counts_as_outside():
    pairs = overlap_pairs(array(RING), array(SQUARE))
    assert pairs.iou == pytest.approx([0.84], abs=1e-12)


def test_neighbours_that_only_touch_are_no_pair():
    assert len(overlap_pairs(array(SQUARE), array(shapely.box(10, 0, 20, 10)))) == 0


@pytest.mark.parametrize(("a", "b"), [([], [SQUARE]), ([SQUARE], []), ([], [])])
def test_empty_layers_have_no_pairs(a, b):
    assert len(overlap_pairs(array(*a), array(*b))) == 0
    assert len(mask_pairs(array(*a), array(*b))) == 0


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_overlap_is_symmetric_bounded_and_independent_of_order(seed):
    a, b = random_buildings(seed, 12), random_buildings(seed + 1, 12)
    pairs, swapped = overlap_pairs(a, b), overlap_pairs(b, a)
    assert ((pairs.iou > 0) & (pairs.iou <= 1)).all()
    forward = {(i, j): v for i, j, v in zip(pairs.predicted, pairs.reference, pairs.iou, strict=True)}
    backward = {(j, i): v for i, j, v in zip(swapped.predicted, swapped.reference, swapped.iou, strict=True)}
    assert forward == pytest.approx(backward, abs=1e-9)
    order = np.random.default_rng(seed).permutation(len(a))
    shuffled = overlap_pairs(a[order], b)
    again = {(order[i], j): v for i, j, v in zip(shuffled.predicted, shuffled.reference, shuffled.iou, strict=True)}
    assert again == pytest.approx(forward, abs=1e-12)


def test_chunks_give_the_same_as_one_piece():
    values = np.arange(25.0)
    assert (map_chunks(lambda part: values[part] ** 2, 25, size=4) == values**2).all()


def test_coverage_counts_overlapping_predictions_once():
    predicted = array(SQUARE, shapely.box(5, 0, 15, 10))
    reference = array(shapely.box(0, 0, 15, 10), shapely.box(100, 0, 110, 10))
    covered = measure_coverage(predicted, reference, self_overlaps(predicted), self_overlaps(reference))
    assert (covered.predicted, covered.reference, covered.common) == pytest.approx((150, 250, 150))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_coverage_equals_the_areas_of_the_unions(seed):
    a, b = random_buildings(seed, 15), random_buildings(seed + 7, 15)
    covered = measure_coverage(a, b, self_overlaps(a), self_overlaps(b))
    whole_a, whole_b = shapely.union_all(a), shapely.union_all(b)
    assert covered.predicted == pytest.approx(whole_a.area)
    assert covered.common == pytest.approx(whole_a.intersection(whole_b).area)


def test_dissolving_a_chain_gives_one_polygon_and_leaves_the_rest():
    chain = array(*(shapely.box(6 * k, 0, 6 * k + 8, 4) for k in range(4)), shapely.box(0, 50, 5, 55))
    first, second, _ = self_overlaps(chain)
    assert sorted(shapely.area(dissolve_overlaps(chain, first, second))) == pytest.approx([25, 26 * 4])


def test_expand_enumerates_ranges_and_skips_empty_ones():
    which, value = expand(np.array([3, 5, 0]), np.array([5, 5, 2]))
    assert which.tolist() == [0, 0, 2, 2]
    assert value.tolist() == [3, 4, 0, 1]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_masks_are_those_of_gdal_pixel_by_pixel(seed):
    buildings = random_buildings(seed, 6)
    runs = rasterize(buildings)
    for index, building in enumerate(buildings):
        expected = rasterio.features.rasterize([building], out_shape=(80, 80)).astype(bool)
        mask = runs.mask(index, height=80, width=80)
        assert (mask == expected).all()
        if building.bounds[0] > 0 and building.bounds[1] > 0:
            assert runs.area[index] == expected.sum()


def test_masks_reach_beyond_any_image_and_below_zero():
    runs = rasterize(array(shapely.box(-20, -3, -10, 2), shapely.box(1e6, 1e6, 1e6 + 3, 1e6 + 2)))
    assert runs.area.tolist() == [50, 6]


def test_polygon_between_pixel_centres_has_no_pixels():
    runs = rasterize(array(shapely.box(0.6, 0.6, 1.4, 1.4)))
    assert runs.area.tolist() == [0]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_mask_pairs_count_common_pixels(seed):
    a, b = random_buildings(seed, 8), random_buildings(seed + 3, 8)
    pairs = mask_pairs(a, b)
    runs_a, runs_b = rasterize(a), rasterize(b)
    a_area, b_area = runs_a.area, runs_b.area
    found = set()
    for i, j, common, iou in zip(pairs.predicted, pairs.reference, pairs.intersection, pairs.iou, strict=True):
        mask_a, mask_b = (runs.mask(k, height=90, width=90) for runs, k in ((runs_a, i), (runs_b, j)))
        shift = 0 if min(a[i].bounds[:2]) > 0 and min(b[j].bounds[:2]) > 0 else None
        if shift is not None:
            assert common == (mask_a & mask_b).sum()
            assert iou == pytest.approx(common / (a_area[i] + b_area[j] - common))
        found.add((i, j))
    for i in range(len(a)):
        for j in range(len(b)):
            both = runs_a.mask(i, height=90, width=90) & runs_b.mask(j, height=90, width=90)
            assert not both.any() or (i, j) in found
