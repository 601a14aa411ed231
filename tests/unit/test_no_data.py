"""Beside no-data and in rasters smaller than the network's stride, buildings are found as elsewhere, and none in it."""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.pipeline import vectorize
from cadastral_vectorizer.engine.progress import Reporter

sys.path.insert(0, str(Path(__file__).parent))
from small_run import SAMPLE, cut_sample, settings  # noqa: E402


def buildings(raster, folder, **changes):
    """What a run finds, and the truth where the raster shows anything."""
    folder.mkdir()
    config = VectorizeConfig.from_dict(settings(raster, folder, tile_size_px=0, overlap_px=0, **changes))
    found = gpd.read_file(vectorize(config, Reporter())["output"])
    with rasterio.open(raster) as dataset:
        seen = dataset.dataset_mask() > 0
        shown = shapely.union_all([
            shapely.geometry.shape(shape)
            for shape, _ in rasterio.features.shapes(seen.astype(np.uint8), mask=seen, transform=dataset.transform)
        ])  # fmt: skip
    truth = gpd.read_file(SAMPLE.with_name("buildings.gpkg")).geometry.intersection(shown)
    return found, truth[truth.area > 3].to_numpy(), shown


def share_found(found, truth):
    """Share of the true outlines that one of those found has IoU 0.5 with."""
    first, second = shapely.STRtree(found).query(truth, predicate="intersects")
    common = shapely.area(shapely.intersection(truth[first], found[second]))
    either = shapely.area(truth[first]) + shapely.area(found[second]) - common
    return len(np.unique(first[common >= 0.5 * either])) / len(truth)


def test_no_data_hides_what_it_covers_and_nothing_beside_it(tmp_path):
    """A raster turned against its grid: corners without data, as most orthophotos have them."""
    path = cut_sample(tmp_path / "turned.tif")
    with rasterio.open(path, "r+") as dataset:
        rows, cols = np.indices(dataset.shape)
        hidden = abs(rows - dataset.height / 2) + abs(cols - dataset.width / 2) > 0.52 * dataset.width
        dataset.nodata = 0
        dataset.write(np.where(hidden, 0, np.maximum(dataset.read(), 1)).astype(np.uint8))
    found, truth, shown = buildings(path, tmp_path / "turned", refine=False)
    assert 0.2 < hidden.mean() < 0.6 and len(truth) > 8
    assert shapely.area(shapely.difference(found.geometry.to_numpy(), shown.buffer(1.0))).sum() < 0.1
    assert share_found(found.geometry.to_numpy(), truth) >= 0.7
    touching = found.geometry.distance(shown.boundary) < 0.05
    assert touching.any() and found.edge[touching].all()


def test_a_raster_smaller_than_a_tile_is_as_good_as_any(tmp_path):
    path = cut_sample(tmp_path / "small.tif", width=258, height=258, x=120, y=260)
    found, truth, _ = buildings(path, tmp_path / "small", refine=False)
    assert len(truth) >= 5
    assert share_found(found.geometry.to_numpy(), truth) >= 0.7


def test_no_buildings_are_seen_in_margins_of_one_colour(tmp_path):
    """Mosaics are often filled with white, and nothing says that it is no-data."""
    path = cut_sample(tmp_path / "filled.tif")
    with rasterio.open(path, "r+") as dataset:
        pixels = dataset.read()
        half = dataset.width // 2
        pixels[:, :, :half] = 255
        dataset.write(pixels)
        west, south, _, north = dataset.bounds
        margin = shapely.box(west, south, west + (half - 10) * dataset.transform.a, north)
    found, _, _ = buildings(path, tmp_path / "filled", refine=False)
    assert len(found) > 3
    assert shapely.area(shapely.intersection(found.geometry.to_numpy(), margin)).sum() < 1.0


def test_a_margin_of_one_colour_is_as_good_as_no_data(tmp_path):
    found = {}
    for name, nodata in (("declared", 255), ("filled", None)):
        path = cut_sample(tmp_path / f"{name}.tif")
        with rasterio.open(path, "r+") as dataset:
            pixels = np.minimum(dataset.read(), 254)
            pixels[:, :, : dataset.width // 2] = 255
            dataset.nodata = nodata
            dataset.write(pixels)
        found[name] = buildings(path, tmp_path / name, refine=False)[0]
    declared, filled = (found[name].geometry.to_numpy() for name in ("declared", "filled"))
    assert len(declared) > 5 and abs(len(filled) - len(declared)) <= 1
    assert share_found(filled, declared) >= 0.8  # the last column before the margin is a mixture of both
    assert found["filled"].edge.any()
