"""What the refiner makes of boxes, shifted outlines, brush strokes and coarse polygons drawn by a person.

    python benchmarks/rough_drawings.py chips/real --split test [--model package.zip] [--passes 1 2 3]

Every true building of the chips is drawn roughly in each way, on the working grid of the model; the drawings
of one chip go through the refine stage together, as `refine` does with a layer. Figures per source, before
and after.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.refine.refine import Gate, Refiner
from cadastral_vectorizer.engine.training.chips import load_chips
from cadastral_vectorizer.engine.training.mask_metrics import summarize
from cadastral_vectorizer.models.package import open_package
from refiner import WorkingGrid, load_refiner, measure_instance

MARGIN_PX = 40
MIN_AREA_PX = 60
COLUMNS = ("iou", "iou50_95", "boundary_iou", "precision", "recall", "hausdorff95_px")

Draw = Callable[[np.ndarray, np.random.Generator, float], np.ndarray]


def box(truth: np.ndarray, rng: np.random.Generator, pixel_m: float) -> np.ndarray:
    """The bounding box, each side off by up to half a metre."""
    x, y, width, height = cv2.boundingRect(truth)
    off = rng.uniform(-0.5, 0.5, 4) / pixel_m
    corners = [(x + off[0], y + off[1]), (x + width + off[2], y + off[1]),
               (x + width + off[2], y + height + off[3]), (x + off[0], y + height + off[3])]  # fmt: skip
    return fill(truth.shape, np.array(corners))


def loose_box(truth: np.ndarray, rng: np.random.Generator, pixel_m: float) -> np.ndarray:
    """A box with half a metre to two metres of air on each side."""
    x, y, width, height = cv2.boundingRect(truth)
    out = rng.uniform(0.5, 2.0, 4) / pixel_m
    corners = [(x - out[0], y - out[1]), (x + width + out[2], y - out[1]),
               (x + width + out[2], y + height + out[3]), (x - out[0], y + height + out[3])]  # fmt: skip
    return fill(truth.shape, np.array(corners))


def shifted(distance_m: float) -> Draw:
    """The true outline, moved."""

    def draw(truth: np.ndarray, rng: np.random.Generator, pixel_m: float) -> np.ndarray:
        angle = rng.uniform(0, 2 * math.pi)
        x, y = distance_m / pixel_m * math.cos(angle), distance_m / pixel_m * math.sin(angle)
        move = np.array([[1, 0, x], [0, 1, y]])
        return cv2.warpAffine(255 * truth, move, truth.shape[::-1], flags=cv2.INTER_LINEAR)

    return draw


def coarse_polygon(truth: np.ndarray, rng: np.random.Generator, pixel_m: float) -> np.ndarray:
    """Few corners, each off by about 0.7 m."""
    contours, _ = cv2.findContours(truth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = cv2.approxPolyDP(max(contours, key=cv2.contourArea), 1.2 / pixel_m, True)[:, 0] + 0.5
    if len(points) < 3:
        return box(truth, rng, pixel_m)
    return fill(truth.shape, points + rng.normal(0, 0.7 / pixel_m, points.shape))


def stroke(width_m: float) -> Draw:
    """A line along the middle of the building, from about 15 to 85 % of its length."""

    def draw(truth: np.ndarray, rng: np.random.Generator, pixel_m: float) -> np.ndarray:
        rows, cols = np.nonzero(truth)
        middle, (width, height), angle = cv2.minAreaRect(np.column_stack((cols, rows)).astype(np.float32))
        along = math.radians(angle if width >= height else angle + 90)
        step = 0.35 * max(width, height) * np.array([math.cos(along), math.sin(along)])
        ends = np.array([np.array(middle) - step, np.array(middle) + step]) + 0.5
        ends += rng.normal(0, 0.4 / pixel_m, ends.shape)
        canvas = np.zeros((4 * truth.shape[0], 4 * truth.shape[1]), np.uint8)
        first, last = (tuple(map(int, np.round(4 * end))) for end in ends)
        cv2.line(canvas, first, last, 255, max(1, round(4 * width_m / pixel_m)))
        return cv2.resize(canvas, truth.shape[::-1], interpolation=cv2.INTER_AREA)

    return draw


def fill(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """uint8[H, W]: share of each pixel a polygon of (x, y) pixel coordinates covers, 0..255."""
    canvas = np.zeros((4 * shape[0], 4 * shape[1]), np.uint8)
    cv2.fillPoly(canvas, [np.round(16 * (4 * points - 0.5)).astype(np.int32)], 255, shift=4)
    return cv2.resize(canvas, shape[::-1], interpolation=cv2.INTER_AREA)


KINDS: dict[str, Draw] = {
    "box": box, "loose box": loose_box, "shifted 1 m": shifted(1.0), "shifted 2 m": shifted(2.0),
    "coarse polygon": coarse_polygon, "stroke 2 m": stroke(2.0), "stroke 4 m": stroke(4.0),
}  # fmt: skip


def draw_instances(grid: WorkingGrid, draw: Draw, seed: int) -> list[tuple[Instance, int]]:
    """Every building large enough and whole, drawn roughly, and its label."""
    found = []
    height, width = grid.labels.shape
    for label in range(1, int(grid.labels.max(initial=0)) + 1):
        mask = (grid.labels == label).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(mask)
        if np.count_nonzero(mask) < MIN_AREA_PX or x == 0 or y == 0 or x + w == width or y + h == height:
            continue
        around = (x - MARGIN_PX, y - MARGIN_PX, x + w + MARGIN_PX, y + h + MARGIN_PX)
        truth = np.pad(mask[y : y + h, x : x + w], MARGIN_PX)
        probability = draw(truth, np.random.default_rng((seed, label)), grid.pixel_m)
        if (probability >= 128).any():
            found.append((Instance(f"{label:06d}", around, probability, 1.0), label))
    return found


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each kind of drawing and source: figures before and after each number of passes."""
    network = load_refiner(options.model) if options.model else open_package().refiner()
    refiner = Refiner(network, gate=Gate(min_iou=options.min_iou, min_certainty=options.min_certainty))
    grids = [WorkingGrid(chip, options.pixel_m) for chip in load_chips(options.chips, options.split)]
    grids = [g for g in grids if g.chip.source.startswith(tuple(options.sources))] if options.sources else grids
    buildings: dict[str, int] = defaultdict(int)
    for grid in grids:
        buildings[grid.chip.source] += grid.chip.buildings
    options.every = {source: max(1, round(n / options.limit)) for source, n in buildings.items()}
    rows = []
    for kind in options.kinds or KINDS:
        figures: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
        trust: list[tuple[float, float, float]] = []
        for grid in grids:
            pairs = draw_instances(grid, KINDS[kind], 7)[:: options.every.get(grid.chip.source, 1)]
            if not pairs:
                continue
            instances = [instance for instance, _ in pairs]
            for (instance, label) in pairs:
                figures[grid.chip.source]["before"].append(measure_instance(instance, grid, label))
            current = instances
            for number in range(1, max(options.passes) + 1):
                answers = refiner.answer(current, grid.read)
                current = [answer.instance for answer in answers]
                if number not in options.passes:
                    continue
                for answer, (_, label) in zip(answers, pairs, strict=True):
                    measured = measure_instance(answer.instance, grid, label)
                    figures[grid.chip.source][f"pass {number}"].append(measured)
                    if answer.instance.refined and number == 1:
                        inside = answer.instance.probability[answer.instance.mask].mean() / 255
                        trust.append((answer.certainty, float(inside), measured["iou"]))
        everything: dict[str, list[dict[str, float]]] = defaultdict(list)
        for moments in figures.values():
            for moment, values in moments.items():
                everything[moment] += values
        for source, moments in [*sorted(figures.items()), ("all", everything)]:
            rows.append({"kind": kind, "source": source, **{m: summarize(v) for m, v in moments.items()}})
            print_row(rows[-1])
        if len(trust) > 9:
            r = np.corrcoef(np.array(trust).T)
            rows[-1]["refined"] = len(trust)
            print(f"{kind}: {len(trust)} redrawn; correlation with the IoU: certainty {r[0, 2]:.2f}, "
                  f"mean probability {r[1, 2]:.2f}", flush=True)  # fmt: skip
    return rows


def print_row(row: dict[str, Any]) -> None:
    """Before -> after for each column."""
    moments = [m for m in row if isinstance(row[m], dict)]
    cells = ["  ".join([f"{c}"] + [f"{row[m][c]:.3f}" for m in moments]) for c in COLUMNS]
    print(f"{row['kind']:15s} {row['source']:18s} {row['before']['masks']:4d}  " + " | ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="", help="package or checkpoint; the bundled one by default")
    parser.add_argument("--kinds", nargs="*", default=[], choices=list(KINDS))
    parser.add_argument("--sources", nargs="*", default=[])
    parser.add_argument("--limit", type=int, default=1_000_000, help="about so many buildings of each source")
    parser.add_argument("--passes", nargs="+", type=int, default=[1])
    parser.add_argument("--min-iou", type=float, default=Gate.min_iou)
    parser.add_argument("--min-certainty", type=float, default=Gate.min_certainty)
    parser.add_argument("--pixel-m", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measure(options)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
