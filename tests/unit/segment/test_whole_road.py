"""DeepLabV3 is trained and takes an orthophoto to polygons; a segmenter is not fine-tuned as a detector."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import FinetuneConfig, TrainSegmenterConfig, VectorizeConfig
from cadastral_vectorizer.engine.errors import ModelPackageError
from cadastral_vectorizer.engine.finetune import finetune
from cadastral_vectorizer.engine.pipeline import vectorize
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.train_segmenter import train_segmenter
from cadastral_vectorizer.models.package import write_package
from cadastral_vectorizer.models.segmenters import build_segmenter

TRUNK = {"widths": [16, 16, 32, 32], "blocks": [1, 1, 1, 1], "fpn_channels": 16, "dense_width": 16}
PLACES = ((20, 20), (110, 30), (40, 110), (130, 120))
SIDE = 40


def paint():
    """A plain place, uint8[192, 192, 3] and int32[192, 192]: bright squares on dark ground."""
    labels = np.zeros((192, 192), np.int32)
    for value, (x, y) in enumerate(PLACES, start=1):
        labels[y : y + SIDE, x : x + SIDE] = value
    return np.where(labels[..., None] > 0, np.uint8(210), np.uint8(60)).repeat(3, -1), labels


@pytest.mark.slow
def test_deeplab_is_trained_packed_and_finds_the_buildings(tmp_path):
    image, labels = paint()
    with ChipWriter(tmp_path / "chips") as writer:
        for split in ("train", "val"):
            writer.add(split, image, labels, split=split, source="made", pixel_m=0.2)
    trained = train_segmenter(
        TrainSegmenterConfig(
            chips=(str(tmp_path / "chips"),), output=str(tmp_path / "m.zip"), work_folder=str(tmp_path / "work"),
            architecture="deeplabv3_mobilenet_v3", steps=60, batch_size=4, crop_px=128, learning_rate=2e-3,
            copy_paste=0.0, threads=1, device="cpu", precision="float32",
        ),
        Reporter(),
    )  # fmt: skip
    assert trained["pixels"]["all"]["mean_iou"] > 0.75
    with rasterio.open(tmp_path / "r.tif", "w", driver="GTiff", width=192, height=192, count=3, dtype="uint8",
                       crs="EPSG:32633", transform=rasterio.Affine(0.2, 0, 5e5, 0, -0.2, 5e6)) as raster:  # fmt: skip
        raster.write(image.transpose(2, 0, 1))
    result = vectorize(
        VectorizeConfig(
            raster=str(tmp_path / "r.tif"), output=str(tmp_path / "b.gpkg"), job_folder=str(tmp_path / "job"),
            model=trained["output"], score_threshold=0.2, regularization="none", threads=1, device="cpu",
            tile_size_px=128,
        ),
        Reporter(),
    )  # fmt: skip
    found = gpd.read_file(result["output"]).geometry.to_numpy()
    truth = [shapely.box(5e5 + 0.2 * x, 5e6 - 0.2 * (y + SIDE), 5e5 + 0.2 * (x + SIDE), 5e6 - 0.2 * y)
             for x, y in PLACES]  # fmt: skip
    best = [max(shapely.area(found & t) / shapely.area(found | t)) for t in truth]
    assert np.mean(best) > 0.5
    assert result["model"].startswith("segmenter (")


def test_a_segmenter_cannot_be_fine_tuned_as_a_detector(tmp_path):
    model = build_segmenter("compact", TRUNK)
    write_package(tmp_path / "s.zip", name="s", pixel_m=0.2, training={}, metrics={},
                  networks={"segmenter": ("compact", TRUNK, model.state_dict())})  # fmt: skip
    with pytest.raises(ModelPackageError, match="has no detector"):
        finetune(
            FinetuneConfig(output=str(tmp_path / "o.zip"), work_folder=str(tmp_path / "w"), chips=("c",),
                           base=str(tmp_path / "s.zip")), Reporter(),
        )  # fmt: skip
