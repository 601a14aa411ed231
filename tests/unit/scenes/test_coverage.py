"""Rasterised coverage is the exact area share of every pixel."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.scenes.buildings import Building, paint_building
from cadastral_vectorizer.engine.scenes.canvas import Canvas, Sun
from cadastral_vectorizer.engine.scenes.coverage import polygon_coverage, rings_of
from cadastral_vectorizer.engine.scenes.roofs import Part

SHAPES = {
    "triangle": "POLYGON ((0.3 0.2, 9.7 1.4, 3.1 8.8, 0.3 0.2))",
    "on the grid": "POLYGON ((1 1, 6 1, 6 4, 1 4, 1 1))",
    "beyond the origin": "POLYGON ((-3.4 -2.2, 4.6 -1.1, 3.3 5.2, -3.4 -2.2))",
    "with a courtyard": "POLYGON ((0 0, 12.5 0.5, 12 9, 0.4 8.7, 0 0), (3.3 3.1, 8.2 3.4, 8 6.6, 3.2 6, 3.3 3.1))",
    "smaller than a pixel": "POLYGON ((2.2 2.2, 2.7 2.3, 2.4 2.8, 2.2 2.2))",
    "not convex": "POLYGON ((0 0, 10 0, 10 10, 7.5 10, 7.5 2.5, 2.25 2.5, 2.25 10, 0 10, 0 0))",
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_pixel_carries_the_share_of_its_area(name: str) -> None:
    polygon = shapely.from_wkt(SHAPES[name])
    share, x0, y0 = polygon_coverage(rings_of(polygon))
    expected = np.array(
        [
            [
                shapely.intersection(polygon, shapely.box(x, y, x + 1, y + 1)).area
                for x in range(x0, x0 + share.shape[1])
            ]
            for y in range(y0, y0 + share.shape[0])
        ]
    )
    np.testing.assert_allclose(share, expected, atol=1e-6)


def test_direction_of_the_ring_does_not_matter() -> None:
    polygon = shapely.from_wkt(SHAPES["with a courtyard"])
    there = polygon_coverage(rings_of(polygon))[0]
    back = polygon_coverage([ring[::-1] for ring in rings_of(polygon)])[0]
    np.testing.assert_allclose(there, back, atol=1e-6)


def test_a_painted_roof_sits_where_its_outline_is() -> None:
    rng = np.random.default_rng(1)
    sun = Sun((0.3, -0.4, float(np.sqrt(0.75))), 0.5)
    for angle in (0.0, 0.31, 1.2):
        canvas = Canvas(rng, 80, 70, 0.3, sun)
        c, s = np.cos(angle), np.sin(angle)
        corners = np.array([[-6.2, -4.1], [6.2, -4.1], [6.2, 4.1], [-6.2, 4.1]]) @ [[c, s], [-s, c]] + (12.07, 10.41)
        outline = shapely.Polygon(corners)
        part = Part(12.07, 10.41, angle, 6.2, 4.1, "gable", eave_m=5.0, slope=0.0)
        paint_building(canvas, Building(outline, (part,), "tiles_red", fittings=0.0))
        cover = canvas.height / 5.0
        rows, cols = np.indices(cover.shape) + 0.5
        middle = np.array([(cols * cover).sum(), (rows * cover).sum()]) / cover.sum()
        assert cover.sum() == pytest.approx(outline.area / 0.09, rel=1e-5)
        np.testing.assert_allclose(middle, np.array(outline.centroid.coords[0]) / 0.3, atol=0.01)
        painted = canvas.colour.max(axis=2) > 0
        assert (painted == (cover > 0)).all()
