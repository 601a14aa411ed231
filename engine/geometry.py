"""The metric stages in a row: simplify, regularise, make one clean coverage, and measure what moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import shapely

from .contracts import Outline
from .progress import Reporter
from .regularise import regularise
from .simplify import refit_polygons
from .topology import resolve
from .walls.polygons import drop_small_holes

BLOCK = 2000
"""Polygons worked on together; bounds the memory of intermediate arrays."""
MIN_IOU_RAW = 0.8


def shape_outlines(
    outlines: list[Outline],
    *,
    tolerance_m: float,
    regularization: str,
    min_area_m2: float,
    snap_m: float,
    reporter: Reporter,
) -> tuple[list[Outline], int]:
    """Turn raw outlines into polygons a cadastre accepts.

    Args:
        outlines: raw, valid single polygons in a metric CRS; ids differ.
        tolerance_m: greatest distance simplification and regularisation may move an outline.
        regularization: ``none``, ``right_angles``, ``diagonals`` or ``any_angle``.
        min_area_m2: smaller ones are left out and counted.
        snap_m: neighbours closer than this get one common wall.
        reporter: progress, log and the wish to cancel.

    Returns:
        Outlines in the same order with `regularized`, `max_shift_m`, `iou_raw` and `check` filled
        in, and the number left out.
    """
    kept = [o for o in outlines if o.geometry.area >= min_area_m2]
    raw = {o.id: o.geometry for o in kept}
    shaped: list[Outline] = []
    for block in _blocks(kept):
        reporter.progress(0.7 * len(shaped) / max(len(kept), 1), "Straightening walls")
        shapes = drop_small_holes(np.array([o.geometry for o in block], object), tolerance_m=tolerance_m)
        simple = refit_polygons(shapes, tolerance_m=tolerance_m)
        simplified = [replace(o, geometry=g) for o, g in zip(block, simple)]
        shaped += regularise(simplified, list(shapes), mode=regularization, tolerance_m=tolerance_m)
    reporter.progress(0.7, "Joining neighbours")
    clean = resolve(shaped, snap_m=snap_m, tolerance_m=tolerance_m)
    reporter.progress(0.9, "Comparing with the raw outlines")
    measured = [_measure(o, raw[o.id]) for o in clean]
    out = [o for o in measured if o.geometry.area >= min_area_m2]
    left_out = len(outlines) - len(out)
    if left_out:
        reporter.log(f"{left_out} buildings smaller than {min_area_m2:g} m2 left out")
    reporter.progress(1.0, "Geometry done")
    return out, left_out


def _measure(outline: Outline, raw: shapely.Polygon) -> Outline:
    """Fill in how far the outline is from the raw one."""
    shift = shapely.hausdorff_distance(outline.geometry, raw)
    overlap = shapely.intersection(outline.geometry, raw).area
    iou = overlap / (outline.geometry.area + raw.area - overlap)
    return replace(outline, max_shift_m=round(float(shift), 3), iou_raw=round(float(iou), 4))


def _blocks(outlines: list[Outline]) -> Iterator[list[Outline]]:
    for k in range(0, len(outlines), BLOCK):
        yield outlines[k : k + BLOCK]
