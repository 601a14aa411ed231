"""The page a fine-tuning leaves: what it was worth, how it went, and where it is still wrong."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import numpy as np

from .evaluation.charts import Series, line_chart

PRECISIONS = {
    "AP": "AP (IoU 0.50 to 0.95)", "AP50": "AP50", "AP75": "AP75", "APS": "AP, small", "APM": "AP, medium",
    "APL": "AP, large",
}  # fmt: skip
DECISIONS = {"precision": "Precision", "recall": "Recall", "F1": "F1"}
SIZES = {"S": "small", "M": "medium", "L": "large"}
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
NONE = "<td>\u2013</td>"
FEW = 30  # buildings below which figures say little
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


def write_report(
    facts: dict[str, Any], losses: Sequence[dict[str, float]], before: Measurement, after: Measurement,
    pictures: Sequence[tuple[str, str]],
) -> str:  # fmt: skip
    """One self-contained HTML page.

    Args:
        facts: what is written as figures, too (see `finetune`).
        losses: entries of the loss curve.
        pictures: captions and data addresses, see `draw_chips`.
    """
    truths = int(before.figures["truths"])
    notes = []
    if not facts["gained"]:
        notes.append("Nothing the training did was better on the validation chips: the weights are the old ones.")
    if facts["stopped_early"]:
        notes.append("Training ended early: the measurements did not get better any more.")
    if truths < FEW:
        notes.append(f"Only {truths} buildings were kept aside: differences of a few hundredths mean nothing.")
    data = facts["buildings"]
    parts = [
        f"<h1>Fine-tuning of {escape(facts['base'])}</h1><p>{escape(facts['model'])}: learnt from "
        f"{data['train']} outlines, measured on {data['val']} others in blocks of ground the training did not see. "
        f"{facts['steps']} steps in {facts['seconds'] / 60:.1f} minutes; the weights are those of step "
        f"{facts['best_step']}{_describe_mix(facts['mix'])}.</p>",
        *(f"<p class='note'>{note}</p>" for note in notes),
        "<h2>Before and after</h2>",
        _precisions(before, after),
        "<p class='quiet'>As pycocotools, without its cap on detections. Small: up to 32 x 32 pixels of "
        f"{facts['pixel_m']:g} m, medium: up to 96 x 96, large: above.</p>",
        _decisions(before, after),
        "<p class='quiet'>Masks at IoU 0.5 and the usual lowest score of 0.5. For that, the scores "
        f"of the new model are raised to {after.exponent:.3f} (before: {before.exponent:.3f}). Weights and scores were "
        "chosen on these same chips, so the gain elsewhere in the town is likely to be a little smaller.</p>",
        "<h2>How it went</h2><div class='side'>",
        _history(facts["history"]),
        *_losses(losses),
        "</div><h2>Which lowest score</h2><div class='side'>",
        _threshold("Before", before),
        _threshold("After", after),
        "</div>",
    ]
    if pictures:
        parts.append(
            "<h2>Validation chips</h2><p class='quiet'>Yellow: the outlines drawn by hand; blue: found by the new "
            "model at the usual lowest score; dark: nothing known.</p><div class='side'>"
        )
        parts += [f"<figure><img alt='' src='{src}'><figcaption>{text}</figcaption></figure>" for text, src in pictures]
        parts.append("</div>")
    if facts["export"]:
        parts.append(_export(facts["export"]))
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>Fine-tuning</title>"
        f"<style>{STYLE}</style>{''.join(parts)}</html>"
    )


def _precisions(before: Measurement, after: Measurement) -> str:
    """Average precisions of masks and boxes."""
    moments = ("before", "after", "change")
    head = "".join(f"<th>{kind}, {moment}</th>" for kind in ("masks", "boxes") for moment in moments)
    rows = "".join(
        f"<tr><td>{name}</td>{_compare(before, after, key)}{_compare(before, after, f'box_{key}')}</tr>"
        for key, name in PRECISIONS.items()
    )
    return f"<table><tr><th>{int(before.figures['truths'])} buildings</th>{head}</tr>{rows}</table>"


def _decisions(before: Measurement, after: Measurement) -> str:
    """Precision, recall and F1 of all buildings and of each size."""
    parts = []
    for letter, size in {"": "all", **SIZES}.items():
        truths = int(before.figures[f"truths{letter}"])
        rows = "".join(
            f"<tr><td>{name}, {size}</td><td>{truths}</td>{_compare(before, after, key + letter)}</tr>"
            for key, name in DECISIONS.items()
        )
        parts.append(rows if truths else f"<tr><td>{size}</td><td>0</td>{NONE * 3}</tr>")
    head = "<tr><th>At the usual score</th><th>buildings</th><th>before</th><th>after</th><th>change</th></tr>"
    return f"<table>{head}{''.join(parts)}</table>"


def _compare(before: Measurement, after: Measurement, key: str) -> str:
    """Three cells; dashes where there is no building of a size."""
    old, new = before.figures[key], after.figures[key]
    if old < 0:
        return NONE * 3
    return f"<td>{old:.3f}</td><td>{new:.3f}</td><td>{new - old:+.3f}</td>"


def _describe_mix(mix: float) -> str:
    return "" if mix == 1 else f", mixed with those of the start: {mix:.0%} of what was learnt"


def _history(history: Sequence[dict[str, Any]]) -> str:
    learnt = [entry for entry in history if entry["mix"] == 1]
    steps = np.array([entry["step"] for entry in learnt], float)
    series = [
        Series(name, steps, np.array([entry["validation"]["all"][name] for entry in learnt]))
        for name in ("AP50", "AP", "best_F1")
    ]
    if all("watched" in entry for entry in learnt):
        series.append(Series("AP, generated", steps, np.array([entry["watched"]["AP"] for entry in learnt])))
    chart = line_chart(series, x_label="step", y_label="validation", x_range=(0.0, max(steps.max(), 1.0)))
    tried = ", ".join(f"{e['mix']:.0%}: {e['validation']['all']['AP']:.3f}" for e in history if e["mix"] != 1)
    text = "Figures of the averaged weights on the validation chips" + (
        f"; AP with only a part of what was learnt, the rest from the start: {tried}" if tried else ""
    )
    return f"<figure>{chart}<figcaption>{text}</figcaption></figure>"


def _losses(losses: Sequence[dict[str, float]]) -> list[str]:
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


def _threshold(title: str, measurement: Measurement) -> str:
    """Precision, recall and F1 over the lowest score, on the scale people see."""
    curves = threshold_curves(measurement)
    if not curves:
        return ""
    scores = np.array(curves["score"])
    lines = {name: np.array(values) for name, values in curves.items() if name != "score"}
    best = int(lines["F1"].argmax())
    chart = line_chart([Series(n, scores, v) for n, v in lines.items()], x_label="lowest score", y_label="share",
                       mark=(float(scores[best]), float(lines["F1"][best])))  # fmt: skip
    text = f"{title}: recommended is {scores[best]:.2f}, with the best F1 of {lines['F1'][best]:.3f}"
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


def _export(export: dict[str, Any]) -> str:
    rows = [("Annotations used", export["used"])]
    rows += [(f"Skipped: {reason}", count) for reason, count in export["skipped"].items()]
    for split, counts in export["splits"].items():
        rows.append((f"Chips, {split}", counts["chips"]))
    table = "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in rows)
    return f"<h2>Data</h2><table>{table}</table>"


def draw_chips(
    model: Any, chips: Sequence[Any], measurement: Measurement, *, pixel_m: float, bfloat16: bool
) -> list[tuple[str, str]]:
    """The best, the median and the worst validation chip: captions and JPEG data addresses."""
    import torch

    from ..models.detector import predict
    from .training.validate import resample_chip

    ranked = sorted(measurement.chips, key=lambda name: -measurement.chips[name])
    last = len(ranked) - 1
    titles = {0: "Best", last // 2: "Median", last: "Worst"} if last > 1 else {0: "Best", last: "Worst"}
    by_name = {chip.name: chip for chip in chips}
    device = next(model.parameters()).device
    drawn = []
    for place, title in titles.items() if ranked else ():
        chip = by_name[ranked[place]]
        image, labels = resample_chip(chip, pixel_m)
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].to(device)
        found = predict(model, tensor, bfloat16=bfloat16, score_threshold=measurement.threshold)[0]
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
