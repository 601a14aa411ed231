"""Trains the refiner variants alike and compares them on the same pairs of test areas.

    python benchmarks/refiner_study.py chips/real study/ --examples 4000 [--only guided tiny16-32 ...]

Every row sees the same number of examples and is measured on the same damaged masks of the test chips,
before and after. Runs continue where they were interrupted; the table is ``study.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from cadastral_vectorizer.engine.config import TrainRefinerConfig
from cadastral_vectorizer.engine.progress import ConsoleReporter
from cadastral_vectorizer.engine.training.chips import load_chips
from cadastral_vectorizer.engine.training.refiner import evaluate_refiner, train_refiner, validation_pairs
from cadastral_vectorizer.models.refiners import build_refiner

ROWS: dict[str, dict[str, Any]] = {
    "guided": {"variant": "guided"},
    "guided, adversarial 0.02": {"variant": "guided", "adversarial_weight": 0.02},
    **{name: {"variant": name} for name in ("tiny16-32", "res16-32", "tiny16-128", "res16-128")},
    **{name: {"variant": name} for name in ("res32-256", "attn32-256")},
    **{
        f"vinokurov, lr {rate:g}, batch {batch}, lambda {weight}": {
            "variant": "vinokurov", "learning_rate": rate, "crops": batch, "lambda_l1": float(weight),
        }
        for rate, batch, weight in (
            (2e-4, 8, 100), (2e-4, 8, 80), (2e-4, 8, 120), (1e-4, 8, 100), (5e-5, 8, 100), (1e-5, 10, 100),
            (1e-6, 10, 100),
        )
    },
}  # fmt: skip


class QuietReporter(ConsoleReporter):
    """Log lines only."""

    def emit(self, event: str, **fields: Any) -> None:
        if event == "log":
            super().emit(event, **fields)


def train_row(name: str, settings: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Train one row and measure it on the test chips."""
    settings = dict(settings)
    large = settings["variant"] == "vinokurov"  # crops of 256 px: four times the pixels of a 128 px crop
    crops = settings.pop("crops", 4 if large else 16)
    steps = max(1, options.examples // crops)
    config = TrainRefinerConfig(
        work_folder=str(Path(options.folder) / name.replace(" ", "_").replace(",", "")), chips=(options.chips,),
        steps=steps, validate_every=max(1, steps // 4), batch_size=4 * crops if large else crops,
        threads=options.threads, **settings,
    )  # fmt: skip
    started = time.process_time()
    card = train_refiner(config, QuietReporter())
    stored = torch.load(card["checkpoint"], weights_only=True)
    model = build_refiner(stored["architecture"], stored["parameters"])
    model.load_state_dict(stored["weights"])
    size = model.crop_sizes_px[-1] if large else 128
    pairs = validation_pairs(load_chips(options.chips, "test"), {}, size, seed=5)
    return {
        "row": name, "weights": sum(p.numel() for p in model.parameters()), "examples": steps * crops,
        "cpu_s": time.process_time() - started,
        "test": evaluate_refiner(model, pairs, device=torch.device("cpu"), batch_size=4 if large else 16),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips")
    parser.add_argument("folder")
    parser.add_argument("--examples", type=int, default=4000)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    table = Path(options.folder) / "study.json"
    rows = json.loads(table.read_text()) if table.exists() else []
    for name, settings in ROWS.items():
        if (options.only and name not in options.only) or any(row["row"] == name for row in rows):
            continue
        rows.append(train_row(name, settings, options))
        table.write_text(json.dumps(rows, indent=1))
        figures = rows[-1]["test"]["all"]
        changes = ", ".join(
            f"{key} {figures['before'][key]:.3f} -> {figures['after'][key]:.3f}"
            for key in ("iou", "iou50_95", "boundary_iou", "pixel_accuracy", "hausdorff_px")
        )
        print(f"{name}: {rows[-1]['weights']} weights, {rows[-1]['cpu_s']:.0f} s of CPU; {changes}", flush=True)


if __name__ == "__main__":
    main()
