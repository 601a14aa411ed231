"""The features that cost most, as pictures with both outlines."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
import shapely
from rasterio.windows import Window

from .charts import outline_picture
from .layers import Plane
from .measure import Evaluation, PixelGrid
from .pictures import PREDICTED_RGB, REFERENCE_RGB, Orthophoto, draw_outlines, encode_jpeg

CHIP_PX = 320
LEAST_SIDE_M = 12.0
LEAST_WRONG_M2 = 0.01
"""Less is rounding."""


@dataclass(frozen=True)
class Worst:
    """One feature of the list.

    Attributes:
        kind: wrong outline, false, or missed.
        predicted_id, reference_id: empty where there is none.
        wrong_m2: area that is in one layer and not in the other.
        iou: with the matched feature; 0 without one.
        geometry: union of the outlines, in the plane of the comparison.
    """

    kind: str
    predicted_id: str
    reference_id: str
    wrong_m2: float
    iou: float
    geometry: shapely.Geometry


def find_worst(evaluation: Evaluation, *, count: int = 20) -> list[Worst]:
    """The features with most wrong area, largest first: not covered by the other layer, or covering nothing."""
    predicted, reference, outcome, pairs = (
        evaluation.predicted,
        evaluation.reference,
        evaluation.outcome,
        evaluation.pairs,
    )
    p_area, r_area = shapely.area(predicted.geometries), shapely.area(reference.geometries)
    p_common = np.bincount(pairs.predicted, weights=pairs.intersection, minlength=len(predicted))
    r_common = np.bincount(pairs.reference, weights=pairs.intersection, minlength=len(reference))
    p, r = outcome.true_predicted, outcome.true_reference
    wrong = np.concatenate(
        (
            p_area[p] + r_area[r] - 2 * pairs.intersection[outcome.pair],
            (p_area - p_common)[outcome.false_predicted],
            (r_area - r_common)[outcome.missed_reference],
        )
    )
    found = []
    for index in np.argsort(-wrong, kind="stable")[:count]:
        area = float(wrong[index])
        if area < LEAST_WRONG_M2:
            break
        if index < len(p):
            a, b = p[index], r[index]
            union = shapely.union(predicted.geometries[a], reference.geometries[b])
            iou = float(pairs.iou[outcome.pair[index]])
            found.append(Worst("outline", predicted.ids[a], reference.ids[b], area, iou, union))
        elif index < len(p) + len(outcome.false_predicted):
            a = outcome.false_predicted[index - len(p)]
            found.append(Worst("false", predicted.ids[a], "", area, 0.0, predicted.geometries[a]))
        else:
            b = outcome.missed_reference[index - len(p) - len(outcome.false_predicted)]
            found.append(Worst("missed", "", reference.ids[b], area, 0.0, reference.geometries[b]))
    return found


def draw_chips(
    worst: list[Worst], evaluation: Evaluation, plane: Plane, grid: PixelGrid | None, raster: str
) -> list[str]:
    """HTML images of the features: on the orthophoto where it shows them, else on a plain ground."""
    layers = evaluation.predicted.geometries, evaluation.reference.geometries
    trees = [shapely.STRtree(geometries) for geometries in layers]
    photo = Orthophoto(raster) if raster else None
    try:
        chips = []
        for item in worst:
            west, south, east, north = item.geometry.bounds
            side = max(east - west, north - south, LEAST_SIDE_M) * 1.4
            x, y = (west + east) / 2, (south + north) / 2
            box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
            near = [geometries[tree.query(shapely.box(*box))] for geometries, tree in zip(layers, trees, strict=True)]
            picture = _photo_chip(near, box, plane, grid, photo) if photo and grid else ""
            chips.append(picture or outline_picture(near[0], near[1], box, side=CHIP_PX))
        return chips
    finally:
        if photo:
            photo.__exit__()


def _photo_chip(
    near: list[np.ndarray],
    box: tuple[float, float, float, float],
    plane: Plane,
    grid: PixelGrid,
    photo: Orthophoto,
) -> str:
    frame = grid.to_pixels(np.array([shapely.box(*box)]), plane)[0].bounds
    left, top = max(int(np.floor(frame[0])), 0), max(int(np.floor(frame[1])), 0)
    right, bottom = min(int(np.ceil(frame[2])), photo.width), min(int(np.ceil(frame[3])), photo.height)
    if right - left < 8 or bottom - top < 8:
        return ""
    image = photo.read(Window(left, top, right - left, bottom - top), max_side_px=CHIP_PX, max_zoom=8)
    scale = image.shape[1] / (right - left), image.shape[0] / (bottom - top)
    predicted, reference = (
        shapely.transform(grid.to_pixels(geometries, plane), lambda xy: (xy - (left, top)) * scale)
        for geometries in near
    )
    draw_outlines(image, reference, REFERENCE_RGB, width_px=4)
    draw_outlines(image, predicted, PREDICTED_RGB, width_px=2)
    data = base64.b64encode(encode_jpeg(image)).decode()
    return f'<img alt="" width="{image.shape[1]}" height="{image.shape[0]}" src="data:image/jpeg;base64,{data}">'
