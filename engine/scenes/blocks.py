"""What a block is used for: its ground, its parcels, its buildings and what grows there."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .buildings import Building
from .canvas import Canvas
from .ground import bare, court, cover, footpath, furrow, parking
from .houses import detached, farm, hall, narrow_house
from .palettes import pick, vary
from .parcels import Bend, inset, parcels, ring_area
from .rows import perimeter, shacks, terrace, town
from .styles import Style
from .things import put_box
from .trees import Grove
from .yards import dress_parcel

OPEN_USES = ("forest", "field", "park", "parking", "court", "bare", "water")
DETACHED = {"detached": detached, "narrow": narrow_house, "halls": hall}


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
    cover(canvas, bent, pick(rng, style.open_ground if use == "farm" else style.yards))
    if use == "farm":
        footpath(canvas, bent)
        if rng.random() < density + 0.1:
            plan.buildings += farm(rng, style, bend(block)) if density else []
        plan.groves.append(Grove(bent, style, 1.0))
    elif use in ("row", "semi"):
        _terraced(canvas, plan, style, use, block, bend, density)
    elif use in DETACHED:
        _parcelled(canvas, plan, style, use, block, bend, density)
    else:
        _filled(canvas, plan, style, use, block, bend, density)


def _parcelled(
    canvas: Canvas, plan: Plan, style: Style, use: str, block: np.ndarray, bend: Bend, density: float
) -> None:
    """Parcels with a building or a few on each."""
    rng = canvas.rng
    width, depth = style.parcel_m
    if use == "narrow":
        width, depth = rng.uniform(8, 10.5), 36
    elif use == "halls":
        width, depth = max(width, 45), max(depth, 55)
    else:
        width, depth = max(width, 15), max(depth, 19)
    for parcel in parcels(rng, block, width, depth):
        houses: list[Building] = []
        if rng.random() < density:
            houses = DETACHED[use](rng, style, bend(parcel.ring), parcel.front)
        plan.groves.append(dress_parcel(canvas, style, parcel, bend, built=bool(houses), works=use == "halls"))
        plan.buildings += houses


def _terraced(
    canvas: Canvas, plan: Plan, style: Style, use: str, block: np.ndarray, bend: Bend, density: float
) -> None:
    """Houses in rows with gardens behind them."""
    rng = canvas.rng
    width, depth = style.parcel_m
    pieces = parcels(rng, block, 6.5 if use == "row" else 0.55 * width, depth)
    plan.buildings += _bent(terrace(rng, style, pieces, density * (1 if use == "row" else 0.85)), bend, block)
    if rng.random() < 0.75:
        plan.groves += [dress_parcel(canvas, style, parcel, bend, built=False) for parcel in pieces]
    else:
        plan.groves.append(Grove(bend.ring(block), style, 0.8))


def _filled(canvas: Canvas, plan: Plan, style: Style, use: str, block: np.ndarray, bend: Bend, density: float) -> None:
    """Buildings wall to wall."""
    rng = canvas.rng
    make = {"perimeter": perimeter, "town": town, "shacks": shacks}[use]
    plan.buildings += _bent(make(rng, style, block, density), bend, block)
    for yard in parcels(rng, block, 14, 14):  # the ground changes from yard to yard
        if rng.random() < 0.6:
            cover(canvas, bend(yard.ring), pick(rng, style.yards))
    bent = bend.ring(block)
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


def _litter(canvas: Canvas, ring: np.ndarray, use: str) -> None:
    """Goods, tarpaulins and rubbish between dense houses."""
    rng = canvas.rng
    low, high = ring.min(axis=0), ring.max(axis=0)
    for spot in rng.uniform(low, high, (int(ring_area(ring) / (25 if use == "shacks" else 60)), 2)):
        half_sides = (rng.uniform(0.15, 0.9), rng.uniform(0.15, 0.9))
        red, green, blue = rng.uniform(0.2, 0.8, 3)
        put_box(canvas, spot, rng.uniform(0, 3), half_sides, vary(rng, (red, green, blue), 0.1), rng.uniform(0.2, 1.2))
