"""Measures mask refiners: speed of every variant, quality before and after, smoothing methods.

    python benchmarks/refiner.py speed
    python benchmarks/refiner.py stage best.pt mosaic.tif buildings.gpkg --masks 500
    python benchmarks/refiner.py quality best.pt chips/real --split test [--predictions masks/] [--smooth]

`stage` takes the time of the whole stage apart, on outlines drawn as masks and their orthophoto. `quality` runs the
stage as the pipeline does: crops read from the chip, gate, paste-back, neighbours kept apart. Without predictions the
coarse masks are damaged truth.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import geopandas
import numpy as np
import torch
from cadastral_vectorizer.engine.cli import keep_freed_memory
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.pipeline import metric_plane
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.raster.source import RasterSource
from cadastral_vectorizer.engine.refine.drawing import draw_polygon
from cadastral_vectorizer.engine.refine.neighbours import keep_apart
from cadastral_vectorizer.engine.refine.refine import BATCH, Gate, Refiner
from cadastral_vectorizer.engine.refine.smooth import METHODS, smooth_instance
from cadastral_vectorizer.engine.rough_features import place_features
from cadastral_vectorizer.engine.training.chips import Chip, load_chips
from cadastral_vectorizer.engine.training.damage import damage_mask
from cadastral_vectorizer.engine.training.mask_metrics import measure_mask, summarize
from cadastral_vectorizer.engine.training.pairs import label_boxes, match_label
from cadastral_vectorizer.engine.training.rough_mask_files import RoughMask, load_rough_masks
from cadastral_vectorizer.models.refiners import VARIANTS, build_refiner

MARGIN_PX = 24
COLUMNS = ("iou", "iou50_95", "precision", "recall", "f1", "boundary_iou", "boundary_iou_25cm", "hausdorff95_px")


# -- speed ----------------------------------------------------------------------------------------------


def measure_speed(threads: int, seconds: float) -> list[dict[str, Any]]:
    """Milliseconds a mask for every variant, crop size, batch size and precision."""
    torch.set_num_threads(threads)
    rows = []
    for variant, (architecture, parameters) in VARIANTS.items():
        model = build_refiner(architecture, parameters).eval().to(memory_format=torch.channels_last)
        for size in (96, 128, 256) if variant == "guided" else (256,):
            for batch in (1, round(16 * (128 / size) ** 2)):
                for bfloat16 in (False, True):
                    crops = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
                    masks = torch.rand(batch, 1, size, size)
                    wall, cpu = time_network(model, crops, masks, bfloat16, seconds)
                    rows.append({
                        "variant": variant, "weights": sum(p.numel() for p in model.parameters()), "crop_px": size,
                        "batch": batch, "bfloat16": bfloat16, "ms": wall / batch, "cpu_ms": cpu / batch,
                    })  # fmt: skip
                    print("{variant:12s} {weights:9d} weights  crop {crop_px}  batch {batch:2d}  bf16 {bfloat16!s:5s} "
                          "{ms:8.2f} ms a mask, {cpu_ms:8.2f} ms of CPU".format(**rows[-1]), flush=True)  # fmt: skip
    return rows


@torch.inference_mode()
def time_network(
    model: Any, crops: torch.Tensor, masks: torch.Tensor, bfloat16: bool, seconds: float
) -> tuple[float, float]:
    """Milliseconds of wall clock and of CPU of a forward pass: the best of at least three."""
    wall, cpu, passes, until = float("inf"), float("inf"), 0, time.perf_counter() + seconds
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        model(crops, masks, masks)
        while passes < 3 or time.perf_counter() < until:
            started, worked = time.perf_counter(), time.process_time()
            model(crops, masks, masks)
            cpu = min(cpu, time.process_time() - worked)
            wall = min(wall, time.perf_counter() - started)
            passes += 1
    return 1e3 * wall, 1e3 * cpu


# -- the stage ------------------------------------------------------------------------------------------


def measure_stage(options: argparse.Namespace) -> dict[str, float]:
    """CPU milliseconds a mask of each part of the stage, one after another, and the mean size of the crops; then
    CPU and clock of the stage as it is, where the next crops are read while the network works."""
    model = load_refiner(options.weights)
    refiner = Refiner(model, bfloat16=True)
    table = geopandas.read_file(options.buildings, rows=20 * options.masks)
    with RasterSource.open(options.raster, pixel_m=options.pixel_m) as source:
        metric_wkt = metric_plane(source.grid)
        features = place_features(
            table.geometry.to_numpy(), table.crs.to_wkt(), grid=source.grid, metric_wkt=metric_wkt, stroke_width_m=1.0
        )
        drawn = [draw_polygon(f.pixels[0], f"{n:06d}") for n, f in enumerate(features) if f.pixels]
        instances = [instance for instance in drawn if instance is not None][: options.masks]
        spent: dict[str, float] = defaultdict(float)

        def timed(part: str, work: Any, *given: Any, **named: Any) -> Any:
            started = time.process_time()
            result = work(*given, **named)
            spent[part] += time.process_time() - started
            return result

        def read(*given: Any, **named: Any) -> Any:
            return timed("reading", source.read, *given, **named)

        batches = timed("crops", lambda: list(refiner._batches(instances, instances, read, BATCH)))
        answers = list(instances)
        for batch in batches:
            for crop, probability in zip(batch, timed("network", refiner._ask, batch, BATCH, Reporter()), strict=True):
                answer = timed("pasting", refiner._judge, instances[crop.index], crop, probability)
                answers[crop.index] = answer.instance
        timed("neighbours", keep_apart, answers, instances)
        started = time.perf_counter()
        timed("whole", refiner.refine_instances, instances, source.read)
        whole = {"whole": spent.pop("whole"), "whole, by the clock": time.perf_counter() - started}
    spent["crops"] -= spent["reading"]
    parts = {part: 1e3 * seconds / len(instances) for part, seconds in spent.items()}
    sizes = [crop.window.size for batch in batches for crop in batch]
    parts["all"] = sum(parts.values())
    parts |= {part: 1e3 * seconds / len(instances) for part, seconds in whole.items()}
    parts["crops of 128 px"] = float(np.mean(np.square(sizes)) / 128**2)
    print(f"{len(instances)} masks, CPU ms each: " + ", ".join(f"{k} {v:.2f}" for k, v in parts.items()))
    return parts


# -- quality --------------------------------------------------------------------------------------------


class WorkingGrid:
    """A chip as the pipeline sees it: a working grid of `pixel_m` over finer or coarser native pixels."""

    def __init__(self, chip: Chip, pixel_m: float) -> None:
        self.chip, self.pixel_m = chip, pixel_m
        self.scale = pixel_m / chip.pixel_m  # native pixels a working pixel
        self.shape = tuple(max(1, round(n / self.scale)) for n in chip.labels.shape)
        self.labels = cv2.resize(
            chip.labels.astype(np.float32), self.shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT
        ).astype(np.int32)

    def read(self, box: tuple[float, ...], *, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """As `RasterSource.read`."""
        x_min, y_min, x_max, y_max = (v * self.scale for v in box)
        step_x, step_y = (x_max - x_min) / size[0], (y_max - y_min) / size[1]
        low = np.floor((x_min, y_min)).astype(int).clip(0) - 4
        low = low.clip(0)
        high = np.minimum(np.ceil((x_max, y_max)).astype(int) + 4, self.chip.image.shape[1::-1])
        part = self.chip.image[low[1] : high[1], low[0] : high[0]]
        if part.size == 0:
            return np.zeros((3, size[1], size[0]), np.uint8), np.zeros((size[1], size[0]), bool)
        if max(step_x, step_y) > 1.3:
            part = cv2.GaussianBlur(part, (0, 0), 0.4 * max(step_x, step_y))
        inverse = np.array([[step_x, 0, x_min + 0.5 * step_x - 0.5 - low[0]],
                            [0, step_y, y_min + 0.5 * step_y - 0.5 - low[1]]])  # fmt: skip
        image = cv2.warpAffine(part, inverse, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                               borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
        xs = x_min + (np.arange(size[0]) + 0.5) * step_x
        ys = y_min + (np.arange(size[1]) + 0.5) * step_y
        height, width = self.chip.image.shape[:2]
        valid = ((ys >= 0) & (ys < height))[:, None] & ((xs >= 0) & (xs < width))[None]
        return np.ascontiguousarray(image.transpose(2, 0, 1)) * valid.astype(np.uint8), valid


def damaged_instances(grid: WorkingGrid, seed: int) -> list[tuple[Instance, int]]:
    """Every building of 40 pixels or more with synthetic damage, and its label."""
    found = []
    for label, (x_min, y_min, x_max, y_max) in label_boxes(grid.labels).items():
        box = (max(0, x_min - MARGIN_PX), max(0, y_min - MARGIN_PX),
               min(grid.shape[1], x_max + MARGIN_PX), min(grid.shape[0], y_max + MARGIN_PX))  # fmt: skip
        part = grid.labels[box[1] : box[3], box[0] : box[2]]
        if np.count_nonzero(part == label) < 40:
            continue
        probability = damage_mask(part, label, np.random.default_rng((seed, label)))
        found.append((Instance(f"{label:06d}", box, probability, 1.0), label))
    return found


def predicted_instances(grid: WorkingGrid, masks: list[RoughMask]) -> list[tuple[Instance, int]]:
    """The detector's masks on the working grid, and the label each covers best (0 for false alarms)."""
    found = []
    for number, mask in enumerate(masks):
        x_min, y_min, x_max, y_max = mask.box
        canvas = np.zeros(grid.chip.labels.shape, np.uint8)
        canvas[y_min:y_max, x_min:x_max] = mask.probability
        small = cv2.resize(canvas, grid.shape[::-1],
                           interpolation=cv2.INTER_AREA if grid.scale > 1 else cv2.INTER_LINEAR)  # fmt: skip
        x, y, width, height = cv2.boundingRect((small > 0).astype(np.uint8))
        if not (small >= 128).any():
            continue
        instance = Instance(f"{number:06d}", (x, y, x + width, y + height), small[y : y + height, x : x + width], 1.0)
        found.append((instance, match_label(grid.labels, RoughMask(instance.box, instance.probability), min_iou=0.3)))
    return found


def measure_instance(instance: Instance, grid: WorkingGrid, label: int) -> dict[str, float]:
    """Figures of one mask in a window of the truth's size and half as much around it, so that the band
    of the boundary IoU is the same before and after."""
    x_min, y_min, x_max, y_max = label_window(grid.labels, label)
    mask = np.zeros((y_max - y_min, x_max - x_min), bool)
    box = instance.box
    left, top = max(box[0], x_min), max(box[1], y_min)
    right, bottom = max(min(box[2], x_max), left), max(min(box[3], y_max), top)
    mask[top - y_min : bottom - y_min, left - x_min : right - x_min] = instance.mask[
        top - box[1] : bottom - box[1], left - box[0] : right - box[0]
    ]
    part = grid.labels[y_min:y_max, x_min:x_max]
    return measure_mask(mask, part == label, part >= 0, grid.pixel_m)


def label_window(labels: np.ndarray, label: int) -> tuple[int, int, int, int]:
    """The box of a building, grown by half its longer side, inside the grid."""
    rows, cols = np.nonzero(labels == label)
    height, width = labels.shape
    reach = int(max(np.ptp(rows), np.ptp(cols)) + 1) // 2
    return (max(0, int(cols.min()) - reach), max(0, int(rows.min()) - reach),
            min(width, int(cols.max()) + 1 + reach), min(height, int(rows.max()) + 1 + reach))  # fmt: skip


def measure_quality(
    model: Any, chips: list[Chip], predictions: dict[str, list[RoughMask]] | None, options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """Per source: figures before and after, and with each smoothing method; share refined; ms a mask."""
    refiner = Refiner(model, bfloat16=options.bfloat16, gate=Gate(min_certainty=options.min_certainty))
    measured: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    counts: dict[str, list[float]] = defaultdict(lambda: [0, 0, 0.0])
    for chip in chips:
        if predictions is not None and chip.name not in predictions:
            continue
        grid = WorkingGrid(chip, options.pixel_m)
        pairs = damaged_instances(grid, 1) if predictions is None else predicted_instances(grid, predictions[chip.name])
        if not pairs:
            continue
        started = time.perf_counter()
        after = refiner.refine_instances([instance for instance, _ in pairs], grid.read)
        counts[chip.source][2] += time.perf_counter() - started
        counts[chip.source][0] += len(pairs)
        counts[chip.source][1] += sum(i.refined for i in after)
        for (before, label), refined in zip(pairs, after, strict=True):
            if label == 0:
                continue
            measured[chip.source]["before"].append(measure_instance(before, grid, label))
            measured[chip.source]["after"].append(measure_instance(refined, grid, label))
            for method in METHODS if options.smooth else ():
                for name, instance in (("before", before), ("after", refined)):
                    smoothed = smooth_instance(instance, method, size_px=1.5)
                    measured[chip.source][f"{name}+{method}"].append(measure_instance(smoothed, grid, label))
    return {
        source: {
            **{moment: summarize(figures) for moment, figures in moments.items()},
            "instances": counts[source][0], "refined": counts[source][1] / counts[source][0],
            "ms": 1e3 * counts[source][2] / counts[source][0],
        }
        for source, moments in measured.items()
    }  # fmt: skip


def print_quality(figures: dict[str, dict[str, Any]]) -> None:
    """One table, a row for each source and moment."""
    print(f"{'':28s} {'masks':>6s} " + " ".join(f"{c[:10]:>10s}" for c in COLUMNS))
    for source, moments in figures.items():
        for moment, values in moments.items():
            if isinstance(values, dict):
                row = " ".join(f"{values[c]:10.3f}" for c in COLUMNS)
                print(f"{source[:16]:16s} {moment[:22]:22s} {values['masks']:5d} {row}")
        print(f"{source[:16]:16s} {moments['refined']:.0%} refined, {moments['ms']:.1f} ms a mask, reading included")


def load_refiner(path: str) -> Any:
    """The network of a training checkpoint or a model package."""
    if path.endswith(".pt"):
        stored = torch.load(path, map_location="cpu", weights_only=True)
        model = build_refiner(stored["architecture"], stored["parameters"])
        model.load_state_dict(stored["weights"])
        return model.eval()
    from cadastral_vectorizer.models.package import open_package

    return open_package(path).refiner()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("--seconds", type=float, default=2.0)
    stage = commands.add_parser("stage")
    stage.add_argument("weights")
    stage.add_argument("raster")
    stage.add_argument("buildings")
    stage.add_argument("--masks", type=int, default=500)
    stage.add_argument("--pixel-m", type=float, default=0.2)
    quality = commands.add_parser("quality")
    quality.add_argument("weights")
    quality.add_argument("chips")
    quality.add_argument("--split", default="val")
    quality.add_argument("--predictions", default="")
    quality.add_argument("--pixel-m", type=float, default=0.2)
    quality.add_argument("--min-certainty", type=float, default=Gate.min_certainty)
    quality.add_argument("--smooth", action="store_true")
    quality.add_argument("--bfloat16", action="store_true")
    for command in (speed, stage, quality):
        command.add_argument("--threads", type=int, default=2)
        command.add_argument("--json", default="")
    options = parser.parse_args()
    keep_freed_memory()  # as the engine does
    if options.command == "speed":
        result: Any = measure_speed(options.threads, options.seconds)
    elif options.command == "stage":
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
        result = measure_stage(options)
    else:
        torch.set_num_threads(options.threads)
        cv2.setNumThreads(options.threads)
        predictions = load_rough_masks(options.predictions) if options.predictions else None
        chips = load_chips(options.chips, options.split)
        result = measure_quality(load_refiner(options.weights), chips, predictions, options)
        print_quality(result)
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
