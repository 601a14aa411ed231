"""All figures of one predicted layer against a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely

from ..crs import transform_geometries
from ..progress import Reporter
from .corners import CornerMatches, match_corners, mean_shift, summarize_shifts
from .layers import Layer, Plane
from .masks import mask_pairs
from .matches import Outcome, decide_outcome
from .overlap import Pairs, measure_coverage, overlap_pairs, self_overlaps
from .precision import (
    LARGE_PX2,
    SMALL_PX2,
    Curve,
    average_precisions,
    match,
    precision_recall,
)
from .shapes import ShapeErrors, boundary_iou, complexity_aware_iou, measure_shapes
from .topology_report import report_topology

MATCH_IOU = 0.5
BAND_M = 0.25
TILE_PX = 512
"""Boundary IoU takes 2 % of an image's diagonal; a layer has no image, so a tile of this side stands for it."""
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class PixelGrid:
    """The pixels in which image figures are counted.

    Attributes:
        pixel_m: ground pixel, metres.
        inverse: ``(a, b, c, d, e, f)`` from map to pixel coordinates.
        crs_wkt: CRS of that map; empty for the plane of the comparison.
        footprint: of the raster, in the plane; None without a raster.
    """

    pixel_m: float
    inverse: tuple[float, float, float, float, float, float]
    crs_wkt: str = ""
    footprint: shapely.Geometry | None = None

    def to_pixels(self, geometries: np.ndarray, plane: Plane) -> np.ndarray:
        """Bring geometries of the plane to pixel coordinates, object[N]."""
        if self.crs_wkt and plane.crs_wkt:
            geometries = transform_geometries(geometries, plane.crs_wkt, self.crs_wkt)
        a, b, c, d, e, f = self.inverse
        return shapely.transform(
            geometries,
            lambda xy: np.column_stack((a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f)),
        )


@dataclass(frozen=True)
class Evaluation:
    """One predicted layer against the reference.

    Attributes:
        predicted, reference: the layers.
        pairs: their overlaps.
        outcome: the fate of every polygon.
        curve: precision and recall at IoU 0.5.
        shapes: of the matched pairs, K of them.
        shift: float64[K, 2], mean corner shift of each matched pair, its centroids' where less than
            half of the corners matched.
        corners: of the matched pairs.
        gate_m: farthest a corner's partner could be.
        figures: numbers by name.
    """

    predicted: Layer
    reference: Layer
    pairs: Pairs
    outcome: Outcome
    curve: Curve
    shapes: ShapeErrors
    shift: np.ndarray
    corners: CornerMatches
    gate_m: float
    figures: dict[str, Any]


def evaluate_layers(
    predicted: Layer,
    reference: Layer,
    plane: Plane,
    reporter: Reporter,
    *,
    grid: PixelGrid | None,
    limit_m: float,
    size_limits_m2: tuple[float, float],
) -> Evaluation:
    """Measure everything there is to measure.

    Args:
        predicted, reference, plane: of `layers.read_layers`.
        reporter: gets progress.
        grid: pixels for the figures that need them; without it they are NaN.
        limit_m: limit of corner positions.
        size_limits_m2: between small and medium, medium and large.
    """
    reporter.progress(0.05, "Overlaps")
    p_area, r_area = shapely.area(predicted.geometries), shapely.area(reference.geometries)
    ignored, ignorable = ~reference.inside, ~predicted.inside
    pairs = overlap_pairs(predicted.geometries, reference.geometries)
    matching = match(
        pairs,
        predicted.scores,
        threshold=MATCH_IOU,
        reference_ignored=ignored,
        predicted_ignorable=ignorable,
    )
    outcome = decide_outcome(pairs, matching, ignored, p_area, r_area)
    curve = precision_recall(matching, predicted.scores, ignored, scored=predicted.scored)
    reporter.progress(0.2, "Boundaries and shapes")
    right, true = predicted.geometries[outcome.true_predicted], reference.geometries[outcome.true_reference]
    shapes = measure_shapes(right, true)
    reporter.progress(0.45, "Corners")
    gate_m = max(3 * grid.pixel_m if grid else 0.0, 0.5)
    corners = match_corners(right, true, gate_m=gate_m)
    shift = mean_shift(corners)
    lost = np.isnan(shift[:, 0])
    shift[lost] = shapely.get_coordinates(shapely.centroid(right[lost])) - shapely.get_coordinates(
        shapely.centroid(true[lost])
    )
    reporter.progress(0.55, "Topology")
    overlaps = self_overlaps(predicted.geometries)
    topology = report_topology(predicted.raw, predicted.geometries, overlaps)
    figures = (
        _counts(predicted, reference, outcome, ignored, ignorable, matching.ignored)
        | _detection(outcome, curve, predicted.scored)
        | _areas(predicted, reference, plane, grid, overlaps)
        | _shapes(pairs, outcome, shapes)
        | _positions(corners, r_area[outcome.true_reference], gate_m, limit_m, size_limits_m2)
        | {f"topology_{name}": value for name, value in topology.to_dict().items()}
    )
    reporter.progress(0.7, "Average precision")
    figures |= _precisions(predicted, reference, pairs, p_area, r_area, grid, size_limits_m2)
    reporter.progress(0.8, "Boundary precision")
    figures |= _boundaries(predicted, reference, pairs, outcome, grid)
    if grid:
        reporter.progress(0.95, "Masks")
        figures |= _masks(predicted, reference, plane, grid)
    return Evaluation(predicted, reference, pairs, outcome, curve, shapes, shift, corners, gate_m, figures)


def _counts(
    predicted: Layer,
    reference: Layer,
    outcome: Outcome,
    ignored: np.ndarray,
    ignorable: np.ndarray,
    prediction_ignored: np.ndarray,
) -> dict[str, Any]:
    return {
        "predicted": len(predicted),
        "reference": len(reference),
        **outcome.counts(),
        "predicted_ignored": int(prediction_ignored.sum()),
        "reference_ignored": int(ignored.sum()),
        "scored": predicted.scored,
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _detection(outcome: Outcome, curve: Curve, scored: bool) -> dict[str, float]:
    count = outcome.counts()
    tp, fp, fn = count["tp"], count["fp"], count["fn"]
    precision, recall, quality = _ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(tp, tp + fp + fn)
    best_f1, best_threshold = curve.best_f1()
    return {
        "precision": precision,
        "recall": recall,
        "F1": _ratio(2 * tp, 2 * tp + fp + fn),
        "best_F1": best_f1,
        "best_threshold": best_threshold if scored else float("nan"),
        "completeness": recall,
        "correctness": precision,
        "quality": quality,
        "commission": _ratio(fp, tp + fn),
        "omission": _ratio(fn, tp + fn),
    }


def _areas(
    predicted: Layer,
    reference: Layer,
    plane: Plane,
    grid: PixelGrid | None,
    overlaps: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> dict[str, float]:
    if not (predicted.inside.all() and reference.inside.all()):
        p, r = predicted.geometries[predicted.inside], reference.geometries[reference.inside]
        overlaps = self_overlaps(p)
    else:
        p, r = predicted.geometries, reference.geometries
    covered = measure_coverage(p, r, overlaps, self_overlaps(r))
    union = covered.predicted + covered.reference - covered.common
    extent = plane.area
    if extent is None:
        seen = [grid.footprint] if grid and grid.footprint else []
        extent = shapely.envelope(shapely.union_all([*seen, shapely.box(*_bounds(p)), shapely.box(*_bounds(r))]))
    wrong = union - covered.common
    return {
        "IoU": _ratio(covered.common, union),
        "pixel_accuracy": float(np.clip(1 - _ratio(wrong, extent.area), 0.0, 1.0)),
        "area_completeness": _ratio(covered.common, covered.reference),
        "area_correctness": _ratio(covered.common, covered.predicted),
        "predicted_area_m2": covered.predicted,
        "reference_area_m2": covered.reference,
    }


def _bounds(geometries: np.ndarray) -> np.ndarray:
    return shapely.total_bounds(geometries) if len(geometries) else np.full(4, np.nan)


def _shapes(pairs: Pairs, outcome: Outcome, shapes: ShapeErrors) -> dict[str, float]:
    iou = pairs.iou[outcome.pair]
    c_iou = complexity_aware_iou(iou, shapes.predicted_vertices, shapes.reference_vertices)
    return {
        "mean_iou_matched": _mean(iou),
        "polis_m": _mean(shapes.polis_m),
        "hausdorff_m": _mean(shapes.hausdorff_m),
        "hausdorff95_m": _mean(shapes.hausdorff95_m),
        "c_iou": _mean(c_iou),
        "vertex_ratio": _ratio(float(shapes.predicted_vertices.sum()), float(shapes.reference_vertices.sum())),
        "max_tangent_angle_deg": _mean(shapes.tangent_deg),
    }


def _mean(values: np.ndarray) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _positions(
    corners: CornerMatches,
    area_m2: np.ndarray,
    gate_m: float,
    limit_m: float,
    size_limits_m2: tuple[float, float],
) -> dict[str, Any]:
    size = np.digitize(area_m2, size_limits_m2)

    def summary(chosen: np.ndarray) -> dict[str, Any]:
        reference = int(corners.reference_count[chosen].sum())
        predicted = int(corners.predicted_count[chosen].sum())
        matched = chosen[corners.owner] if len(chosen) else np.zeros(0, bool)
        values = summarize_shifts(corners.shift[matched], limit_m=limit_m)
        count = int(values.pop("count") or 0)
        return {f"corner_{name}": value for name, value in values.items()} | {
            "corners_reference": reference,
            "corners_predicted": predicted,
            "corners_matched": count,
            "corners_unmatched_share": _ratio(reference - count, reference),
            "corners_surplus_share": _ratio(predicted - count, predicted),
        }

    return {
        **summary(np.ones(len(size), bool)),
        "corner_gate_m": gate_m,
        "limit_m": limit_m,
        "corner_sizes": {name: summary(size == index) for index, name in enumerate(SIZES)},
    }


def _precisions(
    predicted: Layer,
    reference: Layer,
    pairs: Pairs,
    p_area: np.ndarray,
    r_area: np.ndarray,
    grid: PixelGrid | None,
    size_limits_m2: tuple[float, float],
) -> dict[str, Any]:
    def precisions(low: float, high: float) -> np.ndarray:
        return average_precisions(
            pairs,
            predicted.scores,
            reference_ignored=~reference.inside | (r_area < low) | (r_area > high),
            predicted_ignorable=~predicted.inside | (p_area < low) | (p_area > high),
            scored=predicted.scored,
        )

    every = precisions(0.0, np.inf)
    figures: dict[str, Any] = {"AP": float(every.mean()), "AP50": float(every[0]), "AP75": float(every[5])}
    figures["IoU50_95"] = figures["AP"]
    figures["AP_by_iou"] = [float(value) for value in every]
    scale = grid.pixel_m**2 if grid else float("nan")
    for suffix, (first, second) in {
        "": (SMALL_PX2 * scale, LARGE_PX2 * scale),
        "_m2": size_limits_m2,
    }.items():
        bounds = ((0.0, first), (first, second), (second, np.inf))
        for name, (low, high) in zip(SIZES, bounds, strict=True):
            known = not np.isnan(low + high)
            figures[f"AP_{name}{suffix}"] = float(precisions(low, high).mean()) if known else float("nan")
    return figures


def _boundaries(
    predicted: Layer, reference: Layer, pairs: Pairs, outcome: Outcome, grid: PixelGrid | None
) -> dict[str, float]:
    """Boundary IoU of the matched pairs, and AP at the lesser of IoU and boundary IoU (Cheng et al. 2021)."""
    bands = {"_025m": BAND_M}
    if grid:
        bands[""] = max(1.0, round(0.02 * np.hypot(TILE_PX, TILE_PX))) * grid.pixel_m
    figures = dict.fromkeys(("boundary_iou", "boundary_AP", "boundary_AP50", "boundary_band_m"), float("nan"))
    # Below IoU 0.5 the lesser of the two cannot match at any threshold.
    close = np.flatnonzero(pairs.iou >= MATCH_IOU)
    a, b = predicted.geometries[pairs.predicted[close]], reference.geometries[pairs.reference[close]]
    for suffix, band_m in bands.items():
        iou = np.zeros(len(pairs))
        iou[close] = boundary_iou(a, b, band_m=band_m)
        precisions = average_precisions(
            pairs.with_iou(np.minimum(iou, pairs.iou)),
            predicted.scores,
            reference_ignored=~reference.inside,
            predicted_ignorable=~predicted.inside,
            scored=predicted.scored,
        )
        figures |= {
            f"boundary_iou{suffix}": _mean(iou[outcome.pair]),
            f"boundary_AP{suffix}": float(precisions.mean()),
            f"boundary_AP50{suffix}": float(precisions[0]),
        }
        if not suffix:
            figures["boundary_band_m"] = band_m
    return figures


def _masks(predicted: Layer, reference: Layer, plane: Plane, grid: PixelGrid) -> dict[str, float]:
    pairs = mask_pairs(grid.to_pixels(predicted.geometries, plane), grid.to_pixels(reference.geometries, plane))
    precisions = average_precisions(
        pairs,
        predicted.scores,
        reference_ignored=~reference.inside,
        predicted_ignorable=~predicted.inside,
        scored=predicted.scored,
    )
    return {
        "AP_raster": float(precisions.mean()),
        "AP50_raster": float(precisions[0]),
        "AP75_raster": float(precisions[5]),
        "pixel_m": grid.pixel_m,
    }
