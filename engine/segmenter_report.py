"""The page the training of a segmenter leaves: pixels before and after, buildings, how it went, where it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from .evaluation.charts import Series, line_chart
from .training_page import Measurement, plot_losses, plot_threshold, show_chips, tabulate_export, write_page

PIXELS = {"mean_iou": "Mean IoU", "pixel_accuracy": "Pixel accuracy", "class_accuracy": "Class accuracy"}
BUILDINGS = {"AP": "AP (IoU 0.50 to 0.95)", "AP50": "AP50", "AP75": "AP75", "precision": "Precision",
             "recall": "Recall", "F1": "F1"}  # fmt: skip
FEW = 30  # buildings below which figures say little


def write_report(
    facts: dict[str, Any], log: Sequence[dict[str, Any]], buildings: Measurement, export: dict[str, Any],
    pictures: Sequence[tuple[str, str]],
) -> str:  # fmt: skip
    """One self-contained HTML page.

    Args:
        facts: what is written as figures, too (see `train_segmenter`).
        log: entries of the training's log.
        buildings: what the best weights find on the validation chips.
        export: report of the chips' export; empty where there was none.
        pictures: captions and data addresses, see `training_page.draw_chips`.
    """
    truths = int(buildings.figures["truths"])
    start, pixels = facts["start"], facts["pixels"]["all"]
    notes = []
    if start and start["all"]["mean_iou"] >= pixels["mean_iou"]:
        notes.append("Nothing the training did was better on the validation chips: the weights are the old ones.")
    if truths < FEW:
        notes.append(f"Only {truths} buildings were kept aside: differences of a few hundredths mean nothing.")
    parts = [
        f"<h1>Training of a segmenter</h1><p>{escape(facts['model'])}: {facts['steps']} steps, measured on {truths} "
        "buildings in blocks of ground the training did not see.</p>",
        *(f"<p class='note'>{note}</p>" for note in notes),
        "<h2>Pixels</h2>",
        _pixels(start["all"] if start else None, pixels),
        "<h2>Buildings</h2>",
        _buildings(buildings),
        "<p class='quiet'>Precision, recall and F1 at IoU 0.5 and the usual lowest score of 0.5; for that, scores are "
        f"raised to {buildings.exponent:.3f}. Weights and scores were chosen on these same chips, so the figures "
        "elsewhere in the town are likely to be a little lower.</p>",
        "<h2>How it went</h2><div class='side'>",
        _history([entry for entry in log if "validation" in entry]),
        *plot_losses([entry for entry in log if any(name.startswith("loss_") for name in entry)]),
        _gan([entry for entry in log if "gan_step" in entry]),
        "</div><h2>Which lowest score</h2><div class='side'>",
        plot_threshold("After", buildings),
        "</div>",
        show_chips(pictures),
        tabulate_export(export),
    ]
    return write_page("Training of a segmenter", parts)


def _pixels(before: dict[str, float] | None, after: dict[str, float]) -> str:
    rows = []
    for key, name in PIXELS.items():
        old = ("\u2013", "\u2013") if before is None else (f"{before[key]:.3f}", f"{after[key] - before[key]:+.3f}")
        rows.append(f"<tr><td>{name}</td><td>{old[0]}</td><td>{after[key]:.3f}</td><td>{old[1]}</td></tr>")
    return f"<table><tr><th></th><th>before</th><th>after</th><th>change</th></tr>{''.join(rows)}</table>"


def _buildings(measurement: Measurement) -> str:
    rows = [f"<tr><td>{name}</td><td>{measurement.figures[key]:.3f}</td></tr>" for key, name in BUILDINGS.items()]
    return f"<table>{''.join(rows)}</table>"


def _history(entries: Sequence[dict[str, Any]]) -> str:
    if len(entries) < 2:
        return ""
    steps = np.array([entry["step"] for entry in entries], float)
    series = [
        Series(name, steps, np.array([entry["validation"]["all"][key] for entry in entries]))
        for key, name in PIXELS.items()
    ]
    chart = line_chart(series, x_label="step", y_label="validation", x_range=(0.0, max(steps.max(), 1.0)))
    return f"<figure>{chart}<figcaption>Figures of the averaged weights on the validation chips</figcaption></figure>"


def _gan(entries: Sequence[dict[str, Any]]) -> str:
    """The losses of SegGAN's first step."""
    if len(entries) < 2:
        return ""
    steps = np.array([entry["gan_step"] for entry in entries], float)
    names = [name for name in entries[0] if name != "gan_step"]
    series = [Series(name.replace("_", " "), steps, np.array([e.get(name, np.nan) for e in entries])) for name in names]
    high = 1.05 * max(float(np.nanmax(line.y)) for line in series) or 1.0
    chart = line_chart(series, x_label="step", y_label="loss", x_range=(0.0, steps[-1]), y_range=(0.0, high))
    return f"<figure>{chart}<figcaption>SegGAN's first step: images from masks</figcaption></figure>"
