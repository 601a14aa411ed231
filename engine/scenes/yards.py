"""What surrounds a house: driveway, terrace, pool, fence; on works yards goods and lorries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from .canvas import Canvas
from .ground import GREEN, cover, footpath
from .houses import Frame, front_frame
from .palettes import pick, vary
from .parcels import Bend, Parcel
from .styles import Style
from .things import build_wall, dig_pool, hedge, park_car, put_box
from .trees import Grove

HARD_YARDS = {"asphalt": 2.0, "old_asphalt": 3.0, "concrete": 2.0, "gravel": 2.0, "grey_soil": 1.0}
HARD_DRIVES = {"concrete": 1.0, "asphalt": 1.0, "gravel": 1.0, "paving": 1.0}


@dataclass(frozen=True)
class _Yard:
    """A parcel to be dressed: bent ring, float64[N, 2] metres, its frame and size, and whether it is built on."""

    ring: np.ndarray
    frame: Frame
    width: float
    depth: float
    built: bool

    def spot(self, x: float, y: float) -> np.ndarray:
        """A point by shares of width (from the middle) and depth (from the street), float64[2] metres."""
        return self.frame.spot(x * self.width, y * self.depth)


def dress_parcel(
    canvas: Canvas, style: Style, parcel: Parcel, bend: Bend, *, built: bool, works: bool = False
) -> Grove:
    """Paint ground, driveway, pool and fence of a parcel, goods and lorries on a works yard.

    Returns:
        Where its trees may stand.
    """
    rng = canvas.rng
    yard = _Yard(bend.ring(parcel.ring), *front_frame(bend(parcel.ring), parcel.front), built)
    ground = pick(rng, HARD_YARDS if works and rng.random() < 0.85 else style.yards)
    cover(canvas, yard.ring, ground)
    if rng.random() < 0.35:
        footpath(canvas, yard.ring)
    if works:
        _load_works(canvas, yard)
        return Grove(yard.ring, style, 0.25)
    if built:
        _furnish(canvas, yard, style)
    if rng.random() < style.walls:
        closed = np.concatenate([yard.ring, yard.ring[:1]])
        if rng.random() < 0.35 and ground in GREEN:
            hedge(canvas, closed)
        else:
            stone = vary(rng, (0.66, 0.62, 0.56), 0.25)
            build_wall(canvas, closed, rng.uniform(0.12, 0.35), rng.uniform(0.8, 2.2), stone)
    return Grove(yard.ring, style, 1.0 if ground in GREEN else 0.6)


def _load_works(canvas: Canvas, yard: _Yard) -> None:
    """Containers and parked lorries."""
    rng, angle = canvas.rng, yard.frame.angle
    if yard.built and rng.random() < 0.5:
        for _ in range(int(rng.integers(0, 12))):
            spot = yard.spot(rng.uniform(-0.45, 0.45), rng.uniform(0.02, 0.9))
            paint = vary(rng, (0.45, 0.40, 0.40), 0.3, 0.25)
            put_box(canvas, spot, angle + rng.choice([0, np.pi / 2]), (6.0, 1.2), paint, 2.6)
    for _ in range(int(rng.integers(0, 25 if yard.built else 6))):
        spot = yard.spot(rng.uniform(-0.48, 0.48), rng.choice([0.03, 0.07, 0.95]))
        park_car(canvas, spot, angle + np.pi / 2, 0.0 if rng.random() < 0.8 else 12.0)


def _furnish(canvas: Canvas, yard: _Yard, style: Style) -> None:
    """What belongs to a house: driveway, car, terrace, pool, things in the garden."""
    rng, frame = canvas.rng, yard.frame
    drive = yard.frame.moved(rng.uniform(-0.4, 0.4) * yard.width, 0)
    half, length = rng.uniform(0.6, 1.7), 0.5 * yard.depth
    paved = HARD_DRIVES if style.sidewalks else style.streets
    cover(canvas, drive.to_map(np.array([[-half, 0], [half, 0], [half, length], [-half, length]])), pick(rng, paved))
    if rng.random() < 0.4 * style.cars:
        spot = drive.spot(0, rng.uniform(0.05, 0.3) * yard.depth)
        park_car(canvas, spot, frame.angle + np.pi / 2 + rng.normal(0, 0.1))
    if rng.random() < 0.3:
        middle = frame.moved(rng.uniform(-0.3, 0.3) * yard.width, rng.uniform(0.4, 0.8) * yard.depth)
        box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * rng.uniform(1.5, 4, 2)
        cover(canvas, middle.to_map(box), str(rng.choice(["paving", "concrete", "gravel"])))
    if rng.random() < 0.08 and style.sidewalks:
        spot = yard.spot(rng.uniform(-0.3, 0.3), rng.uniform(0.75, 0.9))
        if shapely.contains_xy(shapely.Polygon(yard.ring).buffer(-3), *spot):
            dig_pool(canvas, spot, frame.angle)
    for _ in range(int(rng.integers(0, 5))):
        spot = yard.spot(rng.uniform(-0.45, 0.45), rng.uniform(0.1, 0.95))
        half_sides = (rng.uniform(0.3, 1.3), rng.uniform(0.3, 1.3))
        put_box(canvas, spot, rng.uniform(0, 3), half_sides, vary(rng, (0.5, 0.48, 0.45), 0.4), rng.uniform(0.2, 1.0))
