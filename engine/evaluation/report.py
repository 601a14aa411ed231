"""The evaluation as one HTML page: no network, no scripts, prints on paper."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from ..about import VERSION
from ..config import EvaluateConfig
from .charts import Series, histogram, line_chart, shift_map
from .layers import Plane
from .measure import SIZES, Evaluation, PixelGrid
from .pictures import write_atomically
from .worst import draw_chips, find_worst

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { font: 15px/1.5 "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; color: #1f2937;
  background: #fff; max-width: 1000px; margin: 0 auto; padding: 28px 24px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 40px 0 10px; padding-bottom: 5px; border-bottom: 2px solid #e5e7eb; }
h3 { font-size: 15px; margin: 22px 0 6px; }
p, ul { max-width: 76ch; margin: 8px 0; } .quiet { color: #6b7280; font-size: 13px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(122px, 1fr)); gap: 10px; margin: 22px 0; }
.tile { border: 1px solid #e5e7eb; border-radius: 8px; padding: 10px 12px; }
.tile b { display: block; font-size: 22px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { color: #6b7280; font-size: 12.5px; }
table { border-collapse: collapse; margin: 10px 0; font-size: 13.5px; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid #e5e7eb; text-align: left; vertical-align: top; }
td.n, th.n { text-align: right; padding: 4px 0 4px 16px; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.best td { background: #f0fdf4; }
.side { display: grid; grid-template-columns: 1fr 1fr; gap: 18px 28px; align-items: start; }
figure { margin: 8px 0; } figcaption { font-size: 12.5px; color: #4b5563; }
svg, img { max-width: 100%; height: auto; display: block; }
svg text { font: 11.5px "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; fill: #374151; }
svg .grid { stroke: #e5e7eb; stroke-width: 1; }
.notes { background: #fffbeb; border-left: 4px solid #f59e0b; padding: 8px 14px; margin: 16px 0; }
.notes ul { margin: 0; padding-left: 18px; }
.chips { display: grid; grid-template-columns: repeat(4, 1fr); gap: 16px 14px; }
.chips img, .chips svg { width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 4px; }
.key i { display: inline-block; width: 22px; height: 4px; vertical-align: middle; margin: 0 6px 0 14px;
  border: 1px solid #101018; box-sizing: content-box; }
@page { size: A4; margin: 14mm; }
@media (max-width: 700px) { .side { grid-template-columns: 1fr; } .chips { grid-template-columns: 1fr 1fr; } }
@media print { body { padding: 0; max-width: none; font-size: 10pt; }
  table { font-size: 9pt; } td, th, td.n, th.n { padding-top: 2px; padding-bottom: 2px; } h2 { margin-top: 24px; }
  h2, h3, h2 + p { break-after: avoid; } table, figure, tr, .tile, .notes { break-inside: avoid; }
  .side { grid-template-columns: 1fr 1fr; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def write_report(
    config: EvaluateConfig,
    figures: dict[str, Any],
    evaluations: Sequence[Evaluation],
    plane: Plane,
    grid: PixelGrid | None,
) -> None:
    """Write the page to `config.report`, whole or not at all.

    Args:
        config: of the job.
        figures: of the first layer, and of the comparison, as plain values.
        evaluations: of all predicted layers, the judged one first.
        plane: of the comparison.
        grid: pixels of the raster; None without one.

    Raises:
        OutputError: the file cannot be written.
        RasterError: the raster cannot be read.
    """
    write_atomically(config.report, render_report(config, figures, evaluations, plane, grid).encode("utf-8"))


def render_report(
    config: EvaluateConfig,
    figures: dict[str, Any],
    evaluations: Sequence[Evaluation],
    plane: Plane,
    grid: PixelGrid | None,
) -> str:
    """The page as text; see `write_report`."""
    first = evaluations[0]
    names = first.predicted.name, first.reference.name
    title = f"{names[0]} against {names[1]}"
    sections = (
        _head(title, figures),
        _tiles(figures),
        _notes(figures["notes"]),
        _comparison(figures, evaluations) if len(evaluations) > 1 else "",
        _detection(figures, evaluations),
        _outlines(figures, first),
        _position(figures, first),
        _topology(figures),
        _worst(first, plane, grid, config.raster),
        _parameters(figures),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _head(title: str, figures: dict[str, Any]) -> str:
    written = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"<h1>{escape(title)}</h1><p class=quiet>Evaluation of building outlines,"
        f" {figures['predicted']:,} predicted and {figures['reference']:,} reference polygons."
        f" Cadastral Vectorizer {escape(VERSION)}, {written}.</p>"
    )


def _tiles(figures: dict[str, Any]) -> str:
    shown = (
        ("AP", "AP (IoU .50 to .95)", ".3f", ""),
        ("AP50", "AP at IoU .50", ".3f", ""),
        ("F1", "F1 at IoU .50", ".3f", ""),
        ("IoU", "IoU of the areas", ".3f", ""),
        ("polis_m", "PoLiS distance", ".2f", " m"),
        ("corner_rmse_m", "corner RMSE, matched ones", ".2f", " m"),
        ("corners_unmatched_share", "corners unmatched", ".0%", ""),
    )
    cells = (
        f"<div class=tile><b>{_number(figures.get(key), form)}{unit if figures.get(key) is not None else ''}</b>"
        f"<span>{label}</span></div>"
        for key, label, form, unit in shown
    )
    return f"<div class=tiles>{''.join(cells)}</div>"


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    return f"<div class=notes><ul>{''.join(f'<li>{escape(note)}.</li>' for note in notes)}</ul></div>"


_COMPARISON_ROWS = (
    ("AP", ".3f", 1), ("AP50", ".3f", 1), ("AP75", ".3f", 1), ("AP_small", ".3f", 1), ("AP_medium", ".3f", 1),
    ("AP_large", ".3f", 1), ("boundary_AP_025m", ".3f", 1), ("IoU", ".3f", 1), ("precision", ".3f", 1),
    ("recall", ".3f", 1), ("F1", ".3f", 1), ("best_F1", ".3f", 1), ("quality", ".3f", 1), ("splits", "d", -1),
    ("merges", "d", -1), ("mean_iou_matched", ".3f", 1), ("boundary_iou_025m", ".3f", 1), ("polis_m", ".3f", -1),
    ("hausdorff95_m", ".3f", -1), ("c_iou", ".3f", 1), ("max_tangent_angle_deg", ".1f", -1),
    ("vertex_ratio", ".2f", 0), ("corner_rmse_m", ".3f", -1), ("corners_unmatched_share", ".1%", -1),
    ("predicted", "d", 0), ("tp", "d", 1), ("fp", "d", -1), ("fn", "d", -1),
)  # fmt: skip
"""Figure, format, and whether more (1) or less (-1) is better."""


def _comparison(figures: dict[str, Any], evaluations: Sequence[Evaluation]) -> str:
    columns = figures["comparison"]
    head = "".join(f"<th class=n>{escape(column['name'])}</th>" for column in columns)
    rows = []
    for key, form, better in _COMPARISON_ROWS:
        values = [column[key] for column in columns]
        known = [value for value in values if value is not None]
        best = (max(known) if better > 0 else min(known)) if known and better and len(set(known)) > 1 else None
        shown = [_number(value, form) for value in values]
        cells = "".join(
            f"<td class=n>{f'<b>{text}</b>' if value is not None and value == best else text}</td>"
            for value, text in zip(values, shown, strict=True)
        )
        rows.append(f"<tr><td>{_label(key)}</td>{cells}</tr>")
    return (
        "<h2>Models side by side</h2><p>All against the same reference; the better value of each row is bold.</p>"
        f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
    )


def _detection(figures: dict[str, Any], evaluations: Sequence[Evaluation]) -> str:
    first = evaluations[0]
    curves = [Series(e.predicted.name, e.curve.recall, e.curve.precision) for e in evaluations]
    charts = _figure(
        line_chart(curves, x_label="recall", y_label="precision"),
        "Precision and recall over the score threshold, IoU at least .50."
        + ("" if first.predicted.scored else " Without scores there is one point only."),
    )
    if first.predicted.scored and len(first.curve.scores):
        precision, recall = first.curve.precision, first.curve.recall
        total = np.maximum(precision + recall, 1e-12)
        f1 = Series("F1", first.curve.scores, 2 * precision * recall / total)
        best = figures["best_threshold"], figures["best_F1"]
        charts += _figure(
            line_chart(
                [f1, Series("precision", first.curve.scores, precision), Series("recall", first.curve.scores, recall)],
                x_label="score threshold",
                y_label="F1, precision, recall",
                mark=best if None not in best else None,
            ),
            f"Best F1 {_number(best[1], '.3f')} at a score of {_number(best[0], '.3f')}.",
        )
    left = _table(
        figures,
        ("tp", "fp", "fn", "splits", "merges", "precision", "recall", "F1", "best_F1", "best_threshold", "quality"),
    ) + _table(figures, ("commission", "omission", "area_completeness", "area_correctness", "pixel_accuracy"))
    right = _table(
        figures,
        ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AP_small_m2", "AP_medium_m2", "AP_large_m2",
         "AP_raster", "AP50_raster", "AP75_raster", "boundary_AP", "boundary_AP_025m"),
    )  # fmt: skip
    return (
        "<h2>Found, missed, invented</h2><p>A prediction is right when it overlaps a reference of its own with an IoU"
        " of at least .50. A <i>split</i> is a reference found in several pieces, a <i>merge</i> a prediction"
        " over several references.</p>"
        f"<div class=side>{_columns(left, right)}{charts}</div>"
    )


def _columns(left: str, right: str) -> str:
    return f"<div>{left}</div><div>{right}</div>"


def _outlines(figures: dict[str, Any], evaluation: Evaluation) -> str:
    iou = evaluation.pairs.iou[evaluation.outcome.pair]
    table = _table(
        figures,
        ("mean_iou_matched", "boundary_iou", "boundary_iou_025m", "polis_m", "hausdorff_m", "hausdorff95_m", "c_iou",
         "vertex_ratio", "max_tangent_angle_deg"),
    )  # fmt: skip
    chart = _figure(
        histogram(iou, x_label="IoU of matched buildings", y_label="buildings", x_range=(0.5, 1.0), bins=25),
        f"{len(iou):,} matched buildings. IoU hides corner errors: see the corners below.",
    )
    return f"<h2>Shape of the outlines found</h2><div class=side>{_columns(table, chart)}</div>"


def _position(figures: dict[str, Any], evaluation: Evaluation) -> str:
    limit = figures["limit_m"]
    classes = {"all": figures, **{name: figures["corner_sizes"][name] for name in SIZES}}
    rows = []
    for key, form in (
        ("corners_reference", "d"), ("corners_matched", "d"), ("corners_unmatched_share", ".1%"),
        ("corner_dx_m", "+.3f"), ("corner_dy_m", "+.3f"), ("corner_std_x_m", ".3f"), ("corner_std_y_m", ".3f"),
        ("corner_rmse_x_m", ".3f"), ("corner_rmse_y_m", ".3f"), ("corner_rmse_m", ".3f"), ("corner_p95_m", ".3f"),
        ("corner_max_m", ".3f"), ("corner_within_limit", ".1%"), ("corner_within_2limit", ".1%"),
    ):  # fmt: skip
        cells = "".join(f"<td class=n>{_number(values[key], form)}</td>" for values in classes.values())
        rows.append(f"<tr><td>{_label(key)}</td>{cells}</tr>")
    low, high = figures["parameters"]["size_limits_m2"]
    names = ("all", f"under {low:g} m²", f"{low:g} to {high:g} m²", f"over {high:g} m²")
    head = "".join(f"<th class=n>{name}</th>" for name in names)
    words = "".join(f"<li>{escape(sentence)}</li>" for sentence in figures["accuracy_notes"])
    length = np.hypot(*evaluation.corners.shift.T)
    chart = _figure(
        histogram(
            length,
            x_label="corner shift, m",
            y_label="corners",
            x_range=(0.0, evaluation.gate_m),
            lines=((limit, "limit"), (2 * limit, "twice")),
        ),
        f"{len(length):,} matched corners; none can be farther than {evaluation.gate_m:.2f} m.",
    )
    true = evaluation.reference.geometries[evaluation.outcome.true_reference]
    positions = shapely.get_coordinates(shapely.centroid(true))
    arrows = shift_map(positions, evaluation.shift, evaluation.reference.geometries)
    return (
        f"<h2>Position of corners</h2><ul>{words}</ul>"
        f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"
        "<p class=quiet>Mean and spread of predicted less reference; RMSE² is their squares added. The limit is"
        f" {limit:g} m.</p>"
        f"{_classes(figures)}<div class=side>{_columns(chart, _CLASS_WORDS)}</div>"
        + (
            _figure(
                arrows, "Shift of each matched building: mean of its corners, or of its centroid where few matched."
            )
            if arrows
            else ""
        )
    )


_CLASS_WORDS = (
    "<p class=quiet>Within or above is what was measured against this reference: the corner RMSE beside the"
    " accuracy limits, the ground pixel beside the scales. It is not a statement of compliance.</p>"
    "<p class=quiet>ASPRS 2023 has no fixed classes; its class is the RMSE itself, and takes at least 30 independent"
    " check points. For INSPIRE and ISO 19157 see commission and omission in the first table; most uses ask for a"
    " completeness above 90 %.</p>"
)


def _classes(figures: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(entry['rule'])}</td><td>{escape(entry['name'])}</td>"
        f"<td class=n>{entry['limit_m']:.2f} m</td>"
        f"<td class=n>{_number(entry['within'], '.0%')}</td><td class=n>{_number(entry['within_twice'], '.0%')}</td>"
        f"<td class=n>{'–' if entry['below'] is None else 'within' if entry['below'] else 'above'}</td></tr>"
        for entry in figures["accuracy_classes"]
    )
    return (
        "<h3>Beside the limits of the rules</h3><table><tr><th>rule</th><th>class</th><th class=n>limit</th>"
        "<th class=n>corners within</th><th class=n>within twice</th><th class=n>measured</th></tr>"
        f"{rows}</table>"
    )


def _topology(figures: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{label}</td><td class=n>{_number(figures['topology_' + key], form)}</td></tr>"
        for key, label, form in (
            ("features", "features", "d"),
            ("invalid", "invalid polygons", "d"),
            ("multipart", "multi-part features", "d"),
            ("overlapping", "overlapping pairs", "d"),
            ("overlap_m2", "area of the overlaps, m²", ".1f"),
            ("slivers", "slivers (mean width under 0.5 m)", "d"),
            ("gaps", "neighbours with a gap under 0.3 m", "d"),
            ("duplicate_vertices", "duplicate vertices (within 1 mm)", "d"),
            ("touching", "touching neighbours", "d"),
            ("unshared_walls", "of these without the same vertices on the wall", "d"),
        )
    )
    return f"<h2>Topology of the predicted layer</h2><table>{rows}</table>"


_KINDS = {"outline": "outline differs", "false": "false building", "missed": "missed building"}


def _worst(evaluation: Evaluation, plane: Plane, grid: PixelGrid | None, raster: str) -> str:
    worst = find_worst(evaluation)
    if not worst:
        return ""
    chips = draw_chips(worst, evaluation, plane, grid, raster)
    cells = "".join(
        f"<figure>{chip}<figcaption><b>{rank}. {_KINDS[item.kind]}</b>, {item.wrong_m2:,.0f} m² wrong"
        f"{f', IoU {item.iou:.2f}' if item.kind == 'outline' else ''}<br>"
        f"{escape(' / '.join(i for i in (item.predicted_id, item.reference_id) if i))}</figcaption></figure>"
        for rank, (item, chip) in enumerate(zip(worst, chips, strict=True), start=1)
    )
    return (
        f"<h2>The worst {len(worst)}</h2><p>Largest area that is in one layer only."
        "<span class=key><i style='background:#ffde00'></i>predicted"
        "<i style='background:#00e5ff'></i>reference</span></p>"
        f"<div class=chips>{cells}</div>"
    )


_FILES = ("predicted", "others", "reference", "area", "raster")
_WRITTEN = ("matches", "report", "figures")


def _parameters(figures: dict[str, Any]) -> str:
    """What was compared, and how. Files stand without their folders: reports are handed around."""
    rows = []
    for name, value in figures["parameters"].items():
        if name in _WRITTEN or value in ("", [], None):
            continue
        if name in _FILES:
            value = ", ".join(Path(item).name for item in ([value] if isinstance(value, str) else value))
        elif isinstance(value, list):
            value = ", ".join(f"{item:g}" for item in value)
        rows.append(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>")
    return f"<h2>Parameters</h2><table>{''.join(rows)}</table>"


_LABELS = {
    "tp": ("true positives", "d"), "fp": ("false positives", "d"), "fn": ("missed (false negatives)", "d"),
    "splits": ("splits", "d"), "merges": ("merges", "d"), "precision": ("precision (correctness)", ".3f"),
    "recall": ("recall (completeness)", ".3f"), "F1": ("F1", ".3f"), "best_F1": ("best F1", ".3f"),
    "best_threshold": ("score threshold of the best F1", ".3f"), "quality": ("quality TP/(TP+FP+FN)", ".3f"),
    "commission": ("commission (excess)", ".1%"), "omission": ("omission", ".1%"),
    "area_completeness": ("area completeness", ".3f"), "area_correctness": ("area correctness", ".3f"),
    "pixel_accuracy": ("pixel accuracy", ".3f"), "IoU": ("IoU of the areas", ".3f"),
    "AP": ("AP, IoU .50 to .95", ".3f"), "AP50": ("AP50", ".3f"), "AP75": ("AP75", ".3f"),
    "AP_small": ("AP small (under 32² px)", ".3f"), "AP_medium": ("AP medium", ".3f"),
    "AP_large": ("AP large (over 96² px)", ".3f"), "AP_small_m2": ("AP small, by area in m²", ".3f"),
    "AP_medium_m2": ("AP medium, by area in m²", ".3f"), "AP_large_m2": ("AP large, by area in m²", ".3f"),
    "AP_raster": ("AP on pixel masks", ".3f"), "AP50_raster": ("AP50 on pixel masks", ".3f"),
    "AP75_raster": ("AP75 on pixel masks", ".3f"), "boundary_AP": ("boundary AP, 2 % band", ".3f"),
    "boundary_AP_025m": ("boundary AP, 0.25 m band", ".3f"), "mean_iou_matched": ("mean IoU", ".3f"),
    "boundary_iou": ("boundary IoU, 2 % band", ".3f"), "boundary_iou_025m": ("boundary IoU, 0.25 m band", ".3f"),
    "polis_m": ("PoLiS distance, m", ".3f"), "hausdorff_m": ("Hausdorff distance, m", ".3f"),
    "hausdorff95_m": ("Hausdorff, 95th percentile, m", ".3f"), "c_iou": ("C-IoU", ".3f"),
    "vertex_ratio": ("vertices, predicted / reference", ".2f"),
    "max_tangent_angle_deg": ("greatest tangent angle, degrees", ".1f"),
    "corners_reference": ("reference corners", "d"), "corners_matched": ("matched", "d"),
    "corners_unmatched_share": ("unmatched corners", ".1%"), "corner_dx_m": ("mean dx, m", "+.3f"),
    "corner_dy_m": ("mean dy, m", "+.3f"), "corner_std_x_m": ("random part x, m", ".3f"),
    "corner_std_y_m": ("random part y, m", ".3f"), "corner_rmse_x_m": ("RMSE x, m", ".3f"),
    "corner_rmse_y_m": ("RMSE y, m", ".3f"), "corner_rmse_m": ("corner RMSE horizontal, m", ".3f"),
    "corner_p95_m": ("95th percentile, m", ".3f"), "corner_max_m": ("largest, m", ".3f"),
    "corner_within_limit": ("within the limit", ".1%"), "corner_within_2limit": ("within twice the limit", ".1%"),
    "predicted": ("predicted polygons", "d"),
}  # fmt: skip


def _label(key: str) -> str:
    return _LABELS[key][0]


def _table(figures: dict[str, Any], keys: Sequence[str]) -> str:
    """Names and values; figures that were not computed are left out, undefined ones dashed."""
    rows = "".join(
        f"<tr><td>{_LABELS[key][0]}</td><td class=n>{_number(figures[key], _LABELS[key][1])}</td></tr>"
        for key in keys
        if key in figures
    )
    return f"<table>{rows}</table>"


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _number(value: Any, form: str) -> str:
    if value is None:
        return "–"
    if form == "d":
        return f"{int(value):,}"
    return format(value, form)
