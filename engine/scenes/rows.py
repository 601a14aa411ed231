"""Buildings that touch: terraces, perimeter blocks, dense towns and informal settlements."""

from __future__ import annotations

import cv2
import numpy as np
import shapely

from .buildings import Building
from .houses import FLAT, Frame, compose, front_frame, roof_kind, storeys_m
from .palettes import ROOFS, pick, vary
from .parcels import Parcel, cells, cut, inset, ring_area, sharpest_deg, trim
from .roofs import Part
from .styles import Style


def frame_part(ring: np.ndarray, kind: str, eave_m: float, slope: float, flip: bool, lengthwise: bool = True) -> Part:
    """A part that covers any ring: its smallest rectangle."""
    (cx, cy), (w, h), degrees = cv2.minAreaRect(ring.astype(np.float32))
    angle = np.radians(degrees)
    if (w < h) == lengthwise:
        w, h, angle = h, w, angle + np.pi / 2
    return Part(cx, cy, angle, w / 2, h / 2, kind, eave_m, slope, flip)


def terrace(rng: np.random.Generator, style: Style, parcels: list[Parcel], density: float) -> list[Building]:
    """Houses on neighbouring parcels with common side walls; runs are broken by gaps."""
    result: list[Building] = []
    left = 0
    for parcel in parcels:
        if left <= 0:
            left = int(rng.integers(2, 10))
            material = pick(rng, style.roofs)
            colour = tuple(vary(rng, pick(rng, ROOFS[material])))
            kind, slope = roof_kind(rng, material)
            kind = "gable" if kind in ("hip", "mansard") else kind
            setback, depth = rng.uniform(0.5, 6), rng.uniform(8.5, 13)
            eave, flip = storeys_m(rng, style), bool(rng.random() < 0.5)
            if rng.random() > density:
                left = 0
                continue
        left -= 1
        frame, width, room = front_frame(parcel.ring, parcel.front)
        if width < 3.5 or room < 6:
            continue
        back = frame.origin + frame.inward * min(setback + depth, 0.9 * room)
        ring = cut(parcel.ring, frame.origin + frame.inward * setback, frame.inward)[1]
        ring = cut(ring, back, frame.inward)[0] if len(ring) >= 3 else ring
        if len(ring) < 3 or ring_area(ring) < 18:
            continue
        centre = ring.mean(axis=0)
        reach = ring @ frame.inward
        part = Part(
            float(centre[0]),
            float(centre[1]),
            frame.angle,
            width / 2 + 1,
            float(np.ptp(reach)) / 2,
            kind,
            eave + rng.choice([0, 0, 0, 0.4, -0.5]),
            slope,
            flip,
        )
        own = colour if rng.random() < 0.6 else tuple(vary(rng, pick(rng, ROOFS[material])))
        outline = shapely.Polygon(ring)
        parts: tuple[Part, ...] = (part,)
        if rng.random() < 0.3 and room > setback + depth + 4:  # lower extension at the back
            spot = Frame(centre, frame.along, frame.inward)
            half = float(np.ptp(reach)) / 2
            extension = compose(
                rng,
                spot,
                [(-0.2 * width, half - 0.5, 0.3 * width, half + rng.uniform(2, 4))],
                material,
                eave_m=2.6,
                kind="pent",
                slope=0.15,
            )
            joined = shapely.union(outline, extension.outline)
            if joined.geom_type == "Polygon" and shapely.contains(shapely.Polygon(parcel.ring), joined):
                outline, parts = joined, (part, *extension.parts)
        result.append(Building(outline, parts, material, own, 0.6))
        if rng.random() < 0.2 and room > setback + depth + 9:
            size = min(rng.uniform(2, 3.5), width - 1.5), rng.uniform(2, 4)
            spot = Frame(frame.origin, frame.along, frame.inward).moved(
                rng.uniform(-0.5, 0.5) * (width - size[0] - 1) - size[0] / 2, room - size[1] - rng.uniform(0.8, 2)
            )
            shed = compose(
                rng, spot, [(0, 0, *size)], pick(rng, {"tin": 1, "membrane": 1, "tiles_dark": 1}), eave_m=2.2
            )
            if shapely.contains(shapely.Polygon(parcel.ring), shed.outline):
                result.append(shed)
    return result


def perimeter(rng: np.random.Generator, style: Style, block: np.ndarray, density: float) -> list[Building]:
    """A closed block: houses along all sides with common walls around an inner court."""
    depth = rng.uniform(10, 14)
    court = inset(block, depth)
    if ring_area(court) < 60:
        return town(rng, style, block, density)
    ring = shapely.Polygon(block, [court])
    result = []
    family = pick(rng, style.roofs)
    for piece in cells(rng, block, (180, 420), 2):
        if rng.random() > density + 0.1:
            continue
        outline = shapely.intersection(ring, shapely.Polygon(piece))
        if outline.geom_type != "Polygon" or outline.area < 45:
            continue
        material = family if rng.random() < 0.55 else pick(rng, style.roofs)
        eave = float(rng.uniform(9, 18))
        points = shapely.get_coordinates(outline)
        flat = material in FLAT
        part = frame_part(points, "flat" if flat else "skirt", eave, 0 if flat else rng.uniform(0.6, 1.4), False)
        box = shapely.MultiPoint(points).minimum_rotated_rectangle
        if not flat and outline.area > 0.92 * box.area and rng.random() < 0.75:
            part = frame_part(points, "gable", eave, rng.uniform(0.5, 1.0), False)
        result.append(Building(outline, (part,), material, fittings=0.7))
    for piece in cells(rng, court, (120, 300), 5):  # houses in the court
        small = inset(piece, rng.uniform(1.5, 3.5))
        if ring_area(small) > 30 and rng.random() < 0.3 * density:
            material = pick(rng, style.roofs)
            kind, slope = roof_kind(rng, material)
            result.append(Building(shapely.Polygon(small), (frame_part(small, kind, 5, slope, False),), material))
    return result


def town(rng: np.random.Generator, style: Style, block: np.ndarray, density: float) -> list[Building]:
    """Irregular cells built over wholly or partly, wall to wall, of different heights."""
    width, depth = style.parcel_m
    mean = np.clip(width * depth, 60, 160)
    result = []
    for ring in cells(rng, block, (0.35 * mean, 1.9 * mean), float(rng.choice([1.0, 3.0, 6.0]))):
        if rng.random() > density:
            continue
        for _ in range(int(rng.choice([0, 1, 2], p=[0.45, 0.35, 0.2]))):  # a yard along some sides
            i = int(rng.integers(len(ring)))
            ring = _trim(ring, i, rng.uniform(0.8, 3.5))
        if ring_area(ring) < 12 or sharpest_deg(ring) < 52:
            continue
        if rng.random() < 0.25:
            ring = inset(ring, rng.uniform(0.2, 1.0))
            if ring_area(ring) < 12:
                continue
        outline = _notched(rng, ring)
        material = pick(rng, style.roofs)
        eave = storeys_m(rng, style)
        kind, slope = roof_kind(rng, material)
        if material in FLAT:
            main = frame_part(ring, "flat", eave, 0, False)
            parts = [main]
            if rng.random() < 0.55:  # a storey more on a part of the roof
                at = rng.uniform(0.25, 0.6)
                side = rng.choice([-1, 1])
                shift = side * (1 - at) * main.half_length
                parts.append(
                    Part(
                        main.cx + shift * np.cos(main.angle),
                        main.cy + shift * np.sin(main.angle),
                        main.angle,
                        at * main.half_length,
                        main.half_width * rng.choice([1.02, 0.6]),
                        "flat",
                        eave + rng.uniform(0.8, 3.0),
                        0,
                    )
                )
            result.append(Building(outline, tuple(parts), material, fittings=0.9))
        else:
            part = frame_part(ring, kind, eave, min(slope, 0.45), bool(rng.random() < 0.5), bool(rng.random() < 0.85))
            result.append(Building(outline, (part,), material, fittings=0.4))
    return result


def shacks(rng: np.random.Generator, style: Style, block: np.ndarray, density: float) -> list[Building]:
    """Small huts at odd angles, touching or a narrow gap apart."""
    result = []
    width, depth = style.parcel_m
    mean = np.clip(width * depth, 16, 36)
    for ring in cells(rng, block, (0.35 * mean, 2.2 * mean), float(rng.choice([2.0, 5.0, 9.0]))):
        if rng.random() > density * 0.95:
            continue
        if rng.random() < 0.6:
            ring = inset(ring, rng.choice([0.08, 0.2, 0.45, 0.9], p=[0.35, 0.35, 0.2, 0.1]))
        if rng.random() < 0.3 and len(ring) >= 3:
            ring = _trim(ring, int(rng.integers(len(ring))), rng.uniform(0.3, 1.5))
        if ring_area(ring) < 5 or sharpest_deg(ring) < 48:
            continue
        material = pick(rng, style.roofs)
        kind, slope = roof_kind(rng, material)
        kind = str(rng.choice(["pent", "gable", kind], p=[0.5, 0.35, 0.15])) if material not in FLAT else "flat"
        part = frame_part(
            ring, kind, rng.uniform(2.0, 3.4), min(slope, 0.35), bool(rng.random() < 0.5), bool(rng.random() < 0.75)
        )
        result.append(Building(shapely.Polygon(ring), (part,), material, fittings=0.25))
    return result


def _trim(ring: np.ndarray, edge: int, distance_m: float) -> np.ndarray:
    """Move one edge of a convex ring inwards, if enough is left."""
    rest = trim(ring, ring[edge], ring[(edge + 1) % len(ring)], ring.mean(axis=0), distance_m)
    return rest if len(rest) >= 3 else ring


def _notched(rng: np.random.Generator, ring: np.ndarray) -> shapely.Polygon:
    """The ring, sometimes with a light well, or with a corner taken out (L plan)."""
    outline = shapely.Polygon(ring)
    chance = rng.random()
    if chance > 0.33 or outline.area < 50:
        return outline
    part = frame_part(ring, "flat", 0, 0, False)
    frame = Frame(
        np.array([part.cx, part.cy]),
        np.array([np.cos(part.angle), np.sin(part.angle)]),
        np.array([-np.sin(part.angle), np.cos(part.angle)]),
    )
    length, width = part.half_length, part.half_width
    if chance < 0.13 and outline.area > 80:
        a, b = rng.uniform(0.2, 0.45) * length, rng.uniform(0.2, 0.42) * width
        hole = np.array([[-a, -b], [a, -b], [a, b], [-a, b]])
    else:
        a, b = rng.uniform(0.1, 0.6) * length, rng.uniform(0.0, 0.5) * width
        hole = np.array([[a, b], [2 * length, b], [2 * length, 2 * width], [a, 2 * width]])
        hole = hole * rng.choice([-1, 1], 2)
    left = shapely.difference(outline, shapely.Polygon(frame.to_map(hole)))
    return left if left.geom_type == "Polygon" and left.area > 0.5 * outline.area else outline
