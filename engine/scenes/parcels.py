"""Streets, blocks and parcels, made by cutting convex pieces of land again and again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .styles import Style


@dataclass(frozen=True)
class Street:
    """A centre line, float64[2, 2] metres, and its width."""

    line: np.ndarray
    width_m: float


@dataclass(frozen=True)
class Parcel:
    """A convex ring, float64[N, 2] metres, and the unit normal that points to its street."""

    ring: np.ndarray
    front: np.ndarray


def cut(ring: np.ndarray, point: np.ndarray, normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of a convex ring cut by a line; the new vertices are the same numbers on both sides.

    Plain Python numbers, because rings have four or five vertices and there are thousands of cuts.

    Returns:
        ``(behind, before)``: against and along `normal`; either may have fewer than three points.
    """
    px, py, nx, ny = float(point[0]), float(point[1]), float(normal[0]), float(normal[1])
    points = ring.tolist()
    sides = [(x - px) * nx + (y - py) * ny for x, y in points]
    behind, before = [], []
    for i, ((x, y), side) in enumerate(zip(points, sides, strict=True)):
        if side <= 0:
            behind.append((x, y))
        if side >= 0:
            before.append((x, y))
        other = sides[i + 1 - len(points)]
        if side * other < 0:
            share = side / (side - other)
            x1, y1 = points[i + 1 - len(points)]
            crossing = (x + share * (x1 - x), y + share * (y1 - y))
            behind.append(crossing)
            before.append(crossing)
    return np.array(behind, float).reshape(-1, 2), np.array(before, float).reshape(-1, 2)


def ring_area(ring: np.ndarray) -> float:
    """Area of a ring, without regard to its direction."""
    if len(ring) < 3:
        return 0.0
    points = (ring - ring[0]).tolist()
    turns = zip(points, points[1:] + points[:1], strict=True)
    return 0.5 * abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in turns))


def axes(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The longest edge's direction, its normal, and the ring's extents along both."""
    points = ring.tolist()
    edges = [(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True)]
    dx, dy = max(edges, key=lambda edge: edge[0] ** 2 + edge[1] ** 2)
    size = float(np.hypot(dx, dy))
    along, across = np.array([dx / size, dy / size]), np.array([-dy / size, dx / size])
    return along, across, extent(ring, along), extent(ring, across)


def extent(ring: np.ndarray, direction: np.ndarray) -> float:
    """Length of a ring in a direction."""
    reach = (ring @ direction).tolist()
    return max(reach) - min(reach)


def sharpest_deg(ring: np.ndarray) -> float:
    """The smallest inner angle of a convex ring, degrees."""
    edges = np.concatenate([ring[1:], ring[:1]]) - ring
    before = np.concatenate([edges[-1:], edges[:-1]])
    size = np.hypot(*edges.T) * np.hypot(*before.T)
    cosine = -(edges * before).sum(axis=1) / np.maximum(size, 1e-9)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).min())


def inset(ring: np.ndarray, distance_m: float) -> np.ndarray:
    """A convex ring moved inwards by a distance (each edge parallel); empty when nothing is left."""
    centre = ring.mean(axis=0)
    result = ring
    for start, end in zip(ring, np.concatenate([ring[1:], ring[:1]]), strict=True):
        result = trim(result, start, end, centre, distance_m)
        if len(result) < 3:
            return np.empty((0, 2))
    return result


def trim(ring: np.ndarray, start: np.ndarray, end: np.ndarray, inside: np.ndarray, distance_m: float) -> np.ndarray:
    """What is left of a convex ring after moving the line through `start` and `end` towards `inside`."""
    dx, dy = end - start
    size = float(np.hypot(dx, dy))
    if size < 1e-9:
        return ring
    normal = np.array([-dy / size, dx / size])
    if (inside - start) @ normal < 0:
        normal = -normal
    return cut(ring, start + normal * distance_m, normal)[1]


def lay_streets(
    rng: np.random.Generator, style: Style, size_m: tuple[float, float], margin_m: float
) -> tuple[list[np.ndarray], list[Street]]:
    """Cut the land of a scene into blocks with streets between them.

    Returns:
        ``(blocks, streets)``: convex rings and centre lines, covering the scene and a margin.
    """
    half = np.hypot(*size_m) / 2 + margin_m
    theta = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    centre = np.array(size_m) / 2 + rng.uniform(-10, 10, 2)
    whole = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ turn.T + centre
    low, high = np.array([-margin_m, -margin_m]), np.array(size_m) + margin_m
    blocks, streets, waiting = [], [], [(whole, 0)]
    while waiting:
        ring, depth = waiting.pop()
        if (ring.max(axis=0) < low).any() or (ring.min(axis=0) > high).any():
            continue
        along, across, length, width = axes(ring)
        target = rng.uniform(*style.block_m)
        if max(length, width) < 1.35 * target or (length * width < 1.3 * target**2 and max(length, width) < 2 * target):
            blocks.append(ring)
            continue
        direction = along if length >= width else across
        angle = np.radians(rng.normal(0, style.jitter_deg))
        c, s = np.cos(angle), np.sin(angle)
        normal = np.array([c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]])
        reach = ring @ normal
        point = ring.mean(axis=0)
        point = point + normal * (reach.min() + rng.uniform(0.38, 0.62) * np.ptp(reach) - point @ normal)
        narrow, wide = style.street_m
        gap = wide * rng.uniform(0.9, 1.2) if depth < 3 else rng.uniform(narrow, 0.5 * (narrow + wide))
        behind = cut(ring, point - normal * gap / 2, normal)[0]
        before = cut(ring, point + normal * gap / 2, normal)[1]
        middle = cut(ring, point, normal)[0]
        ends = middle[np.abs((middle - point) @ normal) < 1e-6]
        if len(ends) >= 2:
            streets.append(Street(ends[:2], gap))
        waiting += [(piece, depth + 1) for piece in (behind, before) if len(piece) >= 3]
    return blocks, streets


def cells(
    rng: np.random.Generator, ring: np.ndarray, area_m2: tuple[float, float], jitter_deg: float
) -> list[np.ndarray]:
    """Cut a convex ring without gaps until every piece is smaller than a random area of the range.

    The cuts follow the ring's main directions, give or take `jitter_deg`.
    """
    along, across, _, _ = axes(ring)
    low, high = np.log(area_m2)
    done, waiting = [], [ring]
    while waiting:
        piece = waiting.pop()
        if len(piece) < 3:
            continue
        length, width = extent(piece, along), extent(piece, across)
        if ring_area(piece) < np.exp(rng.uniform(low, high)) and max(length, width) < 3.0 * min(length, width):
            done.append(piece)
            continue
        direction = along if length >= width else across
        angle = np.radians(np.clip(rng.normal(0, jitter_deg), -30, 30))
        c, s = np.cos(angle), np.sin(angle)
        normal = np.array([c * direction[0] - s * direction[1], s * direction[0] + c * direction[1]])
        reach = piece @ normal
        offset = reach.min() + rng.uniform(0.36, 0.64) * (reach.max() - reach.min())
        halves = cut(piece, normal * offset, normal)
        if min(ring_area(half) for half in halves) < 1.0:
            done.append(piece)
        else:
            waiting += halves
    return done


def parcels(rng: np.random.Generator, ring: np.ndarray, width_m: float, depth_m: float) -> list[Parcel]:
    """Slice a block into parcels along its long side, back to back where it is deep enough."""
    along, across, length, width = axes(ring)
    if width > length:
        along, across, length, width = across, along, width, length
    halves = [(ring, across if rng.random() < 0.5 else -across)]
    if width > 1.35 * depth_m:
        reach = ring @ across
        point = across * (reach.min() + rng.uniform(0.46, 0.54) * np.ptp(reach))
        behind, before = cut(ring, point, across)
        halves = [(behind, -across), (before, across)]
    result = []
    for half, front in halves:
        if len(half) < 3:
            continue
        reach = half @ along
        count = max(int(round(np.ptp(reach) / width_m)), 1)
        limits = reach.min() + np.ptp(reach) * (np.arange(1, count) + rng.uniform(-0.18, 0.18, count - 1)) / count
        rest = half
        for limit in limits:
            piece, rest = cut(rest, along * limit, along)
            if len(piece) >= 3:
                result.append(Parcel(piece, front))
            if len(rest) < 3:
                break
        if len(rest) >= 3:
            result.append(Parcel(rest, front))
    return result


class Bend:
    """A smooth displacement that turns straight streets into curved ones."""

    def __init__(self, rng: np.random.Generator, amplitude_m: float) -> None:
        self._amplitude = amplitude_m * rng.uniform(0.2, 1.0)
        angle, wave = rng.uniform(0, 2 * np.pi, 4), rng.uniform(130, 280, 4)
        self._waves = np.stack([np.cos(angle), np.sin(angle)]) * (2 * np.pi / wave)
        self._phases = rng.uniform(0, 2 * np.pi, 4)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Move points, float64[N, 2] metres."""
        if not self._amplitude:
            return points
        waves = np.sin(points @ self._waves + self._phases)
        return points + self._amplitude * np.stack([waves[:, :2].mean(axis=1), waves[:, 2:].mean(axis=1)], axis=1)

    def ring(self, ring: np.ndarray, step_m: float = 6.0, closed: bool = True) -> np.ndarray:
        """A ring (or line) with points every `step_m`, moved."""
        if not self._amplitude:
            return ring
        ends = np.roll(ring, -1, axis=0) if closed else ring[1:]
        pieces = []
        for start, end in zip(ring, ends):  # noqa: B905  (an open line has one end less)
            count = max(int(np.hypot(*(end - start)) / step_m), 1)
            pieces.append(start + (np.arange(count) / count)[:, None] * (end - start))
        if not closed:
            pieces.append(ring[-1:])
        return self(np.concatenate(pieces))
