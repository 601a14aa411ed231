"""Round towers and round ends: chains of short walls that turn one way become an arc."""

from __future__ import annotations

import numpy as np
import shapely

from ..walls.fits import around
from ..walls.rings import as_complex

_MIN_TURN, _MAX_TURN = np.radians(6.0), np.radians(70.0)
_MIN_CORNERS = 4
_MIN_SWEEP = np.radians(75.0)
_MIN_ROUNDNESS = 0.82
_WALL_PRICE = 0.3
"""What a wall that the arc saves may cost in squared distance, in tolerances cubed."""


def round_off(raw: np.ndarray, straight: np.ndarray, *, tolerance_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Replace chains of walls by arcs where a circle fits the raw outline as well.

    Args:
        raw: array[P] of valid polygons, before regularisation.
        straight: array[P] of polygons with straight walls; may hold None.

    Returns:
        array[P] of polygons, and bool[P] telling whose exterior became a full circle.
    """
    out, circle = np.array(straight, object), np.zeros(len(straight), bool)
    for k in _with_chains(straight):
        source = shapely.boundary(raw[k])
        rings, changed = [], False
        for number, ring in enumerate(shapely.get_rings(straight[k])):
            points = as_complex(shapely.get_coordinates(ring)[:-1])
            rounded, full = _round_ring(points, source, tolerance_m)
            changed |= rounded is not points
            circle[k] |= full and number == 0
            rings.append(np.column_stack((rounded.real, rounded.imag)))
        if changed:
            polygon = shapely.Polygon(rings[0], rings[1:])
            if polygon.is_valid:
                out[k] = polygon
            else:
                circle[k] = False
    return out, circle


def _with_chains(polygons: np.ndarray) -> np.ndarray:
    """Polygons of which a ring is round or turns gently one way at enough corners in a row."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    closing = np.append(ring[1:] != ring[:-1], True)[: len(ring)]
    points, ring = as_complex(xy)[~closing], ring[~closing]
    before, after = around(ring)
    edge = points[after] - points
    turn = np.angle(edge * edge[before].conj())
    gentle = (np.abs(turn) > _MIN_TURN) & (np.abs(turn) < _MAX_TURN)
    sense = np.where(gentle, np.sign(turn), 0)
    chain, following = sense != 0, after
    for _ in range(_MIN_CORNERS - 1):
        chain &= sense == sense[following]
        following = after[following]
    area = np.abs(np.bincount(ring, (points.conj() * points[after]).imag, len(rings))) / 2
    length = np.bincount(ring, np.abs(edge), len(rings))
    round_ = 4 * np.pi * area / np.maximum(length, 1e-9) ** 2 > _MIN_ROUNDNESS
    round_ &= np.bincount(ring, minlength=len(rings)) > _MIN_CORNERS
    round_[ring[chain]] = True
    return np.unique(polygon[round_])


def _round_ring(points: np.ndarray, source: shapely.Geometry, tolerance_m: float) -> tuple[np.ndarray, bool]:
    """One open ring with its chains replaced; the same array if there are none."""
    edge = np.roll(points, -1) - points
    turn = np.angle(edge * np.roll(edge, 1).conj())
    gentle = (np.abs(turn) > _MIN_TURN) & (np.abs(turn) < _MAX_TURN)
    sense = np.where(gentle, np.sign(turn), 0)
    if len(points) > _MIN_CORNERS and _roundness(points, edge) > _MIN_ROUNDNESS:
        circle = _better_circle(np.append(points, points[0]), source, tolerance_m)
        if circle is not None:
            return _full_circle(*circle, points[0], np.sign(turn.sum()), tolerance_m), True
        return points, False
    # Begin where a chain begins, so that none runs across the end of the array.
    starts = np.flatnonzero((sense != 0) & (sense != np.roll(sense, 1)))
    if not len(starts):
        return points, False
    given, points, sense = points, np.roll(points, -starts[0]), np.roll(sense, -starts[0])
    bounds = np.append(np.flatnonzero(np.diff(sense, prepend=np.nan)), len(sense))
    pieces, changed = [], False
    for low, high in zip(bounds[:-1], bounds[1:]):
        chain = points[low:high]
        arc = None
        if sense[low] != 0 and len(chain) >= _MIN_CORNERS:
            circle = _better_circle(chain, source, tolerance_m)
            if circle is not None:
                first = _touch(*circle, chain[0], points[low - 1])
                last = _touch(*circle, chain[-1], points[high % len(points)])
                arc = _arc(*circle, (first, last), sense[low], tolerance_m)
        changed |= arc is not None
        pieces.append(chain if arc is None else arc)
    return (np.concatenate(pieces), False) if changed else (given, False)


def _roundness(points: np.ndarray, edge: np.ndarray) -> float:
    """Isoperimetric quotient, 4 pi area / perimeter squared: 1 for a circle, 0.79 for a square."""
    area = abs((points.conj() * np.roll(points, -1)).imag.sum()) / 2
    return 4 * np.pi * area / np.abs(edge).sum() ** 2


def _better_circle(
    chain: np.ndarray, source: shapely.Geometry, tolerance_m: float
) -> tuple[complex, float] | None:
    """Centre and radius of a circle that fits the raw outline along a chain of walls as well as they do."""
    line = shapely.linestrings(np.column_stack((chain.real, chain.imag)))
    number = max(int(line.length / (tolerance_m / 4)), 16)
    along = shapely.line_interpolate_point(line, (np.arange(number) + 0.5) / number, normalized=True)
    nearest = as_complex(shapely.get_coordinates(shapely.shortest_line(source, along))[::2])
    centre, radius = fit_circle(nearest)
    if not 2 * tolerance_m <= radius <= 100 * tolerance_m:
        return None
    off_circle = np.abs(np.abs(nearest - centre) - radius)
    off_walls = shapely.distance(shapely.points(nearest.real, nearest.imag), line)
    walls, closed = len(chain) - 1, chain[0] == chain[-1]
    # A circle takes as much freedom as two walls, an arc between given ends as much as one.
    saved = _WALL_PRICE * tolerance_m**3 * max(0, walls - (2 if closed else 1))
    step = line.length / number
    good = (off_circle**2).sum() * step <= (off_walls**2).sum() * step + saved
    ends = np.abs(np.abs(chain - centre) - radius).max()
    return (centre, radius) if good and off_circle.max() <= tolerance_m and ends <= 2 * tolerance_m else None


def fit_circle(points: np.ndarray) -> tuple[complex, float]:
    """Least-squares circle (kasa1976circle) through complex128[N] points: centre and radius."""
    middle = points.mean()
    z = points - middle
    system = np.column_stack((z.real, z.imag, np.ones(len(z))))
    a, b, c = np.linalg.lstsq(system, np.abs(z) ** 2, rcond=None)[0]
    centre = complex(a, b) / 2
    return centre + middle, float(np.sqrt(max(c + abs(centre) ** 2, 0.0)))


def _step_angle(radius: float, tolerance_m: float) -> float:
    """Angle between vertices on a circle so that chords stay within a tenth of the tolerance."""
    return 2 * np.arccos(1 - min(0.1 * tolerance_m / radius, 0.29))


def _full_circle(centre: complex, radius: float, corner: complex, sense: float, tolerance_m: float) -> np.ndarray:
    """Regular polygon of the circle's area, vertices in multiples of four, the first towards a corner."""
    number = 4 * int(np.ceil(np.pi / 2 / _step_angle(radius, tolerance_m)))
    radius *= np.sqrt(2 * np.pi / number / np.sin(2 * np.pi / number))
    first = (corner - centre) / abs(corner - centre)
    return centre + radius * first * np.exp(1j * sense * 2 * np.pi * np.arange(number) / number)


def _touch(centre: complex, radius: float, corner: complex, beyond: complex) -> complex:
    """Where the straight wall from `beyond` to `corner` meets the circle: it keeps its direction."""
    along = (corner - beyond) / abs(corner - beyond)
    foot = corner + ((centre - corner) * along.conjugate()).real * along
    off = abs(foot - centre)
    half = np.sqrt(max(radius**2 - off**2, 0.0))
    meeting = min((foot - half * along, foot + half * along), key=lambda p: abs(p - corner))
    near = abs(meeting - corner) <= 0.7 * radius and ((meeting - beyond) * along.conjugate()).real > 0
    return meeting if near else centre + radius * (corner - centre) / abs(corner - centre)


def _arc(
    centre: complex, radius: float, ends: tuple[complex, complex], sense: float, tolerance_m: float
) -> np.ndarray | None:
    """Vertices on the circle between two ends, which are kept as they are."""
    first, last = np.angle(ends[0] - centre), np.angle(ends[1] - centre)
    sweep = (sense * (last - first)) % (2 * np.pi)
    if sweep < _MIN_SWEEP:
        return None
    number = max(int(np.ceil(sweep / _step_angle(radius, tolerance_m))), 2)
    arc = centre + radius * np.exp(1j * (first + sense * sweep * np.arange(number + 1) / number))
    arc[0], arc[-1] = ends
    return arc
