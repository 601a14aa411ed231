"""Pieces of the pages that trainings leave: curves, the lowest score, the data, pictures of validation chips."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import numpy as np

from .evaluation.charts import Series, line_chart
from .training.average_precision import recommend

STYLE = """body{font:15px/1.5 "Segoe UI","Helvetica Neue","DejaVu Sans",Arial,sans-serif;color:#1f2937;max-width:1000px;
margin:0 auto;padding:28px 24px 60px}h1{font-size:26px;margin:0}h2{font-size:19px;margin:36px 0 8px;
border-bottom:2px solid #e5e7eb}p{max-width:76ch}.quiet{color:#6b7280;font-size:13px}
.note{background:#fffbeb;border-left:4px solid #f59e0b;padding:8px 14px}
table{border-collapse:collapse}td,th{padding:4px 16px 4px 0;border-bottom:1px solid #e5e7eb;text-align:left}
td+td,th+th{text-align:right;font-variant-numeric:tabular-nums}
.side{display:grid;grid-template-columns:1fr 1fr;gap:18px 28px}figure{margin:8px 0}
figcaption{font-size:13px;color:#4b5563}svg,img{max-width:100%;height:auto;display:block}
svg text{font:11.5px sans-serif;fill:#374151}svg .grid{stroke:#e5e7eb}
@media(max-width:700px){.side{grid-template-columns:1fr}}@media print{figure,tr{break-inside:avoid}}"""
SHORT = {"box_reg": "boxes", "classifier": "classes", "mask": "masks", "objectness": "objects",
         "rpn_box_reg": "anchors"}  # fmt: skip
PICTURE_PX = 480


@dataclass(frozen=True)
class Measurement:
    """A model on the validation chips.

    Attributes:
        figures: of `MatchCollector.figures`, at `threshold`.
        matches: the `MatchCollector`.
        threshold: of the network's own scores, 0..1; the usual 0.5 after bending by `exponent`.
        exponent: the model's ``score_exponent``.
        chips: chip name -> F1, chips without buildings left out.
    """

    figures: dict[str, float]
    matches: Any
    threshold: float
    exponent: float
    chips: dict[str, float]


def write_page(title: str, parts: Sequence[str]) -> str:
    """One self-contained HTML page."""
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<style>{STYLE}</style>{''.join(parts)}</html>"
    )


def show_chips(pictures: Sequence[tuple[str, str]]) -> str:
    """The section of `draw_chips`' captions and pictures; empty without any."""
    if not pictures:
        return ""
    figures = (f"<figure><img alt='' src='{src}'><figcaption>{text}</figcaption></figure>" for text, src in pictures)
    return (
        "<h2>Validation chips</h2><p class='quiet'>Yellow: the outlines drawn by hand; blue: found by the new "
        f"model at the usual lowest score; dark: nothing known.</p><div class='side'>{''.join(figures)}</div>"
    )


def plot_losses(losses: Sequence[dict[str, float]]) -> list[str]:
    """Charts of the training loss and of its parts, from entries with ``step`` and ``loss_...``."""
    if len(losses) < 2:
        return []
    steps = np.array([entry["step"] for entry in losses], float)
    names = sorted({n for entry in losses for n in entry if n.startswith("loss_")})
    values = {n: np.array([entry.get(n, np.nan) for entry in losses]) for n in names}
    total = np.sum([np.nan_to_num(v) for v in values.values()], axis=0)
    lines = [Series(SHORT.get(n[5:], n[5:].replace("_", " ")), steps, np.nan_to_num(v)) for n, v in values.items()]
    figures = []
    for series, text in (([Series("all", steps, total)], "Training loss"), (lines, "Its parts")):
        high = 1.05 * max(float(line.y.max()) for line in series) or 1.0
        chart = line_chart(series, x_label="step", y_label="loss", x_range=(0.0, steps[-1]), y_range=(0.0, high))
        figures.append(f"<figure>{chart}<figcaption>{text}</figcaption></figure>")
    return figures


def plot_threshold(title: str, measurement: Measurement) -> str:
    """Precision, recall and F1 over the lowest score, on the scale people see."""
    curves = threshold_curves(measurement)
    if not curves:
        return ""
    scores = np.array(curves["score"])
    lines = {name: np.array(values) for name, values in curves.items() if name != "score"}
    best = recommend(lines["F1"])
    chart = line_chart([Series(n, scores, v) for n, v in lines.items()], x_label="lowest score", y_label="share",
                       mark=(float(scores[best]), float(lines["F1"][best])))  # fmt: skip
    text = f"{title}: recommended is {scores[best]:.2f}, the lowest of those with a good F1, {lines['F1'][best]:.3f}"
    return f"<figure>{chart}<figcaption>{text}</figcaption></figure>"


def threshold_curves(measurement: Measurement) -> dict[str, list[float]]:
    """``precision``, ``recall`` and ``F1`` of the masks at IoU 0.5 by falling lowest ``score``, as people see
    it; empty when nothing was found."""
    scores, hits, truths = measurement.matches.ranked()
    if not len(scores) or not truths:
        return {}
    found, counts = hits.cumsum(), np.arange(1, len(hits) + 1)
    curves = {"score": scores**measurement.exponent, "precision": found / counts, "recall": found / truths,
              "F1": 2 * found / (counts + truths)}  # fmt: skip
    return {name: [round(float(v), 4) for v in values] for name, values in curves.items()}


def tabulate_export(export: dict[str, Any]) -> str:
    """What went into the chips and what was skipped, from the export's report; empty without one."""
    if not export:
        return ""
    rows = [("Annotations used", export["used"])]
    rows += [(f"Skipped: {reason}", count) for reason, count in export["skipped"].items()]
    for split, counts in export["splits"].items():
        rows.append((f"Chips, {split}", counts["chips"]))
    table = "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in rows)
    return f"<h2>Data</h2><table>{table}</table>"


def draw_chips(
    model: Any, chips: Sequence[Any], measurement: Measurement, *, pixel_m: float, bfloat16: bool,
    find: Callable[..., list[list[Any]]],
) -> list[tuple[str, str]]:  # fmt: skip
    """The best, the median and the worst validation chip: captions and JPEG data addresses.

    Args:
        find: what turns images into predictions with the model; called as `models.detector.predict`.
    """
    import torch

    from .training.validate import resample_chip

    ranked = sorted(measurement.chips, key=lambda name: -measurement.chips[name])
    last = len(ranked) - 1
    titles = {0: "Best", last // 2: "Median", last: "Worst"} if last > 1 else {last: "Worst", 0: "Best"}
    by_name = {chip.name: chip for chip in chips}
    device = next(model.parameters()).device
    drawn = []
    for place, title in sorted(titles.items()) if ranked else ():
        chip = by_name[ranked[place]]
        image, labels = resample_chip(chip, pixel_m)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].to(device)
        found = find(model, tensor, bfloat16=bfloat16, score_threshold=measurement.threshold)[0]
        scale = max(PICTURE_PX / max(image.shape[:2]), 1.0)
        canvas = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
        unknown = cv2.resize((labels < 0).astype(np.uint8), canvas.shape[1::-1]) > 0
        canvas[unknown] = canvas[unknown] // 2
        for value in np.unique(labels[labels > 0]):
            _outline(canvas, (labels == value).astype(np.uint8), (255, 220, 0), 3)
        for prediction in found:
            x0, y0, x1, y1 = prediction.box
            mask = np.zeros(labels.shape, np.uint8)
            mask[y0:y1, x0:x1] = prediction.probability >= 128
            _outline(canvas, mask, (40, 130, 255), 2)
        height, width = (round(side * chip.pixel_m / pixel_m * scale) for side in chip.labels.shape)
        canvas = canvas[:height, :width]  # the rest is padding
        _, code = cv2.imencode(".jpg", canvas[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
        address = "data:image/jpeg;base64," + base64.b64encode(code.tobytes()).decode()
        drawn.append((f"{title}: F1 {measurement.chips[ranked[place]]:.2f}, {escape(ranked[place])}", address))
    return drawn


def _outline(canvas: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], width: int) -> None:
    large = cv2.resize(mask, canvas.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, colour, width)
