"""Parts of the pipeline: what a job folder belongs to, networks that take turns, the order of outlines."""

from __future__ import annotations

import threading

import pytest
import shapely
import torch
from cadastral_vectorizer.engine.clock import Clock
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.contracts import Grid, Instance, Outline, Tile
from cadastral_vectorizer.engine.finishing import Finisher
from cadastral_vectorizer.engine.outline_store import OutlineStore
from cadastral_vectorizer.engine.pipeline import Means, fingerprint


class Slow(torch.nn.Module):
    """Notes how many are at work at the same time."""

    busy = most = 0

    def forward(self, seconds):
        Slow.busy += 1
        Slow.most = max(Slow.most, Slow.busy)
        threading.Event().wait(float(seconds))
        Slow.busy -= 1
        if seconds < 0.001:
            raise MemoryError
        return seconds


def test_networks_take_turns_and_one_that_fails_lets_the_other_go_on():
    means = Means(torch.device("cpu"), bfloat16=False)
    first, second = means.share(Slow()), means.share(Slow())
    with pytest.raises(MemoryError):
        first(torch.tensor(0.0))
    threads = [threading.Thread(target=n, args=(torch.tensor(0.05),)) for n in (first, second, first)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert not any(t.is_alive() for t in threads) and Slow.most == 1


class Anything:
    """Stands for a package and a raster, of which only marks are asked."""

    hash = fingerprint = "abc"
    manifest: dict = {"pixel_m": 0.2}


def test_a_job_folder_belongs_to_all_that_decides_what_the_networks_say():
    tiles = [Tile(0, n, (n * 8, 0, n * 8 + 8, 8), (n * 8, 0, n * 8 + 8, 8)) for n in range(3)]
    config = VectorizeConfig(raster="r", output="o", job_folder="j")
    cpu = Means(torch.device("cpu"), bfloat16=False)

    def mark(config=config, tiles=tiles, means=cpu):
        return fingerprint(config, Anything, Anything, tiles, means)

    assert mark() == mark(tiles=tiles[::-1])
    for field in ("tolerance_m", "regularization", "min_area_m2", "output", "batch_size", "threads"):
        values = {"regularization": "none", "output": "p"}
        assert mark() == mark(config=VectorizeConfig(**{**config.to_dict(), field: values.get(field, 3)}))
    others = [
        mark(config=VectorizeConfig(**{**config.to_dict(), "score_threshold": 0.4})),
        mark(config=VectorizeConfig(**{**config.to_dict(), "looks": 2})),
        mark(config=VectorizeConfig(**{**config.to_dict(), "pixel_m": 0.3})),
        mark(tiles=tiles[:2]),
        mark(means=Means(torch.device("cpu"), bfloat16=True)),
        mark(means=Means(torch.device("meta"), bfloat16=False)),
    ]
    assert all(other != mark() for other in others)


def test_outlines_come_in_the_order_of_their_ids_and_parts(tmp_path):
    grid = Grid(40, 20, (1, 0, 0, 0, -1, 0), "EPSG:32633", 0.2)
    tiles = [Tile(0, n, (n * 20, 0, n * 20 + 20, 20), (n * 20, 0, n * 20 + 20, 20)) for n in range(2)]

    def find(tile):
        x = tile.core[0] + 5
        return [Instance("x", (x, 5, x + 9, 14), torch.full((9, 9), 200, dtype=torch.uint8).numpy(), 0.9,
                         (tile.row, tile.col))]  # fmt: skip

    def trace(instances):
        names = [i.id if n == 1 else f"{i.id}-{n}" for i in instances for n in range(1, 12)]
        return [Outline(name, shapely.box(0, 0, 1, 1)) for name in reversed(names)]

    clock = Clock()
    with OutlineStore(tmp_path) as store:
        finisher = Finisher(tiles, grid, find=find, refining=None, trace=trace, store=store, clock=clock)
        for tile in reversed(tiles):
            finisher.add([tile])
        finisher.finish()
        names = [o.id for o in store.take()]
    first, second = sorted({name.partition("-")[0] for name in names})
    assert names == [f"{i}-{n}" if n > 1 else i for i in (first, second) for n in range(1, 12)]
    assert set(clock.stages) == {"merge", "contours"}
