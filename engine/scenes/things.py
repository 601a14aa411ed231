"""Small things: cars, buses, pools, fences, walls, heaps; all of them hard to tell from small roofs."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, soft_box, soft_disc
from .palettes import CARS, pick, rgb, vary


def park_car(canvas: Canvas, at: np.ndarray, angle: float, long_m: float = 0.0) -> None:
    """A car (or, given a length, a van, bus or trailer) at scene metres."""
    rng = canvas.rng
    length = long_m or rng.uniform(3.7, 4.9)
    width = rng.uniform(1.65, 1.9) if not long_m else rng.uniform(2.2, 2.6)
    window = canvas.window(at[None], length)
    if window is None:
        return
    u, v = window.frame(float(at[0]), float(at[1]), angle)
    pixel = canvas.pixel_m
    paint = vary(rng, pick(rng, CARS), 0.1)
    height = 1.4 if not long_m else 2.8
    canvas.put(window, soft_box(u, v, length / 2, width / 2, pixel), paint, height * 0.7)
    glass = rgb([0.13, 0.15, 0.17])
    if not long_m:
        canvas.put(window, soft_box(u - 0.12 * length, v, 0.06 * length, width * 0.4, pixel), glass)
        canvas.put(window, soft_box(u + 0.33 * length, v, 0.04 * length, width * 0.38, pixel), glass)
        canvas.put(
            window,
            soft_box(u + 0.12 * length, v, 0.16 * length, width * 0.4, pixel),
            np.clip(paint * 1.06, 0, 1),
            height,
        )
    else:
        canvas.put(window, soft_box(u - 0.46 * length, v, 0.03 * length, width * 0.45, pixel), glass)


def dig_pool(canvas: Canvas, at: np.ndarray, angle: float) -> None:
    """A swimming pool with its rim; sometimes round."""
    rng = canvas.rng
    half = rng.uniform(2.2, 5.0), rng.uniform(1.5, 2.6)
    window = canvas.window(at[None], half[0] + 2)
    if window is None:
        return
    u, v = window.frame(float(at[0]), float(at[1]), angle)
    rim, water = vary(rng, (0.74, 0.72, 0.67)), vary(rng, (0.33, 0.66, 0.74), 0.12, 0.05)
    disc = rng.random() < 0.25
    for grow, colour in ((rng.uniform(0.4, 1.2), rim), (0.0, water)):
        shape = (
            soft_disc(u, v, half[1] + grow, canvas.pixel_m)
            if disc
            else soft_box(u, v, half[0] + grow, half[1] + grow, canvas.pixel_m)
        )
        canvas.put(window, shape, colour)


def put_box(
    canvas: Canvas,
    at: np.ndarray,
    angle: float,
    half: tuple[float, float],
    colour: np.ndarray,
    height: float,
    light: float = 1.0,
) -> None:
    """A plain box: a container, a heap of goods, a table, a slab."""
    window = canvas.window(at[None], max(half) + 0.5)
    if window is None:
        return
    u, v = window.frame(float(at[0]), float(at[1]), angle)
    canvas.put(window, soft_box(u, v, *half, canvas.pixel_m), colour, height, light)


def build_wall(canvas: Canvas, line: np.ndarray, width_m: float, height_m: float, colour: np.ndarray) -> None:
    """A wall, fence or hedge along a line, float64[N, 2] metres."""
    masked = canvas.line_mask(line, width_m)
    if masked is None:
        return
    window, mask = masked
    grain = canvas.noise.cut("grain", window.rows, window.cols, canvas.offset())
    shade = np.clip(1 + 0.12 * grain, 0.5, 1.5)[..., None] * colour.astype(np.float32)
    height = np.maximum(canvas.height[window.at], np.float32(height_m))
    canvas.put(window, mask, np.clip(shade, 0, 1), height)


def hedge(canvas: Canvas, line: np.ndarray) -> None:
    """A hedge along a line."""
    build_wall(canvas, line, canvas.rng.uniform(0.6, 1.3), 1.5, vary(canvas.rng, (0.22, 0.30, 0.15), 0.15))
