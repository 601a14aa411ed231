"""Makes the detector's masks the bundled refiner learns from, and says how good they are.

    python benchmarks/refiner_masks.py package.zip masks/ chips/real --looks 3
    python benchmarks/refiner_masks.py package.zip masks/ fresh/ --scenes 36 --looks 1

A detector draws better masks on the chips it was trained on than elsewhere. Two remedies that cost no further
detector: scenes generated with a seed no detector has seen, whose truth is exact; and several *looks* at each
training chip, all but the first through a worse camera (other scale, coarser ground pixel, blur, light, compression).
The first look at the validation chips is made, too: it selects the weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.scene_chips import write_scene_chips
from cadastral_vectorizer.engine.training.chips import Chip, load_chips
from cadastral_vectorizer.engine.training.pairs import match_label
from cadastral_vectorizer.engine.training.rough_mask_files import LOOK, RoughMask, load_rough_masks
from cadastral_vectorizer.engine.training.rough_masks import predict_rough_masks
from cadastral_vectorizer.engine.training.view import photometric
from cadastral_vectorizer.models.package import open_package

SCENE_SEED = 20_251_120


def worsen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8[H, W, 3] through a worse camera: other light, a coarser ground pixel, blur, compression."""
    height, width = image.shape[:2]
    image = photometric(image, rng)
    coarser = rng.uniform(1.0, 2.2)
    small = cv2.resize(image, (round(width / coarser), round(height / coarser)), interpolation=cv2.INTER_AREA)
    image = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    quality = int(rng.integers(35, 95))
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)


def make_looks(chip: Chip, count: int, pixel_m: float) -> list[tuple[Chip, float]]:
    """The chip as it is, and `count` - 1 worse ones, each with the ground pixel the detector sees it at."""
    looks = [(chip, pixel_m)]
    for number in range(1, count):
        rng = np.random.default_rng((number, *chip.name.encode()))
        worse = dataclasses.replace(chip, name=f"{chip.name}{LOOK}{number}", image=worsen(chip.image, rng))
        looks.append((worse, pixel_m * float(np.exp(rng.uniform(np.log(0.8), np.log(1.5))))))
    return looks


def describe(chips: list[Chip], masks: dict[str, list[RoughMask]]) -> None:
    """Masks and their mean IoU per source, split and kind of look."""
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for chip in chips:
        for name, roughs in masks.items():
            plain, _, look = name.partition(LOOK)
            if plain != chip.name:
                continue
            for rough in roughs:
                label = match_label(chip.labels, rough, min_iou=0.3)
                if label:
                    found[chip.source, chip.split, "worse" if look else "plain"].append(overlap(chip, rough, label))
    for key, values in sorted(found.items()):
        print(f"{key[0]:24s} {key[1]:6s} {key[2]:6s} {len(values):6d} masks  IoU {np.mean(values):.3f}", flush=True)


def overlap(chip: Chip, rough: RoughMask, label: int) -> float:
    """IoU of a mask and a building of a chip."""
    mask = np.zeros(chip.labels.shape, bool)
    x_min, y_min, x_max, y_max = rough.box
    mask[y_min:y_max, x_min:x_max] = rough.probability >= 128
    truth = chip.labels == label
    return float(np.count_nonzero(mask & truth) / np.count_nonzero((mask | truth) & (chip.labels >= 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="package with the detector")
    parser.add_argument("masks", help="folder to write to")
    parser.add_argument("chips")
    parser.add_argument("--scenes", type=int, default=0, help="generate so many scenes into the chip folder first")
    parser.add_argument("--splits", nargs="+", default=["train", "val"])
    parser.add_argument("--looks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    started = time.process_time()
    if options.scenes and not (Path(options.chips) / "annotations.json").exists():
        write_scene_chips(options.chips, options.scenes, seed=SCENE_SEED, reporter=Reporter())
    print(f"{time.process_time() - started:.0f} s of CPU for scenes")
    package = open_package(options.model)
    detector, pixel_m = package.detector(), float(package.manifest["pixel_m"])
    chips = [chip for split in options.splits for chip in load_chips(options.chips, split)]
    for chip in chips:
        for look, seen_m in make_looks(chip, options.looks if chip.split == "train" else 1, pixel_m):
            predict_rough_masks(detector, [look], options.masks, pixel_m=seen_m, bfloat16=True)
    print(f"{time.process_time() - started:.0f} s of CPU with masks")
    describe(chips, load_rough_masks(options.masks))


if __name__ == "__main__":
    main()
