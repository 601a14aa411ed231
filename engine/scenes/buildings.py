"""A building of the scene, and painting it: roof parts, their light, and what stands on the roof."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import shapely

from .canvas import Canvas, Window, soft_box, soft_disc
from .coverage import rings_of
from .palettes import ROOFS, pick, rgb, vary
from .roofs import Part, Surface, edge_distance, part_surface, skirt_surface
from .surfaces import roof_colour


@dataclass(frozen=True)
class Building:
    """What is needed to paint a building.

    Attributes:
        outline: visible roof outline, metres from the outer corner of the upper left pixel, y down.
        parts: together they cover the outline; where they overlap the higher one is seen.
        material: key of `palettes.ROOFS`; colour: float[3], None for one of the material's.
        fittings: chance of chimneys, tanks, panels.
    """

    outline: shapely.Polygon
    parts: tuple[Part, ...]
    material: str
    colour: tuple[float, float, float] | None = None
    fittings: float = 0.6

    def moved(self, dx: float, dy: float) -> Building:
        """The same building somewhere else."""
        return replace(
            self,
            outline=shapely.transform(self.outline, lambda xy: xy + (dx, dy)),
            parts=tuple(replace(part, cx=part.cx + dx, cy=part.cy + dy) for part in self.parts),
        )


def paint_building(canvas: Canvas, building: Building) -> None:
    """Paint the roof with its light and height, then its fittings."""
    rings = rings_of(building.outline)
    masked = canvas.exact_mask(rings)
    if masked is None:
        return
    window, mask = masked
    rng = canvas.rng
    flat = all(part.kind == "flat" for part in building.parts)
    edges = None
    if flat or any(part.kind == "skirt" for part in building.parts):
        edges = edge_distance(rings, window.x, window.y)
    surface, which = _roof(building.parts, window, edges)
    base = vary(rng, pick(rng, ROOFS[building.material])) if building.colour is None else np.array(building.colour)
    if rng.random() < 0.10:  # hard to tell from the ground
        around = canvas.colour[window.at].mean(axis=(0, 1))
        base = base + rng.uniform(0.55, 0.9) * (around - base)
    wear = float(rng.beta(1.6, 1.8))
    colour = roof_colour(canvas, window, surface, building.material, base, wear)
    colour = _repaint_parts(canvas, building, which, colour)
    light = _light(canvas, surface)
    height = surface.height
    if flat and edges is not None:
        colour, height = _parapet(canvas, building, edges[0], colour, height)
    elif rng.random() < 0.5 and edges is None:
        colour = _ridge_caps(canvas, surface, colour)
    canvas.put(window, mask, colour, height, light)
    if rng.random() < building.fittings:
        for part in building.parts:
            _fittings(canvas, building, part)


def _roof(parts: tuple[Part, ...], window: Window, edges: tuple[np.ndarray, ...] | None) -> tuple[Surface, np.ndarray]:
    """The highest part at every point; outside all of them the nearest one continues."""
    surfaces, ranks = [], []
    for part in parts:
        u, v = window.frame(part.cx, part.cy, part.angle)
        if part.kind == "skirt" and edges is not None:
            surface = skirt_surface(part, *edges)
        else:
            surface = part_surface(part, u, v)
        outside = np.maximum(np.abs(u) - part.half_length, np.abs(v) - part.half_width)
        surfaces.append(surface)
        ranks.append(surface.height - 1e3 * np.maximum(outside, 0))
    if len(parts) == 1:
        return surfaces[0], np.zeros(window.x.shape, np.intp)
    which = np.argmax(np.stack(ranks), axis=0)

    def choose(name: str) -> np.ndarray:
        return np.take_along_axis(np.stack([getattr(s, name) for s in surfaces]), which[None], 0)[0]

    return Surface(*(choose(name) for name in ("height", "grad_x", "grad_y", "across", "down"))), which


def _light(canvas: Canvas, surface: Surface) -> np.ndarray:
    """Sunlight relative to level ground: the facet's normal times the direction of the sun."""
    x, y, z = canvas.sun.direction
    facing = -surface.grad_x * x - surface.grad_y * y + z
    facing /= np.sqrt(1 + surface.grad_x**2 + surface.grad_y**2)
    return np.clip(facing / z, 0.05, 1.55).astype(np.float32)


def _repaint_parts(canvas: Canvas, building: Building, which: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Sometimes an annex has a shade of its own."""
    rng = canvas.rng
    for index in range(1, len(building.parts)):
        if rng.random() < 0.3:
            shade = np.float32(rng.uniform(0.72, 1.22) * (1 + rng.normal(0, 0.05, 3)))
            colour = np.where((which == index)[..., None], np.clip(colour * shade, 0, 0.99), colour)
    return colour


def _parapet(canvas, building, distance, colour, height) -> tuple[np.ndarray, np.ndarray]:
    """A low wall or metal edge around a flat roof."""
    rng = canvas.rng
    if rng.random() < 0.3:
        return colour, height
    width = rng.uniform(0.15, 0.4)
    band = np.clip((width - distance) / canvas.pixel_m + 0.5, 0, 1)
    shade = rng.choice([0.72, 1.15, 1.3, 1.3], p=[0.25, 0.25, 0.25, 0.25])
    trim = vary(rng, (0.70, 0.68, 0.65), 0.2) if rng.random() < 0.5 else building_mean(colour) * shade
    if building.material == "concrete" and rng.random() < 0.12:
        trim = vary(rng, pick(rng, ROOFS["tin_painted"]))
    dark = np.clip((2.2 * width - distance) / canvas.pixel_m + 0.5, 0, 1) - band  # dirt along the wall
    colour = colour * (1 - 0.15 * np.clip(dark, 0, 1))[..., None]
    colour = colour + band[..., None] * (rgb(np.clip(trim, 0, 0.97)) - colour)
    return colour, height + band * np.float32(rng.uniform(0.2, 1.0))


def building_mean(colour: np.ndarray) -> np.ndarray:
    """Mean colour, float[3]."""
    return colour.reshape(-1, 3).mean(axis=0)


def _ridge_caps(canvas: Canvas, surface: Surface, colour: np.ndarray) -> np.ndarray:
    """A line along ridges and valleys, where the slope turns."""
    if min(colour.shape[:2]) < 4:
        return colour
    turn = np.zeros(colour.shape[:2], np.float32)
    for grad in (surface.grad_x, surface.grad_y):
        turn[:, 1:] += np.abs(np.diff(grad, axis=1))
        turn[1:] += np.abs(np.diff(grad, axis=0))
    line = np.clip(turn, 0, 1)[..., None] * np.float32(min(0.25 / canvas.pixel_m, 1.0))
    shade = np.float32(canvas.rng.uniform(0.8, 1.2))
    return np.clip(colour * (1 + (shade - 1) * line), 0, 0.99)


def _fittings(canvas: Canvas, building: Building, part: Part) -> None:
    """Chimneys, roof windows, solar panels on slopes; tanks, stair huts, units on flats."""
    rng = canvas.rng
    reach = np.array(
        [
            [part.cx - part.half_length, part.cy - part.half_length],
            [part.cx + part.half_length, part.cy + part.half_length],
        ]
    )
    window = canvas.window(reach, 0.5)
    if window is None or part.half_width < 1.2:
        return
    u, v = window.frame(part.cx, part.cy, part.angle)
    length, width = part.half_length, part.half_width
    inside = (canvas.height[window.at] > part.eave_m - 0.4).astype(np.float32)

    def place(du, dv, half_u, half_v, colour, rise, disc=False, light=None):
        shape = (
            soft_disc(u - du, v - dv, half_u, canvas.pixel_m)
            if disc
            else soft_box(u - du, v - dv, half_u, half_v, canvas.pixel_m)
        )
        shape = shape * inside
        lit = canvas.light[window.at] if light is None else light
        canvas.put(window, shape, colour, canvas.height[window.at] + np.float32(rise), lit)

    small = building.material.startswith(("tin", "thatch"))
    if part.kind == "flat":
        _flat_fittings(rng, building, part, place)
    elif part.kind in ("gable", "hip", "mansard", "skirt") and not small:
        for _ in range(int(rng.integers(0, 3))):
            place(
                rng.uniform(-0.75, 0.75) * length,
                rng.uniform(-0.35, 0.35) * width,
                rng.uniform(0.25, 0.5),
                rng.uniform(0.25, 0.6),
                vary(rng, (0.50, 0.40, 0.36), 0.25),
                rng.uniform(0.6, 1.4),
                light=1.0,
            )
        side = rng.choice([-1, 1])
        if rng.random() < 0.16 and width > 2.5:  # solar panels follow the slope
            rows = int(rng.integers(1, 3))
            columns = int(rng.integers(2, max(3, int(length * 1.3))))
            panel = vary(rng, (0.13, 0.16, 0.24), 0.25)
            start = rng.uniform(-0.7, 0.2) * length
            for row in range(rows):
                for column in range(columns):
                    du, dv = start + 1.08 * column, side * width * 0.28 + side * 1.7 * row
                    if abs(du) < length - 0.8 and abs(dv) < width - 0.9:
                        place(du, dv, 0.5, 0.8, panel, 0.1)
        elif rng.random() < 0.35:
            for at in np.arange(-0.6, 0.7, rng.uniform(0.3, 0.7)):
                place(at * length, side * 0.5 * width, 0.4, 0.55, vary(rng, (0.40, 0.44, 0.48), 0.3), 0.05)
        elif rng.random() < 0.2 and width > 3:  # dormers
            for at in np.arange(-0.55, 0.6, rng.uniform(0.4, 0.8)):
                place(
                    at * length,
                    side * 0.55 * width,
                    rng.uniform(0.7, 1.1),
                    0.24 * width,
                    canvas.colour[window.at].mean(axis=(0, 1)) * rng.uniform(0.7, 1.3),
                    0.9,
                    light=rng.uniform(0.7, 1.2),
                )
    elif small and rng.random() < 0.25:  # stones, tarpaulins, translucent sheets
        for _ in range(int(rng.integers(1, 5))):
            place(
                rng.uniform(-0.8, 0.8) * length,
                rng.uniform(-0.8, 0.8) * width,
                rng.uniform(0.15, 0.6),
                rng.uniform(0.15, 0.9),
                vary(rng, (0.55, 0.55, 0.56), 0.4, 0.12),
                0.1,
            )


def _flat_fittings(rng, building: Building, part: Part, place) -> None:
    """Water tanks, stair huts, ventilation, roof lights, panels, rubbish on a flat roof."""
    length, width = part.half_length, part.half_width
    town = building.material == "concrete"
    if town and rng.random() < 0.45 and min(length, width) > 2.5:
        hut = rng.uniform(0.9, 1.8, 2)
        corner = rng.choice([-1, 1], 2)
        place(
            corner[0] * (length - hut[0] - 0.4),
            corner[1] * (width - hut[1] - 0.4),
            hut[0],
            hut[1],
            vary(rng, (0.62, 0.58, 0.54), 0.2),
            rng.uniform(1.8, 2.6),
            light=1.0,
        )
    for _ in range(int(rng.integers(0, 4))):
        at = rng.uniform(-0.8, 0.8) * (length - 0.8), rng.uniform(-0.8, 0.8) * (width - 0.8)
        if town and rng.random() < 0.55:
            tank = vary(
                rng,
                [(0.10, 0.10, 0.11), (0.16, 0.40, 0.30), (0.75, 0.75, 0.74), (0.20, 0.30, 0.55)][int(rng.integers(4))],
            )
            place(*at, rng.uniform(0.45, 0.8), 0, tank, 1.3, disc=True, light=1.1)
        else:
            place(
                *at,
                rng.uniform(0.3, 1.4),
                rng.uniform(0.3, 0.9),
                vary(rng, (0.66, 0.66, 0.65), 0.3),
                rng.uniform(0.3, 1.2),
                light=1.0,
            )
    if min(length, width) > 6 and rng.random() < 0.5:  # rows of roof lights on halls
        step_u, step_v = rng.uniform(4, 9), rng.uniform(4, 9)
        shade = vary(rng, (0.72, 0.76, 0.78), 0.15)
        for du in np.arange(-length + 3, length - 2, step_u):
            for dv in np.arange(-width + 3, width - 2, step_v):
                place(du, dv, 0.9, 0.6, shade, 0.35, light=1.0)
    elif town and rng.random() < 0.25:  # clothes, tarpaulins, planters
        for _ in range(int(rng.integers(1, 6))):
            place(
                rng.uniform(-0.8, 0.8) * length,
                rng.uniform(-0.8, 0.8) * width,
                rng.uniform(0.2, 0.8),
                rng.uniform(0.1, 0.5),
                np.clip(rng.uniform(0.1, 0.9, 3), 0, 1),
                0.3,
                light=1.0,
            )
    if rng.random() < 0.1 and min(length, width) > 3:
        panel = vary(rng, (0.14, 0.17, 0.26), 0.2)
        for dv in np.arange(-width * 0.6, width * 0.6, 2.2):
            place(0, dv, length * 0.7, 0.75, panel, 0.5, light=1.1)
