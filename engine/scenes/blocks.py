"""What a block is used for: its ground, its parcels, its buildings and what grows there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .buildings import Building
from .canvas import Canvas
from .ground import GREEN, bare, court, cover, footpath, furrow, parking
from .houses import detached, farm, front_frame, hall, narrow_house
from .palettes import pick, vary
from .parcels import Bend, inset, parcels, ring_area
from .rows import perimeter, shacks, terrace, town
from .styles import Style
from .things import build_wall, dig_pool, hedge, park_car, put_box
from .trees import Grove

OPEN_USES = ("forest", "field", "park", "parking", "court", "bare", "water")
HARD_YARDS = {"asphalt": 2.0, "old_asphalt": 3.0, "concrete": 2.0, "gravel": 2.0, "grey_soil": 1.0}


@dataclass
class Plan:
    """What has been decided about a scene before roofs and trees are painted."""

    buildings: list[Building] = field(default_factory=list)
    groves: list[Grove] = field(default_factory=list)


def use_block(canvas: Canvas, plan: Plan, style: Style, block: np.ndarray, bend: Bend, density: float) -> None:
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
    if use in ("detached", "narrow", "semi", "row", "halls"):
        width, depth = style.parcel_m
        if use == "detached":
            width, depth = max(width, 15), max(depth, 19)
        factor = {
            "semi": (0.55, 1.0),
            "row": (6.5 / width, 1.0),
            "narrow": (rng.uniform(8, 10.5) / width, 36 / depth),
            "halls": (max(45 / width, 1), max(55 / depth, 1)),
        }.get(use, (1.0, 1.0))
        pieces = parcels(rng, block, width * factor[0], depth * factor[1])
        if use in ("row", "semi"):
            plan.buildings += _bent(terrace(rng, style, pieces, density * (1 if use == "row" else 0.85)), bend, block)
            gardens = rng.random() < 0.75
            for parcel in pieces if gardens else []:
                ring = bend(parcel.ring)
                _dress_parcel(canvas, plan, style, bend.ring(parcel.ring), ring, parcel.front, [], False)
            if not gardens:
                plan.groves.append(Grove(bent, style, 0.8))
            return
        for parcel in pieces:
            ring = bend(parcel.ring)
            houses: list[Building] = []
            if rng.random() < density:
                build = {"halls": hall, "narrow": narrow_house, "detached": detached}[use]
                houses = build(rng, style, ring, parcel.front)
            _dress_parcel(canvas, plan, style, bend.ring(parcel.ring), ring, parcel.front, houses, use == "halls")
            plan.buildings += houses
        return
    if use == "farm":
        cover(canvas, bent, pick(rng, style.open_ground))
        footpath(canvas, bent)
        if rng.random() < density + 0.1:
            plan.buildings += farm(rng, style, bend(block))
        plan.groves.append(Grove(bent, style, 1.0))
        return
    make = {"perimeter": perimeter, "town": town, "shacks": shacks}[use]
    plan.buildings += _bent(make(rng, style, block, density), bend, block)
    for ring in parcels(rng, block, 14, 14):  # the ground changes from yard to yard
        if rng.random() < 0.6:
            cover(canvas, bend(ring.ring), pick(rng, style.yards))
    _litter(canvas, bent, use)
    plan.groves.append(Grove(bent, style, 0.35 if use == "shacks" else 0.6))


def _bent(buildings: list[Building], bend: Bend, block: np.ndarray) -> list[Building]:
    """Touching buildings move with their block as a whole, so that walls stay common and straight."""
    centre = block.mean(axis=0, keepdims=True)
    shift = (bend(centre) - centre)[0]
    return [building.moved(*shift) for building in buildings] if shift.any() else buildings


def _open_block(canvas: Canvas, plan: Plan, style: Style, use: str, block: np.ndarray, bent: np.ndarray) -> None:
    """A block without buildings."""
    rng = canvas.rng
    if use == "field":
        cover(canvas, bent, pick(rng, style.open_ground))
        furrow(canvas, block)
        plan.groves.append(Grove(bent, style, 0.1))
    elif use == "parking":
        parking(canvas, block, min(style.cars, 1.0) * 0.6)
        plan.groves.append(Grove(bent, style, 0.15))
    elif use == "court":
        court(canvas, block)
        plan.groves.append(Grove(bent, style, 0.3))
    elif use == "bare":
        bare(canvas, block)
        plan.groves.append(Grove(bent, style, 0.15))
    elif use == "water":
        cover(canvas, bent, str(rng.choice(["water", "lush"])))
        cover(canvas, inset(bent, 2.0) if len(inset(bent, 2.0)) else bent, "water")
    else:
        cover(canvas, bent, pick(rng, style.open_ground))
        for _ in range(int(rng.integers(0, 4))):
            footpath(canvas, bent)
        plan.groves.append(Grove(bent, style, 4.5 if use == "forest" else 1.3))


def _dress_parcel(canvas, plan, style, bent, ring, front, houses, works) -> None:
    """Yard, driveway, pool, fence and trees of a parcel."""
    rng = canvas.rng
    yard = pick(rng, HARD_YARDS if works and rng.random() < 0.85 else style.yards)
    cover(canvas, bent, yard)
    if rng.random() < 0.35:
        footpath(canvas, bent)
    frame, width, depth = front_frame(ring, front)
    if works:
        if houses and rng.random() < 0.5:
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
        for _ in range(int(rng.integers(0, 25 if houses else 6))):
            spot = frame.to_map(np.array([[rng.uniform(-0.48, 0.48) * width, rng.choice([0.03, 0.07, 0.95]) * depth]]))[
                0
            ]
            park_car(canvas, *spot, frame.angle + np.pi / 2, 0.0 if rng.random() < 0.8 else 12.0)
        plan.groves.append(Grove(bent, style, 0.25))
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
    plan.groves.append(Grove(bent, style, 1.0 if yard in GREEN else 0.6))


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
