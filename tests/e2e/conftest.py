"""qgis_process as a user runs it, with the profile that scripts/test has set up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support import BUNDLED, ENVIRONMENT, MODEL, call  # noqa: E402


@pytest.fixture(scope="session")
def qgis_process():
    """``qgis_process(algorithm, NAME=value, ...)`` runs an algorithm of the provider."""
    if not ENVIRONMENT.exists():
        pytest.skip("the engine's environment is missing; run scripts/test")

    def run(algorithm, **parameters):
        settings = [f"{name}={value}" for name, value in parameters.items()]
        return call("run", f"cadastral:{algorithm}", "--", *settings)

    return run


@pytest.fixture(scope="session")
def vectorize(qgis_process):
    """``vectorize(raster, output, NAME=value, ...)``: many buildings from the bundled model."""
    if not MODEL.exists():
        pytest.skip("there is no bundled model")
    default = {"SCORE_THRESHOLD": 0.2}
    if MODEL != BUNDLED:
        default["MODEL"] = MODEL

    def run(raster, output, **parameters):
        return qgis_process("vectorizebuildings", INPUT=raster, OUTPUT=output, **{**default, **parameters})

    return run


@pytest.fixture(scope="session")
def scene(qgis_process, tmp_path_factory):
    """A small generated orthophoto, 0.3 m, and its true outlines: ``(raster, outlines)``."""
    folder = tmp_path_factory.mktemp("scene")
    raster, outlines = folder / "scene.tif", folder / "scene.gpkg"
    done = qgis_process(
        "createsamplescene", WIDTH=400, HEIGHT=320, PIXEL_SIZE=0.3, STYLE=1, SEED=11, OUTPUT=raster, OUTLINES=outlines
    )
    assert done.returncode == 0, done.errors
    return raster, outlines
