"""Building shapes and noisy pixel outlines of them, for the tests of the geometry stages."""

from __future__ import annotations

import cv2
import numpy as np
import shapely
from rasterio import features
from rasterio.transform import Affine
from shapely import Point, Polygon, affinity, box

PIXEL_M = 0.15

SHAPES = {
    "rectangle": box(0, 0, 14, 9),
    "l": Polygon([(0, 0), (14, 0), (14, 6), (7, 6), (7, 12), (0, 12)]),
    "t": Polygon([(0, 0), (16, 0), (16, 6), (11, 6), (11, 13), (5, 13), (5, 6), (0, 6)]),
    "u": Polygon([(0, 0), (16, 0), (16, 12), (11, 12), (11, 5), (5, 5), (5, 12), (0, 12)]),
    "z": Polygon([(0, 0), (10, 0), (10, 4), (16, 4), (16, 11), (6, 11), (6, 7), (0, 7)]),
    "cross": box(5, 0, 11, 16).union(box(0, 5, 16, 11)),
    "courtyard": box(0, 0, 20, 18).difference(box(6, 6, 13, 12)),
    "round_tower": Point(0, 0).buffer(5, quad_segs=32),
    "apse": box(0, 0, 12, 8).union(Point(12, 4).buffer(4, quad_segs=32)),
    "round_courtyard": box(0, 0, 20, 20).difference(Point(10, 10).buffer(5, quad_segs=32)),
    "diagonal_wing": box(0, 0, 14, 8).union(affinity.rotate(box(9, 2, 24, 9), 32, origin=(9, 2))),
    "chamfer": Polygon([(0, 0), (12, 0), (12, 7), (9, 10), (0, 10)]),
}


def place(shape: Polygon, *, turn_deg: float = 23.7) -> Polygon:
    """A shape turned and far from the origin, as on a map."""
    return affinity.translate(affinity.rotate(shape, turn_deg, origin=(0, 0)), 533_000, 9_367_000)


def pixel_outline(shape: Polygon, *, seed: int | None = 0, noise_px: float = 0.88) -> Polygon:
    """Outline along pixel edges, with correlated noise of the edge unless `seed` is None."""
    left, bottom, right, top = shape.bounds
    x0, y0 = left - 2.03, top + 2.07
    width, height = int((right - left + 4) / PIXEL_M), int((top - bottom + 4) / PIXEL_M)
    transform = Affine(PIXEL_M / 3, 0, x0, 0, -PIXEL_M / 3, y0)
    inside = features.rasterize([(shape, 1)], (height * 3, width * 3), transform=transform, dtype=np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance -= cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed = distance[1::3, 1::3] / 3
    if seed is not None:
        field = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=signed.shape), (0, 0), 1.6)
        signed = signed + noise_px * field * 2 * np.sqrt(np.pi) * 1.6
    mask = (signed > 0).astype(np.uint8)
    found = features.shapes(mask, mask > 0, 4, Affine(PIXEL_M, 0, x0, 0, -PIXEL_M, y0))
    return max((shapely.geometry.shape(s) for s, _ in found), key=lambda p: p.area)


def iou(a: Polygon, b: Polygon) -> float:
    overlap = a.intersection(b).area
    return overlap / (a.area + b.area - overlap)


def corner_angles_deg(polygon: Polygon) -> np.ndarray:
    """Turn at every vertex of the exterior, 0 to 180 degrees."""
    z = shapely.get_coordinates(polygon.exterior)[:-1] @ np.array([1, 1j])
    edge = np.roll(z, -1) - z
    return np.abs(np.angle(edge / np.roll(edge, 1), deg=True))


def wobbly_outline(shape: Polygon, *, seed: int = 0, amplitude_m: float = 0.12) -> Polygon:
    """Outline with smooth irregular noise: unlike steps of pixels it has no two points alike."""
    rng = np.random.default_rng(seed)
    rings = []
    for ring in shapely.get_rings(shape):
        dense = shapely.get_coordinates(shapely.segmentize(ring, 0.11))[:-1]
        noise = rng.normal(size=dense.shape)
        smooth = np.real(np.fft.ifft(np.fft.fft(noise, axis=0) * _low_pass(len(dense)), axis=0))
        rings.append(dense + amplitude_m * smooth / smooth.std())
    return Polygon(rings[0], rings[1:])


def _low_pass(number: int) -> np.ndarray:
    frequency = np.fft.fftfreq(number)[:, None]
    return np.exp(-((frequency * 20) ** 2))
