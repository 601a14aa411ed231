"""A detector's masks on the chips, kept in files: what refiners learn from besides synthetic damage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import TrainingError

LOOK = "~"
"""Before the number of a further look at a chip: ``chip.npz``, ``chip~1.npz`` hold two sets of masks of it."""


@dataclass(frozen=True)
class RoughMask:
    """A predicted mask on a chip: half-open box in chip pixels and uint8[H, W] probability in it."""

    box: tuple[int, int, int, int]
    probability: np.ndarray


def write_rough_masks(folder: str | Path, chip_name: str, masks: Sequence[RoughMask]) -> None:
    """Store a chip's predictions as ``<folder>/<chip_name>.npz``, whole or not at all."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    temporary = Path(folder) / f"{chip_name}.part.npz"
    np.savez_compressed(
        temporary,
        boxes=np.array([mask.box for mask in masks], np.int32).reshape(-1, 4),
        values=np.concatenate([mask.probability.ravel() for mask in masks] or [np.zeros(0, np.uint8)]),
    )
    os.replace(temporary, Path(folder) / f"{chip_name}.npz")


def load_rough_masks(folder: str | Path) -> dict[str, list[RoughMask]]:
    """Read what `write_rough_masks` wrote. Raises `TrainingError` for an empty or damaged folder."""
    files = sorted(file for file in Path(folder).glob("*.npz") if not file.name.endswith(".part.npz"))
    if not files:
        raise TrainingError(f"{folder} holds no predictions (*.npz)", "Run the detector over the chips first")
    return {file.stem: _load_rough_masks(file) for file in files}


def _load_rough_masks(file: Path) -> list[RoughMask]:
    try:
        with np.load(file, allow_pickle=False) as stored:
            boxes, values = stored["boxes"], stored["values"]
        masks, start = [], 0
        for box in boxes.tolist():
            width, height = box[2] - box[0], box[3] - box[1]
            end = start + width * height
            masks.append(RoughMask(tuple(box), values[start:end].reshape(height, width)))
            start = end
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"The predictions {file} are damaged ({error})", "Write them again") from error
    return [mask for mask in masks if (mask.probability >= 128).any()]
