"""Ground: textures of land, streets with marks, fields, parking lots, courts and other places without houses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Window, soft_box
from .palettes import CARS, GROUNDS, pick, rgb, vary
from .parcels import Street, axes, cells, inset
from .things import park_car, put_box

STRIP_PX = 1_000_000
GREEN = ("lawn", "lush", "meadow", "dry", "winter")


@dataclass(frozen=True)
class Ground:
    """One stretch of ground, all its random choices made.

    Attributes:
        kind: key of `palettes.GROUNDS`; first, second: float32[3], the colours it mixes.
        offset: where its noise is cut from.
        tufts: threshold and darkness of weeds and tufts, worn: threshold and float32[3] of worn patches,
            weeds: threshold of green on soil, joints: direction and spacing of slabs; None for none.
    """

    kind: str
    first: np.ndarray
    second: np.ndarray
    offset: tuple[int, int]
    tufts: tuple[float, float] | None = None
    worn: tuple[float, np.ndarray] | None = None
    weeds: float | None = None
    joints: tuple[float, float] | None = None

    def colour(self, canvas: Canvas, window: Window) -> np.ndarray:
        """Colour in a window, float32[H, W, 3] in 0..1."""
        broad, patch, fine, leaf, speck, grain = (
            canvas.noise.cut(name, window.rows, window.cols, self.offset)
            for name in ("broad", "patch", "fine", "leaf", "speck", "grain")
        )
        rough = 1.0 if self.kind in GREEN or self.kind.endswith(("soil", "rubble")) else 0.45
        mix = np.clip(0.5 + 0.28 * broad + 0.25 * patch + rough * 0.2 * fine, 0, 1)[..., None]
        colour = self.first + mix * (self.second - self.first)
        if self.kind == "water":
            return colour * (1 + 0.01 * grain[..., None])
        value = 1 + rough * (0.05 * fine + 0.07 * leaf + 0.075 * speck) + (0.03 + 0.03 * rough) * grain
        if self.tufts:
            amount = np.clip(leaf * 0.7 + fine * 0.6 - self.tufts[0], 0, 0.7)[..., None]
            colour += amount * (self.first * np.float32(self.tufts[1]) - colour)
        if self.worn:
            amount = np.clip(patch * 0.7 + fine * 0.5 - self.worn[0], 0, 0.8)[..., None]
            colour += amount * (self.worn[1] - colour)
        if self.weeds is not None:
            amount = np.clip(patch * 0.6 + leaf * 0.4 - self.weeds, 0, 0.8)[..., None]
            colour += amount * (rgb(GROUNDS["lush"][0]) - colour)
        if self.joints:
            angle, size = self.joints
            u, v = window.frame(0, 0, angle)
            joint = np.minimum(np.abs(np.mod(u, size) - size / 2), np.abs(np.mod(v, size) - size / 2))
            value -= np.float32(0.10) * np.clip(1 - joint / np.float32(canvas.pixel_m), 0, 1)
        return np.clip(colour * value[..., None], 0.01, 0.98)


def choose_ground(canvas: Canvas, kind: str) -> Ground:
    """A random stretch of a kind of ground."""
    rng = canvas.rng
    first, second = (vary(rng, colour, 0.07, 0.025).astype(np.float32) for colour in GROUNDS[kind])
    green, soil = kind in GREEN, kind.endswith("soil")
    if green:  # the season is the same for the whole scene
        dry = rgb(GROUNDS["dry"])
        first, second = first + canvas.drought * (dry[1] - first), second + canvas.drought * (dry[0] - second)
    bare = rgb(GROUNDS[str(rng.choice(["dry", "brown_soil", "grey_soil", "meadow"]))][0])
    return Ground(
        kind,
        first,
        second,
        canvas.offset(),
        tufts=(rng.uniform(0.6, 1.8), rng.uniform(0.45, 0.8)) if green and rng.random() < 0.7 else None,
        worn=(rng.uniform(0.9, 1.9), bare) if green and rng.random() < 0.6 else None,
        weeds=rng.uniform(0.5, 1.6) if soil and rng.random() < 0.6 else None,
        joints=(rng.uniform(0, np.pi), rng.uniform(1.5, 5)) if kind in ("paving", "concrete") else None,
    )


def ground_colour(canvas: Canvas, window: Window, kind: str) -> np.ndarray:
    """Colour of a new stretch of ground, float32[H, W, 3]."""
    return choose_ground(canvas, kind).colour(canvas, window)


def cover(canvas: Canvas, ring: np.ndarray, kind: str) -> None:
    """Cover a ring, float64[N, 2] metres, with a kind of ground."""
    masked = canvas.ground_mask(ring)
    if masked is None:
        return
    ground = choose_ground(canvas, kind)
    for window, mask in _strips(*masked):
        canvas.put(window, mask, ground.colour(canvas, window))


def _strips(window: Window, mask: np.ndarray) -> Iterator[tuple[Window, np.ndarray]]:
    """A window and its mask in pieces of at most about a megapixel, to spare memory."""
    height, width = mask.shape
    step = max(STRIP_PX // width, 1)
    for start in range(0, height, step):
        part = slice(start, min(start + step, height))
        rows = slice(window.rows.start + part.start, window.rows.start + part.stop)
        yield Window(rows, window.cols, window.x[part], window.y[part]), mask[part]


def footpath(canvas: Canvas, ring: np.ndarray) -> None:
    """A trodden or paved path that wanders across a piece of land."""
    rng = canvas.rng
    low, high = ring.min(axis=0), ring.max(axis=0)
    ends = rng.uniform(low, high, (2, 2))
    t = np.linspace(0, 1, 24)[:, None]
    side = np.array([ends[0, 1] - ends[1, 1], ends[1, 0] - ends[0, 0]])
    bow = rng.normal(0, 0.12) * np.sin(np.pi * t) + rng.normal(0, 0.05) * np.sin(2 * np.pi * t)
    masked = canvas.line_mask(ends[0] + t * (ends[1] - ends[0]) + bow * side, rng.uniform(0.5, 2.0))
    if masked is None:
        return
    window, mask = masked
    worn = np.clip(0.75 + 0.3 * canvas.noise.cut("fine", window.rows, window.cols, canvas.offset()), 0, 1)
    kind = pick(rng, {"brown_soil": 2, "sand": 1, "grey_soil": 2, "gravel": 1, "red_soil": 0.4})
    canvas.put(window, mask * worn, ground_colour(canvas, window, kind))


def mark_street(canvas: Canvas, street: Street, line: np.ndarray, busy: float) -> None:
    """Lane marks, tyre tracks and cars along a street; `line` is its bent centre line."""
    rng = canvas.rng
    steps = np.diff(line, axis=0)
    lengths = np.hypot(*steps.T)
    at = np.concatenate([[0], np.cumsum(lengths)])
    if at[-1] < 5:
        return

    def point(distance: float, aside: float) -> tuple[np.ndarray, float]:
        index = int(np.clip(np.searchsorted(at, distance) - 1, 0, len(steps) - 1))
        along = steps[index] / lengths[index]
        return line[index] + along * (distance - at[index]) + aside * np.array([-along[1], along[0]]), float(
            np.arctan2(along[1], along[0])
        )

    if street.width_m > 6 and busy >= 1 and rng.random() < 0.5:
        solid = rng.random() < 0.3
        white = vary(rng, (0.85, 0.84, 0.80) if rng.random() < 0.8 else (0.80, 0.66, 0.25), 0.06)
        for start in np.arange(2, at[-1] - 3, 3.0 if solid else 6.0):
            ends = np.stack([point(start, 0)[0], point(start + 3.0, 0)[0]])
            masked = canvas.line_mask(ends, 0.15)
            if masked is not None:
                canvas.put(*masked, white)
    for _ in range(rng.poisson(busy * at[-1] / 45)):
        aside = rng.choice([-1, 1]) * street.width_m * rng.choice([0.22, 0.36])
        spot, angle = point(rng.uniform(0, at[-1]), aside)
        size = rng.uniform(7, 12.5) if rng.random() < 0.06 else 0.0
        park_car(canvas, spot, angle + rng.normal(0, 0.04), size)


def furrow(canvas: Canvas, ring: np.ndarray) -> None:
    """Farm land: plots with rows, furrows, terraces or bare soil."""
    rng = canvas.rng
    for plot in cells(rng, ring, (600, 9000), 5):
        kind = pick(rng, {"meadow": 3, "lush": 2, "brown_soil": 2, "dry": 2, "red_soil": 0.7, "sand": 0.4})
        masked = canvas.ground_mask(inset(plot, rng.uniform(0, 0.8)) if rng.random() < 0.7 else plot)
        if masked is None:
            continue
        window, mask = masked
        colour = ground_colour(canvas, window, kind)
        if rng.random() < 0.65:
            along, _, _, _ = axes(plot)
            angle = float(np.arctan2(along[1], along[0])) + rng.choice([0, np.pi / 2])
            _, v = window.frame(0, 0, angle)
            period = rng.choice([0.8, 1.2, 2.0, 4.0]) * rng.uniform(0.8, 1.2)
            bend = 0.25 * canvas.noise.cut("patch", window.rows, window.cols)
            wave = np.sin((v + bend) * np.float32(2 * np.pi / period))
            shown = np.clip(1.6 - 3 * canvas.pixel_m / period, 0, 1)
            crop = rgb(GROUNDS[str(rng.choice(["lush", "brown_soil", "dry"]))][0])
            rows = (np.clip(0.5 + 0.9 * wave, 0, 1) * shown * rng.uniform(0.15, 0.7))[..., None]
            colour = colour + rows * (crop - colour)
        canvas.put(window, mask, colour)


def parking(canvas: Canvas, ring: np.ndarray, full: float) -> None:
    """A parking lot: rows of bays, some taken; nothing here is a building."""
    rng = canvas.rng
    cover(canvas, ring, str(rng.choice(["asphalt", "old_asphalt", "concrete", "gravel"])))
    along, across, length, width = axes(ring)
    angle = float(np.arctan2(along[1], along[0]))
    centre = ring.mean(axis=0)
    white = vary(rng, (0.84, 0.84, 0.82), 0.05)
    marked = rng.random() < 0.8
    inner = inset(ring, 3.0)
    if len(inner) < 3:
        return
    for v in np.arange(-width / 2 + 4, width / 2 - 4, 8.5):
        taken = full * rng.uniform(0.2, 1.2)
        for u in np.arange(-length / 2 + 4, length / 2 - 4, 2.6):
            spot = centre + u * along + v * across
            if not _inside(inner, spot):
                continue
            if marked:
                put_box(canvas, spot + 1.3 * along, angle, (0.06, 2.4), white, 0.0)
            if rng.random() < taken:
                park_car(canvas, spot, angle + np.pi / 2 + rng.normal(0, 0.04))


def court(canvas: Canvas, ring: np.ndarray) -> None:
    """Sports courts and pitches: coloured rectangles with lines, deceptively roof-like."""
    rng = canvas.rng
    cover(canvas, ring, str(rng.choice(["lawn", "meadow", "paving"])))
    along, across, length, width = axes(ring)
    angle = float(np.arctan2(along[1], along[0]))
    centre = ring.mean(axis=0)
    half = min(0.4 * length, rng.choice([12, 18, 50])), min(0.38 * width, rng.choice([6, 10, 30]))
    colours = [(0.58, 0.33, 0.24), (0.27, 0.44, 0.33), (0.27, 0.40, 0.58), (0.36, 0.47, 0.22), (0.62, 0.60, 0.57)]
    surface = vary(rng, colours[int(rng.integers(5))])
    window = canvas.window(ring)
    if window is None or min(half) < 3:
        return
    u, v = window.frame(float(centre[0]), float(centre[1]), angle)
    fine = canvas.noise.cut("fine", window.rows, window.cols, canvas.offset())
    colour = np.clip(surface * (1 + 0.04 * fine[..., None]), 0, 1)
    canvas.put(window, soft_box(u, v, *half, canvas.pixel_m), colour)
    line = vary(rng, (0.85, 0.85, 0.82), 0.05)
    pixel = canvas.pixel_m
    box = half[0] - 1.2, half[1] - 1.2
    frame = soft_box(u, v, *box, pixel) - soft_box(u, v, box[0] - 0.12, box[1] - 0.12, pixel)
    middle = soft_box(u, v, 0.06, box[1], pixel)
    canvas.put(window, np.clip(frame + middle, 0, 1) * min(0.12 / pixel, 1), line)


def bare(canvas: Canvas, ring: np.ndarray) -> None:
    """An empty plot: soil, heaps, slabs, goods, parked machines."""
    rng = canvas.rng
    cover(
        canvas, ring, pick(rng, {"brown_soil": 2, "grey_soil": 2, "red_soil": 1, "rubble": 1, "concrete": 1, "sand": 1})
    )
    low, high = ring.min(axis=0), ring.max(axis=0)
    for _ in range(int(rng.integers(2, 14))):
        spot = rng.uniform(low, high)
        if not _inside(ring, spot):
            continue
        if rng.random() < 0.3:
            park_car(canvas, spot, rng.uniform(0, 3), float(rng.choice([0.0, 7.0])))
        else:
            shade = vary(rng, pick(rng, CARS) if rng.random() < 0.3 else (0.55, 0.52, 0.48), 0.2)
            put_box(
                canvas,
                spot,
                rng.uniform(0, 3),
                (rng.uniform(0.3, 2.2), rng.uniform(0.3, 2.2)),
                shade,
                rng.uniform(0.1, 0.8),
            )


def _inside(ring: np.ndarray, point: np.ndarray) -> bool:
    """Whether a convex ring holds a point."""
    edges = np.roll(ring, -1, axis=0) - ring
    side = edges[:, 0] * (point - ring)[:, 1] - edges[:, 1] * (point - ring)[:, 0]
    return bool((side >= 0).all() or (side <= 0).all())
