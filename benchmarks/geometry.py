"""Comparison table of the geometry stages on hand-drawn buildings with known noise.

Every building is rasterised at 0.15 m; one pixel of correlated noise (a Gaussian field, correlation
length about four pixels) is added to its signed distance, and the pixel outline of what remains is
the input of every method. The truth is the hand-drawn outline itself.

    python benchmarks/geometry.py --shapes zanzibar_building_polygons.gpkg [--limit 1000] [--half odd]
        [--qgis-python /usr/bin/python3] [--buildingregulariser-python env/bin/python]
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import cv2
import geopandas as gpd
import numpy as np
import shapely
from rasterio import features
from rasterio.transform import Affine

PIXEL_M = 0.15
NOISE_PX = 0.88
BLUR_PX = 1.6  # sigma; the correlation falls to exp(-1) at twice that, 4 pixels
MIN_AREA_M2 = 30.0
FINE = 3  # sub-pixels per pixel while the distance is computed; odd, so that one is the centre
CORNER_CAP_M = 3.0


def noisy_pixel_outline(truth: shapely.Polygon, rng: np.random.Generator) -> shapely.Polygon:
    """The outline of `truth` along pixel edges after rasterisation with correlated edge noise."""
    left, bottom, right, top = truth.bounds
    pad = 12
    # A grid that is not aligned with the building: the phase is random, as in a real orthophoto.
    x0, y0 = left - (pad + rng.random()) * PIXEL_M, top + (pad + rng.random()) * PIXEL_M
    width = int((right - left) / PIXEL_M) + 2 * pad + 2
    height = int((top - bottom) / PIXEL_M) + 2 * pad + 2
    fine = Affine(PIXEL_M / FINE, 0, x0, 0, -PIXEL_M / FINE, y0)
    inside = features.rasterize([(truth, 1)], (height * FINE, width * FINE), transform=fine, dtype=np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance -= cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed_px = (distance[FINE // 2 :: FINE, FINE // 2 :: FINE] - 0.5 * np.sign(distance[1::FINE, 1::FINE])) / FINE
    field = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), BLUR_PX)
    field *= 2 * np.sqrt(np.pi) * BLUR_PX  # blurring left a deviation of 1 / (2 sqrt(pi) sigma)
    mask = (signed_px + NOISE_PX * field > 0).astype(np.uint8)
    shapes = features.shapes(mask, mask > 0, 4, Affine(PIXEL_M, 0, x0, 0, -PIXEL_M, y0))
    return max((shapely.geometry.shape(s) for s, _ in shapes), key=lambda p: p.area)


def load_pairs(shapes: Path, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Hand-drawn outlines and their noisy pixel outlines, two arrays of polygons."""
    cache = Path(tempfile.gettempdir()) / f"geometry_pairs_{seed}_{NOISE_PX:g}_{BLUR_PX:g}.pickle"
    if cache.exists():
        return pickle.loads(cache.read_bytes())  # noqa: S301 - written by the lines below
    truths = gpd.read_file(shapes).geometry.values
    truths = np.array([g for g in truths if g.is_valid and g.area >= MIN_AREA_M2])
    rng = np.random.default_rng(seed)
    raws = np.array([noisy_pixel_outline(t, rng) for t in truths])
    cache.write_bytes(pickle.dumps((truths, raws)))
    return truths, raws


def corners(polygon: shapely.Polygon) -> np.ndarray:
    """Distinct vertices of all rings, float64[N, 2]."""
    rings = [polygon.exterior, *polygon.interiors]
    return np.concatenate([shapely.get_coordinates(r)[:-1] for r in rings])


def edges(polygon: shapely.Polygon) -> np.ndarray:
    """Edges of all rings as complex start and end, complex128[N, 2]."""
    parts = []
    for ring in [polygon.exterior, *polygon.interiors]:
        z = shapely.get_coordinates(ring) @ (1, 1j)
        parts.append(np.column_stack((z[:-1], z[1:])))
    return np.concatenate(parts)


def measure_pair(truth: shapely.Polygon, found: shapely.Polygon) -> tuple[float, ...]:
    """IoU, PoLiS, mean squared corner distance and corners, edge angle error (deg), vertices."""
    overlap = shapely.intersection(truth, found if found.is_valid else shapely.make_valid(found)).area
    iou = overlap / (truth.area + found.area - overlap)
    a, b = corners(truth), corners(found)
    to_found = shapely.distance(shapely.points(a), shapely.boundary(found)).mean()
    to_truth = shapely.distance(shapely.points(b), shapely.boundary(truth)).mean()
    nearest = np.sqrt(((a[:, None] - b[None]) ** 2).sum(2)).min(1)
    squares = (np.minimum(nearest, CORNER_CAP_M) ** 2).sum()
    te, fe = edges(truth), edges(found)
    fe = fe[fe[:, 0] != fe[:, 1]]
    middles = shapely.points(*np.array([fe.mean(1).real, fe.mean(1).imag]))
    lines = shapely.linestrings(np.stack((te.real, te.imag), 2))
    nearest_edge = shapely.STRtree(lines).nearest(middles)
    along = te[nearest_edge]
    turn = np.angle((fe[:, 1] - fe[:, 0]) * np.conj(along[:, 1] - along[:, 0]), deg=True)
    turn = np.abs((turn + 90) % 180 - 90)
    length = np.abs(fe[:, 1] - fe[:, 0])
    return iou, (to_found + to_truth) / 2, squares, len(a), (turn * length).sum() / length.sum(), len(b)


def measure(truths: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """The figures of the table, averaged over buildings."""
    t = np.array([measure_pair(a, b) for a, b in zip(truths, found)])
    return {
        "IoU": t[:, 0].mean(),
        "PoLiS": t[:, 1].mean(),
        "corner": np.sqrt(t[:, 2].sum() / t[:, 3].sum()),
        "angle": t[:, 4].mean(),
        "vertices": t[:, 5].sum() / t[:, 3].sum(),
        "invalid": float((~shapely.is_valid(found)).sum()),
    }
