"""Packs a training for a machine that has PyTorch, NumPy and OpenCV and nothing else, and brings its results back."""

from __future__ import annotations

import ast
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2

from ..config import CollectTrainingConfig, PackTrainingConfig, TrainDetectorConfig
from ..errors import OutputError, TrainingError
from ..progress import Reporter
from .carried import BASE, JOB, RUN, STATE
from .checkpoint import load_checkpoint, save_checkpoint
from .chips import load_chips
from .parts import read_parts, write_parts

PACKAGE = Path(__file__).resolve().parents[2]
NAME = "cadastral_vectorizer"
ENTRY = "engine/training/carried.py"
RUN_FILE = f"""import pathlib
import sys

root = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(root / "code"))
from {NAME}.engine.training.carried import main

sys.exit(main(root))
"""
README = """Training of a building detector: python run.py --minutes 9 --out OUT
Needs Python 3.10 or newer with torch, torchvision, numpy and opencv. Call it again to go on, here or on another
machine with the same OUT. OUT holds the state in files under 16 MB; `cadastral-vectorizer collect-training` reads it.
"""


def pack_training(config: PackTrainingConfig, reporter: Reporter) -> dict[str, Any]:
    """Write a folder or zip with code, chips, settings and the weights to start from.

    A run in the work folder is taken along and continued there.

    Returns:
        ``output``, ``megabytes`` and ``chips``.

    Raises:
        TrainingError: the chips cannot be used, or it becomes larger than allowed.
        OutputError: the output cannot be written.
    """
    config.validate()
    output = Path(config.output)
    zipped = output.suffix.lower() == ".zip"
    folder = output.with_name(output.name + ".part")
    shutil.rmtree(folder, ignore_errors=True)
    if not zipped and output.exists():
        raise OutputError(f"{output} exists", "Choose a new folder, or a zip file")
    try:
        copy_code(folder / "code" / NAME)
        (folder / "run.py").write_text(RUN_FILE, encoding="utf-8")
        (folder / "README.txt").write_text(README, encoding="utf-8")
        names, count = [], 0
        for index, chips in enumerate(config.chips):
            reporter.progress(index / len(config.chips), f"Packing {chips}")
            names.append(f"chips/{index}")
            count += copy_chips(Path(chips), folder / names[-1], quality=config.jpeg_quality)
        fields = TrainDetectorConfig.__dataclass_fields__
        settings = {name: value for name, value in config.to_dict().items() if name in fields}
        settings |= {"chips": names, "work_folder": RUN, "base": "", "threads": 0}
        (folder / JOB).write_text(json.dumps(settings))
        state = load_checkpoint(Path(config.work_folder) / "last.pt")
        if state is not None:
            write_parts(folder / STATE, state)
        if config.base:
            write_parts(folder / BASE, {"model": _read_base(config.base)})
        size = _finish(folder, output, zipped=zipped, limit=config.most_mb * 1e6)
    except OSError as error:
        raise OutputError(f"{output} cannot be written ({error.strerror})", "Choose another place") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"output": str(output), "megabytes": round(size / 1e6, 1), "chips": count}


def collect_training(config: CollectTrainingConfig, reporter: Reporter) -> dict[str, Any]:
    """Put a state brought back into a work folder, where training goes on or a package is made from it.

    Returns:
        ``checkpoint``, ``step`` and ``architecture``.

    Raises:
        TrainingError: a part is missing or damaged, or the work folder has come further.
    """
    config.validate()
    state = read_parts(Path(config.parts))
    work = Path(config.work_folder)
    known = load_checkpoint(work / "last.pt")
    if known is not None and known["step"] > state["step"]:
        raise TrainingError(
            f"The run in {work} is at step {known['step']}, the one brought back at {state['step']}",
            "Choose another work folder",
        )
    work.mkdir(parents=True, exist_ok=True)
    save_checkpoint(work / "last.pt", state)
    log = Path(config.parts) / "log.jsonl"
    if log.exists():
        shutil.copy(log, work)
    reporter.log(f"{work} is at step {state['step']}")
    return {"checkpoint": str(work / "last.pt"), "step": state["step"], "architecture": state["architecture"]}


def copy_code(target: Path) -> None:
    """The entry module and what it imports of this package, however indirectly."""
    waiting, seen = [PACKAGE / ENTRY], set()
    while waiting:
        file = waiting.pop()
        if file in seen or not file.exists() or file.parent == PACKAGE:  # that is the door for QGIS
            continue
        seen.add(file)
        waiting += _imported(file)
        waiting += [PACKAGE / parent / "__init__.py" for parent in file.relative_to(PACKAGE).parents]
    for file in seen:
        place = target / file.relative_to(PACKAGE)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    (target / "__init__.py").write_text("", encoding="utf-8")


def _imported(file: Path) -> list[Path]:
    """Files a module may import relatively; those that do not exist are names, not modules."""
    found = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            stem = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            found += [stem.with_suffix(".py"), stem / "__init__.py"]
            found += [stem / f"{alias.name}.py" for alias in node.names]
            found += [stem / alias.name / "__init__.py" for alias in node.names]
    return found


def copy_chips(folder: Path, target: Path, *, quality: int) -> int:
    """The chips that are learnt from or measured with; returns how many.

    Args:
        quality: of the JPEG files, 1 to 100; 0 leaves them as they are.
    """
    usable = {chip.name for split in ("train", "val") for chip in load_chips(folder, split)}
    coco = json.loads((folder / "annotations.json").read_text())
    coco["images"] = [e for e in coco["images"] if e.get("split") in ("train", "val")]
    kept = {entry["id"] for entry in coco["images"]}
    coco["annotations"] = [a for a in coco["annotations"] if a["image_id"] in kept]
    for entry in coco["images"]:
        place = target / entry["file_name"]
        place.parent.mkdir(parents=True, exist_ok=True)
        if quality:
            image = cv2.imread(str(folder / entry["file_name"]), cv2.IMREAD_COLOR)
            cv2.imwrite(str(place), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        else:
            shutil.copy(folder / entry["file_name"], place)
    (target / "annotations.json").write_text(json.dumps(coco, separators=(",", ":")))
    return len(usable)


def _read_base(path: str) -> dict[str, Any]:
    from ...models.package import open_package

    return open_package(path).weights("detector")


def _finish(folder: Path, output: Path, *, zipped: bool, limit: float) -> int:
    """Make the folder the output; returns its size in bytes. Raises `TrainingError` beyond the limit."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    made = folder
    if zipped:
        made = folder / "bundle.zip"
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, Path(output.stem) / file.relative_to(folder))
        size = made.stat().st_size
    else:
        size = sum(file.stat().st_size for file in files)
    if size > limit:
        parts = {name: sum(f.stat().st_size for f in files if f.is_relative_to(folder / name)) / 1e6
                 for name in ("chips", STATE, BASE)}  # fmt: skip
        told = ", ".join(f"{name} {value:.0f} MB" for name, value in parts.items() if value)
        raise TrainingError(
            f"The packed training has {size / 1e6:.0f} MB, more than {limit / 1e6:g} ({told})",
            "Leave out a chip folder, give a lower jpeg_quality such as 80, or start anew from a base",
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, output)
    return size
