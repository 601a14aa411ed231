"""What the paper's smoothing methods bring between refiner and contour, on detector masks of test areas.

    python benchmarks/smoothing.py chips/real masks/ --split test [--model package.zip] [--write]

`masks/` holds the detector's masks of the chips (`--write` makes them first). They go through the refine stage,
each smoothing method, the contour stage and the standard simplification; the polygons are compared with the true
outlines. Figures are means over the masks matched with a building at IoU 0.3 or more before anything is done.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import torch
from cadastral_vectorizer.engine.contours import trace_mask, trace_probability
from cadastral_vectorizer.engine.contracts import Instance
from cadastral_vectorizer.engine.evaluation.shapes import boundary_iou, measure_shapes
from cadastral_vectorizer.engine.refine.refine import Refiner
from cadastral_vectorizer.engine.refine.smooth import smooth_instance
from cadastral_vectorizer.engine.simplify import refit_polygons
from cadastral_vectorizer.engine.training.chips import load_chips
from cadastral_vectorizer.engine.training.rough_mask_files import load_rough_masks
from cadastral_vectorizer.engine.training.rough_masks import predict_rough_masks
from cadastral_vectorizer.models.package import open_package
from refiner import WorkingGrid, load_refiner, predicted_instances

THRESHOLDS = np.arange(0.5, 0.96, 0.05)
COLUMNS = ("iou", "iou50_95", "boundary_iou", "hausdorff95_m", "polis_m", "vertices")


def collect(options: argparse.Namespace) -> list[tuple[str, Instance, Instance, shapely.Polygon]]:
    """Source, mask as detected, mask as refined, and the true outline in metres, for every matched mask."""
    package = open_package(options.model)
    chips = load_chips(options.chips, options.split)[:: options.every]
    if options.write:
        predict_rough_masks(package.detector(), chips, options.masks, pixel_m=options.pixel_m, bfloat16=True)
    masks = load_rough_masks(options.masks)
    refiner = Refiner(load_refiner(options.refiner) if options.refiner else package.refiner())
    found = []
    for chip in chips:
        grid = WorkingGrid(chip, options.pixel_m)
        pairs = predicted_instances(grid, masks.get(chip.name, []))
        refined = refiner.refine_instances([instance for instance, _ in pairs], grid.read)
        for (before, label), after in zip(pairs, refined, strict=True):
            if label:
                truth = to_metres(trace_mask(grid.labels == label), options.pixel_m)
                found.append((chip.source, before, after, truth))
    return found


def to_metres(polygons: list[shapely.Polygon], pixel_m: float) -> shapely.Polygon:
    """The largest polygon, from pixels to metres, y up."""
    return shapely.transform(polygons[0], lambda xy: xy * (pixel_m, -pixel_m))


def measure(
    sources: list[str], instances: list[Instance], truths: np.ndarray, method: str, size_m: float,
    options: argparse.Namespace,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Figures by source of the simplified outlines after smoothing."""
    started = time.process_time()
    smooth = [smooth_instance(i, method, size_px=size_m / options.pixel_m) for i in instances]
    ms = 1e3 * (time.process_time() - started) / len(instances)
    raw = np.array(
        [to_metres(trace_probability(i.probability, offset_xy=i.box[:2]), options.pixel_m) for i in smooth], object
    )
    shapes = refit_polygons(raw, tolerance_m=options.tolerance_m)
    common = shapely.area(shapely.intersection(shapes, truths))
    iou = common / (shapely.area(shapes) + shapely.area(truths) - common)
    west, south, east, north = shapely.bounds(truths).T
    band = 0.02 * np.hypot(east - west, north - south)
    rim = np.array([float(boundary_iou(shapes[k : k + 1], truths[k : k + 1], band_m=b)[0]) for k, b in enumerate(band)])
    errors = measure_shapes(shapes, truths)
    values = {
        "iou": iou, "iou50_95": (iou[:, None] >= THRESHOLDS).mean(axis=1), "boundary_iou": rim,
        "hausdorff95_m": errors.hausdorff95_m, "polis_m": errors.polis_m, "vertices": errors.predicted_vertices,
    }  # fmt: skip
    figures = {}
    for source in [*sorted(set(sources)), "all"]:
        own = np.array([source in ("all", s) for s in sources])
        figures[source] = {name: float(v[own].mean()) for name, v in values.items()} | {"masks": int(own.sum())}
    figures["all"]["ms"] = ms
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips")
    parser.add_argument("masks")
    parser.add_argument("--split", default="test")
    parser.add_argument("--model", default="")
    parser.add_argument("--refiner", default="", help="checkpoint of a refiner to use instead")
    parser.add_argument("--write", action="store_true", help="run the detector first")
    parser.add_argument("--sizes-m", nargs="+", type=float, default=[0.2, 0.4])
    parser.add_argument("--moments", nargs="+", default=["detector", "refined"])
    parser.add_argument("--every", type=int, default=1, help="every so many chips only")
    parser.add_argument("--tolerance-m", type=float, default=1.0)
    parser.add_argument("--pixel-m", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = collect(options)
    sources, truths = [entry[0] for entry in found], np.array([entry[3] for entry in found], object)
    rows: list[dict[str, Any]] = []
    print(f"{'':48s}" + " ".join(f"{c[:13]:>13s}" for c in COLUMNS))
    for moment, column in (("detector", 1), ("refined", 2)):
        if moment not in options.moments:
            continue
        instances = [entry[column] for entry in found]
        for method in ("none", "opening_closing", "gaussian", "active_contour", "spline"):
            for size_m in options.sizes_m if method != "none" else (0.0,):
                figures = measure(sources, instances, truths, method, size_m, options)
                rows.append({"masks": moment, "method": method, "size_m": size_m, "figures": figures})
                for source, values in figures.items():
                    cells = " ".join(f"{values[c]:13.3f}" for c in COLUMNS)
                    print(f"{moment:9s}{method:16s}{size_m:4.1f} {source:18s}{cells}", flush=True)
                print(f"{figures['all']['ms']:.2f} ms a mask")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
