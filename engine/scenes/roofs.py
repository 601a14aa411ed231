"""Roof shapes: the height and slope of every point of a building part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROOF_KINDS = ("flat", "pent", "gable", "hip", "mansard", "vault", "saw", "cone", "skirt")


@dataclass(frozen=True)
class Part:
    """A rectangle (or disc) with a roof of its own; a building is the union of its parts.

    Attributes:
        cx, cy: centre, metres; angle: direction of the ridge, radians.
        half_length, half_width: along and across the ridge, metres.
        kind: one of `ROOF_KINDS`; ``skirt`` slopes from every edge of the building's outline.
        eave_m: height of the eaves; slope: rise per run.
        flip: a pent roof falls the other way.
    """

    cx: float
    cy: float
    angle: float
    half_length: float
    half_width: float
    kind: str
    eave_m: float
    slope: float = 0.5
    flip: bool = False


@dataclass(frozen=True)
class Surface:
    """A roof surface on a window, all float32[H, W].

    Attributes:
        height: above ground, metres; grad_x, grad_y: its slope.
        across: coordinate along the eaves (tile rows and sheet edges run across it), metres.
        down: coordinate down the slope, metres.
    """

    height: np.ndarray
    grad_x: np.ndarray
    grad_y: np.ndarray
    across: np.ndarray
    down: np.ndarray


def part_surface(part: Part, u: np.ndarray, v: np.ndarray) -> Surface:
    """The roof of a part; `u`, `v` are metres along and across its ridge from its centre."""
    t, length, width = np.float32(part.slope), part.half_length, part.half_width
    zero = np.zeros_like(u)
    du, dv, across, down = zero, zero, u, v
    if part.kind == "pent":
        sign = np.float32(-1 if part.flip else 1)
        rise, dv, down = t * (width + sign * v), zero + sign * t, -sign * v
    elif part.kind == "gable":
        rise, dv, down = t * (width - np.abs(v)), -t * np.sign(v), np.abs(v)
    elif part.kind in ("hip", "mansard"):
        ends = length - np.abs(u) < width - np.abs(v)
        run = np.where(ends, length - np.abs(u), width - np.abs(v))
        rise, steep = _mansard(run, t, width) if part.kind == "mansard" else (t * run, zero + t)
        du, dv = np.where(ends, -steep * np.sign(u), 0), np.where(ends, 0, -steep * np.sign(v))
        across, down = np.where(ends, v, u), -run
    elif part.kind == "vault":
        share = np.clip(v / width, -0.97, 0.97)
        bow = np.sqrt(1 - share**2)
        rise, dv, down = t * width * bow, -t * share / bow, np.abs(v)
    elif part.kind == "saw":
        period = np.float32(max(width / 2.5, 3.0))
        phase = np.mod(v + width, period)
        rise, dv, down = t * phase, zero + t, -phase
    elif part.kind == "cone":
        rho = np.hypot(u, v) + 1e-3
        rise, du, dv = t * (width - rho), -t * u / rho, -t * v / rho
        across, down = np.arctan2(v, u) * np.float32(width), rho
    else:
        rise = zero
    c, s = np.float32(np.cos(part.angle)), np.float32(np.sin(part.angle))
    height = np.float32(part.eave_m) + np.maximum(rise, -0.5)
    return Surface(height, du * c - dv * s, du * s + dv * c, across, down)


def _mansard(run: np.ndarray, slope: np.float32, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Height and slope of a roof that is steep near the eaves and almost flat further in."""
    knee = np.float32(min(2.2, width * 0.45))
    upper = np.float32(0.12)
    rise = np.where(run < knee, slope * run, slope * knee + upper * (run - knee))
    return rise, np.where(run < knee, slope, upper)


def edge_distance(rings: list[np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Distance to the nearest edge of a polygon and that edge's inward frame.

    Args:
        rings: float64[N, 2] in metres, exterior counter-clockwise in (x right, y up) terms and holes
            the other way, as `coverage.rings_of` gives them.

    Returns:
        ``(distance, normal_x, normal_y, along)``, float32[H, W] each, metres.
    """
    best = np.full(x.shape, np.inf, np.float32)
    normal_x, normal_y, along = (np.zeros_like(x) for _ in range(3))
    for ring in rings:
        ends = np.roll(ring, -1, axis=0)
        for (x0, y0), (x1, y1) in zip(ring, ends, strict=True):
            size = float(np.hypot(x1 - x0, y1 - y0))
            if size < 1e-6:
                continue
            tx, ty = np.float32((x1 - x0) / size), np.float32((y1 - y0) / size)
            dx, dy = x - np.float32(x0), y - np.float32(y0)
            run = dx * tx + dy * ty
            off = np.clip(run, 0, size) - run
            far = dy * tx - dx * ty
            distance = np.sqrt(far * far + off * off)
            closer = distance < best
            best = np.where(closer, distance, best)
            normal_x, normal_y = np.where(closer, -ty, normal_x), np.where(closer, tx, normal_y)
            along = np.where(closer, run, along)
    return best, normal_x, normal_y, along


def skirt_surface(part: Part, distance: np.ndarray, nx: np.ndarray, ny: np.ndarray, along: np.ndarray) -> Surface:
    """A roof that slopes up from every edge to a flat top, for outlines that are no rectangle."""
    rise, steep = _mansard(distance, np.float32(part.slope), part.half_width)
    return Surface(np.float32(part.eave_m) + rise, steep * nx, steep * ny, along, -distance)
