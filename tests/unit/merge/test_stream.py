"""Merging while tiles come in gives what merging all at once gives, to the last bit, and holds little."""

from __future__ import annotations

import random

import numpy as np
import pytest
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.merge.lattice import Lattice
from cadastral_vectorizer.engine.merge.seams import merge_instances
from cadastral_vectorizer.engine.merge.stream import SeamStream
from cadastral_vectorizer.engine.raster.tiling import plan_tiles
from hypothesis import given, settings
from hypothesis import strategies as st
from merge_world import World, make_grid, make_town, signature


def look_at_all(world, tiles, seed, damage=0.7):
    """Sightings of every tile, rough ones."""
    rng = np.random.default_rng(seed)
    return {tile: world.look(tile, rng, damage=damage) for tile in tiles}


def pass_through(stream, seen, order, every):
    """All buildings of a stream, taken after `every` tiles, and the most sightings it ever held."""
    merged, most = [], 0
    for number, tile in enumerate(order, 1):
        stream.add(tile, seen[tile])
        if number % every == 0:
            merged += stream.take()
            most = max(most, len(stream))
    return sorted(merged + stream.take(), key=lambda i: i.id), most


@pytest.mark.parametrize("every", [1, 7, 1000])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_stream_of_tiles_gives_what_all_at_once_gives(every, shuffled):
    world = make_town(seed=3)
    tiles = plan_tiles(world.grid, tile_px=128, overlap_px=40)
    seen = look_at_all(world, tiles, seed=5)
    whole = merge_instances((i for found in seen.values() for i in found), tiles=tiles, grid=world.grid)
    order = random.Random(every).sample(tiles, len(tiles)) if shuffled else tiles
    merged, _ = pass_through(SeamStream(tiles, world.grid), seen, order, every)
    assert signature(merged) == signature(whole) and len(whole) > 50


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_masks_in_any_order_merge_the_same(data):
    """Masks without sense: chains of overlaps, holes, nested ones, cut at borders or not."""
    grid = make_grid(data.draw(st.integers(40, 160), "width"), data.draw(st.integers(40, 160), "height"))
    tile_px = data.draw(st.integers(24, 80), "tile")
    tiles = plan_tiles(grid, tile_px=tile_px, overlap_px=data.draw(st.integers(0, tile_px // 2), "overlap"))
    tiles = data.draw(st.lists(st.sampled_from(tiles), min_size=1, unique=True), "chosen")  # as an area chooses
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1), "seed"))
    seen = {}
    for tile in tiles:
        x0, y0, x1, y1 = tile.padded
        seen[tile] = []
        for number in range(rng.integers(0, 6)):
            x, y = rng.integers(x0, x1), rng.integers(y0, y1)
            box = (int(x), int(y), int(rng.integers(x, x1)) + 1, int(rng.integers(y, y1)) + 1)
            shape = box[3] - box[1], box[2] - box[0]
            probability = np.where(rng.random(shape) < rng.choice([0.02, 0.5, 1.0]), 200, 50).astype(np.uint8)
            score = float(rng.choice([0.5, 0.7, 0.9]))
            cut = bool(rng.random() < 0.2)
            seen[tile].append(Instance(f"{tile.row}-{tile.col}-{number}", box, probability, score,
                                       (tile.row, tile.col), cut))  # fmt: skip
    whole = merge_instances((i for found in seen.values() for i in found), tiles=tiles, grid=grid)
    order = data.draw(st.permutations(tiles), "order")
    merged, _ = pass_through(SeamStream(tiles, grid), seen, order, data.draw(st.integers(1, 9), "every"))
    assert signature(merged) == signature(whole)


def test_what_is_held_follows_the_front_of_the_work_not_the_raster():
    held = {}
    for rows in (6, 24):
        world = World(400, 80 * rows)
        for y in range(5, 80 * rows - 30, 30):
            for x in range(5, 370, 30):
                world.build(x, y, x + 20, y + 20)
        tiles = plan_tiles(world.grid, tile_px=100, overlap_px=20)
        seen = {tile: world.look(tile) for tile in tiles}
        merged, held[rows] = pass_through(SeamStream(tiles, world.grid), seen, tiles, every=1)
        assert len(merged) == world.count
    assert held[24] <= held[6] < 80


def test_a_place_is_known_once_all_its_windows_are_done_and_all_its_buildings_taken():
    world = World(300, 100)
    world.build(110, 20, 200, 50)
    tiles = plan_tiles(world.grid, tile_px=120, overlap_px=30)
    assert [t.padded[0] for t in tiles] == [0, 90, 180]
    stream = SeamStream(tiles, world.grid)
    places = np.array([(0, 0, 80, 50), (100, 0, 105, 50), (150, 60, 170, 90), (220, 0, 300, 50), (0, 0, 300, 100)])
    stream.add(tiles[0], world.look(tiles[0]))
    assert stream.take() == [] and stream.are_known(places).tolist() == [True, False, False, False, False]
    stream.add(tiles[1], world.look(tiles[1]))
    assert stream.take() == [] and stream.are_known(places).tolist() == [True, True, True, False, False]
    stream.add(tiles[2], world.look(tiles[2]))
    assert not stream.are_known(places).all()  # seen to the end, not taken
    assert [i.box for i in stream.take()] == [(110, 20, 200, 50)]
    assert stream.are_known(places).all()


def test_boxes_meet_windows_by_shared_pixels_not_by_touching():
    grid = make_grid(300, 300)
    tiles = plan_tiles(grid, tile_px=100, overlap_px=0)
    lattice = Lattice(tiles)
    for tile in tiles:
        if (tile.row, tile.col) != (1, 1):
            lattice.finish(tile)
    boxes = [(0, 0, 100, 300), (99, 99, 101, 101), (100, 0, 200, 100), (199, 199, 300, 300), (200, 100, 300, 200)]
    assert lattice.are_finished(np.array(boxes)).tolist() == [True, False, True, False, True]
