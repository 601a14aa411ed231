"""Trees, palms and shrubs: clumpy crowns with height, so that they shade and hide what is below."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .buildings import Building
from .canvas import Canvas, Window
from .palettes import CROWNS, pick, vary
from .styles import Style

SMALL_ROOF_M2 = 35.0


@dataclass(frozen=True)
class Grove:
    """Land that trees may stand on: a ring, float64[N, 2] metres, and how dense they are there."""

    ring: np.ndarray
    style: Style
    density: float


def plant_groves(canvas: Canvas, groves: list[Grove], buildings: list[Building]) -> None:
    """Trees where there is room: stems stand outside the roofs, crowns reach over them.

    Small roofs are never hidden altogether, so that the truth holds no building that cannot be seen.
    """
    rng, pixel = canvas.rng, canvas.pixel_m
    width, height = canvas.size_px
    room = _distance_m(canvas.height > 1.9, pixel)
    roofs = np.zeros((height, width), np.uint8)
    small = [b.outline for b in buildings if b.outline.area < SMALL_ROOF_M2]
    cv2.fillPoly(roofs, [(np.array(p.exterior.coords) / pixel).astype(np.int32) for p in small], 1)
    small_room = _distance_m(roofs > 0, pixel)
    for grove in groves:
        low = np.maximum(grove.ring.min(axis=0), -3)
        high = np.minimum(grove.ring.max(axis=0), np.array(canvas.size_px) * pixel + 3)
        if (low >= high).any():
            continue
        kind = pick(rng, grove.style.crowns)
        contour = grove.ring.astype(np.float32)
        for x, y in _spots(rng, low, high, grove).tolist():
            if cv2.pointPolygonTest(contour, (x, y), False) < 0:
                continue
            if rng.random() < 0.4:
                kind = pick(rng, grove.style.crowns)
            radius = (
                rng.uniform(0.4, 1.4) if kind == "shrub" else min(grove.style.crown * rng.lognormal(0.85, 0.42), 7.5)
            )
            at = min(max(int(y / pixel), 0), height - 1), min(max(int(x / pixel), 0), width - 1)
            if room[at] > rng.uniform(0.25, 0.95) * radius and small_room[at] > 0.75 * radius:
                plant(canvas, x, y, kind, float(radius))


def _spots(rng: np.random.Generator, low: np.ndarray, high: np.ndarray, grove: Grove) -> np.ndarray:
    """Places for trees, float64[N, 2]: half of them anywhere, half near another one."""
    lush = 1.0 if grove.density > 3 else rng.lognormal(-0.3, 0.8)
    count = rng.poisson(float(np.prod(high - low)) / 1000 * grove.style.tree_cover * grove.density * lush)
    spots = rng.uniform(low, high, (min(int(count), 4000), 2))
    near = rng.random(len(spots)) < 0.5
    spots[near] = spots[rng.permutation(len(spots))[near]] + rng.normal(0, 3.0, (int(near.sum()), 2))
    return spots


def _distance_m(taken: np.ndarray, pixel_m: float) -> np.ndarray:
    """Distance of every pixel to the nearest taken one, metres; far away where none is taken."""
    free_px = cv2.distanceTransform(1 - taken.astype(np.uint8), cv2.DIST_L2, 5)
    return np.minimum(free_px, 1e5) * np.float32(pixel_m)


def plant(canvas: Canvas, x: float, y: float, kind: str, radius: float) -> None:
    """Paint one tree at scene metres; it covers only what is lower than its crown."""
    window = canvas.window(np.array([[x, y]]), 1.25 * radius)
    if window is None:
        return
    rng = canvas.rng
    colours = CROWNS[kind]
    base = vary(rng, colours[int(rng.integers(len(colours)))], 0.14, 0.04).astype(np.float32)
    if kind == "palm":
        alpha, top, light = _palm(rng, canvas, window, x, y, radius)
    else:
        alpha, top, light = _crown(rng, canvas, window, x, y, radius, kind)
    leaf = canvas.noise.cut("leaf", window.rows, window.cols, canvas.offset())
    grain = canvas.noise.cut("grain", window.rows, window.cols, canvas.offset())
    if kind == "bare":
        alpha = alpha * np.clip(0.45 + 0.35 * leaf + 0.2 * grain, 0, 0.9)
    alpha = alpha * np.clip((top - canvas.height[window.at]) / 0.6, 0, 1)
    colour = base * np.clip(1 + 0.2 * leaf + 0.16 * grain, 0.3, 1.9)[..., None]
    canvas.put(window, alpha, np.clip(colour, 0.01, 0.95), top, light)


def _crown(rng, canvas: Canvas, window: Window, x, y, radius, kind) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage, height and light of a crown made of several domes."""
    conifer = kind == "conifer"
    low = kind == "shrub"
    trunk = 0.3 if low else rng.uniform(0.4, 1.0) * radius
    count = 3 if radius < 1.2 else int(rng.integers(7, 15))
    turn, far = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0.05, 1, count))
    reach = 0.68 * radius
    sizes = radius * rng.uniform(0.24, 0.5, count)
    if conifer:
        far, sizes = far * 0.15, sizes * rng.uniform(1.2, 1.6, count)
    top = np.zeros(window.x.shape, np.float32)
    slope_x, slope_y = np.zeros_like(top), np.zeros_like(top)
    wobble = canvas.noise.cut("leaf", window.rows, window.cols, canvas.offset()) * np.float32(0.2)
    for angle, share, size in zip(turn, far, sizes, strict=True):
        dx = (window.x - np.float32(x + reach * share * np.cos(angle))) / np.float32(size)
        dy = (window.y - np.float32(y + reach * share * np.sin(angle))) / np.float32(size)
        rho2 = dx * dx + dy * dy
        dome = np.sqrt(np.clip(1 - rho2 * (1 + wobble) + wobble, 0, None))
        if conifer:
            dome = 2.2 * np.clip(1 - np.sqrt(rho2) + wobble, 0, None)
        height = np.where(dome > 0, trunk + size * (dome + 0.5 * (1 - share)), 0).astype(np.float32)
        higher = height > top
        top = np.where(higher, height, top)
        slope_x, slope_y = np.where(higher, dx, slope_x), np.where(higher, dy, slope_y)
    sun_x, sun_y, sun_z = canvas.sun.direction
    facing = 1 + 0.62 * (slope_x * sun_x + slope_y * sun_y) / max(sun_z, 0.4)
    depth = np.clip((top - trunk) / (1.1 * radius), 0, 1)  # deeper in the crown it is darker
    light = np.clip(facing * (0.62 + 0.5 * depth), 0.15, 1.5).astype(np.float32)
    return (top > 0).astype(np.float32), top, light


def _palm(rng, canvas: Canvas, window: Window, x, y, radius) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage, height and light of a palm or banana: long leaves around a centre."""
    u, v = window.frame(x, y, rng.uniform(0, 6.3))
    rho, angle = np.hypot(u, v) / np.float32(radius), np.arctan2(v, u)
    leaves = int(rng.integers(7, 12))
    phase = angle * np.float32(leaves) / 2 + np.float32(0.25) * np.sin(angle * 2 + np.float32(rng.uniform(0, 6)))
    blade = np.abs(np.cos(phase))
    half = np.clip(0.95 - 0.75 * rho + 0.1 * np.sin(angle * 3), 0, 1)
    alpha = np.clip((blade - (1 - half)) * 4, 0, 1) * (rho < 1)
    height = np.float32(rng.uniform(2.5, 8)) - 1.5 * rho**2
    side = np.sin(phase) * np.cos(phase)
    light = np.clip(1.05 + 0.45 * side - 0.25 * (1 - blade), 0.4, 1.4).astype(np.float32)
    return alpha.astype(np.float32), height.astype(np.float32), light
