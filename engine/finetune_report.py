"""The page a fine-tuning leaves: what it was worth, how it went, and where it is still wrong."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from .evaluation.charts import Series, line_chart
from .training_page import Measurement, plot_losses, plot_threshold, show_chips, tabulate_export, write_page

PRECISIONS = {
    "AP": "AP (IoU 0.50 to 0.95)", "AP50": "AP50", "AP75": "AP75", "APS": "AP, small", "APM": "AP, medium",
    "APL": "AP, large",
}  # fmt: skip
DECISIONS = {"precision": "Precision", "recall": "Recall", "F1": "F1"}
SIZES = {"S": "small", "M": "medium", "L": "large"}
NONE = "<td>\u2013</td>"
FEW = 30  # buildings below which figures say little


def write_report(
    facts: dict[str, Any], losses: Sequence[dict[str, float]], before: Measurement, after: Measurement,
    pictures: Sequence[tuple[str, str]],
) -> str:  # fmt: skip
    """One self-contained HTML page.

    Args:
        facts: what is written as figures, too (see `finetune`).
        losses: entries of the loss curve.
        pictures: captions and data addresses, see `training_page.draw_chips`.
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
        *plot_losses(losses),
        "</div><h2>Which lowest score</h2><div class='side'>",
        plot_threshold("Before", before),
        plot_threshold("After", after),
        "</div>",
        show_chips(pictures),
        tabulate_export(facts["export"]),
    ]
    return write_page("Fine-tuning", parts)


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
