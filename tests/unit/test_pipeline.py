"""The whole road without QGIS, with the bundled model on the bundled sample."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.errors import (
    Cancelled,
    JobFolderError,
    ModelPackageError,
    OutputError,
    RasterError,
    VectorError,
)
from cadastral_vectorizer.engine.pipeline import vectorize
from cadastral_vectorizer.engine.progress import Reporter

SAMPLE = Path(__file__).resolve().parents[2] / "resources" / "sample"
FIELDS = ["id", "score", "area_m2", "perimeter_m", "vertices", "refined", "regularized", "max_shift_m", "iou_raw",
          "edge", "check", "model"]  # fmt: skip


def config(folder, **changes):
    settings = {"raster": str(SAMPLE / "orthophoto.tif"), "output": str(folder / "out" / "b.gpkg"),
                "job_folder": str(folder / "job"), "threads": 2, **changes}  # fmt: skip
    return VectorizeConfig(**settings)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One uninterrupted run: its result event and its layer."""
    folder = tmp_path_factory.mktemp("run")
    result = vectorize(config(folder), Reporter())
    return result, gpd.read_file(result["output"], layer="buildings")


def matched(found, truth):
    """Number of true outlines with a found one of IoU 0.5 or more."""
    tree = shapely.STRtree(found)
    count = 0
    for outline in truth:
        near = tree.query(outline, predicate="intersects")
        iou = [found[i].intersection(outline).area / found[i].union(outline).area for i in near]
        count += max(iou, default=0) >= 0.5
    return count


def test_finds_most_buildings_of_the_sample_and_little_else(run):
    _, layer = run
    truth = gpd.read_file(SAMPLE / "buildings.gpkg").geometry.to_numpy()
    hits = matched(layer.geometry.to_numpy(), truth)
    assert hits / len(truth) > 0.7
    assert hits / len(layer) > 0.7


def test_fields_crs_and_geometry_are_as_designed(run):
    result, layer = run
    assert list(layer.columns) == [*FIELDS, "geometry"]
    with rasterio.open(SAMPLE / "orthophoto.tif") as dataset:
        assert layer.crs == dataset.crs
    assert (layer.geom_type == "Polygon").all() and layer.is_valid.all() and layer.id.is_unique
    assert result["buildings"] == len(layer)
    assert np.allclose(layer.area, layer.area_m2, rtol=0.003, atol=0.1)


def test_no_two_outlines_overlap(run):
    _, layer = run
    left, right = shapely.STRtree(layer.geometry).query(layer.geometry, predicate="intersects")
    pairs = left < right
    shared = shapely.area(shapely.intersection(layer.geometry.values[left[pairs]], layer.geometry.values[right[pairs]]))
    assert shared.max(initial=0) < 1e-4


def test_result_says_how_it_was_made(run):
    result, _ = run
    stored = pyogrio.read_info(result["output"], layer="buildings")["layer_metadata"]
    assert stored["model_hash"] == result["model_hash"] and len(result["model_hash"]) == 64
    assert set(result["stages"]) >= {"read", "detect", "merge", "contours", "geometry", "write"}
    assert result["parameters"]["tolerance_m"] == 1.0


def test_an_interrupted_run_ends_in_the_same_bytes(run, tmp_path):
    class StopAtTheThirdTile(Reporter):
        def progress(self, fraction, message=""):
            if "tile 2 " in message:
                self.cancel()
            super().progress(fraction, message)

    tiles = {"batch_size": 1, "tile_size_px": 320, "overlap_px": 128}  # several on the small sample
    with pytest.raises(Cancelled):
        vectorize(config(tmp_path, **tiles), StopAtTheThirdTile())
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    result = vectorize(config(tmp_path, **tiles), Reporter())
    whole = vectorize(config(tmp_path / "whole", **tiles), Reporter())
    a, b = (gpd.read_file(r["output"]) for r in (result, whole))
    assert (shapely.to_wkb(a.geometry.to_numpy()) == shapely.to_wkb(b.geometry.to_numpy())).all()
    assert (a.id == b.id).all() and (a.score == b.score).all()


def test_a_job_folder_of_other_parameters_is_refused(tmp_path):
    vectorize(config(tmp_path), Reporter())
    with pytest.raises(JobFolderError, match="score_threshold"):
        vectorize(config(tmp_path, score_threshold=0.9), Reporter())


def area_file(folder, polygon, crs):
    gpd.GeoDataFrame(geometry=[polygon], crs=crs).to_file(folder / "area.gpkg")
    return str(folder / "area.gpkg")


def test_an_area_in_another_crs_bounds_the_work(run, tmp_path):
    _, layer = run
    left, bottom, right, top = layer.total_bounds
    half = shapely.box(left, bottom, (left + right) / 2, top)
    degrees = gpd.GeoSeries([half], crs=layer.crs).to_crs("EPSG:4326")
    result = vectorize(config(tmp_path, area=area_file(tmp_path, degrees.iloc[0], "EPSG:4326")), Reporter())
    found = gpd.read_file(result["output"])
    assert 0 < len(found) < len(layer)
    assert found.intersects(half.buffer(1)).all()
    middle = (left + right) / 2
    crossing = found[(found.bounds.minx < middle - 1) & (found.bounds.maxx > middle + 1)]
    assert len(crossing) and crossing.edge.all() and (crossing.check != "").all()


def test_an_area_outside_the_raster_is_refused(tmp_path):
    path = area_file(tmp_path, shapely.box(0, 0, 1, 1), "EPSG:4326")
    with pytest.raises(VectorError, match="outside the raster"):
        vectorize(config(tmp_path, area=path), Reporter())


def test_nothing_found_is_an_empty_layer_with_the_same_fields(tmp_path):
    path = tmp_path / "bare.tif"
    with rasterio.open(SAMPLE / "orthophoto.tif") as sample, rasterio.open(
        path, "w", driver="GTiff", width=300, height=300, count=3, dtype="uint8", crs=sample.crs,
        transform=sample.transform,
    ) as bare:  # fmt: skip
        bare.write(np.full((3, 300, 300), 90, np.uint8))
    result = vectorize(config(tmp_path, raster=str(path)), Reporter())
    layer = gpd.read_file(result["output"])
    assert result["buildings"] == 0 and list(layer.columns) == [*FIELDS, "geometry"]


def test_an_output_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        vectorize(config(tmp_path, output=str(tmp_path / "file" / "b.gpkg")), Reporter())
    assert not (tmp_path / "job").exists()


def test_missing_raster_and_model_are_sentences(tmp_path):
    with pytest.raises(RasterError):
        vectorize(config(tmp_path, raster=str(tmp_path / "none.tif")), Reporter())
    with pytest.raises(ModelPackageError):
        vectorize(config(tmp_path, model=str(tmp_path / "none.zip")), Reporter())


def test_the_bundled_card_is_honest_about_unseen_places():
    from cadastral_vectorizer.models.package import open_package

    manifest = open_package().manifest
    assert {"val", "test", "unseen"} <= set(manifest["metrics"]["detector"])
    assert manifest["training"]["notes"] and json.dumps(manifest)
