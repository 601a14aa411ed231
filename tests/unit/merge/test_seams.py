"""Seams, on a synthetic world: a known set of buildings seen through the windows of a tiling."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import numpy as np
import pytest
from cadastral_vectorizer.engine.contracts import Grid, Instance
from cadastral_vectorizer.engine.merge.seams import merge_instances
from cadastral_vectorizer.engine.raster.tiling import plan_tiles
from merge_world import World, make_grid, make_town, signature


def paint(instance: Instance, grid: Grid) -> np.ndarray:
    mask = np.zeros((grid.height, grid.width), dtype=bool)
    x0, y0, x1, y1 = instance.box
    mask[y0:y1, x0:x1] = instance.mask
    return mask


@pytest.mark.parametrize(
    ("tile_px", "overlap_px"), [(96, 32), (128, 32), (128, 64), (192, 48), (256, 64), (300, 37), (512, 96), (1024, 64)]
)
def test_every_building_comes_out_once_and_whole_at_every_tile_size(tile_px, overlap_px):
    world = make_town()
    tiles = plan_tiles(world.grid, tile_px=tile_px, overlap_px=overlap_px)
    merged = merge_instances((i for t in tiles for i in world.look(t)), tiles=tiles, grid=world.grid)
    found = {paint(m, world.grid).tobytes() for m in merged}
    assert found == {mask.tobytes() for mask in world.truth().values()}
    assert len(merged) == world.count
    assert not any(m.cut for m in merged)
    assert sum(m.edge for m in merged) == len(
        set(np.unique(np.r_[world.labels[0], world.labels[-1], world.labels[:, 0], world.labels[:, -1]])) - {0}
    )
    assert all(m.score == pytest.approx(0.9) for m in merged)


def test_a_perfect_detector_gives_the_same_instances_at_every_tile_size():
    world = make_town()
    ids = set()
    for tile_px, overlap_px in ((96, 32), (256, 64), (1024, 64)):
        tiles = plan_tiles(world.grid, tile_px=tile_px, overlap_px=overlap_px)
        merged = merge_instances((i for t in tiles for i in world.look(t)), tiles=tiles, grid=world.grid)
        ids.add(tuple(m.id for m in merged))
    assert len(ids) == 1


def test_the_result_does_not_depend_on_the_order_of_sightings():
    world = make_town(seed=3)
    tiles = plan_tiles(world.grid, tile_px=128, overlap_px=40)
    rng = np.random.default_rng(5)
    seen = [i for t in tiles for i in world.look(t, rng, damage=0.7)]
    expected = signature(merge_instances(seen, tiles=tiles, grid=world.grid))
    shuffler = random.Random(7)
    for _ in range(8):
        shuffler.shuffle(seen)
        shuffled_tiles = shuffler.sample(tiles, len(tiles))
        assert signature(merge_instances(seen, tiles=shuffled_tiles, grid=world.grid)) == expected


def match(merged: list[Instance], world: World) -> list[int]:
    """The building that each instance shows with an IoU above one half, 0 where there is none."""
    areas = np.bincount(world.labels.ravel(), minlength=world.count + 1)
    shown = []
    for instance in merged:
        x0, y0, x1, y1 = instance.box
        common = np.bincount(world.labels[y0:y1, x0:x1][instance.mask], minlength=world.count + 1)
        label = int(common[1:].argmax()) + 1
        union = areas[label] + instance.mask.sum() - common[label]
        shown.append(label if common[label] > 0.5 * union else 0)
    return shown


def test_rough_outlines_still_give_one_instance_per_building():
    world = make_town(seed=11)
    tiles = plan_tiles(world.grid, tile_px=128, overlap_px=48)
    rng = np.random.default_rng(2)
    seen = [i for t in tiles for i in world.look(t, rng, damage=1.0)]
    merged = merge_instances(seen, tiles=tiles, grid=world.grid)
    assert sorted(match(merged, world)) == list(range(1, world.count + 1))


@pytest.mark.parametrize("shy_px", [1, 4, 7])
def test_pieces_that_stop_short_of_the_border_are_fused_all_the_same(shy_px):
    world = make_town(seed=5)
    tiles = plan_tiles(world.grid, tile_px=192, overlap_px=64)
    seen = []
    for tile in tiles:
        x0, y0, x1, y1 = tile.padded
        for i in world.look(tile):
            probability = i.probability.copy()
            sides = [s for s in range(4) if i.cut and i.box[s] == tile.padded[s] != (0, 0, 700, 520)[s]]
            for s in sides:  # networks shy away from borders
                part = (np.s_[:, :shy_px], np.s_[:shy_px], np.s_[:, -shy_px:], np.s_[-shy_px:])[s]
                probability[part] = 0
            seen.append(replace(i, probability=probability, cut=False))
    merged = merge_instances(seen, tiles=tiles, grid=world.grid)
    assert sorted(match(merged, world)) == list(range(1, world.count + 1))
    assert not any(m.cut for m in merged)


def test_touching_neighbours_on_a_seam_stay_apart():
    world = World(300, 100)
    world.build(60, 20, 240, 50)
    world.build(60, 50, 240, 80)  # both are cut by both windows, and share a wall
    tiles = plan_tiles(world.grid, tile_px=180, overlap_px=60)
    merged = merge_instances((i for t in tiles for i in world.look(t)), tiles=tiles, grid=world.grid)
    assert sorted(m.box for m in merged) == [(60, 20, 240, 50), (60, 50, 240, 80)]


def test_a_building_the_next_tile_missed_stays_cut():
    world = World(300, 100)
    world.build(60, 20, 240, 50)
    tiles = plan_tiles(world.grid, tile_px=180, overlap_px=60)
    merged = merge_instances(world.look(tiles[0]), tiles=tiles, grid=world.grid)
    assert [(m.cut, m.box) for m in merged] == [(True, (60, 20, 180, 50))]


def test_a_piece_the_owner_of_its_place_did_not_see_is_dropped():
    world = World(300, 100)
    world.build(110, 20, 140, 50)  # its right half shows at the left border of the second window
    tiles = plan_tiles(world.grid, tile_px=180, overlap_px=60)
    pieces = world.look(tiles[1])
    assert [p.cut for p in pieces] == [True]
    assert merge_instances(pieces, tiles=tiles, grid=world.grid) == []
    # Where the area leaves the owner out, the piece is all there is.
    assert len(merge_instances(pieces, tiles=tiles[1:], grid=world.grid)) == 1


def test_a_whole_sighting_beats_a_better_scored_piece():
    world = World(300, 100)
    world.build(100, 20, 150, 50)
    tiles = plan_tiles(world.grid, tile_px=120, overlap_px=60)
    seen = [replace(i, score=0.99 if i.cut else 0.6) for t in tiles for i in world.look(t)]
    assert any(i.cut for i in seen)
    (merged,) = merge_instances(seen, tiles=tiles, grid=world.grid)
    assert merged.box == (100, 20, 150, 50) and merged.score == 0.6


def test_the_tile_that_owns_the_centre_wins_over_the_score():
    world = World(300, 100)
    world.build(126, 20, 146, 40)
    tiles = plan_tiles(world.grid, tile_px=160, overlap_px=60)
    seen = [i for t in tiles for i in world.look(t)]
    seen = [replace(i, score=0.95 if i.tile == (0, 1) else 0.6) for i in seen]
    (merged,) = merge_instances(seen, tiles=tiles, grid=world.grid)
    owner = next(t for t in tiles if t.core[0] <= 136 < t.core[2])
    assert merged.tile == (owner.row, owner.col)


def make_instance(box, *, score, tile=(0, 0)) -> Instance:
    shape = (box[3] - box[1], box[2] - box[0])
    return Instance("x", box, np.full(shape, 255, np.uint8), score, tile)


def test_nested_duplicates_of_one_tile_vanish():
    grid = make_grid(200, 200)
    tiles = plan_tiles(grid, tile_px=256, overlap_px=0)
    house, blob = make_instance((50, 50, 90, 90), score=0.9), make_instance((48, 48, 110, 92), score=0.5)
    assert [m.box for m in merge_instances([blob, house], tiles=tiles, grid=grid)] == [house.box]
    hall, panel = make_instance((20, 20, 180, 120), score=0.8), make_instance((30, 30, 60, 60), score=0.85)
    assert [m.box for m in merge_instances([panel, hall], tiles=tiles, grid=grid)] == [hall.box]


def test_a_building_inside_a_courtyard_stays():
    grid = make_grid(200, 200)
    tiles = plan_tiles(grid, tile_px=256, overlap_px=0)
    ring = np.full((100, 100), 255, np.uint8)
    ring[20:80, 20:80] = 0
    seen = [Instance("r", (50, 50, 150, 150), ring, 0.9), make_instance((80, 80, 120, 120), score=0.6)]
    assert len(merge_instances(seen, tiles=tiles, grid=grid)) == 2


def test_empty_masks_and_no_instances_give_nothing():
    grid = make_grid(50, 50)
    tiles = plan_tiles(grid, tile_px=64, overlap_px=0)
    empty = Instance("e", (3, 3, 5, 5), np.zeros((2, 2), np.uint8), 0.9)
    assert merge_instances([empty], tiles=tiles, grid=grid) == []
    assert merge_instances([], tiles=tiles, grid=grid) == []


def test_time_grows_little_faster_than_the_number_of_buildings():
    def run(side: int) -> float:
        world = World(side, side)
        for y in range(3, side - 20, 24):
            for x in range(3, side - 20, 24):
                world.build(x, y, x + 16, y + 16)
        tiles = plan_tiles(world.grid, tile_px=128, overlap_px=32)
        seen = [i for t in tiles for i in world.look(t)]
        start = time.process_time()
        merged = merge_instances(seen, tiles=tiles, grid=world.grid)
        assert len(merged) == world.count
        return (time.process_time() - start) / len(seen)

    run(300)
    assert run(1200) < 3 * run(400) + 1e-4
