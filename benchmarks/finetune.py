"""What fine-tuning brings in a place the model has never seen, and what it costs elsewhere.

    python benchmarks/finetune.py chips/real dhaka --work work/finetune/dhaka --steps 300
    python benchmarks/finetune.py chips/real chicago --work work/finetune/chicago --set learning_rate=0.0001

The chip folder is that of `pack_real_chips.py`. Some of the place's test chips are learnt from, with a fifth of
their outlines kept aside as `exporttrainingdata` does it; the place's other chips measure the gain, the test
chips of all other places the loss. Nothing else is chosen with either of the two. This measures fine-tuning as a
method: the models it leaves are of no further use. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cadastral_vectorizer.engine.calibration import raw_score
from cadastral_vectorizer.engine.chips.blocks import Block, choose_validation
from cadastral_vectorizer.engine.chips.folder import ChipWriter
from cadastral_vectorizer.engine.config import FinetuneConfig
from cadastral_vectorizer.engine.finetune import finetune
from cadastral_vectorizer.engine.progress import ConsoleReporter
from cadastral_vectorizer.engine.training.chips import UNKNOWN, Chip, load_chips
from cadastral_vectorizer.engine.training.validate import validate_detector
from cadastral_vectorizer.models.device import pick_bfloat16, pick_device
from cadastral_vectorizer.models.package import open_package

PIECES = 3  # a chip is cut into this many blocks a side, to keep some aside
VISIBLE_SHARE = 0.5


@dataclass(frozen=True)
class Place:
    """Chips of one source: those to learn from, and those to measure the gain with."""

    source: str
    learn: tuple[str, ...]
    test: tuple[str, ...]


PLACES = {
    "dhaka": Place("oam_dhaka", ("393753-226409",), ("393753-226410",)),
    "chicago": Place("inria_patches", tuple(f"chicago1_{n}" for n in (0, 2, 5, 7, 11, 14, 18, 19, 21, 24)),
                     tuple(f"chicago1_{n}" for n in (1, 3, 4, 6, 8, 10, 12, 13, 15, 16, 17, 20))),
    "catanduanes": Place("oam_catanduanes", ("catanduanes_b",), ("catanduanes_a",)),
}  # fmt: skip


def is_named(chip: Chip, names: Sequence[str]) -> bool:
    """Whether a chip's name ends in, or goes on with an underscore or dash after, one of the names."""
    rest = (chip.name.partition(name) for name in names)
    return any(found and after[:1] in ("", "_", "-") for _, found, after in rest)


def write_place(folder: Path, chips: Sequence[Chip], *, seed: int) -> dict[str, int]:
    """A chip folder with a fifth of the outlines kept aside block by block; returns outlines by split."""
    counts = {"train": 0, "val": 0}
    with ChipWriter(folder) as writer:
        for number, chip in enumerate(chips):
            height, width = chip.labels.shape
            rows, cols = (np.linspace(0, side, PIECES + 1).round().astype(int) for side in (height, width))
            blocks = [
                Block(number, i, j, (cols[j], rows[i], cols[j + 1], rows[i + 1]),
                      len(whole(chip.labels, chip.labels[rows[i]:rows[i + 1], cols[j]:cols[j + 1]])))
                for i in range(PIECES) for j in range(PIECES)
            ]  # fmt: skip
            image, labels = chip.image.copy(), chip.labels.copy()
            for block in choose_validation(blocks, share=0.2, seed=seed):
                x0, y0, x1, y1 = block.box
                piece = keep_whole(chip.labels, chip.labels[y0:y1, x0:x1].copy())
                writer.add(f"{chip.name}-{block.row}-{block.col}", np.ascontiguousarray(chip.image[y0:y1, x0:x1]),
                           piece, split="val", source=chip.source, pixel_m=chip.pixel_m)  # fmt: skip
                counts["val"] += len(np.unique(piece[piece > 0]))
                image[y0:y1, x0:x1], labels[y0:y1, x0:x1] = 0, UNKNOWN
            labels = keep_whole(chip.labels, labels)
            writer.add(chip.name, image, labels, split="train", source=chip.source, pixel_m=chip.pixel_m)
            counts["train"] += len(np.unique(labels[labels > 0]))
    return counts


def whole(labels: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Values of the buildings of which at least half shows in a part."""
    total = np.bincount(labels[labels > 0], minlength=1)
    shown = np.bincount(part[part > 0], minlength=len(total))
    return np.flatnonzero((shown > 0) & (shown >= VISIBLE_SHARE * total))


def keep_whole(labels: np.ndarray, part: np.ndarray) -> np.ndarray:
    """The part, with all other buildings unknown."""
    part[(part > 0) & ~np.isin(part, whole(labels, part))] = UNKNOWN
    return part


def measure(model: str, chips: dict[str, list[Chip]], memory: Path) -> dict[str, dict[str, float]]:
    """Figures of a package by group of chips; what was measured once is read from `memory`."""
    package = open_package(model)
    known = json.loads(memory.read_text()) if memory.exists() else {}
    if package.hash not in known:
        device = pick_device("auto")
        detector = package.detector().to(device)
        exponent = float(package.manifest.get("score_exponent", 1.0))
        known[package.hash] = {
            group: validate_detector(
                detector, part, pixel_m=package.manifest["pixel_m"], bfloat16=pick_bfloat16(device, "auto"),
                score_threshold=raw_score(exponent),
            ) for group, part in chips.items()
        }  # fmt: skip
        memory.write_text(json.dumps(known))
    return known[package.hash]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chips", help="folder of pack_real_chips.py")
    parser.add_argument("place", choices=PLACES)
    parser.add_argument("--work", required=True, help="folder of this run")
    parser.add_argument("--base", default="", help="model package; that of the plugin when not given")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FinetuneConfig")
    options = parser.parse_args(arguments)
    place, work = PLACES[options.place], Path(options.work)
    chips = load_chips(options.chips, "test")
    mine = [chip for chip in chips if chip.source == place.source]
    groups = {
        "place": [chip for chip in mine if is_named(chip, place.test)],
        "elsewhere": [chip for chip in chips if chip.source != place.source],
    }
    work.mkdir(parents=True, exist_ok=True)
    outlines = write_place(work / "chips", [c for c in mine if is_named(c, place.learn)], seed=options.seed)
    config = FinetuneConfig(
        chips=(str(work / "chips"),), output=str(work / "out.zip"), work_folder=str(work / "work"), base=options.base,
        figures=str(work / "figures.json"), report=str(work / "report.html"), steps=options.steps, seed=options.seed,
        threads=options.threads, patience=0,
    )  # fmt: skip
    changes: dict[str, Any] = {}
    for entry in options.set:
        name, _, value = entry.partition("=")
        changes[name] = type(getattr(config, name))(value)
    config = replace(config, **changes)
    start = resource.getrusage(resource.RUSAGE_SELF)
    result = finetune(config, ConsoleReporter(sys.stderr))
    end = resource.getrusage(resource.RUSAGE_SELF)
    cpu = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
    memory = work.parent / f"{options.place}-measured.json"
    before, after = (measure(model, groups, memory) for model in (options.base, config.output))
    figures = {
        group: {name: [round(before[group]["all"][name], 3), round(after[group]["all"][name], 3)]
                for name in ("AP", "AP50", "F1")}
        for group in groups
    }  # fmt: skip
    summary = {"place": options.place, "outlines": outlines, "changes": changes, "steps": result["steps"],
               "cpu_s": round(cpu), **figures, "val_AP50": [result["before"]["AP50"], result["after"]["AP50"]],
               "by_place": {n: [round(before["elsewhere"][n]["AP50"], 3), round(f["AP50"], 3)]
                            for n, f in after["elsewhere"].items()}}  # fmt: skip
    (work / "summary.json").write_text(json.dumps(summary))
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
