"""Whole runs that look several times, or at another ground pixel: the same bytes however cut, and never mixed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cadastral_vectorizer.engine import pipeline
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.errors import InvalidParameter, JobFolderError
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.models.package import open_package, write_package

sys.path.insert(0, str(Path(__file__).parent))
from small_run import cut_sample, layer_bytes, settings  # noqa: E402


def run(raster, folder, **changes):
    folder.mkdir(exist_ok=True)
    config = VectorizeConfig.from_dict(settings(raster, folder, refine=False, **changes))
    return layer_bytes(pipeline.vectorize(config, Reporter())["output"])


def recommend_two(path):
    """The bundled package with another manifest."""
    package = open_package()
    entry = package.entry("detector")
    networks = {"detector": (entry["architecture"], entry["parameters"], package.weights("detector"))}
    kept = {key: package.manifest[key] for key in ("score_exponent", "pixel_range_m")}
    write_package(path, name="two", pixel_m=package.manifest["pixel_m"], networks=networks, training={}, metrics={},
                  looks=2, **kept)  # fmt: skip
    return str(path)


def test_looks_are_the_runs_own(tmp_path):
    raster = cut_sample(tmp_path / "part.tif", width=300, height=260)
    twice = run(raster, tmp_path / "twice", looks=2)
    assert len(twice) > 3 and twice != run(raster, tmp_path / "once", looks=1)
    assert run(raster, tmp_path / "batches", looks=2, batch_size=3) == twice
    with pytest.raises(JobFolderError, match="looks was 2, is 1"):
        run(raster, tmp_path / "twice", looks=1)
    recommended = run(raster, tmp_path / "model", model=recommend_two(tmp_path / "two.zip"))
    assert [row[:3] for row in recommended] == [row[:3] for row in twice]  # all but the model's name


def test_other_numbers_of_looks_are_refused(tmp_path):
    with pytest.raises(InvalidParameter, match="looks is 3"):
        VectorizeConfig.from_dict(settings(tmp_path / "absent.tif", tmp_path, looks=3))


def test_the_ground_pixel_is_the_runs_own(tmp_path):
    raster = cut_sample(tmp_path / "part.tif", width=300, height=260)
    trained_m = open_package().manifest["pixel_m"]
    usual = run(raster, tmp_path / "usual")
    assert run(raster, tmp_path / "named", pixel_m=trained_m) == usual
    coarse_m = round(1.5 * trained_m, 3)
    coarse = run(raster, tmp_path / "coarse", pixel_m=coarse_m)
    assert len(coarse) > 3 and coarse != usual
    with pytest.raises(JobFolderError, match=f"pixel_m was {coarse_m}, is {trained_m}"):
        run(raster, tmp_path / "coarse")


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_ground_pixel_far_from_the_models_is_refused(tmp_path, factor):
    raster = cut_sample(tmp_path / "part.tif", width=300, height=260)
    with pytest.raises(InvalidParameter, match="is too far from that"):
        run(raster, tmp_path / "far", pixel_m=factor * open_package().manifest["pixel_m"])
