"""Many terraces at once: nothing invalid, nothing overlapping, no slivers, every party wall shared exactly."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contracts import Outline
from cadastral_vectorizer.engine.geometry import shape_outlines
from cadastral_vectorizer.engine.progress import Reporter
from shapely import affinity, box

shapes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "shapes.py")))
HOUSES = 5
ROWS = 24
SNAP_M = 0.6


def noisy_rows():
    """Terraces with steps in front and behind, every house a noisy pixel outline of its own."""
    rows = []
    for row in range(ROWS):
        rng = np.random.default_rng(row)
        x, houses = 0.0, []
        for _ in range(HOUSES):
            width, front, back = rng.uniform(5, 9), rng.choice([0, 0, 1.5]), rng.choice([10, 10, 12])
            houses.append(box(x, front, x + width, back))
            x += width
        turn = rng.uniform(0, 360)
        rows.append([
            shapes.pixel_outline(shapes.place(h, turn_deg=turn), seed=100 * row + k) for k, h in enumerate(houses)
        ])  # fmt: skip
    return rows


def town(number):
    """This many houses: the rows again and again, 100 m apart."""
    rows, polygons = noisy_rows(), []
    for k in range(-(-number // HOUSES)):
        x, y = 100 * (k % 300), 100 * (k // 300)
        polygons += [affinity.translate(p, x, y) for p in rows[k % ROWS]]
    return polygons


@pytest.mark.parametrize("number", [ROWS * HOUSES, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_town_of_terraces_is_one_clean_coverage(number):
    raws = town(number)
    outlines = [Outline(id=f"{k:06d}", geometry=p, score=0.5) for k, p in enumerate(raws)]
    found, left_out = shape_outlines(
        outlines, tolerance_m=0.6, regularization="right_angles", min_area_m2=6.0, snap_m=SNAP_M, reporter=Reporter()
    )
    assert left_out == 0
    assert [o.id for o in found] == [o.id for o in outlines]
    polygons = np.array([o.geometry for o in found])
    assert shapely.is_valid(polygons).all()
    assert (shapely.get_type_id(polygons) == 3).all()
    assert (2 * shapely.area(polygons) / shapely.length(polygons)).min() > 0.3
    assert shapely.coverage_is_valid(polygons)
    a, b = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    a, b = a[a < b], b[a < b]
    assert shapely.area(shapely.intersection(polygons[a], polygons[b])).max() == 0
    # Neighbours of a terrace touch, and along walls that both have vertex for vertex.
    neighbours = {(k, k + 1) for k in range(number - 1) if k % HOUSES < HOUSES - 1}
    assert neighbours == set(zip(a.tolist(), b.tolist()))
    shared = shapely.shared_paths(shapely.get_exterior_ring(polygons[a]), shapely.get_exterior_ring(polygons[b]))
    assert shapely.length(shared).min() > 8
    corners = [frozenset(map(tuple, shapely.get_coordinates(p))) for p in polygons]
    for one, other, wall in zip(a, b, shared):
        assert {tuple(c) for c in shapely.get_coordinates(wall)} <= corners[one] & corners[other]
