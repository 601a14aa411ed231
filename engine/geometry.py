"""The metric stages in a row: simplify, regularise, make one clean coverage, and measure what moved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from operator import attrgetter
from typing import Any

import numpy as np
import shapely

from .contracts import Outline
from .crew import Crew
from .progress import Reporter
from .regularise import find_frames, regularise
from .simplify import refit_polygons
from .topology import GRID_M, resolve
from .walls.compare import compare_outlines
from .walls.polygons import drop_small_holes
from .walls.prongs import blunt_needles, drop_prongs, sharpest_corners

_COMPARE_STEP_M = 0.3
BLOCK = 2500
"""Polygons worked on together, about; bounds the memory of intermediate arrays."""
WORTH_PROCESSES = 10_000
"""So many outlines, ten seconds of work and more, are worth the start of processes."""
SHARP_DEG = 40.0
"""A sharper corner is a reason to look for a prong of the mask; walls at 45 degrees are none."""
PRONG_WIDTHS, PRONG_SHARE = (1.5, 2.5), 1 / 3
"""What is thinner, in tolerances, and reaches farther out than this share of that is a prong, no wall."""
PRONG, NEEDLE = "prong", "needle"
NEEDLE_DEG, NEEDLE_WIDTH = 35.0, 0.5
"""No corner is left sharper; it is cut where it is so many tolerances wide."""
LEAST_AREA_M2 = 0.01
"""What is smaller is a remnant of rounding; it is handed through and marked."""


def shape_outlines(
    outlines: list[Outline],
    *,
    tolerance_m: float,
    regularization: str,
    min_area_m2: float,
    snap_m: float = 0.3,
    reporter: Reporter,
    keep_covered: bool = False,
) -> tuple[list[Outline], int]:
    """Turn raw outlines into polygons a cadastre accepts.

    Args:
        outlines: raw, valid single polygons in a metric CRS; ids differ.
        tolerance_m: greatest distance simplification and regularisation may move an outline.
        regularization: ``none``, ``right_angles``, ``diagonals`` or ``any_angle``.
        min_area_m2: smaller ones are left out and counted.
        snap_m: neighbours closer than this get one common wall.
        reporter: progress, log and the wish to cancel.
        keep_covered: keep outlines that lie on others of higher priority, which then overlap, and
            mark them; else they are left out and counted.

    Returns:
        Outlines in the same order with `regularized`, `max_shift_m`, `iou_raw` and `check` filled
        in, and the number left out.
    """
    given = np.array([o.geometry for o in outlines], object)
    areas = shapely.area(given)
    with Crew(processes=len(outlines) >= WORTH_PROCESSES, heartbeat=reporter.check) as crew:
        valid = np.array([v for part in crew.map_here(shapely.is_valid, _blocks(given)) for v in part], bool)
        sane = (areas >= LEAST_AREA_M2) & valid
        kept = [o for o, area in zip(outlines, areas) if area >= min_area_m2]
        sound = [o for o, area, good in zip(outlines, areas, sane) if good and area >= min_area_m2]
        shaped = _straighten_all(sound, regularization, tolerance_m, crew, reporter)
        clean = resolve(shaped, snap_m=snap_m, tolerance_m=tolerance_m, keep_covered=keep_covered, run=crew.starmap)
        reporter.progress(0.8, "Neighbours joined")
        raw = {o.id: o.geometry for o in sound}
        straight = {o.id: o.geometry for o in shaped}
        limit_m = max(tolerance_m, snap_m) + 2 * GRID_M
        calls = (
            (pack(block), _wkb(raw[o.id] for o in block), _wkb(straight[o.id] for o in block), limit_m)
            for block in _blocks(clean)
        )
        done: dict[str, Outline] = {}
        for block in crew.starmap(_measure_block, calls):
            done |= {o.id: o for o in unpack(*block)}
            reporter.progress(0.8 + 0.2 * len(done) / len(clean), "Comparing with the raw outlines")
    covered = len(sound) - len(done)
    if covered:
        reporter.log(f"{covered} outlines that lie on others left out")
    everything = [
        done.get(o.id) or add_check(replace(o, regularized="kept"), "has no area")
        for o in kept
        if o.id in done or o.id not in raw
    ]
    out = [o for o in everything if o.geometry.area >= min_area_m2]
    left_out = len(outlines) - len(out)
    if left_out > covered:
        reporter.log(f"{left_out - covered} outlines smaller than {min_area_m2:g} m2 left out")
    reporter.progress(1.0, "Geometry done")
    return out, left_out


def _straighten_all(
    sound: list[Outline], regularization: str, tolerance_m: float, crew: Crew, reporter: Reporter
) -> list[Outline]:
    shapes = drop_small_holes(np.array([o.geometry for o in sound], object), tolerance_m=tolerance_m)
    frames = np.zeros((2, len(sound)))
    if regularization != "none" and tolerance_m > 0 and sound:
        frames[:] = find_frames(shapes, tolerance_m=tolerance_m, each=crew.map_here)
    calls = (
        ((shapely.to_wkb(shapes[k]), _attributes(sound[k])), regularization, tolerance_m, frames[:, k])
        for k in _slices(len(sound))
    )
    shaped: list[Outline] = []
    for block in crew.starmap(_straighten_block, calls):
        shaped += unpack(*block)
        reporter.progress(0.6 * len(shaped) / len(sound), "Straightening walls")
    return shaped


def _slices(number: int) -> list[slice]:
    # Blocks of like size: what is tried again costs nearly as much for few outlines as for many.
    bounds = np.linspace(0, number, max(1, round(number / BLOCK)) + 1).astype(int).tolist()
    return [slice(*ends) for ends in pairwise(bounds) if number]


def _blocks(items: Any) -> list[Any]:
    return [items[k] for k in _slices(len(items))]


# -- what helpers compute: nothing but numbers, text and WKB goes to them and comes back ------------------------------

Packed = tuple[np.ndarray, list[tuple]]
"""Outlines that are quick to pickle: their shapes as WKB, and everything else."""
_ATTRIBUTES = attrgetter(*(f.name for f in fields(Outline) if f.name != "geometry"))


def pack(outlines: Sequence[Outline]) -> Packed:
    """The outlines as values that are quick to pickle; `unpack` gives them back to the last bit."""
    return _wkb(o.geometry for o in outlines), _attributes(outlines)


def unpack(wkb: np.ndarray, attributes: list[tuple]) -> list[Outline]:
    """See `pack`."""
    return [Outline(id_, shape, *rest) for shape, (id_, *rest) in zip(shapely.from_wkb(wkb), attributes)]


def _attributes(outlines: Sequence[Outline]) -> list[tuple]:
    return list(map(_ATTRIBUTES, outlines))


def _wkb(shapes: Iterable[shapely.Polygon]) -> np.ndarray:
    return shapely.to_wkb(np.array(list(shapes), object))


def _straighten_block(outlines: Packed, regularization: str, tolerance_m: float, frames: np.ndarray) -> Packed:
    return pack(_straighten(unpack(*outlines), regularization, tolerance_m, frames))


def _measure_block(outlines: Packed, raw: np.ndarray, straight: np.ndarray, limit_m: float) -> Packed:
    measured = _measure(unpack(*outlines), shapely.from_wkb(raw), shapely.from_wkb(straight))
    sharp = sharpest_corners(np.array([o.geometry for o in measured], object))
    return pack([_mark(o, limit_m, corner_deg) for o, corner_deg in zip(measured, sharp)])


def _measure(outlines: list[Outline], before: np.ndarray, straight: np.ndarray) -> list[Outline]:
    """Fill in how far each outline is from its raw one, `before`; `straight` is what it was before it was joined."""
    after = np.array([o.geometry for o in outlines], object)
    shift = np.array([o.max_shift_m for o in outlines])
    # The shift of a regularised outline is known; what its neighbours or the grid did to it, not.
    moved = (shift == 0) | ~shapely.equals_exact(straight, after, tolerance=GRID_M)
    shift[moved] = shapely.hausdorff_distance(before[moved], after[moved])
    iou = compare_outlines(before, after, step_m=_COMPARE_STEP_M)
    return [
        replace(o, max_shift_m=round(float(d), 3), iou_raw=round(float(i), 4)) for o, d, i in zip(outlines, shift, iou)
    ]


def _mark(outline: Outline, limit_m: float, corner_deg: float) -> Outline:
    """Say what is worth a look: moved far for no reason given yet, or a needle that could not be cut."""
    if outline.max_shift_m > limit_m and not (PRONG in outline.check or NEEDLE in outline.check):
        outline = add_check(outline, f"moved {outline.max_shift_m:.2f} m where it meets others")
    if corner_deg < NEEDLE_DEG:
        outline = add_check(outline, f"has a corner of {corner_deg:.0f} degrees")
    return outline


def add_check(outline: Outline, reason: str) -> Outline:
    """The outline with one more reason to look at it."""
    return replace(outline, check=f"{outline.check}; {reason}" if outline.check else reason)


def _straighten(outlines: list[Outline], regularization: str, tolerance_m: float, frames: np.ndarray) -> list[Outline]:
    """Regularise a block; what ends in a sharp corner or is refused is tried once more without its prongs."""
    shapes = np.array([o.geometry for o in outlines], object)
    found = _fit(outlines, shapes, regularization, tolerance_m, frames)
    if tolerance_m <= 0:
        return found
    for width in PRONG_WIDTHS:
        poor = np.flatnonzero(_is_poor(found))
        cut, reach = drop_prongs(
            shapes[poor],
            width_m=width * tolerance_m,
            length_m=PRONG_SHARE * width * tolerance_m,
            crumb_m2=(2 * tolerance_m) ** 2,
        )
        again, cut, reach = poor[reach > 0], cut[reach > 0], reach[reach > 0]
        second = _fit([outlines[k] for k in again], cut, regularization, tolerance_m, frames[:, again])
        better = ~_is_poor(second) | np.array([found[k].regularized == "kept" for k in again], bool)
        for k, outline, far in zip(again[better], [o for o, good in zip(second, better) if good], reach[better]):
            # What moved is measured against the raw outline, prong and all.
            found[k] = add_check(replace(outline, max_shift_m=0.0), f"{PRONG} of {far:.1f} m cut off")
    blunted = blunt_needles(
        np.array([o.geometry for o in found], object), least_deg=NEEDLE_DEG, width_m=NEEDLE_WIDTH * tolerance_m
    )
    return [
        o if o.geometry is g else add_check(replace(o, geometry=g, max_shift_m=0.0), f"{NEEDLE} cut off")
        for o, g in zip(found, blunted)
    ]


def _is_poor(outlines: list[Outline]) -> np.ndarray:
    """Which outlines are refused or have a corner that hardly a house has."""
    sharp = sharpest_corners(np.array([o.geometry for o in outlines], object)) < SHARP_DEG
    return sharp | np.array([o.regularized == "kept" for o in outlines], bool)


def _fit(
    outlines: list[Outline],
    shapes: np.ndarray,
    regularization: str,
    tolerance_m: float,
    frames: np.ndarray,
) -> list[Outline]:
    """Regularise; what is refused, or all of it where nothing is asked, is simplified."""
    said = (frames[0], frames[1])
    tried = regularise(outlines, list(shapes), mode=regularization, tolerance_m=tolerance_m, frames=said)
    rest = [k for k, o in enumerate(tried) if o.regularized in ("", "kept")]
    for k, simple in zip(rest, refit_polygons(shapes[rest], tolerance_m=tolerance_m)):
        tried[k] = replace(tried[k], geometry=simple)
    return tried
