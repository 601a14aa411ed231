"""A whole scene: land is cut, built on, painted, lit and photographed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import shapely

from ..config import STYLES, require_choice
from ..progress import Reporter
from .buildings import Building, paint_building
from .camera import photograph
from .canvas import Canvas, Sun
from .ground import GREEN, bare, court, cover, field, mark_street, parking
from .houses import detached, farm, front_frame, hall
from .outlines import finish_outlines, without_overlaps
from .palettes import pick, vary
from .parcels import Bend, inset, lay_streets, parcels, ring_area
from .rows import perimeter, shacks, terrace, town
from .styles import MIXES, TABLE, Style
from .things import build_wall, dig_pool, hedge, park_car, put_box
from .trees import plant

MARGIN_M = 25.0
OPEN_USES = ("forest", "field", "park", "parking", "court", "bare", "water")


@dataclass(frozen=True)
class Scene:
    """A generated orthophoto and its truth.

    Attributes:
        image: uint8[H, W, 3] RGB.
        outlines: visible roof outlines in pixel coordinates (see `engine.contracts`), clipped to the
            image, without overlaps; common walls have the same vertices on both sides.
        style: the style asked for.
    """

    image: np.ndarray
    outlines: tuple[shapely.Polygon, ...]
    style: str


@dataclass
class _Plan:
    """What has been decided about a scene before anything is painted."""

    buildings: list[Building]
    plantings: list[tuple[np.ndarray, Style, float]]


def generate_scene(
    *,
    width_px: int,
    height_px: int,
    pixel_m: float,
    style: str = "mixed",
    density: float = 0.8,
    seed: int = 1,
    reporter: Reporter | None = None,
) -> Scene:
    """Generate an orthophoto and its true building outlines; the same arguments give the same scene.

    Args:
        width_px, height_px: size of the image; pixel_m: ground size of a pixel in metres.
        style: one of `config.STYLES`; ``mixed`` puts two or three of them side by side.
        density: share of parcels that carry a building, 0..1.
    """
    require_choice("style", style, STYLES)
    report = (reporter or Reporter()).progress
    rng = np.random.default_rng([seed, 20])
    size_m = (width_px * pixel_m, height_px * pixel_m)
    names = MIXES.get(style, (style,))
    if len(names) > 1:
        names = tuple(rng.choice(names, size=min(int(rng.integers(1, 4)), len(names)), replace=False))
    styles = [TABLE[str(name)] for name in names]
    canvas = Canvas(rng, width_px, height_px, pixel_m, _sun(rng))
    main = styles[0]
    cover(canvas, _frame_ring(size_m), pick(rng, main.streets))
    blocks, streets = lay_streets(rng, main, size_m, MARGIN_M)
    bend = Bend(rng, main.curve_m)
    plan = _Plan([], [])
    for index, block in enumerate(blocks):
        report(0.3 * index / len(blocks), "Building streets and blocks")
        here = styles[int(rng.choice(len(styles), p=_shares(len(styles))))]
        _use_block(canvas, plan, here, block, bend, density)
    for street in streets:
        mark_street(canvas, street, bend.ring(street.line, closed=False), main.cars)
    frame = shapely.box(0, 0, *size_m)
    near = [b for b in plan.buildings if shapely.intersects(frame, b.outline)]
    buildings = without_overlaps(near)
    by_height = sorted(buildings, key=lambda b: max(part.eave_m for part in b.parts))
    for index, building in enumerate(by_height):
        report(0.3 + 0.4 * index / len(by_height), "Painting roofs")
        paint_building(canvas, building)
    report(0.7, "Planting trees")
    _plant_all(canvas, plan)
    report(0.9, "Taking the photograph")
    image = photograph(rng, canvas.lit(), main.haze)
    outlines = finish_outlines([b.outline for b in buildings], pixel_m, width_px, height_px)
    return Scene(image, tuple(outlines), style)


def _sun(rng: np.random.Generator) -> Sun:
    """A sun between low winter and high noon; overcast now and then."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(28, 72))
    overcast = rng.random() < 0.2
    ambient = rng.uniform(0.7, 0.92) if overcast else rng.uniform(0.3, 0.6)
    flat = np.cos(elevation)
    return Sun((flat * np.cos(azimuth), flat * np.sin(azimuth), float(np.sin(elevation))), float(ambient))


def _shares(count: int) -> np.ndarray:
    """The first style takes most of the blocks."""
    shares = 0.5 ** np.arange(count)
    return shares / shares.sum()


def _frame_ring(size_m: tuple[float, float]) -> np.ndarray:
    width, height = size_m
    return np.array([[-2.0, -2.0], [width + 2, -2], [width + 2, height + 2], [-2, height + 2]])


def _use_block(canvas: Canvas, plan: _Plan, style: Style, block: np.ndarray, bend: Bend, density: float) -> None:
    """Decide what a block is used for, paint its ground and put up its buildings."""
    rng = canvas.rng
    use = pick(rng, style.uses)
    bent = bend.ring(block)
    if style.sidewalks and use not in ("field", "forest", "farm"):
        cover(canvas, bent, str(rng.choice(["concrete", "paving", "gravel"])))
        block = inset(block, rng.uniform(0.8, 2.2))
        if ring_area(block) < 60:
            return
        bent = bend.ring(block)
    if use in OPEN_USES:
        _open_block(canvas, plan, style, use, block, bent)
        return
    cover(canvas, bent, pick(rng, style.yards))
    if use in ("detached", "semi", "row", "halls"):
        width, depth = style.parcel_m
        factor = {
            "semi": (0.55, 1.0),
            "row": (6.5 / width, 1.0),
            "halls": (max(45 / width, 1), max(55 / depth, 1)),
        }.get(use, (1.0, 1.0))
        pieces = parcels(rng, block, width * factor[0], depth * factor[1])
        if use == "row":
            plan.buildings += _bent(terrace(rng, style, pieces, density), bend, block)
            plan.plantings.append((bent, style, 0.6))
            return
        if use == "semi":
            plan.buildings += _bent(terrace(rng, style, pieces, density * 0.8), bend, block)
            plan.plantings.append((bent, style, 0.8))
            return
        for parcel in pieces:
            ring = bend(parcel.ring)
            houses: list[Building] = []
            if rng.random() < density:
                houses = (
                    hall(rng, style, ring, parcel.front) if use == "halls" else detached(rng, style, ring, parcel.front)
                )
            _dress_parcel(canvas, plan, style, bend.ring(parcel.ring), ring, parcel.front, houses, use == "halls")
            plan.buildings += houses
        return
    if use == "farm":
        cover(canvas, bent, pick(rng, style.open_ground))
        if rng.random() < density + 0.1:
            plan.buildings += farm(rng, style, bend(block))
        plan.plantings.append((bent, style, 1.0))
        return
    make = {"perimeter": perimeter, "town": town, "shacks": shacks}[use]
    plan.buildings += _bent(make(rng, style, block, density), bend, block)
    for ring in parcels(rng, block, 14, 14):  # the ground changes from yard to yard
        if rng.random() < 0.6:
            cover(canvas, bend(ring.ring), pick(rng, style.yards))
    _litter(canvas, bent, use)
    plan.plantings.append((bent, style, 0.35 if use == "shacks" else 0.6))


def _bent(buildings: list[Building], bend: Bend, block: np.ndarray) -> list[Building]:
    """Touching buildings move with their block as a whole, so that walls stay common and straight."""
    centre = block.mean(axis=0, keepdims=True)
    shift = (bend(centre) - centre)[0]
    if not shift.any():
        return buildings
    return [
        replace(
            b,
            outline=shapely.transform(b.outline, lambda xy: xy + shift),
            parts=tuple(replace(p, cx=p.cx + shift[0], cy=p.cy + shift[1]) for p in b.parts),
        )
        for b in buildings
    ]


def _open_block(canvas: Canvas, plan: _Plan, style: Style, use: str, block: np.ndarray, bent: np.ndarray) -> None:
    """A block without buildings."""
    rng = canvas.rng
    if use == "field":
        cover(canvas, bent, pick(rng, style.open_ground))
        field(canvas, block)
        plan.plantings.append((bent, style, 0.1))
    elif use == "parking":
        parking(canvas, block, min(style.cars, 1.0) * 0.6)
        plan.plantings.append((bent, style, 0.15))
    elif use == "court":
        court(canvas, block)
        plan.plantings.append((bent, style, 0.3))
    elif use == "bare":
        bare(canvas, block)
        plan.plantings.append((bent, style, 0.15))
    elif use == "water":
        cover(canvas, bent, str(rng.choice(["water", "lush"])))
        cover(canvas, inset(bent, 2.0) if len(inset(bent, 2.0)) else bent, "water")
    else:
        cover(canvas, bent, pick(rng, style.open_ground))
        plan.plantings.append((bent, style, 4.5 if use == "forest" else 1.3))


def _dress_parcel(canvas, plan, style, bent, ring, front, houses, works) -> None:
    """Yard, driveway, pool, fence and trees of a parcel."""
    rng = canvas.rng
    yard = pick(rng, style.yards)
    cover(canvas, bent, yard)
    frame, width, depth = front_frame(ring, front)
    if works:
        if rng.random() < 0.5:
            for _ in range(int(rng.integers(0, 12))):
                spot = frame.to_map(np.array([[rng.uniform(-0.45, 0.45) * width, rng.uniform(0.02, 0.9) * depth]]))[0]
                put_box(
                    canvas,
                    *spot,
                    frame.angle + rng.choice([0, np.pi / 2]),
                    (6.0, 1.2),
                    vary(rng, (0.45, 0.40, 0.40), 0.3, 0.25),
                    2.6,
                )
        for _ in range(int(rng.integers(0, 25))):
            spot = frame.to_map(np.array([[rng.uniform(-0.48, 0.48) * width, rng.choice([0.03, 0.07, 0.95]) * depth]]))[
                0
            ]
            park_car(canvas, *spot, frame.angle + np.pi / 2, 0.0 if rng.random() < 0.8 else 12.0)
        plan.plantings.append((bent, style, 0.25))
        return
    if houses:
        drive = rng.uniform(-0.4, 0.4) * width
        half = rng.uniform(0.6, 1.7)
        local = np.array([[-half, 0], [half, 0], [half, 0.5 * depth], [-half, 0.5 * depth]]) + (drive, 0)
        cover(
            canvas,
            frame.to_map(local),
            str(rng.choice(["concrete", "asphalt", "gravel", "paving"]))
            if style.sidewalks
            else pick(rng, style.streets),
        )
        if rng.random() < 0.4 * style.cars:
            park_car(
                canvas,
                *frame.to_map(np.array([[drive, rng.uniform(0.05, 0.3) * depth]]))[0],
                frame.angle + np.pi / 2 + rng.normal(0, 0.1),
            )
        if rng.random() < 0.3:
            terrace_half = rng.uniform(1.5, 4, 2)
            spot = frame.moved(rng.uniform(-0.3, 0.3) * width, rng.uniform(0.4, 0.8) * depth)
            box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * terrace_half
            cover(canvas, spot.to_map(box), str(rng.choice(["paving", "concrete", "gravel"])))
        if rng.random() < 0.08 and style.sidewalks:
            spot = frame.to_map(np.array([[rng.uniform(-0.3, 0.3) * width, rng.uniform(0.75, 0.9) * depth]]))[0]
            dig_pool(canvas, *spot, frame.angle)
        for _ in range(int(rng.integers(0, 5))):
            spot = frame.to_map(np.array([[rng.uniform(-0.45, 0.45) * width, rng.uniform(0.1, 0.95) * depth]]))[0]
            put_box(
                canvas,
                *spot,
                rng.uniform(0, 3),
                tuple(rng.uniform(0.3, 1.3, 2)),
                vary(rng, (0.5, 0.48, 0.45), 0.4),
                rng.uniform(0.2, 1.0),
            )
    if rng.random() < style.walls:
        closed = np.concatenate([bent, bent[:1]])
        if rng.random() < 0.35 and yard in GREEN:
            hedge(canvas, closed)
        else:
            build_wall(
                canvas, closed, rng.uniform(0.12, 0.35), rng.uniform(0.8, 2.2), vary(rng, (0.66, 0.62, 0.56), 0.25)
            )
    plan.plantings.append((bent, style, 1.0 if yard in GREEN else 0.6))


def _litter(canvas: Canvas, ring: np.ndarray, use: str) -> None:
    """Goods, tarpaulins and rubbish between dense houses."""
    rng = canvas.rng
    low, high = ring.min(axis=0), ring.max(axis=0)
    for spot in rng.uniform(low, high, (int(ring_area(ring) / (25 if use == "shacks" else 60)), 2)):
        put_box(
            canvas,
            *spot,
            rng.uniform(0, 3),
            tuple(rng.uniform(0.15, 0.9, 2)),
            vary(rng, tuple(rng.uniform(0.2, 0.8, 3)), 0.1),
            rng.uniform(0.2, 1.2),
        )


def _plant_all(canvas: Canvas, plan: _Plan) -> None:
    """Trees where there is room: stems stand outside the roofs, crowns may reach over them."""
    rng = canvas.rng
    roofs = (canvas.height > 1.9).astype(np.uint8)
    room = cv2.distanceTransform(1 - roofs, cv2.DIST_L2, 5) * canvas.pixel_m
    width, height = canvas.size_px
    for ring, style, factor in plan.plantings:
        forest = factor > 3
        low = np.maximum(ring.min(axis=0), -3)
        high = np.minimum(ring.max(axis=0), np.array(canvas.size_px) * canvas.pixel_m + 3)
        if (low >= high).any():
            continue
        lush = 1.0 if forest else rng.lognormal(-0.3, 0.8)
        count = rng.poisson(np.prod(high - low) / 1000 * style.tree_cover * factor * lush)
        kind = pick(rng, style.crowns)
        contour = ring.astype(np.float32)
        for spot in rng.uniform(low, high, (min(int(count), 4000), 2)):
            if cv2.pointPolygonTest(contour, (float(spot[0]), float(spot[1])), False) < 0:
                continue
            if rng.random() < 0.4:
                kind = pick(rng, style.crowns)
            radius = rng.uniform(0.4, 1.4) if kind == "shrub" else min(rng.lognormal(0.85, 0.42), 7.0)
            col, row = (np.clip(spot / canvas.pixel_m, 0, (width - 1, height - 1))).astype(int)
            if room[row, col] < rng.uniform(0.25, 0.95) * radius:
                continue
            plant(canvas, float(spot[0]), float(spot[1]), kind, float(radius))
