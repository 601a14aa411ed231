"""Writes a chip folder: small images with a COCO file beside them.

Holes survive because masks are run-length encoded. The reader is `engine/training/chips.py`, which
needs numpy and OpenCV alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import OutputError

JPEG_QUALITY = 93
BUILDING, NEGATIVE = 1, 2  # categories; what is marked as no building is ground that is looked at more often


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO run lengths of bool[H, W], column by column, starting with zeros."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat.size and flat[0] else counts}


class ChipWriter:
    """Collects chips and writes them; use as a context manager.

    Args:
        folder: created if it does not exist.
        info: goes into the COCO file's ``info`` (sources, licences, settings).
    """

    def __init__(self, folder: str | Path, *, info: dict[str, Any] | None = None) -> None:
        self.folder = Path(folder)
        self._coco: dict[str, Any] = {
            "info": info or {},
            "images": [],
            "annotations": [],
            "categories": [{"id": BUILDING, "name": "building"}, {"id": NEGATIVE, "name": "no building"}],
        }
        try:
            (self.folder / "images").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"The chip folder {self.folder} cannot be made ({error.strerror})", "Choose another folder"
            ) from error

    def __enter__(self) -> ChipWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()

    def add(
        self, name: str, image: np.ndarray, labels: np.ndarray, *, split: str, source: str, pixel_m: float,
        negatives: Sequence[np.ndarray] = (),
    ) -> None:  # fmt: skip
        """Write one chip.

        Args:
            name: file name without extension.
            image: uint8[H, W, 3] RGB.
            labels: int32[H, W]; 0 background, 1..n buildings, -1 unknown.
            split: train, val or test.
            source: where it comes from; training weights and reports go by it.
            pixel_m: ground size of a pixel, metres.
            negatives: bool[H, W] each, places that a person says are no building; ground in `labels`.
        """
        file = f"images/{name}.jpg"
        options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
        if not cv2.imwrite(str(self.folder / file), cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options):
            raise OutputError(f"The chip {self.folder / file} cannot be written", "Free some disk space")
        image_id = len(self._coco["images"]) + 1
        height, width = labels.shape
        self._coco["images"].append(
            {
                "id": image_id, "file_name": file, "width": width, "height": height,
                "split": split, "source": source, "pixel_m": pixel_m,
            }
        )  # fmt: skip
        for value in np.unique(labels[labels != 0]):
            self._annotate(image_id, labels == value, BUILDING, crowd=bool(value < 0))
        for mask in negatives:
            self._annotate(image_id, mask, NEGATIVE, crowd=False)

    def _annotate(self, image_id: int, mask: np.ndarray, category: int, *, crowd: bool) -> None:
        """Add bool[H, W] as an annotation."""
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        self._coco["annotations"].append(
            {
                "id": len(self._coco["annotations"]) + 1,
                "image_id": image_id,
                "category_id": category,
                "iscrowd": int(crowd),
                "area": int(mask.sum()),
                "bbox": [int(cols[0]), int(rows[0]), int(np.ptp(cols)) + 1, int(np.ptp(rows)) + 1],
                "segmentation": encode_rle(mask),
            }
        )

    def close(self) -> None:
        """Write the COCO file, atomically."""
        target = self.folder / "annotations.json"
        try:
            temporary = target.with_suffix(".tmp")
            temporary.write_text(json.dumps(self._coco, separators=(",", ":")))
            os.replace(temporary, target)
        except OSError as error:
            raise OutputError(f"{target} cannot be written ({error.strerror})", "Free some disk space") from error
