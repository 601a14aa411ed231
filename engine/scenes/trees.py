"""Trees, palms and shrubs: clumpy crowns with height, so that they shade and hide what is below."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Window
from .palettes import CROWNS, vary


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
    colour = base * np.clip(1 + 0.16 * leaf + 0.10 * grain, 0.35, 1.8)[..., None]
    canvas.put(window, alpha, np.clip(colour, 0.01, 0.95), top, light)


def _crown(rng, canvas: Canvas, window: Window, x, y, radius, kind) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coverage, height and light of a crown made of several domes."""
    conifer = kind == "conifer"
    low = kind == "shrub"
    trunk = 0.3 if low else rng.uniform(0.4, 1.0) * radius
    count = 3 if radius < 1.2 else int(rng.integers(5, 10))
    turn, far = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0.05, 1, count))
    reach = 0.62 * radius
    sizes = radius * rng.uniform(0.36, 0.55, count)
    if conifer:
        far, sizes = far * 0.15, sizes * rng.uniform(1.2, 1.6, count)
    top = np.zeros(window.x.shape, np.float32)
    slope_x, slope_y = np.zeros_like(top), np.zeros_like(top)
    wobble = canvas.noise.cut("leaf", window.rows, window.cols, canvas.offset()) * np.float32(0.12)
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
