"""What several looks at every tile and other ground pixels bring, and how many false alarms stand on empty land.

    python benchmarks/looks.py chips/real --split val [--looks 1 2 4] [--pixels 0.15 0.2] [--sources oam_dhaka ...]
    python benchmarks/looks.py --empty 8 --looks 1

Masks of the detector alone, whole chips, by source and pooled; precision, recall and F1 at the default score. `--empty`
generates so many rural scenes without a building instead. Never choose anything with `--split test`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from cadastral_vectorizer.engine.calibration import DEFAULT_SCORE, raw_score
from cadastral_vectorizer.engine.detect.looks import agree, look_around
from cadastral_vectorizer.engine.scenes.scene import generate_scene
from cadastral_vectorizer.engine.training.average_precision import MatchCollector
from cadastral_vectorizer.engine.training.chips import Chip, load_chips
from cadastral_vectorizer.engine.training.validate import resample_chip
from cadastral_vectorizer.models.detector import Prediction, predict
from cadastral_vectorizer.models.device import pick_bfloat16
from cadastral_vectorizer.models.package import open_package

FIGURES = ("AP", "AP50", "AP75", "precision", "recall", "F1")
LOWEST = 0.03  # of a score that counts for AP
SIDE_PX = 768


def find(model: Any, image: np.ndarray, *, looks: int, lowest: float) -> list[Prediction]:
    """Buildings in uint8[H, W, 3], doubles suppressed whatever the number of looks."""
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    bfloat16 = pick_bfloat16(tensor.device, "auto")
    return agree([look_around(predict, model, tensor, looks=looks, bfloat16=bfloat16, score_threshold=lowest)[0]])


def measure(model: Any, chips: Sequence[Chip], *, pixel_m: float, looks: int) -> dict[str, MatchCollector]:
    """What was found, by source and pooled (``all``)."""
    collectors = {"all": MatchCollector()}
    for chip in chips:
        image, labels = resample_chip(chip, pixel_m)
        found = find(model, image, looks=looks, lowest=LOWEST)
        for name in ("all", chip.source):
            collectors.setdefault(name, MatchCollector()).add(
                [p.box for p in found], [p.probability >= 128 for p in found], [p.score for p in found], labels
            )
    return collectors


def count_on_empty_land(model: Any, scenes: int, *, pixel_m: float, looks: int, lowest: float) -> tuple[int, float]:
    """False alarms, and square kilometres of generated land."""
    alarms = 0
    for number in range(scenes):
        seed = int(np.random.default_rng((4711, number)).integers(2**31))
        style = ("rural", "rural_tropical")[number % 2]
        scene = generate_scene(
            width_px=SIDE_PX, height_px=SIDE_PX, pixel_m=pixel_m, style=style, density=0.0, seed=seed
        )
        alarms += len(find(model, scene.image, looks=looks, lowest=lowest))
    return alarms, scenes * (SIDE_PX * pixel_m / 1000) ** 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips", nargs="?", default="")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sources", nargs="*", default=[])
    parser.add_argument("--looks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--pixels", type=float, nargs="+", default=[0.0], help="metres; 0 is that of the model")
    parser.add_argument("--empty", type=int, default=0, help="generated scenes without a building")
    parser.add_argument("--model", default="")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    package = open_package(options.model)
    model = package.detector()
    threshold = raw_score(float(package.manifest.get("score_exponent", 1.0)), DEFAULT_SCORE)
    chips = load_chips(options.chips, options.split) if options.chips else []
    chips = [c for c in chips if not options.sources or c.source in options.sources]
    if chips:
        print("| looks | pixel | place | buildings | " + " | ".join(FIGURES) + " | CPU s |")
        print("|" + "---|" * (len(FIGURES) + 5))
    for looks, pixel_m in itertools.product(options.looks, options.pixels):
        pixel_m = pixel_m or float(package.manifest["pixel_m"])
        if chips:
            started = time.process_time()
            collectors = measure(model, chips, pixel_m=pixel_m, looks=looks)
            seconds = time.process_time() - started
            for name, collector in sorted(collectors.items()):
                figures = collector.figures(threshold)
                values = " | ".join(f"{figures[f]:.3f}" for f in FIGURES)
                cost = f"{seconds:.1f}" if name == "all" else ""
                print(f"| {looks} | {pixel_m:g} | {name} | {collector.truths} | {values} | {cost} |", flush=True)
        if options.empty:
            alarms, km2 = count_on_empty_land(model, options.empty, pixel_m=pixel_m, looks=looks, lowest=threshold)
            print(f"{looks} looks: {alarms} false alarms on {km2:.3f} km2, {alarms / km2:.0f} a km2", flush=True)


if __name__ == "__main__":
    main()
