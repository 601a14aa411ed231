"""Packages with the papers' ResNets go through a whole run as the bundled one does."""

from __future__ import annotations

import sys
from pathlib import Path

import geopandas as gpd
import pytest
import torch
from cadastral_vectorizer.engine import pipeline
from cadastral_vectorizer.engine.config import VectorizeConfig
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.models.detector import build_detector
from cadastral_vectorizer.models.detector.mask_rcnn import ARCHITECTURES
from cadastral_vectorizer.models.package import write_package

sys.path.insert(0, str(Path(__file__).parent))
from small_run import cut_sample, settings  # noqa: E402


@pytest.mark.parametrize(
    "architecture", ["resnet34", *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet50", "resnet101"))]
)
def test_a_package_is_built_and_vectorizes(tmp_path, architecture):
    torch.manual_seed(5)
    model = build_detector(architecture)
    torch.nn.init.constant_(model.roi_heads.mask_head.layers[-1].bias, 2.0)  # untrained masks would be dust
    package = write_package(
        tmp_path / "resnet.zip", name=architecture, pixel_m=0.2, training={}, metrics={}, tile_size_px=256,
        overlap_px=64, networks={"detector": (architecture, ARCHITECTURES[architecture], model.state_dict())},
    )  # fmt: skip
    raster = cut_sample(tmp_path / "part.tif", width=250, height=220)
    asked = settings(raster, tmp_path, model=str(package.path), score_threshold=0.01, tile_size_px=0, overlap_px=0)
    result = pipeline.vectorize(VectorizeConfig.from_dict(asked), Reporter())
    layer = gpd.read_file(result["output"])
    assert result["model_hash"] == package.hash and len(layer) == result["buildings"] > 0
    assert layer.is_valid.all() and set(layer["model"]) == {package.name}
