"""Reads a chip folder (written by `engine/chips`): COCO images and run-length masks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import TrainingError

UNKNOWN = -1
NEGATIVE = 2  # category of what a person marked as no building


@dataclass(frozen=True)
class Chip:
    """A piece of orthophoto with its truth.

    Attributes:
        name, source, split: what it is, where it comes from, ``train``, ``val`` or ``test``.
        pixel_m: ground size of a pixel, metres.
        image: uint8[H, W, 3] RGB.
        labels: int32[H, W]; 0 background, 1..n buildings, -1 unknown (no loss there).
        negatives: (x, y) in pixels, middles of what a person marked as no building.
    """

    name: str
    source: str
    split: str
    pixel_m: float
    image: np.ndarray
    labels: np.ndarray
    negatives: tuple[tuple[float, float], ...] = ()

    @property
    def buildings(self) -> int:
        """Number of buildings."""
        return max(int(self.labels.max(initial=0)), 0)


def decode_rle(rle: dict[str, Any]) -> np.ndarray:
    """COCO uncompressed run lengths to bool[H, W]. Raises ValueError when they do not add up."""
    height, width = rle["size"]
    counts = np.asarray(rle["counts"], dtype=np.int64)
    if counts.sum() != height * width or (counts < 0).any():
        raise ValueError("run lengths do not fill the image")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def load_chips(folder: str | Path, split: str | None = None) -> list[Chip]:
    """Read all chips, or those of one split, into memory.

    Raises:
        TrainingError: the folder is not a chip folder, or a file in it is missing or damaged.
    """
    folder = Path(folder)
    try:
        coco = json.loads((folder / "annotations.json").read_text())
        masks: dict[int, list[dict[str, Any]]] = {}
        for annotation in coco["annotations"]:
            masks.setdefault(annotation["image_id"], []).append(annotation)
        entries = [e for e in coco["images"] if split is None or e.get("split") == split]
    except FileNotFoundError as error:
        raise TrainingError(
            f"{folder} is not a chip folder (annotations.json is missing)", "Make one with exporttrainingdata"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise TrainingError(
            f"annotations.json of {folder} is damaged ({error})", "Export the training data again"
        ) from error
    try:
        return [_load_chip(folder, entry, masks.get(entry["id"], [])) for entry in entries]
    except (KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"annotations.json of {folder} lacks {error} of an image", "Export the training data again"
        ) from error


def require_distinct_names(chips: Sequence[Chip]) -> None:
    """Raise `TrainingError` for two chips of one name: predicted masks belong to chips by name."""
    if len({chip.name for chip in chips}) < len(chips):
        twice = next(name for name, count in Counter(chip.name for chip in chips).items() if count > 1)
        raise TrainingError(
            f"Two chips are called {twice}, and predicted masks belong to chips by name",
            "Rename the images of one of the folders",
        )


def _load_chip(folder: Path, entry: dict[str, Any], annotations: list[dict[str, Any]]) -> Chip:
    file = folder / str(entry["file_name"])
    try:
        inside = file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a zero byte
        inside = False
    if not inside:
        raise TrainingError(f"The chip {entry['file_name']} lies outside its folder", "Do not use this folder")
    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        raise TrainingError(f"The chip {file} is missing or damaged", "Export the training data again")
    labels = np.zeros(image.shape[:2], np.int32)
    try:
        # crowd areas first, so that a building drawn inside one stays a building
        building = 0
        negatives = []
        for annotation in sorted(annotations, key=lambda a: -a["iscrowd"]):
            if annotation.get("category_id") == NEGATIVE:
                x, y, width, height = annotation["bbox"]
                negatives.append((x + width / 2, y + height / 2))
                continue
            mask = decode_rle(annotation["segmentation"])
            if annotation["iscrowd"]:
                labels[mask] = UNKNOWN
            else:
                building += 1
                labels[mask] = building
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise TrainingError(
            f"The outlines of chip {file} are damaged ({error})", "Export the training data again"
        ) from error
    return Chip(
        name=file.stem,
        source=entry.get("source", ""),
        split=entry.get("split", "train"),
        pixel_m=float(entry["pixel_m"]),
        image=cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
        labels=labels,
        negatives=tuple(negatives),
    )
