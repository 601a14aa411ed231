from __future__ import annotations

import numpy as np
import pytest
import shapely
from cadastral_vectorizer.engine.contracts import Grid
from cadastral_vectorizer.engine.errors import InvalidParameter
from cadastral_vectorizer.engine.raster.tiling import plan_tiles
from hypothesis import given, settings
from hypothesis import strategies as st


def make_grid(width: int, height: int) -> Grid:
    return Grid(width, height, (0.3, 0.0, 5e5, 0.0, -0.3, 5e6), "EPSG:32633", 0.3)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 400), height=st.integers(1, 400), tile_px=st.integers(1, 200), share=st.floats(0.0, 0.5))
def test_cores_partition_the_grid_inside_padded_windows_of_full_size(width, height, tile_px, share):
    tile_px = max(tile_px, 8)
    overlap_px = int(tile_px * share)
    tiles = plan_tiles(make_grid(width, height), tile_px=tile_px, overlap_px=overlap_px)
    seen = np.zeros((height, width), dtype=int)
    for tile in tiles:
        x0, y0, x1, y1 = tile.core
        px0, py0, px1, py1 = tile.padded
        seen[y0:y1, x0:x1] += 1
        assert 0 <= px0 <= x0 < x1 <= px1 <= width and 0 <= py0 <= y0 < y1 <= py1 <= height
        assert px1 - px0 == min(tile_px, width) and py1 - py0 == min(tile_px, height)
        context = overlap_px // 2
        assert (x0 - px0 >= context or px0 == 0) and (px1 - x1 >= context or px1 == width)
        assert (y0 - py0 >= context or py0 == 0) and (py1 - y1 >= context or py1 == height)
    assert (seen == 1).all()
    assert len({(tile.row, tile.col) for tile in tiles}) == len(tiles)


def test_no_more_tiles_than_needed():
    assert len(plan_tiles(make_grid(512, 512), tile_px=512, overlap_px=64)) == 1
    assert len(plan_tiles(make_grid(960, 512), tile_px=512, overlap_px=64)) == 2
    assert len(plan_tiles(make_grid(961, 512), tile_px=512, overlap_px=64)) == 3


def test_an_area_selects_tiles_and_moves_none():
    grid = make_grid(1000, 800)
    everything = plan_tiles(grid, tile_px=256, overlap_px=64)
    area = shapely.Polygon([(300, 300), (500, 320), (350, 480)])
    chosen = plan_tiles(grid, tile_px=256, overlap_px=64, area=area)
    assert chosen == [t for t in everything if shapely.box(*t.core).intersection(area).area > 0]
    assert 0 < len(chosen) < len(everything)


def test_an_area_that_only_touches_a_core_or_lies_outside_selects_nothing():
    grid = make_grid(1000, 800)
    first = plan_tiles(grid, tile_px=256, overlap_px=64)[0]
    x = first.core[2]
    chosen = plan_tiles(grid, tile_px=256, overlap_px=64, area=shapely.box(x, 10, x + 5, 20))
    assert [(t.row, t.col) for t in chosen] == [(0, 1)]
    assert plan_tiles(grid, tile_px=256, overlap_px=64, area=shapely.box(2000, 0, 2010, 5)) == []
    assert plan_tiles(grid, tile_px=256, overlap_px=64, area=shapely.Polygon()) == []


@settings(max_examples=60, deadline=None)
@given(x=st.floats(-300, 1300), y=st.floats(-300, 1100), w=st.floats(0.5, 900), h=st.floats(0.5, 900))
def test_any_area_selects_exactly_the_tiles_it_meets(x, y, w, h):
    grid = make_grid(1000, 800)
    area = shapely.box(x, y, x + w, y + h)
    expected = [
        t
        for t in plan_tiles(grid, tile_px=200, overlap_px=90)
        if t.core[0] < x + w and t.core[2] > x and t.core[1] < y + h and t.core[3] > y
    ]
    assert plan_tiles(grid, tile_px=200, overlap_px=90, area=area) == expected


def test_a_monstrous_grid_is_refused_unless_an_area_bounds_it():
    grid = make_grid(2**31 - 1, 2**31 - 1)
    with pytest.raises(InvalidParameter, match="Give an area"):
        plan_tiles(grid, tile_px=512, overlap_px=128)
    area = shapely.box(1e9, 1e9, 1e9 + 1000, 1e9 + 1000)
    assert 4 <= len(plan_tiles(grid, tile_px=512, overlap_px=128, area=area)) <= 16


@pytest.mark.parametrize(("tile_px", "overlap_px"), [(0, 0), (64, 64), (64, -1)])
def test_sizes_that_make_no_tiling_are_refused(tile_px, overlap_px):
    with pytest.raises(InvalidParameter, match="cannot overlap"):
        plan_tiles(make_grid(100, 100), tile_px=tile_px, overlap_px=overlap_px)
