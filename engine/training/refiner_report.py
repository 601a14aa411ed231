"""The page a refiner's training leaves: curves, figures before and after, pictures of pairs."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import OutputError
from .pairs import Pair

FIGURES = {
    "iou": "IoU", "iou50_95": "IoU 0.5-95", "precision": "Precision", "recall": "Recall", "f1": "F1",
    "pixel_accuracy": "Pixel accuracy", "boundary_iou": "Boundary IoU (2 % of the diagonal)",
    "boundary_iou_25cm": "Boundary IoU (0.25 m)", "hausdorff_px": "Hausdorff (crop px)",
    "hausdorff95_px": "Hausdorff, 95th percentile (crop px)",
}  # fmt: skip
FEW = 30
"""Masks below which figures say little."""
COLOURS = ("#1f6fb4", "#c5512a", "#047857")
STYLE = """body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}
.note{background:#fffbeb;padding:.4em 1em}img{max-width:100%}figure{margin:1em 0}svg{background:#fafafa}"""


def write_report(
    path: str | Path,
    *,
    card: dict[str, Any],
    log: Sequence[dict[str, Any]],
    pairs: Mapping[str, Sequence[Pair]],
    refined: Mapping[str, Sequence[np.ndarray]],
    notes: Sequence[str] = (),
) -> None:
    """Write one self-contained HTML page.

    Args:
        card: what `train_refiner` returns.
        log: entries of ``log.jsonl``.
        pairs, refined: per source the examples and their refined masks, bool[H, W].
        notes: sentences to be read first.

    Raises:
        OutputError: the page cannot be written.
    """
    after = [entry["validation"]["all"]["after"] for entry in log]
    before = card["validation"]["all"]["before"]
    steps = [entry["step"] for entry in log]
    losses = [entry for entry in log if "loss" in entry]
    losses = losses if len(losses) > 1 else []
    start = log[0]["validation"] if steps[0] == 0 else {}
    masks = sum(figures["before"]["masks"] for source, figures in card["validation"].items() if source != "all")
    if masks < FEW:
        notes = [*notes, f"Measured on {masks:.0f} masks only: differences of a few hundredths mean nothing."]
    loss = curve("Training loss", [e["step"] for e in losses], {"loss": [e["loss"] for e in losses]}) if losses else ""
    parts = [
        f"<h1>Mask refiner {html.escape(card['variant'])}</h1>",
        f"<p>Best weights of step {card['step']} of {steps[-1]}. Figures are means over masks of the validation "
        "chips; &ldquo;all&rdquo; is the mean over the sources.</p>",
        *(f"<p class='note'>{html.escape(note)}</p>" for note in notes),
        loss,
        curve(
            "IoU and boundary IoU on the validation chips; dashed: before refinement",
            steps,
            {key: [figures[key] for figures in after] for key in ("iou", "boundary_iou")},
            {key: before[key] for key in ("iou", "boundary_iou")},
        ),
        curve(
            "Precision, recall and F1 on the validation chips; dashed: before refinement",
            steps,
            {key: [figures[key] for figures in after] for key in ("precision", "recall", "f1")},
            {key: before[key] for key in ("precision", "recall", "f1")},
        ),
        *(table(source, figures, start.get(source)) for source, figures in card["validation"].items()),
        "<p>Pictures: red the coarse mask, blue the refined one, yellow the truth.</p>",
        *(picture(source, pairs[source], refined[source]) for source in pairs),
    ]
    page = f"<!doctype html><meta charset='utf-8'><title>Mask refiner</title><style>{STYLE}</style>{''.join(parts)}"
    try:
        Path(path).write_text(page, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The report {path} cannot be written ({error.strerror})", "Free some space") from error


def table(
    source: str, figures: dict[str, dict[str, float]], start: dict[str, dict[str, float]] | None = None
) -> str:
    """Before, after and the change of every figure of a source; also after the refiner training started from."""
    rows = []
    for key, name in FIGURES.items():
        if key in figures["before"]:
            before, after = figures["before"][key], figures["after"][key]
            cells = [f"{before:.4f}", *([f"{start['after'][key]:.4f}"] if start else []), f"{after:.4f}"]
            cells = [f"<td>{cell}</td>" for cell in (name, *cells, f"{after - before:+.4f}")]
            rows.append(f"<tr>{''.join(cells)}</tr>")
    old = "<th>old refiner</th>" if start else ""
    count = "" if source == "all" else f"{figures['before']['masks']:.0f} masks"
    head = f"<tr><th>{count}</th><th>before</th>{old}<th>after</th><th>change</th></tr>"
    return f"<h2>{html.escape(source)}</h2><table>{head}{''.join(rows)}</table>"


def curve(
    title: str,
    steps: Sequence[int],
    lines: dict[str, Sequence[float]],
    levels: dict[str, float] | None = None,
) -> str:
    """An SVG chart of values over steps, with dashed horizontal levels."""
    width, height, left, bottom = 640, 220, 60, 24
    values = np.array([v for line in lines.values() for v in line] + list((levels or {}).values()))
    low, high = float(values.min()), float(values.max())
    span = high - low or 1.0
    last = max(steps[-1], 1)

    def point(step: float, value: float) -> str:
        x = left + step / last * (width - left - 10)
        return f"{x:.1f},{10 + (high - value) / span * (height - bottom - 10):.1f}"

    marks = []
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        points = " ".join(point(step, value) for step, value in zip(steps, line, strict=True))
        stroke = f"fill='none' stroke='{colour}'"
        marks.append(f"<polyline points='{points}' {stroke} stroke-width='2'><title>{name}</title></polyline>")
        if levels and name in levels:
            ends = f"{point(0, levels[name])} {point(last, levels[name])}"
            marks.append(f"<polyline points='{ends}' {stroke} stroke-dasharray='5 4'/>")
    labels = (
        f"<text x='4' y='16' font-size='12'>{high:.4g}</text>"
        f"<text x='4' y='{height - bottom}' font-size='12'>{low:.4g}</text>"
        f"<text x='{width - 10}' y='{height - 6}' font-size='12' text-anchor='end'>step {steps[-1]}</text>"
    )
    names = [
        f"<span style='color:{colour}'>{html.escape(FIGURES.get(name, name))}</span>"
        for colour, name in zip(COLOURS, lines, strict=False)
    ]
    caption = f"<figcaption>{html.escape(title)}: {', '.join(names)}</figcaption>"
    return f"<figure>{caption}<svg width='{width}' height='{height}'>{labels}{''.join(marks)}</svg></figure>"


def picture(source: str, pairs: Sequence[Pair], refined: Sequence[np.ndarray]) -> str:
    """Examples of a source side by side, before above after."""
    columns = [
        np.vstack((outlined(pair, pair.coarse >= 128, (255, 60, 40)), outlined(pair, mask, (40, 160, 255))))
        for pair, mask in zip(pairs, refined, strict=True)
    ]
    _, data = cv2.imencode(".jpg", np.hstack(columns)[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    encoded = base64.b64encode(data.tobytes()).decode()
    return f"<h2>{html.escape(source)}</h2><img alt='' src='data:image/jpeg;base64,{encoded}'>"


def outlined(pair: Pair, mask: np.ndarray, colour: tuple[int, int, int], scale: int = 2) -> np.ndarray:
    """The crop, enlarged, with the outline of the truth and of a mask."""
    size = scale * pair.image.shape[0]
    canvas = cv2.resize(pair.image, (size, size), interpolation=cv2.INTER_LINEAR)
    for shape, stroke in ((pair.truth >= 128, (255, 230, 0)), (mask, colour)):
        large = cv2.resize(shape.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, stroke, 1)
    return canvas
