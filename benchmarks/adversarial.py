"""Ablations of GAN Mask R-CNN (Le et al. 2020, tables 5 and 6) on small cells.

    python benchmarks/adversarial.py chips/real study/ --steps 50 --seeds 1 2 3
    python benchmarks/adversarial.py chips/real study/ --table

Every cell starts from the same weights: the bundled trunk, pyramid, proposals and dense head, frozen, with a
fresh box and mask head (`--whole` fine-tunes all of the bundled detector instead). Cells differ in the objective
or in the depth of the discriminators alone: crops, samples and the number of steps are the same. Each is
measured on the validation and test chips of the sources that it trained on and of those it never saw, with
pycocotools. A cell that is done is a file in the folder, and is not run again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import shutil
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cadastral_vectorizer.engine.config import TrainDetectorConfig
from cadastral_vectorizer.engine.progress import Reporter
from cadastral_vectorizer.engine.training.adversarial import LE_2020
from cadastral_vectorizer.engine.training.chips import Chip, load_chips
from cadastral_vectorizer.engine.training.crops import CropSampler
from cadastral_vectorizer.engine.training.detector import DetectorTrainer
from cadastral_vectorizer.engine.training.validate import resample_chip
from cadastral_vectorizer.models.detector import MaskRCNN, build_detector, predict
from cadastral_vectorizer.models.package import open_package
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

CELLS: dict[str, dict[str, Any]] = {
    "none": {"adversarial": "none"},
    "both": {"adversarial": "both"},
    "only": {"adversarial": "only"},
    "mask": {"adversarial": "mask"},
    "box": {"adversarial": "box"},
    "both, depth 3": {"adversarial": "both", "adversarial_depth": 3},
    "both, depth 4": {"adversarial": "both", "adversarial_depth": 4},
    "none, SGD": {**LE_2020, "adversarial": "none"},
    "both, SGD": LE_2020,
}
MEASURED = {
    "seen": (("val", "oam_banepa"), ("val", "oam_kampala"), ("val", "oam_zanzibar"), ("test", "oam_kampala"),
             ("test", "oam_banepa_east")),
    "unseen": (("test", "oam_catanduanes"), ("test", "spacenet_samples")),
}  # fmt: skip
SIZES = ("AP", "APS", "APM", "APL")
FIGURES = ("AP", "AP50", "AP75", "APS", "APM", "APL")
MOST = 1000  # detections an image
INSTANCES = 32  # judged by a discriminator at a time: half of what training does, to fit more cells in


class HeadTrainer(DetectorTrainer):
    """Trains box and mask head alone; all cells draw from one sampler."""

    shared: CropSampler | None = None

    def __init__(self, config: TrainDetectorConfig, reporter: Reporter, base: dict[str, torch.Tensor]) -> None:
        super().__init__(config, reporter, base)
        for part in (self.model.trunk, self.model.rpn, self.model.dense):
            part.requires_grad_(False)
        if self.adversary:
            self.adversary.most = INSTANCES

    def load_data(self) -> None:
        if HeadTrainer.shared is None:
            super().load_data()
            HeadTrainer.shared = self.sampler
        self.sampler = HeadTrainer.shared
        self.validation = []  # measured at the end, with more than its own figures


def fresh_heads(architecture: str, parameters: dict[str, Any], seed: int) -> dict[str, torch.Tensor]:
    """Untrained box and mask head, the same for every cell of a seed."""
    torch.manual_seed(seed)
    state = build_detector(architecture, parameters).state_dict()
    return {name: value for name, value in state.items() if name.startswith("roi_heads.")}


def measure(model: MaskRCNN, chips: Sequence[Chip], *, pixel_m: float) -> dict[str, float]:
    """``box_AP`` ... ``mask_APL``; what lies mostly where nothing is known does not count.

    Such detections are left out beforehand: as a crowd area the unknown would swallow every false box,
    since the box around it is the whole image.
    """
    images, truths, found = [], [], []
    for index, chip in enumerate(chips, start=1):
        image, labels = resample_chip(chip, pixel_m)
        height, width = labels.shape
        images.append({"id": index, "height": height, "width": width})
        for value in np.unique(labels[labels > 0]):
            mask = labels == value
            coded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
            truths.append({
                "id": len(truths) + 1, "image_id": index, "category_id": 1, "segmentation": coded,
                "bbox": rle.toBbox(coded).tolist(), "area": int(mask.sum()), "iscrowd": 0,
            })  # fmt: skip
        for p in predict(model, torch.from_numpy(image).permute(2, 0, 1)[None])[0][:MOST]:
            x0, y0, x1, y1 = p.box
            full = np.zeros((height, width), np.uint8, order="F")
            full[y0:y1, x0:x1] = p.probability >= 128
            if (labels[full > 0] < 0).mean() > 0.5:
                continue
            coded = rle.encode(full)
            found.append({"image_id": index, "category_id": 1, "segmentation": coded, "score": p.score,
                          "bbox": rle.toBbox(coded).tolist()})  # fmt: skip
    return {f"{kind}_{name}": value for kind in ("box", "mask") for name, value in _coco(images, truths, found, kind)}


def _coco(images: list[Any], truths: list[Any], found: list[Any], kind: str) -> list[tuple[str, float]]:
    annotations = [
        {**f, "id": i, "iscrowd": 0, "area": float(f["bbox"][2] * f["bbox"][3] if kind == "box" else
         rle.area(f["segmentation"]))} for i, f in enumerate(found, start=1)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth, result = COCO(), COCO()
        for coco, listed in ((truth, truths), (result, annotations)):
            coco.dataset = {"images": images, "annotations": listed, "categories": [{"id": 1}]}
            coco.createIndex()
        run = COCOeval(truth, result, {"box": "bbox", "mask": "segm"}[kind])
        run.params.maxDets = [MOST]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, 0, :, 0]  # [threshold, recall, size]

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else float("nan")

    by_size = [(name, mean(precision[:, :, index])) for index, name in enumerate(SIZES)]
    return [*by_size, ("AP50", mean(precision[0, :, 0])), ("AP75", mean(precision[5, :, 0]))]


def file_name(name: str, seed: int) -> str:
    """Of a cell's files, without suffix."""
    return f"{name.replace(', ', '-').replace(' ', '_')}-{seed}"


def run_cell(name: str, seed: int, options: argparse.Namespace, chips: Sequence[Chip]) -> dict[str, Any]:
    """Train one cell and measure it."""
    package = open_package(options.base or "")
    entry, weights = package.manifest["detector"], package.weights("detector")
    pixel_m = float(package.manifest["pixel_m"])
    work = Path(options.folder) / "run"
    shutil.rmtree(work, ignore_errors=True)
    settings: dict[str, Any] = {"learning_rate": options.learning_rate, **CELLS[name]}
    config = TrainDetectorConfig(
        chips=(options.chips,), work_folder=str(work), architecture=entry["architecture"], pixel_m=pixel_m,
        crop_px=options.crop_px, steps=options.steps, batch_size=options.batch_size, seed=seed, trunk_share=0.0,
        copy_paste=0.0, warmup_share=0.05, ema_decay=0.9, device="cpu", threads=options.threads, **settings,
    )  # fmt: skip
    config.validate()
    torch.set_num_threads(options.threads)
    kind = DetectorTrainer if options.whole else HeadTrainer
    if not options.whole:
        weights = {**weights, **fresh_heads(entry["architecture"], entry["parameters"], seed)}
    trainer = kind(config, Reporter(), weights)
    started = time.process_time()
    trainer.run()
    seconds = time.process_time() - started
    result = {
        part: measure(trainer.average.model, [c for c in chips if (c.split, c.source) in places], pixel_m=pixel_m)
        for part, places in MEASURED.items()
    }
    shutil.copy(work / "last.pt", Path(options.folder) / "cells" / f"{file_name(name, seed)}.pt")
    log = work / "log.jsonl"
    losses = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else [{}]
    return {
        "cell": name, "seed": seed, "whole": options.whole, "cpu_s": round(seconds, 1), "losses": losses[-1],
        "settings": dataclasses.asdict(config), **result,
    }  # fmt: skip


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Mean over the seeds, and their standard deviation for AP, as Markdown."""
    for part in MEASURED:
        for kind in ("mask", "box"):
            print(f"\n{part}, {kind}\n\n| cell | seeds | CPU s | " + " | ".join(FIGURES) + " |")
            print("|" + "---|" * (3 + len(FIGURES)))
            for name in CELLS:
                mine = [row for row in rows if row["cell"] == name]
                if not mine:
                    continue
                values = {f: [row[part][f"{kind}_{f}"] for row in mine] for f in FIGURES}
                cells = [f"{statistics.mean(v):.3f}" for v in values.values()]
                if len(mine) > 1:
                    cells[0] += f" ± {statistics.stdev(values['AP']):.3f}"
                cost = statistics.mean(row["cpu_s"] for row in mine)
                print(f"| {name} | {len(mine)} | {cost:.0f} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips")
    parser.add_argument("folder")
    parser.add_argument("--base", default="", help="model package; the bundled one by default")
    parser.add_argument("--only", nargs="*", default=[], choices=list(CELLS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--crop-px", type=int, default=192)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--whole", action="store_true", help="fine-tune the whole detector, heads as they are")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    options = parser.parse_args()
    done = Path(options.folder) / "cells"
    done.mkdir(parents=True, exist_ok=True)
    if options.table:
        print_table([json.loads(path.read_text()) for path in sorted(done.glob("*.json"))])
        return
    chips = [c for c in load_chips(options.chips) if any((c.split, c.source) in p for p in MEASURED.values())]
    for seed in options.seeds:
        for name in options.only or CELLS:
            file = done / f"{file_name(name, seed)}.json"
            if file.exists():
                continue
            row = run_cell(name, seed, options, chips)
            file.write_text(json.dumps(row, indent=1))
            figures = ", ".join(f"{p} mask {row[p]['mask_AP']:.3f} box {row[p]['box_AP']:.3f}" for p in MEASURED)
            print(f"{name}, seed {seed}: {figures}, {row['cpu_s']:.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
