"""Of a building that several rasters show one outline is kept, whole where any of them shows it whole."""

from __future__ import annotations

import random

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.unite import CUT, JOINED, View, unite

WEST = shapely.box(0, 0, 100, 100)  # two rasters that overlap between x = 80 and x = 100
EAST = shapely.box(80, 0, 180, 100)


def house(name, west, south, east, north, **facts):
    return Outline(name, shapely.box(west, south, east, north), score=0.9, regularized="right_angles", **facts)


def views(west, east, *, ranks=(0.2, 0.2)):
    return [View(west, WEST, (ranks[0], 0)), View(east, EAST, (ranks[1], 1))]


def united(given, **settings):
    found = unite(given, **{"tolerance_m": 1.0, "regularization": "right_angles", "reporter": Reporter(), **settings})
    shapes = [o.geometry for o in found]
    a, b = shapely.STRtree(shapes).query(shapes, predicate="overlaps") if shapes else ([], [])
    assert not len(a), "outlines overlap"
    assert len({o.id for o in found}) == len(found)
    return {o.id: o for o in found}


def test_a_building_both_show_is_taken_from_the_better_raster():
    west, east = [house("w", 85, 10, 95, 20)], [house("e", 85.3, 10.2, 95.2, 20.1)]
    assert list(united(views(west, east))) == ["w"]  # the first
    assert list(united(views(west, east, ranks=(0.3, 0.2)))) == ["e"]  # the finer


def test_a_building_only_one_of_them_finds_stays():
    found = united(views([house("a", 10, 10, 20, 20), house("b", 82, 50, 90, 60)], [house("c", 150, 10, 160, 20)]))
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == house("a", 10, 10, 20, 20)  # untouched in every respect


def test_what_one_raster_cuts_comes_whole_from_the_other_though_it_is_of_lower_rank():
    west = [house("w", 90, 10, 100, 20, edge=True, check=CUT)]
    east = [house("e", 90.2, 10, 112, 20)]
    found = united(views(west, east, ranks=(0.2, 0.5)))
    assert list(found) == ["e"] and not found["e"].edge


def test_pieces_that_are_cut_by_both_become_one_building():
    west = [house("w", 70, 10, 100, 20, edge=True, check=CUT)]
    east = [house("e", 80, 10.1, 115, 20.1, edge=True, check=CUT)]
    found = united(views(west, east))
    assert list(found) == ["w"]
    whole = found["w"]
    assert whole.geometry.hausdorff_distance(shapely.box(70, 10, 115, 20)) < 0.6
    assert JOINED in whole.check and not whole.edge and CUT not in whole.check
    assert len(whole.geometry.exterior.coords) == 5


def test_joined_pieces_at_the_outer_edge_stay_marked():
    west = [house("w", 70, 90, 100, 100, edge=True, check=CUT)]
    east = [house("e", 80, 90, 115, 100, edge=True, check=CUT)]
    assert united(views(west, east))["w"].edge


def test_cut_neighbours_that_do_not_agree_stay_two():
    west = [house("w", 85, 10, 100, 20, edge=True)]
    east = [house("e", 80, 21, 95, 31, edge=True)]
    assert list(united(views(west, east))) == ["e", "w"]


def test_two_views_of_one_building_at_the_border_of_the_area_are_not_joined():
    west, east = [house("w", 85, 10, 95, 20, edge=True)], [house("e", 85.2, 10, 95.1, 20, edge=True)]
    found = united(views(west, east))
    assert list(found) == ["w"] and JOINED not in found["w"].check


def test_rows_seen_as_one_by_the_one_and_apart_by_the_other_appear_once():
    row, parts = [house("w", 82, 10, 97, 20)], [house(f"e{k}", 82 + 5 * k, 10, 87 + 5 * k, 20) for k in range(3)]
    assert list(united(views(row, parts))) == ["w"]
    assert list(united(views(row, parts, ranks=(0.3, 0.2)))) == ["e0", "e1", "e2"]


def test_neighbours_of_different_rasters_do_not_overlap_and_share_their_wall():
    west, east = [house("w", 70, 10, 90, 20)], [house("e", 89.4, 10, 99, 20)]
    found = united(views(west, east))
    assert set(found) == {"w", "e"}
    assert shapely.intersection(found["w"].geometry, found["e"].geometry).length == pytest.approx(10, abs=0.1)


def test_equal_ids_of_different_rasters_are_told_apart():
    assert list(united(views([house("x", 10, 10, 20, 20)], [house("x", 150, 10, 160, 20)]))) == ["x", "x-2"]


def test_the_result_does_not_depend_on_the_order_of_outlines_or_views():
    rng = np.random.default_rng(5)

    def some(prefix, low, high, limits):
        corners = rng.uniform((low, 0), (high, 90), (40, 2))
        found = []
        for k, (x, y) in enumerate(corners):
            shape = shapely.box(x, y, x + rng.uniform(4, 25), y + rng.uniform(4, 10)).intersection(limits)
            edge = not shapely.buffer(limits, -0.01).covers(shape)
            alone = all(not shape.intersects(o.geometry) for o in found)
            if alone and shape.geom_type == "Polygon" and shape.area > 1:
                found.append(Outline(f"{prefix}{k}", shape, score=float(rng.random()), edge=edge))
        return found

    given = views(some("w", 0, 100, WEST), some("e", 80, 180, EAST))
    first = united(given)
    shuffled = [View(random.Random(1).sample(v.outlines, len(v.outlines)), v.footprint, v.rank) for v in given]
    assert united(shuffled[::-1]) == first
    assert len(first) < sum(len(v.outlines) for v in given)


def test_nothing_found_is_nothing():
    assert united(views([], [])) == {}
