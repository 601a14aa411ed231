"""The evaluation job: layers in, figures, match layer and report out."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely

from ..config import EvaluateConfig
from ..crs import ground_pixel_m, transform_geometries
from ..errors import VectorError
from ..progress import Reporter
from .accuracy_classes import classify, explain
from .layers import Layer, Plane, read_layers, write_layer
from .matches import Divisions
from .measure import Evaluation, PixelGrid, evaluate_layers
from .pictures import Orthophoto, write_atomically
from .report import write_report

COMPARED = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "boundary_AP", "boundary_AP_025m", "IoU",
    "precision", "recall", "F1", "best_F1", "best_threshold", "quality", "splits", "merges", "mean_iou_matched",
    "boundary_iou_025m", "polis_m", "hausdorff95_m", "c_iou", "vertex_ratio", "max_tangent_angle_deg",
    "corner_rmse_m", "corners_unmatched_share", "predicted", "tp", "fp", "fn",
)  # fmt: skip
"""Figures shown side by side when several layers are compared."""


class _Notes(Reporter):
    """Passes everything on and keeps the log lines for the report."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter
        self.lines: list[str] = []

    def check(self) -> None:
        self._reporter.check()

    def progress(self, fraction: float, message: str = "") -> None:
        self._reporter.progress(self._low + fraction * (self._high - self._low), message)

    def log(self, message: str, level: str = "info") -> None:
        self.lines.append(message)
        self._reporter.log(message, level)


def evaluate_file(config: EvaluateConfig, reporter: Reporter) -> dict[str, Any]:
    """Measure predicted polygons against reference polygons and write what was asked for.

    Args:
        config: what to compare and what to write.
        reporter: gets progress, and a line for everything that was changed or left out.

    Returns:
        ``figures`` (numbers by name, see docs/metrics.md; None where a figure is not defined), ``report``
        and ``matches`` (paths, empty when not asked for), ``seconds``.

    Raises:
        VectorError: a layer cannot be read, or both are empty.
        RasterError: the raster cannot be read.
        OutputError: a result cannot be written.
        Cancelled: the user asked to stop.
    """
    began = time.monotonic()
    notes = _Notes(reporter)
    notes.progress(0.0, "Reading layers")
    layers, reference, plane = read_layers([config.predicted, *config.others], config.reference, config.area, notes)
    _check_usable(layers[0], reference, notes)
    grid = make_pixel_grid(config.raster, config.pixel_m, plane, notes, crs=config.crs)
    _check_footprint(reference, grid, plane, notes)
    evaluations = []
    for index, layer in enumerate(layers):
        with notes.span(0.05 + 0.8 * index / len(layers), 0.05 + 0.8 * (index + 1) / len(layers)):
            evaluations.append(
                evaluate_layers(
                    layer,
                    reference,
                    plane,
                    notes,
                    grid=grid,
                    limit_m=config.limit_m,
                    size_limits_m2=config.size_limits_m2,
                )
            )
    first = evaluations[0]
    if not len(first.pairs) and len(layers[0]) and len(reference):
        notes.warn("No predicted polygon overlaps a reference polygon; check the coordinate systems and the places")
    figures = plain(_all_figures(config, evaluations, plane, notes.lines))
    if config.matches:
        notes.progress(0.86, "Writing the match layer")
        write_layer(config.matches, "matches", match_frame(first, plane))
    if config.figures:
        write_atomically(config.figures, json.dumps(figures, indent=2, allow_nan=False).encode())
    if config.report:
        notes.progress(0.9, "Writing the report")
        write_report(config, figures, evaluations, plane, grid)
    notes.progress(1.0, "Done")
    return {
        "figures": figures,
        "report": config.report,
        "matches": config.matches,
        "seconds": round(time.monotonic() - began, 2),
    }


def _check_usable(predicted: Layer, reference: Layer, notes: Reporter) -> None:
    if not len(predicted) and not len(reference):
        raise VectorError("Neither layer has a polygon to compare", "Check the layers, and the area if one was given")
    if not len(reference):
        notes.warn(f"{reference.name} has no polygons here: every prediction counts as wrong, recall is undefined")
    if not len(predicted):
        notes.warn(f"{predicted.name} has no polygons here: every reference building counts as missed")
    elif not predicted.scored:
        notes.warn(f"{predicted.name} has no score field: all scores are 1, so AP has one operating point only")


def _check_footprint(reference: Layer, grid: PixelGrid | None, plane: Plane, notes: Reporter) -> None:
    if grid is None or grid.footprint is None or plane.area is not None:
        return
    outside = int((~shapely.intersects(grid.footprint, reference.geometries)).sum())
    if outside:
        notes.warn(
            f"{outside} of {len(reference)} reference polygons lie outside the raster and count as missed"
            " where nothing was predicted; give an area to leave them out"
        )


def make_pixel_grid(
    raster: str, pixel_m: float, plane: Plane, reporter: Reporter, *, crs: str = ""
) -> PixelGrid | None:
    """Pixels of the raster, or of `pixel_m` where it is given; None when neither is known.

    Args:
        crs: WKT of the raster's CRS where its file has none or a wrong one.
    """
    if not raster:
        return PixelGrid(pixel_m, (1 / pixel_m, 0.0, 0.0, 0.0, -1 / pixel_m, 0.0)) if pixel_m else None
    with Orthophoto(raster, crs=crs) as photo:
        for note in photo.notes:
            reporter.warn(note)
        transform, crs_wkt = photo.transform, photo.crs_wkt
        corners = np.array([(0, 0), (photo.width, 0), (photo.width, photo.height), (0, photo.height)], float)
        middle = photo.width / 2, photo.height / 2
    if plane.crs_wkt and not crs_wkt:
        reporter.warn("The raster has no coordinate system and is taken to be in the reference's")
    footprint = shapely.Polygon(np.column_stack(transform @ (corners[:, 0], corners[:, 1])))
    if crs_wkt and plane.crs_wkt:
        footprint = transform_geometries(
            np.array([shapely.segmentize(footprint, footprint.length / 64)]), crs_wkt, plane.crs_wkt
        )[0]
    if not pixel_m:
        if crs_wkt:
            sides = ground_pixel_m(tuple(transform)[:6], crs_wkt, *middle)
            pixel_m = math.sqrt(sides[0] * sides[1])
        else:
            pixel_m = math.sqrt(abs(transform.determinant))
    return PixelGrid(pixel_m, tuple((~transform)[:6]), crs_wkt if plane.crs_wkt else "", footprint)


def _all_figures(
    config: EvaluateConfig, evaluations: list[Evaluation], plane: Plane, notes: list[str]
) -> dict[str, Any]:
    first = evaluations[0]
    figures = dict(first.figures)
    share = figures["corners_unmatched_share"]
    figures["accuracy_classes"] = [
        vars(entry)
        for entry in classify(first.corners.shift, limit_m=config.limit_m, pixel_m=figures.get("pixel_m", 0.0))
    ]
    figures["accuracy_notes"] = explain(
        figures["corners_matched"],
        None if math.isnan(share) else share,
        first.gate_m,
        surveyed=config.surveyed,
    )
    if len(evaluations) > 1:
        figures["comparison"] = [
            {"name": evaluation.predicted.name} | {name: evaluation.figures[name] for name in COMPARED}
            for evaluation in evaluations
        ]
    figures["notes"] = list(notes)
    figures["parameters"] = config.to_dict()
    figures["crs"] = plane.crs_wkt
    return figures


def plain(value: Any) -> Any:
    """Turn numpy values into Python ones and anything not finite into None, for JSON."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value


def match_frame(evaluation: Evaluation, plane: Plane) -> geopandas.GeoDataFrame:
    """The match layer: every polygon once, with what became of it.

    Fields: ``kind`` (tp, fp, fn, split: a missed reference found in pieces, merge: a wrong prediction over
    several references), ``iou``, ``polis_m``, ``hausdorff_m``, ``dx_m``, ``dy_m``, ``predicted_id``,
    ``reference_id``, ``score``. Predicted geometry, that of the reference where it was missed, in the CRS of
    the predicted layer.
    """
    predicted, reference, outcome = evaluation.predicted, evaluation.reference, evaluation.outcome
    true = pd.DataFrame(
        {
            "kind": "tp",
            "iou": evaluation.pairs.iou[outcome.pair],
            "polis_m": evaluation.shapes.polis_m,
            "hausdorff_m": evaluation.shapes.hausdorff_m,
            "dx_m": evaluation.shift[:, 0],
            "dy_m": evaluation.shift[:, 1],
            "predicted_id": predicted.ids[outcome.true_predicted],
            "reference_id": reference.ids[outcome.true_reference],
            "score": predicted.scores[outcome.true_predicted],
            "geometry": predicted.geometries[outcome.true_predicted],
        }
    )
    wrong, missed = outcome.false_predicted, outcome.missed_reference
    kind, partner = _divided(wrong, "fp", "merge", outcome.merges, reference.ids)
    false = pd.DataFrame(
        {
            "kind": kind,
            "iou": _best_iou(evaluation.pairs.predicted, evaluation.pairs.iou, len(predicted))[wrong],
            "predicted_id": predicted.ids[wrong],
            "reference_id": partner,
            "score": predicted.scores[wrong],
            "geometry": predicted.geometries[wrong],
        }
    )
    kind, partner = _divided(missed, "fn", "split", outcome.splits, predicted.ids)
    lost = pd.DataFrame(
        {
            "kind": kind,
            "iou": _best_iou(evaluation.pairs.reference, evaluation.pairs.iou, len(reference))[missed],
            "predicted_id": partner,
            "reference_id": reference.ids[missed],
            "geometry": reference.geometries[missed],
        }
    )
    frame = pd.concat([part for part in (true, false, lost) if len(part)] or [true], ignore_index=True)
    frame = frame.reindex(columns=true.columns)
    geometry = frame.pop("geometry").to_numpy(dtype=object)
    crs_wkt = predicted.crs_wkt or plane.crs_wkt
    if plane.crs_wkt:
        geometry = transform_geometries(geometry, plane.crs_wkt, crs_wkt)
    for name in ("kind", "predicted_id", "reference_id"):
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    return geopandas.GeoDataFrame(frame, geometry=geometry, crs=crs_wkt or None)


def _divided(
    indices: np.ndarray, kind: str, divided_kind: str, divisions: Divisions, ids: np.ndarray
) -> tuple[list[str], list[str | None]]:
    """Kind and joined partner identifiers of unmatched polygons."""
    pieces = divisions.pieces_of()
    found = [pieces.get(index) for index in indices.tolist()]
    return (
        [divided_kind if partners else kind for partners in found],
        [",".join(str(ids[p]) for p in partners) if partners else None for partners in found],
    )


def _best_iou(index: np.ndarray, iou: np.ndarray, count: int) -> np.ndarray:
    best = np.zeros(count)
    np.maximum.at(best, index, iou)
    return best
