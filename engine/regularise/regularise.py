"""Outlines made of walls in the building's directions, accepted only where they stay close."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import shapely

from ..contracts import Outline
from ..errors import InvalidParameter
from ..walls.polygons import Penalties, build_walls, sample_polygons
from .directions import dominant_directions

MODES = ("right_angles", "diagonals", "any_angle")
# Prices in tolerances cubed, tuned on one half of the Zanzibar outlines (see docs/geometry.md).
WALL, FREE_WALL, JOG, DIAGONAL = 0.46, 0.23, 0.115, 0.12
MIN_IOU = 0.8


def regularise(
    outlines: list[Outline],
    raw: list[shapely.Polygon],
    *,
    mode: str,
    tolerance_m: float,
    min_iou: float = MIN_IOU,
) -> list[Outline]:
    """Regularise outlines against the raw ones they come from.

    Args:
        outlines: simplified outlines in a metric CRS; what stays where regularisation is refused.
        raw: the outlines before simplification, same order.
        mode: ``none``, ``right_angles``, ``diagonals`` or ``any_angle``.
        tolerance_m: greatest distance between the raw outline and the result.
        min_iou: least IoU of the two.

    Returns:
        Outlines in the same order. ``regularized`` is the mode, ``circle``, or ``kept`` with the
        reason in ``check``; unchanged for mode ``none``.

    Raises:
        InvalidParameter: unknown mode.
    """
    if mode == "none" or not outlines:
        return list(outlines)
    if mode not in MODES:
        raise InvalidParameter(f"Regularization is {mode!r}", f"Choose one of none, {', '.join(MODES)}")
    if tolerance_m <= 0:
        return [_keep(o, "tolerance is 0") for o in outlines]
    raws = np.array(raw, object)
    simple = np.array([o.geometry for o in outlines], object)
    sampled = sample_polygons(raws, tolerance_m=tolerance_m)
    owner, edge = _edges(simple)
    frame, _ = dominant_directions(owner, edge, len(simple))
    turns = np.array([0, 2, 1, 3] if mode == "diagonals" else [0, 2]) * np.pi / 4
    cube = tolerance_m**3
    prices = Penalties(WALL * cube, FREE_WALL * cube, DIAGONAL * cube, JOG * cube)
    found = build_walls(sampled, directions=frame[:, None] + turns, penalties=prices).polygons
    shift = shapely.hausdorff_distance(raws, found)
    overlap = shapely.area(shapely.intersection(raws, found))
    iou = overlap / (shapely.area(raws) + shapely.area(found) - overlap)
    out = []
    for k, outline in enumerate(outlines):
        if found[k] is None:
            out.append(_keep(outline, "walls do not close"))
        elif shift[k] > tolerance_m:
            out.append(_keep(outline, "regularized outline too far from the raw one"))
        elif iou[k] < min_iou:
            out.append(_keep(outline, "regularized outline overlaps too little"))
        else:
            out.append(replace(outline, geometry=found[k], regularized=mode))
    return out


def _keep(outline: Outline, reason: str) -> Outline:
    check = f"{outline.check}; {reason}" if outline.check else reason
    return replace(outline, regularized="kept", check=check)


def _edges(polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Polygon and vector of every edge of all rings."""
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    z = xy @ np.array([1, 1j])
    inner = ring[1:] == ring[:-1]
    return polygon[ring[1:][inner]], np.diff(z)[inner]
