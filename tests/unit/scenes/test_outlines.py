"""Truth is a valid coverage: neighbours share vertices, overlaps never pass, the image's border cuts."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.scenes.buildings import Building
from cadastral_vectorizer.engine.scenes.outlines import GRID_PX, finish_outlines, share_vertices, without_overlaps


def turned(wkt: str, degrees: float) -> shapely.Polygon:
    """A polygon from WKT, turned about the origin."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return shapely.transform(shapely.from_wkt(wkt), lambda xy: xy @ np.array([[c, s], [-s, c]]))


@pytest.mark.parametrize("degrees", [0.0, 17.3, 45.0, 121.9])
def test_a_corner_on_a_neighbours_wall_becomes_its_vertex(degrees: float) -> None:
    left = turned("POLYGON ((0 0, 10 0, 10 20, 0 20, 0 0))", degrees)
    right = turned("POLYGON ((10 5, 18 5, 18 13, 10 13, 10 5))", degrees)
    assert not shapely.coverage_is_valid([left, right])
    shared = share_vertices([left, right])
    assert shapely.coverage_is_valid(shared)
    assert shapely.intersection(*shared).length == pytest.approx(8.0, abs=0.01)


def test_vertices_closer_than_the_noding_can_tell_become_one() -> None:
    near = 2 * GRID_PX
    left = shapely.Polygon([(0, 0), (10, 0), (10, 9), (10, 20), (0, 20)])
    right = shapely.Polygon([(10, 0), (20, 0), (20, 20), (10, 20), (10 - near, 9)])
    shared = share_vertices([left, right])
    assert shapely.coverage_is_valid(shared)


def test_the_border_of_the_image_cuts_and_keeps_common_walls() -> None:
    houses = [turned(f"POLYGON (({x} -6, {x + 6} -6, {x + 6} 9, {x} 9, {x} -6))", 8.0) for x in range(-3, 30, 6)]
    outlines = finish_outlines(houses, 0.5, 40, 30)
    assert len(outlines) > 2
    assert shapely.coverage_is_valid(outlines)
    assert shapely.covers(shapely.box(0, 0, 40, 30), shapely.union_all(outlines))


def test_of_two_overlapping_buildings_the_earlier_stays() -> None:
    boxes = [
        shapely.box(0, 0, 10, 10),
        shapely.box(9, 0, 19, 10),
        shapely.box(18.9, 0, 25, 10),
        shapely.box(25, 0, 30, 10),
    ]
    buildings = [Building(box, (), "tin") for box in boxes]
    assert without_overlaps(buildings) == [buildings[0], buildings[2], buildings[3]]
