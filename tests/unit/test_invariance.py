"""The same pixels, model and parameters give the same bytes, however the work is cut and ordered."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from cadastral_vectorizer.engine import finishing, pipeline
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.errors import Cancelled
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.refine import stream

sys.path.insert(0, str(Path(__file__).parent))
from small_run import cut_sample, layer_bytes, settings  # noqa: E402


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    return cut_sample(tmp_path_factory.mktemp("raster") / "part.tif")


def run(raster, folder, reporter=None, **changes):
    folder.mkdir(exist_ok=True)
    config = VectorizeConfig.from_dict(settings(raster, folder, **changes))
    result = pipeline.vectorize(config, reporter or Reporter())
    return layer_bytes(result["output"])


@pytest.fixture(scope="module", autouse=True)
def near_sighted():
    """Windows small beside the raster, in all runs alike: it decides how long neighbours wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "MAX_SIDE_PX", 160)
        yield


@pytest.fixture(scope="module")
def reference(raster, tmp_path_factory):
    """In one step: all tiles, then all masks."""
    found = run(raster, tmp_path_factory.mktemp("reference"))
    assert len(found) > 15
    return found


def take_small_steps(monkeypatch):
    monkeypatch.setattr(finishing, "STEP_PX", 1)
    monkeypatch.setattr(stream, "ENOUGH", 3)
    monkeypatch.setattr(stream, "CHUNK", 5)


@pytest.mark.parametrize("batch_size", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_batch_sizes_and_steps(raster, reference, tmp_path, monkeypatch, batch_size):
    take_small_steps(monkeypatch)
    assert run(raster, tmp_path, batch_size=batch_size) == reference


@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 8))])
def test_tile_orders(raster, reference, tmp_path, monkeypatch, seed):
    take_small_steps(monkeypatch)
    plan = pipeline.plan

    def shuffle(*arguments):
        tiles = plan(*arguments)
        return random.Random(seed).sample(tiles, len(tiles))

    monkeypatch.setattr(pipeline, "plan", shuffle)
    assert run(raster, tmp_path) == reference


@pytest.mark.slow
def test_threads(raster, reference, tmp_path):
    assert run(raster, tmp_path, threads=2) == reference


def test_interruptions_after_any_tile(raster, reference, tmp_path, monkeypatch):
    take_small_steps(monkeypatch)

    class Impatient(Reporter):
        """Cancels once a few more tiles are done."""

        def __init__(self):
            super().__init__()
            self.heard = 0

        def progress(self, fraction, message=""):
            self.heard += message.startswith("tile")
            if self.heard > 3:
                self.cancel()
            super().progress(fraction, message)

    stopped = 0
    while True:
        try:
            found = run(raster, tmp_path, Impatient() if stopped < 3 else None, batch_size=1)
            break
        except Cancelled:
            stopped += 1
    assert stopped == 3 and found == reference
    assert run(raster, tmp_path, batch_size=4) == reference  # a finished job folder, once more


def test_an_area_looked_at_alone_names_its_buildings_as_the_whole_does(raster, reference, tmp_path):
    """Ids are of the buildings, not of the run: those away from the area's border are the same ones."""
    import geopandas as gpd
    import rasterio
    import shapely

    with rasterio.open(raster) as dataset:
        left, bottom, right, top = dataset.bounds
        crs = dataset.crs
    part = shapely.box(left, bottom, left + 0.75 * (right - left), top)
    gpd.GeoDataFrame(geometry=[part], crs=crs).to_file(tmp_path / "area.gpkg")
    found = run(raster, tmp_path, area=str(tmp_path / "area.gpkg"))
    ids = {row[1] for row in reference}
    inside = [row for row in found if shapely.from_wkb(row[0]).within(part.buffer(-8))]
    assert len(inside) > 3 and all(row[1] in ids for row in inside)
