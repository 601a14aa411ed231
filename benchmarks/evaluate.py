"""Time the evaluation of two large layers and the comparison with a cadastre.

    python benchmarks/evaluate.py
    python benchmarks/evaluate.py --features 20000 --verbose

Buildings are rectangles and L-shapes of 8-20 m on a jittered lattice; predictions are moved by up to half a
metre, some are missing, some are wrong, some are cut in two. Prints one JSON line with seconds (of the
clock, and of all cores) and peak memory. The target is 100,000 against 100,000 in at most 120 seconds on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np
import shapely
from cadastral_vectorizer.engine.config import CompareConfig, EvaluateConfig
from cadastral_vectorizer.engine.evaluation.compare_cadastre import compare_with_cadastre
from cadastral_vectorizer.engine.evaluation.evaluate import evaluate_file
from cadastral_vectorizer.engine.progress import ConsoleReporter, Reporter

SPACING_M = 25.0


def make_buildings(count: int, rng: np.random.Generator) -> np.ndarray:
    """object[count] of rectangles and L-shapes, rotated at random, one per lattice cell."""
    side = int(np.ceil(np.sqrt(count)))
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2)[:count] * SPACING_M
    width, depth = rng.uniform(8, 16, (2, count))
    notch = np.where(rng.random(count) < 0.4, rng.uniform(0.3, 0.6, count), 0.0)
    x, y = width / 2, depth / 2
    corners = np.stack(
        [
            np.stack((-x, -y), -1),
            np.stack((x, -y), -1),
            np.stack((x, y - notch * depth), -1),
            np.stack((x - notch * width, y - notch * depth), -1),
            np.stack((x - notch * width, y), -1),
            np.stack((-x, y), -1),
        ],
        axis=1,
    )
    angle = rng.uniform(0, np.pi / 2, count)
    turn = np.stack((np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)), -1).reshape(-1, 2, 2)
    corners = np.einsum("nij,nkj->nki", turn, corners) + cells[:, None] + (500000.0, 5000000.0)
    return shapely.remove_repeated_points(shapely.polygons(corners), 1e-6)


def predict(buildings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moved, grown, missing, invented and halved buildings."""
    keep = rng.random(len(buildings)) < 0.93
    found = buildings[keep]
    shift = rng.uniform(-0.5, 0.5, (len(found), 2))
    count = shapely.get_num_coordinates(found)
    moved = shapely.transform(found, lambda xy: xy + np.repeat(shift, count, axis=0))
    moved = shapely.buffer(moved, rng.uniform(-0.3, 0.3, len(moved)), join_style="mitre")
    halves = rng.random(len(moved)) < 0.03
    centre = shapely.get_coordinates(shapely.centroid(moved[halves]))
    left = shapely.box(centre[:, 0] - 50, centre[:, 1] - 50, centre[:, 0], centre[:, 1] + 50)
    west, east = shapely.intersection(moved[halves], left), shapely.difference(moved[halves], left)
    pieces = shapely.get_parts(np.concatenate((west, east)))
    invented = shapely.transform(buildings[~keep][::2], lambda xy: xy + 9.0)
    return np.concatenate((moved[~halves], pieces[shapely.area(pieces) > 1], invented))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100_000)
    parser.add_argument("--report", action="store_true", help="write the HTML page too")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(7)
    reporter = ConsoleReporter(sys.stderr) if options.verbose else Reporter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        buildings = make_buildings(options.features, rng)
        predicted = predict(buildings, rng)
        scores = rng.random(len(predicted))
        geopandas.GeoDataFrame(geometry=buildings, crs="EPSG:32633").to_file(path / "reference.gpkg")
        geopandas.GeoDataFrame({"score": scores}, geometry=predicted, crs="EPSG:32633").to_file(path / "predicted.gpkg")
        del buildings
        start, cpu = time.perf_counter(), time.process_time()
        result = evaluate_file(
            EvaluateConfig(
                str(path / "predicted.gpkg"),
                str(path / "reference.gpkg"),
                matches=str(path / "matches.gpkg"),
                report=str(path / "report.html") if options.report else "",
                pixel_m=0.2,
            ),
            reporter,
        )
        evaluated, evaluated_cpu = time.perf_counter() - start, time.process_time() - cpu
        start, cpu = time.perf_counter(), time.process_time()
        compare_with_cadastre(
            CompareConfig(str(path / "predicted.gpkg"), str(path / "reference.gpkg"), str(path / "changes.gpkg")),
            reporter,
        )
        compared, compared_cpu = time.perf_counter() - start, time.process_time() - cpu
    figures = result["figures"]
    print(
        json.dumps(
            {
                "reference": figures["reference"],
                "predicted": figures["predicted"],
                "AP": round(figures["AP"], 4),
                "evaluate_s": round(evaluated, 1),
                "evaluate_cpu_s": round(evaluated_cpu, 1),
                "compare_s": round(compared, 1),
                "compare_cpu_s": round(compared_cpu, 1),
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
