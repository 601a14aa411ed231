"""Plans of free-standing buildings: houses in many shapes, sheds, halls, farmsteads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely

from .buildings import Building
from .palettes import pick
from .parcels import axes, ring_area
from .roofs import Part
from .styles import Style

Rect = tuple[float, float, float, float]
FLAT = ("membrane", "gravel_flat", "concrete")


@dataclass(frozen=True)
class Frame:
    """A local frame on the map: `along` the street and `inward` from it, unit vectors."""

    origin: np.ndarray
    along: np.ndarray
    inward: np.ndarray

    @property
    def angle(self) -> float:
        """Direction of `along`, radians."""
        return float(np.arctan2(self.along[1], self.along[0]))

    def to_map(self, xy: np.ndarray) -> np.ndarray:
        """Local float64[N, 2] to scene metres."""
        return self.origin + xy[:, :1] * self.along + xy[:, 1:] * self.inward

    def spot(self, x: float, y: float) -> np.ndarray:
        """One local point in scene metres, float64[2]."""
        return self.origin + x * self.along + y * self.inward

    def turned(self, angle: float) -> Frame:
        """The frame turned about its origin."""
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, -s], [s, c]])
        return Frame(self.origin, turn @ self.along, turn @ self.inward)

    def moved(self, x: float, y: float) -> Frame:
        """The frame with its origin at a local point."""
        return Frame(self.spot(x, y), self.along, self.inward)


def front_frame(ring: np.ndarray, front: np.ndarray) -> tuple[Frame, float, float]:
    """Frame at the middle of a parcel's street side, with the parcel's width and depth in it."""
    ends = np.roll(ring, -1, axis=0)
    edges = ends - ring
    lengths = np.hypot(*edges.T)
    normals = np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.maximum(lengths, 1e-9)[:, None]
    middle = (ring + ends) / 2
    outward = np.sign(((middle - ring.mean(axis=0)) * normals).sum(axis=1))[:, None] * normals
    best = int(((outward @ front) * np.sqrt(lengths)).argmax())
    inward = -outward[best]
    along = np.array([inward[1], -inward[0]])
    reach = (ring - middle[best]) @ along
    origin = middle[best] + along * (reach.min() + reach.max()) / 2
    return Frame(origin, along, inward), float(np.ptp(reach)), float(((ring - middle[best]) @ inward).max())


def lot_frame(ring: np.ndarray, front: np.ndarray) -> tuple[Frame, float, float]:
    """As `front_frame`, but square to the long side of the lot; the width is the mean one."""
    frame, _, _ = front_frame(ring, front)
    inward, _, depth, _ = axes(ring)
    inward = inward if inward @ frame.inward > 0 else -inward
    along = np.array([inward[1], -inward[0]])
    start = float((ring @ inward).min())
    middle = ring.mean(axis=0)
    origin = middle + inward * (start - middle @ inward)
    return Frame(origin, along, inward), ring_area(ring) / depth, depth


def plan(rng: np.random.Generator, w: float, d: float) -> list[Rect]:
    """Rectangles ``(x0, y0, x1, y1)`` whose union is a plan of about ``w`` by ``d`` metres; the first is the body."""
    kind = rng.choice(
        ["rect", "L", "T", "U", "Z", "cross", "porch", "court"], p=[0.34, 0.20, 0.13, 0.05, 0.10, 0.03, 0.13, 0.02]
    )
    a, b = rng.uniform(0.38, 0.62, 2)
    rects: list[Rect]
    if kind == "court" and min(w, d) > 13:
        k = rng.uniform(0.28, 0.34)
        return [(0, 0, w, k * d), (0, d - k * d, w, d), (0, 0, k * w, d), (w - k * w, 0, w, d)]
    if kind == "L":
        rects = [(0, 0, w, a * d), (0, 0, b * w, d)]
    elif kind == "T":
        left = rng.uniform(0.1, 0.9) * (1 - b) * w
        rects = [(0, 0, w, a * d), (left, 0, left + b * w, d)]
    elif kind == "U":
        k = rng.uniform(0.26, 0.36)
        rects = [(0, 0, w, a * d), (0, 0, k * w, d), (w - k * w, 0, w, d * rng.uniform(0.7, 1))]
    elif kind == "Z":
        step = rng.uniform(0.12, 0.4) * d
        rects = [(0, 0, b * w, d - step), (b * w, step, w, d)]
    elif kind == "cross":
        rects = [(0, 0.25 * d, w, 0.75 * d), (0.3 * w, 0, 0.7 * w, d)]
    elif kind == "porch":
        left = rng.uniform(0, 0.5) * w
        rects = [(0, 0, w, 0.75 * d), (left, 0.75 * d, left + rng.uniform(0.3, 0.5) * w, d)]
    else:
        rects = [(0, 0, w, d)]
    if rng.random() < 0.5:
        rects = [(w - x1, y0, w - x0, y1) for x0, y0, x1, y1 in rects]
    if rng.random() < 0.5:
        rects = [(x0, d - y1, x1, d - y0) for x0, y0, x1, y1 in rects]
    return [(float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in rects]


def roof_kind(rng: np.random.Generator, material: str) -> tuple[str, float]:
    """A roof shape that goes with a material, and its slope (rise per run)."""
    if material in FLAT:
        return "flat", 0.0
    if material.startswith("tin"):
        return str(rng.choice(["gable", "hip", "pent"], p=[0.5, 0.25, 0.25])), float(rng.uniform(0.12, 0.5))
    if material == "seam_metal":
        return str(rng.choice(["gable", "hip", "pent", "mansard"], p=[0.4, 0.25, 0.25, 0.1])), float(
            rng.uniform(0.1, 0.7)
        )
    if material == "thatch":
        return str(rng.choice(["gable", "hip"])), float(rng.uniform(0.5, 0.9))
    if material == "shingle":
        return str(rng.choice(["gable", "hip"], p=[0.45, 0.55])), float(rng.uniform(0.3, 0.7))
    return str(rng.choice(["gable", "hip", "mansard"], p=[0.52, 0.40, 0.08])), float(rng.uniform(0.4, 0.95))


def compose(
    rng: np.random.Generator,
    frame: Frame,
    rects: list[Rect],
    material: str,
    *,
    eave_m: float,
    kind: str = "",
    slope: float = 0.0,
    fittings: float = 0.6,
) -> Building:
    """A building from rectangles in a local frame, one roof part each."""
    if not kind:
        kind, slope = roof_kind(rng, material)
    parts, boxes = [], []
    for index, (x0, y0, x1, y1) in enumerate(rects):
        w, d = x1 - x0, y1 - y0
        centre = frame.spot((x0 + x1) / 2, (y0 + y1) / 2)
        wide = w >= d
        if rng.random() < 0.08 and kind in ("gable", "pent"):
            wide = not wide
        eave = eave_m if index == 0 or rng.random() < 0.6 else eave_m * rng.uniform(0.55, 1.0)
        kind_here = kind
        if index > 0 and kind == "pent":
            kind_here = str(rng.choice(["pent", "flat"]))
        parts.append(
            Part(
                cx=float(centre[0]),
                cy=float(centre[1]),
                angle=frame.angle + (0 if wide else np.pi / 2),
                half_length=(w if wide else d) / 2,
                half_width=(d if wide else w) / 2,
                kind=kind_here,
                eave_m=float(eave),
                slope=slope,
                flip=bool(rng.random() < 0.5),
            )
        )
        boxes.append(shapely.box(x0, y0, x1, y1))
    outline = boxes[0] if len(boxes) == 1 else shapely.union_all(boxes)
    outline = shapely.transform(outline, frame.to_map)
    return Building(outline, tuple(parts), material, fittings=fittings)


def special_house(rng: np.random.Generator, frame: Frame, w: float, d: float, material: str, eave_m: float) -> Building:
    """A house with a cut corner, a round tower or bay, or a wholly round or six- or eight-sided one."""
    kind = rng.choice(["cut_corner", "tower", "bay", "round"])
    slope = float(rng.uniform(0.3, 0.9))
    flat = material in FLAT
    if kind == "round":
        count = int(rng.choice([6, 8, 28]))
        radius = min(w, d) / 2
        turn = np.arange(count) * 2 * np.pi / count
        ring = frame.to_map(np.stack([w / 2 + radius * np.cos(turn), d / 2 + radius * np.sin(turn)], axis=1))
        cx, cy = frame.spot(w / 2, d / 2)
        part = Part(float(cx), float(cy), frame.angle, radius, radius, "flat" if flat else "cone", eave_m, slope)
        return Building(shapely.Polygon(ring), (part,), material)
    body = compose(rng, frame, [(0, 0, w, d)], material, eave_m=eave_m)
    if kind == "cut_corner":
        k = rng.uniform(0.2, 0.4) * min(w, d)
        local = np.array([[0, 0], [w - k, 0], [w, k * rng.choice([1.0, rng.uniform(0.6, 1.6)])], [w, d], [0, d]])
        part = body.parts[0]
        if not flat and rng.random() < 0.6:
            part = Part(part.cx, part.cy, part.angle, part.half_length, part.half_width, "skirt", eave_m, slope)
        return Building(shapely.Polygon(frame.to_map(local)), (part,), material)
    radius = rng.uniform(0.18, 0.28) * min(w, d)
    count = 24 if kind == "tower" else 8
    cx, cy = (w, d) if kind == "tower" else (w * rng.uniform(0.3, 0.7), d)
    turn = (np.arange(count) + 0.5) * 2 * np.pi / count
    ring = frame.to_map(np.stack([cx + radius * np.cos(turn), cy + radius * np.sin(turn)], axis=1))
    outline = shapely.union(body.outline, shapely.Polygon(ring))
    centre = frame.spot(cx, cy)
    tower = Part(
        float(centre[0]),
        float(centre[1]),
        frame.angle,
        radius,
        radius,
        "flat" if flat else "cone",
        eave_m * (1.2 if kind == "tower" else 0.9),
        slope,
    )
    return Building(outline, (*body.parts, tower), material)


def fit(make: Callable[[float], Building], land: shapely.Polygon, tries: int = 4) -> Building | None:
    """The building of the largest of a few decreasing sizes that lies within `land`.

    Where it sticks out it is also tried in the middle of the land.
    """
    factor = 1.0
    for _ in range(tries):
        building = make(factor)
        if shapely.contains(land, building.outline):
            return building
        middle = shapely.get_coordinates(land.centroid)[0] - shapely.get_coordinates(building.outline.centroid)[0]
        building = building.moved(*middle)
        if shapely.contains(land, building.outline):
            return building
        factor *= 0.85
    return None


def storeys_m(rng: np.random.Generator, style: Style) -> float:
    """A random eave height, metres."""
    return float(2.4 + 2.9 * (rng.uniform(*style.storeys) - 1))


def detached(rng: np.random.Generator, style: Style, ring: np.ndarray, front: np.ndarray) -> list[Building]:
    """A house on a parcel, often with a shed or garage."""
    land = shapely.Polygon(ring).buffer(-0.5)
    if land.is_empty or land.geom_type != "Polygon":
        return []
    frame, width, depth = front_frame(ring, front)
    material = pick(rng, style.roofs)
    eave = storeys_m(rng, style)
    w = min(style.size * rng.lognormal(2.5, 0.25), 0.85 * width)
    d = min(style.size * rng.lognormal(2.28, 0.22), 0.60 * depth)
    if rng.random() < 0.25:
        w, d = min(d, 0.8 * width), min(w, 0.7 * depth)
    setback = rng.uniform(0.08, 0.35) * max(depth - d, 1)
    shift = rng.uniform(-0.5, 0.5) * max(0.8 * width - w, 0)
    frame = frame.turned(rng.normal(0, 0.03) if rng.random() < 0.85 else rng.normal(0, 0.3))
    seed = int(rng.integers(2**31))

    def make(factor: float) -> Building:
        again = np.random.default_rng(seed)  # the same plan, only smaller
        size = w * factor, d * factor
        corner = frame.moved(shift - size[0] / 2, setback)
        if again.random() < 0.07:
            return special_house(again, corner, *size, material, eave)
        return compose(again, corner, plan(again, *size), material, eave_m=eave)

    house = fit(make, land, 6)
    if house is None or min(w, d) < 3:
        return []
    result = [house]
    if rng.random() < 0.45:
        taken = house.outline.buffer(0.6)
        for _ in range(int(rng.integers(1, 3))):
            size = rng.uniform(2.0, 4.5) * min(style.size + 0.2, 1.2), rng.uniform(2.2, 6.5)
            spot = frame.moved(rng.uniform(-0.45, 0.45) * width, rng.uniform(0.05, 0.95) * depth)
            if rng.random() < 0.2:
                spot = spot.turned(rng.uniform(0, 3))
            shed_material = (
                material
                if rng.random() < 0.4
                else pick(rng, {"tin": 2, "membrane": 1, "tin_rusty": 1, "shingle": 1, "tiles_dark": 0.7})
            )
            shed = compose(rng, spot, [(0, 0, *size)], shed_material, eave_m=rng.uniform(2, 2.6), fittings=0.1)
            if shapely.contains(land, shed.outline) and not shapely.intersects(taken, shed.outline):
                result.append(shed)
                taken = shapely.union(taken, shed.outline.buffer(0.6))
    return result


def narrow_house(rng: np.random.Generator, style: Style, ring: np.ndarray, front: np.ndarray) -> list[Building]:
    """A deep house that almost fills a narrow lot, with a garage at its far end."""
    land = shapely.Polygon(ring).buffer(-0.25)
    if land.is_empty or land.geom_type != "Polygon":
        return []
    frame, width, depth = lot_frame(ring, front)
    material = pick(rng, style.roofs)
    w, d = width - rng.uniform(0.8, 2.2), min(rng.uniform(11, 22), 0.6 * depth)
    if min(w, d) < 4:
        return []
    setback, seed = rng.uniform(1.5, 6), int(rng.integers(2**31))

    def make(factor: float) -> Building:
        again = np.random.default_rng(seed)
        size = w * factor, d * factor
        rects = [(0.0, 0.0, *size)]
        if again.random() < 0.4:  # a step in the side wall or a narrower back
            at, step = again.uniform(0.4, 0.75) * size[1], again.uniform(0.1, 0.35) * size[0]
            rects = [(0.0, 0.0, size[0], at), (step * again.integers(2), at, size[0] - step, size[1])]
        kind, slope = roof_kind(again, material)
        return compose(
            again,
            frame.moved(-size[0] / 2, setback),
            rects,
            material,
            eave_m=storeys_m(again, style),
            kind=kind,
            slope=slope,
        )

    house = fit(make, land)
    result = [house] if house else []
    if rng.random() < 0.75:
        size = min(rng.uniform(5, 7), 0.85 * width), rng.uniform(5.5, 7)
        spot = frame.moved(
            rng.uniform(-0.5, 0.5) * (width - size[0] - 0.6) - size[0] / 2, depth - size[1] - rng.uniform(0.5, 2)
        )
        garage = compose(rng, spot, [(0, 0, *size)], pick(rng, style.roofs), eave_m=2.6, fittings=0.1)
        if shapely.contains(land, garage.outline) and all(
            shapely.distance(garage.outline, h.outline) > 0.8 for h in result
        ):
            result.append(garage)
    return result


def hall(rng: np.random.Generator, style: Style, ring: np.ndarray, front: np.ndarray) -> list[Building]:
    """One or a few large halls on a parcel."""
    land = shapely.Polygon(ring).buffer(-1.5)
    if land.is_empty or land.geom_type != "Polygon":
        return []
    frame, width, depth = front_frame(ring, front)
    material = pick(rng, style.big_roofs)
    share = rng.uniform(0.45, 0.9), rng.uniform(0.35, 0.8)
    w, d = width * share[0], depth * share[1]
    setback, shift = 1.6 + rng.uniform(0.05, 0.3) * (depth - d), rng.uniform(-0.4, 0.4) * (width - w)
    kind, slope = (
        ("flat", 0.0)
        if material in FLAT
        else (
            str(rng.choice(["gable", "pent", "vault", "saw", "hip"], p=[0.55, 0.1, 0.12, 0.13, 0.1])),
            rng.uniform(0.08, 0.3),
        )
    )
    eave, seed = rng.uniform(4, 11), int(rng.integers(2**31))

    def make(factor: float) -> Building:
        again = np.random.default_rng(seed)
        size = w * factor, d * factor
        corner = frame.moved(shift - size[0] / 2, setback)
        rects = [(0.0, 0.0, *size)] if again.random() < 0.5 or kind in ("saw", "vault") else plan(again, *size)
        return compose(again, corner, rects, material, eave_m=eave, kind=kind, slope=slope)

    main = fit(make, land, 7)
    if main is None or main.outline.area < 60:
        return []
    result = [main]
    for _ in range(int(rng.integers(0, 3))):
        size = rng.uniform(4, 16), rng.uniform(4, 12)
        spot = frame.moved(rng.uniform(-0.45, 0.45) * width, rng.uniform(0, 0.9) * depth)
        annex = compose(rng, spot, [(0, 0, *size)], pick(rng, style.big_roofs), eave_m=rng.uniform(2.5, 5))
        if shapely.contains(land, annex.outline) and all(
            shapely.distance(annex.outline, other.outline) > 1.0 for other in result
        ):
            result.append(annex)
    return result


def farm(rng: np.random.Generator, style: Style, ring: np.ndarray) -> list[Building]:
    """A farmhouse with barns and sheds around a yard."""
    land = shapely.Polygon(ring).buffer(-2)
    if land.is_empty:
        return []
    centre = shapely.get_coordinates(land.representative_point())[0]
    base = Frame(centre, np.array([1.0, 0.0]), np.array([0.0, 1.0])).turned(rng.uniform(0, np.pi))
    result: list[Building] = []
    for index in range(int(rng.integers(4, 12))):
        barn = index > 0
        w = style.size * rng.uniform(6, 28 if index in (1, 2) else 13)
        d = style.size * rng.uniform(5, 13)
        spot = base.moved(*rng.normal(0, 13 + 2 * index, 2))
        spot = spot.turned(rng.choice([0, np.pi / 2]) + (rng.normal(0, 0.4) if rng.random() < 0.2 else 0))
        material = pick(rng, style.big_roofs if barn and rng.random() < 0.7 else style.roofs)
        rects = [(0.0, 0.0, w, d)] if rng.random() < 0.6 else plan(rng, w, d)
        building = compose(rng, spot, rects, material, eave_m=rng.uniform(2.5, 6))
        if shapely.contains(land, building.outline) and all(
            shapely.distance(building.outline, other.outline) > 1.2 for other in result
        ):
            result.append(building)
    return result
