"""Training ground divided into parts, and a detector trained without each of them (k-fold)."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..models.package import ModelPackage
from .config import TrainDetectorConfig
from .errors import OutputError, TrainingError
from .progress import Reporter

if TYPE_CHECKING:
    from .config import FinetuneRefinerConfig

HELD_OUT = "test"
"""The split that names the chips of a fold; training looks at ``train`` and ``val`` alone."""


@dataclass(frozen=True)
class Fold:
    """A part of the ground.

    Attributes:
        folder: chip folder in which the chips of this part are marked `HELD_OUT`.
        held_out: their names.
    """

    folder: Path
    held_out: frozenset[str]


def write_folds(folders: list[str], count: int, target: Path) -> list[Fold]:
    """Write the chips of `folders` as `count` chip folders, of which each holds out another part.

    A part is a run of training chips in the order of the folder, which is that of the ground, row by row. Chips that
    reach into each other share ground at the ends of a run; exported without overlap, they share none.

    Raises:
        TrainingError: there are fewer training chips than folds.
        OutputError: the folders cannot be written.
    """
    cocos = [(Path(folder), json.loads((Path(folder) / "annotations.json").read_text("utf-8"))) for folder in folders]
    names = [image["file_name"] for _, coco in cocos for image in coco["images"] if image["split"] == "train"]
    if len(names) < count:
        raise TrainingError(f"{len(names)} training chips cannot be divided into {count} folds", "Choose fewer")
    folds = []
    for number in range(count):
        part = set(names[number * len(names) // count : (number + 1) * len(names) // count])
        folder = target / str(number)
        if not (folder / "annotations.json").exists():
            try:
                _write_fold(cocos, part, folder)
            except OSError as error:
                raise OutputError(f"The fold {folder} cannot be written ({error})", "Free some disk space") from error
        folds.append(Fold(folder, frozenset(Path(name).stem for name in part)))
    return folds


def _write_fold(cocos: list[tuple[Path, dict[str, Any]]], part: set[str], folder: Path) -> None:
    merged: dict[str, Any] = {"info": {}, "images": [], "annotations": [], "categories": cocos[0][1]["categories"]}
    for source, coco in cocos:
        first = len(merged["images"])
        ids = {image["id"]: first + n for n, image in enumerate(coco["images"], start=1)}
        for image in coco["images"]:
            split = HELD_OUT if image["file_name"] in part else image["split"]
            merged["images"].append({**image, "id": ids[image["id"]], "split": split})
            copy = folder / image["file_name"]
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            try:
                os.link(source / image["file_name"], copy)
            except OSError:
                shutil.copyfile(source / image["file_name"], copy)
        merged["annotations"] += [{**a, "image_id": ids[a["image_id"]]} for a in coco["annotations"]]
    (folder / "annotations.tmp").write_text(json.dumps(merged), encoding="utf-8")
    os.replace(folder / "annotations.tmp", folder / "annotations.json")


def train_fold(config: FinetuneRefinerConfig, start: ModelPackage, fold: Fold, reporter: Reporter) -> Any:
    """The detector of `start` after training without the part; a stopped training goes on."""
    from ..models.detector import build_detector
    from .training.fine_tuner import FineTuner, Start

    entry = start.entry("detector")
    training = TrainDetectorConfig(
        chips=(str(fold.folder),), work_folder=str(fold.folder / "run"), architecture=entry["architecture"],
        pixel_m=float(start.manifest["pixel_m"]), steps=config.fold_steps, batch_size=8, learning_rate=3e-4,
        trunk_share=0.0, device=config.device, precision=config.precision, threads=config.threads, seed=config.seed,
    )  # fmt: skip
    tuner = FineTuner(training, reporter, Start(entry["parameters"], start.weights("detector"), validations=2))
    tuner.run()
    detector = build_detector(entry["architecture"], entry["parameters"])
    detector.load_state_dict(tuner.best_state()["model"])
    return detector.eval()
