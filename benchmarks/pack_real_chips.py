"""Packs the real orthophotos of `../shared/data` into a chip folder, by their published splits.

    python benchmarks/pack_real_chips.py ../shared/data chips/real

Pixels finer than `FINEST_M` are averaged down: training never magnifies beyond that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import pyproj
import rasterio
import shapely
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from rasterio.features import rasterize

FINEST_M = 0.12
PATCH_PIXEL_M = 0.30  # inria_patches and spacenet_samples carry no georeference; their README gives this


def read_labels(folder: Path, image: Path, dataset: rasterio.DatasetReader, scale: float) -> tuple[np.ndarray, float]:
    """int32[H, W] labels on the grid shrunk by `scale`, and the native ground pixel in metres."""
    height, width = round(dataset.height * scale), round(dataset.width * scale)
    if dataset.crs is None:
        features = json.loads((folder / "labels" / f"{image.stem}.geojson").read_text())["features"]
        outlines = [shapely.geometry.shape(f["geometry"]) for f in features]
        unknown: list[shapely.Geometry] = []
        to_pixels = rasterio.Affine.identity()
    else:
        layer = gpd.read_file(folder / "buildings.gpkg", layer="buildings")
        outlines = list(layer[layer["image"] == image.name].to_crs(dataset.crs).geometry)
        unknown = []
        if "aoi" in set(gpd.list_layers(folder / "buildings.gpkg")["name"]):
            known = gpd.read_file(folder / "buildings.gpkg", layer="aoi").to_crs(dataset.crs).union_all()
            unknown = [shapely.box(*dataset.bounds).difference(known)]
        to_pixels = ~dataset.transform
    grid = rasterio.Affine.scale(1 / scale, 1 / scale)
    matrix = ~grid * to_pixels
    place = [matrix.a, matrix.b, matrix.d, matrix.e, matrix.c, matrix.f]
    labels = np.zeros((height, width), np.int32)
    for area in unknown:
        if not area.is_empty:
            labels[rasterize([shapely.affinity.affine_transform(area, place)], (height, width)) > 0] = -1
    # large first, so that a small building drawn over a large one survives
    for index, outline in enumerate(sorted(outlines, key=lambda o: -o.area), start=1):
        labels[rasterize([shapely.affinity.affine_transform(outline, place)], (height, width)) > 0] = index
    present = np.unique(labels[labels > 0])
    lookup = np.zeros(labels.max(initial=0) + 2, np.int32)
    lookup[present] = np.arange(1, len(present) + 1)
    lookup[-1] = -1
    return lookup[labels], scale


def ground_pixel(dataset: rasterio.DatasetReader) -> float:
    """Ground size of a pixel in metres, measured on the ellipsoid in the middle of the image."""
    if dataset.crs is None:
        return PATCH_PIXEL_M
    to_degrees = pyproj.Transformer.from_crs(dataset.crs, "EPSG:4326", always_xy=True)
    x, y = dataset.transform * (dataset.width / 2, dataset.height / 2)
    (lon0, lon1), (lat0, lat1) = to_degrees.transform([x, x + dataset.transform.a], [y, y])
    return pyproj.Geod(ellps="WGS84").inv(lon0, lat0, lon1, lat1)[2]


def main(data: Path, target: Path) -> None:
    splits = json.loads((data / "splits.json").read_text())["splits"]
    with ChipWriter(target, info={"splits": "shared/data/splits.json"}) as writer:
        for source, parts in sorted(splits.items()):
            for split, names in parts.items():
                for name in names:
                    path = data / source / "images" / name
                    with rasterio.open(path) as dataset:
                        image = dataset.read().transpose(1, 2, 0)
                        pixel_m = ground_pixel(dataset)
                        scale = min(pixel_m / FINEST_M, 1.0)
                        labels, _ = read_labels(data / source, path, dataset, scale)
                    if scale < 1:
                        image = cv2.resize(image, labels.shape[::-1], interpolation=cv2.INTER_AREA)
                    writer.add(
                        f"{source}-{path.stem}", image, labels, split=split, source=source, pixel_m=pixel_m / scale
                    )
                    print(f"{source:18} {split:5} {name:28} {labels.shape} {labels.max()} buildings")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
