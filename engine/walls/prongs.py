"""Prongs and needles: thin parts that stick out of an outline, or into it, and are no evidence of a wall."""

from __future__ import annotations

import numpy as np
import shapely

from .fits import around
from .rings import as_complex

_QUAD_SEGS = 3
_DETAIL = 0.2  # of the width, by which outlines are simplified before they are looked at
_LEAST_SHARE = 0.5  # of its area a polygon keeps without its needles


def drop_prongs(
    polygons: np.ndarray, *, width_m: float, length_m: float, crumb_m2: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut off what is thinner than a wall can be: tendrils, needles, the tips of acute wedges.

    The opening of the outline by a disc tells where it is thin. Only where such a part is also long is
    the outline cut, along the edge of the opening; everywhere else it stays vertex for vertex.

    Args:
        polygons: array[P] of valid polygons.
        width_m: diameter of the disc.
        length_m: how far a thin part must reach beyond the opening to be cut. Half the width cuts
            the tips of corners sharper than 60 degrees.
        crumb_m2: a thicker part at the end of a thin one goes with it up to this area; a larger one
            holds the neck.

    Returns:
        array[P] of valid polygons, the same objects where nothing is cut, and float64[P]: how far the
        longest prong reached, 0 where there was none.
    """
    out, reach = np.array(polygons, object), np.zeros(len(polygons))
    # What is thin is told by simpler outlines: opening one with all the steps of its pixels takes ten times as long.
    simple = shapely.simplify(out, _DETAIL * width_m)
    opened = _open(simple, width_m / 2)
    # A neck between two thick parts is far from both in its middle, where it has no vertex.
    corner, of = shapely.get_coordinates(shapely.segmentize(simple, width_m / 2), return_index=True)
    far = shapely.distance(shapely.points(corner), opened[of])
    for k in np.unique(of[far > length_m]):
        if not opened[k].is_empty:
            out[k], reach[k] = _cut(out[k], opened[k], _DETAIL * width_m, length_m, crumb_m2)
    return out, reach


def sharpest_corners(polygons: np.ndarray) -> np.ndarray:
    """The smallest angle between neighbouring edges, outward or inward, of each polygon: float64[P] degrees."""
    lines, polygon = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(lines, return_index=True)
    closing = np.append(ring[1:] != ring[:-1], True)[: len(ring)]
    point, ring = as_complex(xy)[~closing], ring[~closing]
    before, after = around(ring)
    turn = np.angle((point[after] - point) * (point - point[before]).conj(), deg=True)
    least = np.full(len(polygons), 180.0)
    np.minimum.at(least, polygon[ring], 180.0 - np.abs(turn))
    return least


def blunt_needles(polygons: np.ndarray, *, least_deg: float, width_m: float) -> np.ndarray:
    """Cut corners that are too sharp where they are `width_m` wide; where they end before, drop the vertex.

    Args:
        polygons: array[P] of valid polygons.
        least_deg: corners sharper than this are cut, inward ones (narrow bites) too.
        width_m: length of the wall that takes the place of the tip.

    Returns:
        array[P] of valid polygons; the same objects where nothing is cut, or nothing valid would remain.
    """
    out = np.array(polygons, object)
    for k in np.flatnonzero(sharpest_corners(out) < least_deg):
        rings = [_blunt_ring(shapely.get_coordinates(r)[:-1], least_deg, width_m) for r in shapely.get_rings(out[k])]
        if len(rings[0]) < 3:
            continue
        blunted = shapely.Polygon(rings[0], [r for r in rings[1:] if len(r) >= 3])
        if blunted.is_valid and blunted.area > _LEAST_SHARE * out[k].area:
            out[k] = blunted
    return out


def _blunt_ring(xy: np.ndarray, least_deg: float, width_m: float) -> np.ndarray:
    """An open ring without needles; fewer than three points where it was nothing else."""
    ring = list(as_complex(xy))
    for _ in range(4 * len(ring)):
        z = np.array(ring)
        onward, back = np.roll(z, -1) - z, np.roll(z, 1) - z
        corner = np.abs(np.angle(onward * back.conj()))
        k = int(corner.argmin())
        if len(ring) < 3 or corner[k] >= np.radians(least_deg):
            break
        away = width_m / 2 / max(np.sin(corner[k] / 2), 1e-9)
        tip = [z[k] + leg * (away / abs(leg)) for leg in (back[k], onward[k]) if away < abs(leg) - width_m / 2]
        # Where the tip is all of the shorter edge, the end of that edge takes its place.
        ring[k : k + 1] = tip
    return np.column_stack((np.real(ring), np.imag(ring)))


def _open(polygons: np.ndarray, radius_m: float) -> np.ndarray:
    """What a disc reaches that stays inside."""
    return shapely.buffer(shapely.buffer(polygons, -radius_m, quad_segs=_QUAD_SEGS), radius_m, quad_segs=_QUAD_SEGS)


def _cut(
    polygon: shapely.Polygon, opened: shapely.Geometry, off_m: float, length_m: float, crumb_m2: float
) -> tuple[shapely.Polygon, float]:
    """One polygon without its prongs, the longest first; `opened` is that of one that is `off_m` off at most."""
    beyond = shapely.difference(polygon, shapely.buffer(opened, off_m, quad_segs=_QUAD_SEGS))
    thin = np.array([p for p in shapely.get_parts(beyond) if p.area > 0], object)
    corner, of = shapely.get_coordinates(shapely.segmentize(thin, length_m), return_index=True)
    reach = np.zeros(len(thin))
    np.maximum.at(reach, of, shapely.distance(shapely.points(corner), opened))
    longest = 0.0
    for k in np.argsort(-reach, kind="stable"):
        if reach[k] <= length_m:
            break
        prong = shapely.difference(shapely.buffer(thin[k], 2 * off_m, quad_segs=_QUAD_SEGS), opened)
        rest = shapely.difference(polygon, prong)
        left = sorted((p for p in shapely.get_parts(rest) if p.geom_type == "Polygon"), key=lambda p: p.area)
        if left and left[-1].is_valid and sum(p.area for p in left[:-1]) <= crumb_m2:
            polygon, longest = left[-1], max(longest, float(reach[k]))
    return polygon, longest
