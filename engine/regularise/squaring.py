"""Outlines made of walls in the building's directions, accepted only where they stay close."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import shapely

from ..contracts import Outline
from ..errors import InvalidParameter
from ..walls.compare import compare_outlines
from ..walls.polygons import assemble, fit_walls, sample_polygons
from ..walls.segmentation import Penalties
from .arcs import round_off
from .directions import estimate_frames, share_frames

QUARTER = np.pi / 2


@dataclass(frozen=True)
class Prices:
    """What walls cost in a mode, in tolerances cubed; tuned on one half of the Zanzibar outlines.

    A wall `free` of the building's directions must save that much squared distance: a wall of ten
    metres at a tolerance of 0.6 m stands off the frame by more than 1.8 degrees (`any_angle`) or 2.4
    degrees (`right_angles`) before it is drawn so. `jog` is added where a wall goes on with an
    offset, `diagonal` for walls at 45 degrees. A slight bend must save `bend` against the best single
    wall, 0 for no such test. `detail`, in tolerances, is how finely corners are looked for. `stiffness`
    is that of the frame: below infinity walls lean on it instead of lying in it, see `fit_lines`.
    """

    wall: float
    free: float
    jog: float = 0.0
    diagonal: float = 0.4
    bend: float = 0.0
    detail: float = 0.3
    stiffness: float = np.inf


MODES = {
    "right_angles": Prices(wall=0.5, free=0.7, jog=0.15),
    "diagonals": Prices(wall=0.5, free=0.7, jog=0.15),
    "any_angle": Prices(wall=0.36, free=0.375, bend=0.26, detail=0.22, stiffness=115.0),
}
ATTEMPTS = (1.0, 0.6, 0.3)
"""Shares of the price of a wall: what moves too far at the full price may get more corners."""
MIN_IOU = 0.8
_CHUNK = 1000  # outlines whose samples are in memory together


def regularise(
    outlines: list[Outline],
    raw: list[shapely.Polygon],
    *,
    mode: str,
    tolerance_m: float,
    min_iou: float = MIN_IOU,
    frames: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[Outline]:
    """Regularise outlines against the raw ones they come from.

    Args:
        outlines: simplified outlines in a metric CRS; what stays where regularisation is refused.
        raw: the outlines before simplification, same order, valid.
        mode: ``none``, ``right_angles``, ``diagonals`` (45 degrees too) or ``any_angle`` (walls
            leave the right-angled frame as soon as the outline shows it clearly).
        tolerance_m: greatest distance between the raw outline and the result.
        min_iou: least IoU of the two.
        frames: direction and trust of each outline, from `find_frames`; found among `raw` if not
            given.

    Returns:
        Outlines in the same order, `max_shift_m` filled in. ``regularized`` is the mode,
        ``circle``, or ``kept`` with the reason in ``check``; unchanged for mode ``none``.

    Raises:
        InvalidParameter: unknown mode.
    """
    if mode == "none" or not outlines:
        return list(outlines)
    if mode not in MODES:
        raise InvalidParameter(f"Regularization is {mode!r}", f"Choose one of none, {', '.join(MODES)}")
    if tolerance_m <= 0:
        return [_keep(o, "not regularized: tolerance is 0") for o in outlines]
    raws = np.array(raw, object)
    frames = frames if frames is not None else find_frames(raws, tolerance_m=tolerance_m)
    found, reasons = np.full(len(raws), None, object), np.full(len(raws), "", object)
    shift, circle = np.zeros(len(raws)), np.zeros(len(raws), bool)
    open_ = np.arange(len(raws))
    for share in ATTEMPTS:
        said = (frames[0][open_], frames[1][open_])
        straight = straighten(raws[open_], mode=mode, tolerance_m=tolerance_m, frames=said, wall_share=share)
        found[open_], circle[open_] = round_off(raws[open_], straight, tolerance_m=tolerance_m)
        shift[open_] = shapely.hausdorff_distance(raws[open_], found[open_])
        reasons[open_] = _judge(
            raws[open_], found[open_], shift[open_], tolerance_m=tolerance_m, min_iou=min_iou
        )
        open_ = open_[reasons[open_] != ""]
        if not len(open_):
            break
    return [
        _keep(outline, reason)
        if reason
        else replace(
            outline, geometry=shape, regularized="circle" if full else mode, max_shift_m=round(float(distance), 3)
        )
        for outline, shape, full, distance, reason in zip(outlines, found, circle, shift, reasons)
    ]


def find_frames(
    raw: np.ndarray, *, tolerance_m: float, each: Callable[..., Iterable] = map
) -> tuple[np.ndarray, np.ndarray]:
    """Directions of buildings with their neighbours' say, and the weight of that say.

    Args:
        raw: array[P] of valid polygons in a metric CRS: all buildings that may be neighbours.
        each: calls a function for every item of a list, in order, as `map` does, or side by side.
    """
    frame, trust = estimate_frames(raw, tolerance_m=tolerance_m, each=each)
    return share_frames(raw, frame, trust)


def straighten(
    raw: np.ndarray,
    *,
    mode: str,
    tolerance_m: float,
    frames: tuple[np.ndarray, np.ndarray],
    wall_share: float = 1.0,
) -> np.ndarray:
    """Walls in the buildings' directions, not yet accepted: array[P], None where none were found."""
    frame, trust = frames
    if len(raw) > _CHUNK:
        one = partial(straighten, mode=mode, tolerance_m=tolerance_m, wall_share=wall_share)
        parts = [slice(k, k + _CHUNK) for k in range(0, len(raw), _CHUNK)]
        return np.concatenate([one(raw[k], frames=(frame[k], trust[k])) for k in parts])
    prices, cube = MODES[mode], tolerance_m**3
    penalties = Penalties(
        wall=prices.wall * wall_share * cube,
        free=prices.free * cube,
        kinds=prices.diagonal * cube,
        jog=prices.jog * cube,
    )
    turns = np.array([0, QUARTER, QUARTER / 2, -QUARTER / 2] if mode == "diagonals" else [0, QUARTER])
    sampled = sample_polygons(raw, tolerance_m=tolerance_m, detail=prices.detail)
    walls = fit_walls(
        sampled,
        frame=frame,
        turns=np.tile(turns, (len(raw), 1)),
        penalties=penalties,
        trust=trust,
        bend=prices.bend * cube,
        stiffness=prices.stiffness * cube,
    )
    return assemble(sampled, walls)


def _judge(
    raw: np.ndarray, found: np.ndarray, shift: np.ndarray, *, tolerance_m: float, min_iou: float
) -> list[str]:
    """Why each regularised outline is refused; empty where it is accepted."""
    # The area won or lost is about the mean shift, at most half of the greatest, times the length; only
    # where that is much is it worth computing.
    doubtful = 0.5 * shift * shapely.length(raw) > (1 - min_iou) * shapely.area(raw)
    iou = np.ones(len(raw))
    if doubtful.any():
        iou[doubtful] = compare_outlines(raw[doubtful], found[doubtful], step_m=tolerance_m / 2)
    reasons = []
    for shape, distance, share in zip(found, shift, iou):
        if shape is None:
            reasons.append("not regularized: walls do not close")
        elif distance > tolerance_m:
            reasons.append(f"not regularized: would move {distance:.2f} m")
        elif share < min_iou:
            reasons.append(f"not regularized: would overlap by {share:.0%} only")
        else:
            reasons.append("")
    return reasons


def _keep(outline: Outline, reason: str) -> Outline:
    check = f"{outline.check}; {reason}" if outline.check else reason
    return replace(outline, regularized="kept", check=check)
