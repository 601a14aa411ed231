"""Trains the compact segmenter with and without SegGAN, alike otherwise, and measures both on areas kept aside.

    python benchmarks/seggan.py chips/real work/seggan --steps 600 --gan-steps 600 --seeds 1 2
    python benchmarks/seggan.py chips/real work/seggan --packages resources/models/bundled.zip segmenter.zip

Rows from the same start see the same crops in the same order for their seed. Runs continue where they were interrupted;
the figures of a row are kept in its folder. With ``--packages`` nothing is trained: the
buildings that model packages find on the test chips are matched with the truth, Mask R-CNN and segmenters alike.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from pathlib import Path
from typing import Any

import torch
from cadastral_vectorizer.engine.config import TrainDetectorConfig
from cadastral_vectorizer.engine.progress import ConsoleReporter
from cadastral_vectorizer.engine.train_segmenter import collect_instances
from cadastral_vectorizer.engine.training.checkpoint import load_checkpoint
from cadastral_vectorizer.engine.training.chips import Chip, load_chips
from cadastral_vectorizer.engine.training.seggan import GanSettings
from cadastral_vectorizer.engine.training.segmenter import SegmenterTrainer, validate_segmenter
from cadastral_vectorizer.engine.training.validate import validate_detector
from cadastral_vectorizer.models.package import open_package

SMALL = {"widths": [16, 32, 64, 96], "blocks": [1, 1, 1, 1], "fpn_channels": 32, "dense_width": 32}
PIXELS = ("mean_iou", "iou", "pixel_accuracy", "class_accuracy")
WAYS = {
    "alone": (0.0, 0.0, ""),
    "SegGAN": (0.1, 0.1, ""),
    "alone, continued": (0.0, 0.0, "alone"),
    "SegGAN, continued": (0.1, 0.1, "alone"),
    "content, continued": (0.1, 0.0, "alone"),
    "adversarial, continued": (0.0, 0.1, "alone"),
}
"""Rows: weights of content and adversarial loss, and the row whose weights are started from. The paper starts
from a trained segmenter."""
CONTINUED_RATE = 3e-4  # learning rate from trained weights


class QuietReporter(ConsoleReporter):
    """Log lines only."""

    def emit(self, event: str, **fields: Any) -> None:
        if event == "log":
            super().emit(event, **fields)


@functools.cache
def load_split(folder: str, split: str) -> list[Chip]:
    """The chips of a split, read once."""
    return load_chips(folder, split)


def row_folder(way: str, seed: int, options: argparse.Namespace) -> Path:
    """Where a row keeps its work and its ``figures.json``."""
    return Path(options.folder) / f"{way.replace(', ', '-')}-{seed}"


def train_row(way: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one row and measure its averaged weights."""
    content, adversarial, origin = WAYS[way]
    folder = row_folder(way, seed, options)
    folder.mkdir(parents=True, exist_ok=True)
    settings = GanSettings(options.gan_steps if content or adversarial else 0, content, adversarial, options.gan_width)
    shared = Path(options.folder) / f"gan-{seed}.pt"  # step 1 does not depend on the weights of step 2
    if settings.steps and shared.exists() and not (folder / "gan.pt").exists():
        (folder / "gan.pt").write_bytes(shared.read_bytes())
    base = load_checkpoint(row_folder(origin, seed, options) / "last.pt") if origin else None
    if origin and base is None:
        raise SystemExit(f"{way} needs the row {origin}, seed {seed}, first")
    config = TrainDetectorConfig(
        chips=(options.chips,), work_folder=str(folder), steps=options.steps, batch_size=options.batch_size,
        crop_px=options.crop_px, pixel_m=options.pixel_m, validate_every=10**6, seed=seed, device="cpu",
        threads=options.threads, learning_rate=CONTINUED_RATE if origin else 1e-3,
    )  # fmt: skip
    weights = base["average"] if base else None
    trainer = SegmenterTrainer(config, QuietReporter(), weights, parameters=SMALL, gan=settings)
    started = time.process_time()
    trainer.train_gan()
    if settings.steps and not shared.exists():
        shared.write_bytes((folder / "gan.pt").read_bytes())
    trainer.run()
    seconds = time.process_time() - started
    row: dict[str, Any] = {"way": way, "seed": seed, "steps": trainer.step, "cpu_s": round(seconds)}
    model = trainer.average.model
    for split in ("val", "test"):
        chips = load_split(options.chips, split)
        row[split] = validate_segmenter(model, chips, pixel_m=options.pixel_m, bfloat16=trainer.bfloat16)
    return row


def measure_package(path: str, options: argparse.Namespace) -> dict[str, Any]:
    """What the finder of a model package is worth on the test chips."""
    package = open_package(path)
    pixel_m = float(package.manifest["pixel_m"])
    chips = load_split(options.chips, "test")
    if package.has_segmenter:
        model = package.segmenter()
        pixels = validate_segmenter(model, chips, pixel_m=pixel_m, bfloat16=options.bfloat16)["all"]
        matches = collect_instances(model, chips, pixel_m=pixel_m, bfloat16=options.bfloat16)["all"]
        return {"package": package.name, "test": {"pixels": pixels, "instances": matches.figures()}}
    figures = validate_detector(package.detector(), chips, pixel_m=pixel_m, bfloat16=options.bfloat16)["all"]
    return {"package": package.name, "test": {"instances": figures}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips")
    parser.add_argument("folder")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--gan-steps", type=int, default=600)
    parser.add_argument("--gan-width", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crop-px", type=int, default=128)
    parser.add_argument("--pixel-m", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=["alone", "SegGAN"])
    parser.add_argument("--packages", nargs="*", default=[])
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for path in options.packages:
        print(json.dumps(measure_package(path, options), indent=1), flush=True)
    if options.packages:
        return
    for seed in options.seeds:
        for way in options.ways:
            file = row_folder(way, seed, options) / "figures.json"
            if not file.exists():
                figures = train_row(way, seed, options)
                file.write_text(json.dumps(figures, indent=1))
            row = json.loads(file.read_text())
            for split in ("val", "test"):
                text = ", ".join(f"{name} {row[split]['all'][name]:.4f}" for name in PIXELS)
                print(f"{way}, seed {seed}, {split}: {text}", flush=True)


if __name__ == "__main__":
    main()
