"""Topological faults counted one by one."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.evaluation.overlap import self_overlaps
from cadastral_vectorizer.engine.evaluation.topology_report import report_topology

SQUARE = shapely.box(0, 0, 10, 10)


def report(*geometries):
    raw = np.array(geometries, dtype=object)
    valid = shapely.make_valid(raw)
    return report_topology(raw, valid, self_overlaps(valid))


def test_clean_neighbours_have_no_fault():
    found = report(SQUARE, shapely.box(10, 0, 20, 10), shapely.box(30, 0, 40, 10))
    assert found.to_dict() == {
        "features": 3, "invalid": 0, "multipart": 0, "overlapping": 0, "overlap_m2": 0.0, "slivers": 0, "gaps": 0,
        "duplicate_vertices": 0, "touching": 1, "unshared_walls": 0,
    }  # fmt: skip


def test_wall_with_other_vertices_on_one_side_is_not_shared():
    found = report(SQUARE, shapely.box(10, 2, 20, 8))
    assert (found.touching, found.unshared_walls) == (1, 1)


def test_neighbours_that_touch_in_a_corner_share_no_wall():
    assert report(SQUARE, shapely.box(10, 10, 20, 20)).touching == 0


def test_overlap_is_counted_with_its_area_and_rounding_is_not():
    found = report(SQUARE, shapely.box(9, 0, 20, 10))
    assert (found.overlapping, found.overlap_m2) == (1, pytest.approx(10))
    assert (found.touching, found.gaps) == (0, 0)
    assert report(SQUARE, shapely.box(9.9999, 0, 20, 10)).overlapping == 0


def test_narrow_gap_is_a_gap_and_a_lane_is_not():
    assert report(SQUARE, shapely.box(10.1, 0, 20, 10)).gaps == 1
    assert report(SQUARE, shapely.box(10.5, 0, 20, 10)).gaps == 0


def test_wall_missed_by_less_than_a_millimetre_is_unshared():
    found = report(SQUARE, shapely.box(10.0005, 0, 20, 10))
    assert (found.gaps, found.touching, found.unshared_walls) == (0, 1, 1)


def test_sliver_invalid_multipart_and_duplicate_vertices():
    bowtie = shapely.Polygon([(50, 0), (60, 10), (60, 0), (50, 10)])
    sliver = shapely.box(100, 0, 120, 0.3)
    double = shapely.MultiPolygon([shapely.box(200, 0, 205, 5), shapely.box(210, 0, 215, 5)])
    repeated = shapely.Polygon([(300, 0), (310, 0), (310, 0.0005), (310, 10), (300, 10)])
    found = report(bowtie, sliver, double, repeated)
    assert (found.invalid, found.slivers, found.multipart, found.duplicate_vertices) == (1, 1, 1, 1)


def test_empty_layer_has_no_faults():
    assert set(report().to_dict().values()) == {0}
